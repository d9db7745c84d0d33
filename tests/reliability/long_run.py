"""Fit, score, explain, save, load and export for hours: memory and files stay flat.

    python tests/reliability/long_run.py [--minutes 120]

Prints the slopes of resident memory and of open files after the first fifth of the
cycles, with 95 % confidence intervals, and fails where memory grows by more than 5 MB
an hour beyond doubt, or a file stays open.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.stats import linregress

from skfcdd import FCDDClassifier, FCDDSegmenter
from skfcdd.datasets import make_defects
from skfcdd.persistence import load, save

LEAST_CYCLES = 20
MOST_MEGABYTES_AN_HOUR = 5.0


def resident() -> float:
    """Resident memory of this process in megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def cycle(seed: int, folder: Path) -> None:
    """What a day of use does, in a few seconds."""
    data = make_defects(60, image_size=32, random_state=seed)
    fresh = make_defects(60, image_size=32, random_state=seed + 1_000_000)
    for estimator, name in ((FCDDClassifier, "target"), (FCDDSegmenter, "masks")):
        model = estimator(
            max_epochs=2, random_state=seed, checkpoint=folder / "training"
        ).fit(data.images, data[name])
        loaded = load(save(model, folder / "model.skfcdd"))
        loaded.predict(data.images)
        loaded.explain(data.images)
        model.calibrate(fresh.images, fresh[name])


def slope(hours: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Slope per hour, and half the width of its 95 % confidence interval."""
    found = linregress(hours, values)
    return float(found.slope), 1.96 * float(found.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0)
    arguments = parser.parse_args()
    rows: list[tuple[float, float, int]] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        while time.monotonic() - started < 60 * arguments.minutes:
            cycle(len(rows), Path(name))
            gc.collect()
            hours = (time.monotonic() - started) / 3600
            rows.append((hours, resident(), open_files()))
            print(f"{len(rows):5} cycles  {rows[-1][1]:8.1f} MB  {rows[-1][2]} files")
    if len(rows) < LEAST_CYCLES:
        print(f"Only {len(rows)} cycles: give more --minutes.")
        return 2
    kept = np.array(rows[len(rows) // 5 :])
    grows, doubt = slope(kept[:, 0], kept[:, 1])
    files = int(kept[-1, 2] - kept[0, 2])
    result = {
        "minutes": round(60 * rows[-1][0], 1),
        "cycles": len(rows),
        "megabytes_an_hour": [round(grows, 2), round(doubt, 2)],
        "megabytes_first_last": [round(kept[0, 1], 1), round(kept[-1, 1], 1)],
        "files_more": files,
    }
    print(json.dumps(result))
    return int(grows - doubt > MOST_MEGABYTES_AN_HOUR or files > 0)


if __name__ == "__main__":
    sys.exit(main())
