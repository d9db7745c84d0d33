"""False alarms of the drift monitor, and its delay after a change of exposure.

False alarms are counted on simulated streams of 1,000 images without drift, and for
comparison with the same test on ranks within a fixed calibration set, which has no
guarantee. The delay is measured on magnetic tiles, each of which was photographed at
six exposures. A detector is fitted on tiles at the third exposure; the monitor is
calibrated on 90 images of other tiles at that exposure, and then updated with the rest
of these, followed by 50 images at another exposure. Writes results/drift.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from _common import data_folder, record

from skfcdd import FCDDDetector
from skfcdd.conformal import conformal_p_values
from skfcdd.monitoring import DriftMonitor, image_statistics
from skfcdd.monitoring._martingale import Martingale

N_CALIBRATION, LENGTH = 50, 1000
RATES = (0.01, 0.05, 0.1)
USUAL, OTHERS, WITHIN = 3, (1, 2, 4, 5, 6), 50
Draw = Callable[[np.random.RandomState, int], np.ndarray]
SOURCES: dict[str, Draw] = {
    "log-normal scores": lambda chance, n: chance.lognormal(size=n),
    "few distinct values": lambda chance, n: chance.poisson(1.0, size=n),
    "four correlated columns": lambda chance, n: (
        chance.standard_normal((n, 4)) + chance.standard_normal((n, 1))
    ),
}


def simulated(name: str, n_streams: int) -> dict[str, object]:
    """Count the streams without drift in which an alarm is raised."""
    started = time.perf_counter()
    p_values = []
    for seed in range(n_streams):
        X = SOURCES[name](np.random.RandomState(seed), N_CALIBRATION + LENGTH)
        monitor = DriftMonitor(random_state=seed).fit(X[:N_CALIBRATION])
        p_values.append(monitor.update(X[N_CALIBRATION:]).p_value_)
    return _alarms(name, p_values, started)


def with_fixed_set(n_streams: int) -> dict[str, object]:
    """Count false alarms if ranks are computed among the calibration images only."""
    started, p_values = time.perf_counter(), []
    for seed in range(n_streams):
        X = np.random.RandomState(seed).lognormal(size=N_CALIBRATION + LENGTH)
        held, stream = X[:N_CALIBRATION], X[N_CALIBRATION:]
        game = Martingale()
        for p in conformal_p_values(held, stream, smoothed=True, random_state=seed):
            game.bet(p)
        p_values.append(float(np.exp(-game.log_greatest)))
    return _alarms("ranks in a fixed set", p_values, started)


def _alarms(name: str, p_values: list[float], started: float) -> dict[str, object]:
    return {
        "part": "no drift",
        "source": name,
        "n_streams": len(p_values),
        "length": LENGTH,
        "n_calibration": N_CALIBRATION,
        "alarms": {str(r): int((np.array(p_values) <= r).sum()) for r in RATES},
        "seconds": round(time.perf_counter() - started, 1),
    }


def exposures(seed: int, n_runs: int) -> list[dict[str, object]]:
    """Measure how many images it takes to detect a change of exposure."""
    with np.load(data_folder() / "magnetic_tile.npz", allow_pickle=False) as file:
        free = file["kind"] == "free"
        X, tile, name = (file[k][free] for k in ("X", "tile", "name"))
    exposure = np.array([int(text[3]) for text in name])
    chance = np.random.RandomState(seed)
    trained = np.isin(tile, chance.permutation(np.unique(tile[exposure == USUAL]))[:40])
    model = FCDDDetector(random_state=seed).fit(X[trained & (exposure == USUAL)])
    numbers = {
        e: image_statistics(model, X[~trained & (exposure == e)])
        for e in (USUAL, *OTHERS)
    }
    rows = []
    for columns, label in (([0, 1, 2, 3], "image_statistics"), ([0], "score only")):
        for other in OTHERS:
            runs = [
                one_run(numbers[USUAL][:, columns], numbers[other][:, columns], k)
                for k in range(n_runs)
            ]
            delays = np.array([delay for delay, _ in runs])
            middle = float(np.median(delays))
            rows.append(
                {
                    "part": "exposure",
                    "columns": label,
                    "seed": seed,
                    "from": USUAL,
                    "to": other,
                    "n_runs": n_runs,
                    "found": float((delays <= WITHIN).mean()),
                    "median_delay": middle if np.isfinite(middle) else None,
                    "false_alarms": int(sum(false for _, false in runs)),
                }
            )
    return rows


def one_run(usual: np.ndarray, changed: np.ndarray, seed: int) -> tuple[float, bool]:
    """Return the images from change to alarm, and whether a false alarm came before."""
    chance = np.random.RandomState(seed)
    usual, changed = chance.permutation(usual), chance.permutation(changed)[:WITHIN]
    monitor = DriftMonitor(random_state=seed).fit(usual[:90]).update(usual[90:])
    false, before = monitor.alarm_, monitor.n_seen_
    monitor.update(changed)
    at = monitor.alarm_at_
    return (np.inf if at is None else at - before), false


def main() -> None:
    """Run all experiments, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    rows: list[dict[str, object]] = []
    for seed in range(args.seeds):
        rows += exposures(seed, args.runs)
        print(*rows[-2 * len(OTHERS) :], sep="\n", flush=True)
    for name in SOURCES:
        rows.append(simulated(name, args.streams))
        print(rows[-1], flush=True)
    rows.append(with_fixed_set(args.streams))
    print(rows[-1])
    print(record("drift", rows))


if __name__ == "__main__":
    main()
