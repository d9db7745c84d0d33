"""Storage of results, in one JSON file for each experiment."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import skorch
import torch

import skfcdd
from benchmarks._common import machine
from skfcdd._utils.files import written_at_once

# Of several runs with equal values of these, only the last is kept.
_KEY = ("class", "seed", "variant", "epochs", "images", "side", "device")


def environment() -> dict[str, Any]:
    """Return machine and versions, with details beyond those of other benchmarks."""
    known: dict[str, Any] = {
        **machine(),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        # Above the number of cores, other processes have slowed the run down.
        "load": round(os.getloadavg()[0], 1),
        "skfcdd": skfcdd.__version__,
        "skorch": skorch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "time": time.strftime("%H:%M:%S"),
    }
    if torch.cuda.is_available():
        known["gpu"] = torch.cuda.get_device_name()
    return known


def _processor() -> str:
    """Return the name of the CPU."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def path_of(folder: Path, name: str) -> Path:
    """Return the path of the results of an experiment."""
    return folder / f"reproduce_{name}.json"


def merge(folder: Path, name: str, record: dict[str, Any]) -> Path:
    """Add a record to the results, replacing an earlier one of the same run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(folder, name)
    with _alone(path):
        rows = json.loads(path.read_text())["rows"] if path.exists() else []
        kept = [row for row in rows if _key(row) != _key(record)]
        rows = sorted([*kept, record], key=_key)
        with written_at_once(path) as temporary:
            text = json.dumps({"experiment": name, "rows": rows}, indent=1)
            temporary.write_text(text + "\n")
    return path


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the key of a run as padded strings, which sort numbers by value."""
    return tuple(f"{row[name]!s:>12}" for name in _KEY)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Lock the results against other processes."""
    place = Path(tempfile.gettempdir()) / f"skfcdd_benchmark_{path.stem}.lock"
    with place.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
