"""Interface between the runner and the scripts of the peers, which needs only NumPy.

The runner writes a task as JSON, and starts a script with the path of that file. The
script passes to `main` a dict of functions, one for each method, that create a model
from the task. A model has three methods:

    fit(X)           learns from normal images (n, h, w) of dtype uint8
    score(X)         returns image scores (n,), and heatmaps (n, h, w) or None
    save(path)       writes a file that is sufficient to score images again

If the attribute `inputs` of a model is "features", X contains pooled features (n, d) of
the pretrained network instead, and the time to compute them is added to that of the
model.

Models have no access to labels and masks; the runner computes all metrics from the
arrays written here.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = ["Model", "Task", "main"]


class Model(Protocol):
    """Interface of a model."""

    def fit(self, X: np.ndarray) -> object: ...

    def score(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]: ...

    def save(self, path: Path) -> object: ...


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its child processes."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


CLOCKS: dict[str, Callable[[], float]] = {
    "cpu": cpu_seconds,
    "wall": time.perf_counter,
}


@dataclass
class Task:
    """Settings of a run, as passed to a script.

    Parameters
    ----------
    images : path
        Path of an .npz file with X_train and X_test, features_train and features_test,
        and the CPU seconds to compute the features, features_train_s and
        features_test_s.
    output : path
        Path of the file for scores and heatmaps.
    method : str
        Name of the method.
    seed : int
        Random seed.
    clock : {"cpu", "wall"}
        Time that the budget refers to.
    budget_s : float or None
        Time in seconds after which fitting should end; None for the default of the
        method.
    weights : path
        Path of the weights of EfficientNet-Lite0.
    """

    images: str
    output: str
    method: str
    seed: int = 0
    clock: str = "cpu"
    budget_s: float | None = None
    weights: str = ""
    started: float = field(default=0.0, init=False)

    def left(self, otherwise: float = float("inf")) -> float:
        """Return the remaining seconds for fitting."""
        budget = otherwise if self.budget_s is None else self.budget_s
        return budget - (CLOCKS[self.clock]() - self.started)


def memory_mb() -> float:
    """Return the peak resident memory so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**10 if sys.platform != "darwin" else peak / 2**20


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Return the result of a function, and the time it took, in seconds by clock."""
    before = {name: clock() for name, clock in CLOCKS.items()}
    result = work()
    return result, {name: clock() - before[name] for name, clock in CLOCKS.items()}


def size_mb(path: Path) -> float:
    """Return the size of a file, or of all files in a folder, in MB."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def measure(model: Model, task: Task) -> dict[str, Any]:
    """Fit, score and save a model; write the arrays, and return the measurements."""
    arrays = dict(np.load(task.images, allow_pickle=False))
    before = memory_mb()
    inputs = getattr(model, "inputs", "X")
    task.started = CLOCKS[task.clock]()
    _, fit = timed(lambda: model.fit(arrays[f"{inputs}_train"]))
    (scores, heatmaps), score = timed(lambda: model.score(arrays[f"{inputs}_test"]))
    peak = memory_mb()
    for part, seconds in (("train", fit), ("test", score)):
        made = float(arrays.get(f"{inputs}_{part}_s", 0.0))
        seconds |= {clock: s + made for clock, s in seconds.items()}
    output = Path(task.output)
    kept = output.with_suffix(".model")
    model.save(kept)
    found = {"scores": np.asarray(scores, dtype=np.float64)}
    if heatmaps is not None:
        found["heatmaps"] = np.asarray(heatmaps, dtype=np.float32)
    np.savez(output, **found)
    return {
        **{f"fit_{clock}_s": round(s, 2) for clock, s in fit.items()},
        **{f"score_{clock}_s": round(s, 2) for clock, s in score.items()},
        "memory_before_mb": round(before),
        "memory_peak_mb": round(peak),
        "model_mb": round(size_mb(kept), 2),
        "inputs": inputs,
        "notes": getattr(model, "notes", {}),
    }


def main(methods: dict[str, Callable[[Task], Model]], packages: list[str]) -> None:
    """Run the task whose path is given on the command line."""
    path = Path(sys.argv[1])
    task = Task(**json.loads(path.read_text()))
    found = measure(methods[task.method](task), task)
    found["versions"] = {name: version(name).split("+")[0] for name in packages}
    found["versions"]["python"] = platform.python_version()
    Path(task.output).with_suffix(".json").write_text(json.dumps(found))
