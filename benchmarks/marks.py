"""What marks of chosen images bring, against marks of images drawn at random.

A detector of defects is fitted on good magnetic tiles. Of a pool of further tiles, one
in eight with a defect, some are marked: those that `select_images` chooses, or some
drawn at random. Training then goes on with the marked images, and image AUROC is
measured on tiles of other groups. Writes results/marks.json.
"""

from __future__ import annotations

import argparse
import pickle
import time
import warnings

import numpy as np
from _common import data_folder, record
from sklearn.metrics import roc_auc_score

from skfcdd import FCDDClassifier
from skfcdd.monitoring import select_images

N_TRAIN, N_POOL, POOL_DEFECTS, N_TEST = 150, 210, 30, 150


def split(seed: int) -> dict[str, np.ndarray]:
    """Images to train on, of the pool and of the test, of different tile groups."""
    with np.load(data_folder() / "magnetic_tile.npz", allow_pickle=False) as file:
        X, kind, tile = (file[k] for k in ("X", "kind", "tile"))
    chance = np.random.RandomState(seed)
    bad, free = kind != "free", kind == "free"
    groups = chance.permutation(np.unique(tile))
    part = dict(zip(groups.tolist(), chance.choice(3, len(groups)), strict=True))
    where = np.array([part[t] for t in tile.tolist()])

    def draw(rows: np.ndarray, n: int) -> np.ndarray:
        return chance.permutation(np.flatnonzero(rows))[:n]

    pool = [draw(free & (where == 1), N_POOL), draw(bad & (where == 1), POOL_DEFECTS)]
    test = [draw(free & (where == 2), N_TEST), draw(bad & (where == 2), N_TEST)]
    rows = {"train": draw(free & (where == 0), N_TRAIN)}
    rows |= {"pool": np.concatenate(pool), "test": np.concatenate(test)}
    return {name: X[r] for name, r in rows.items()} | {
        f"y_{name}": bad[r].astype(int) for name, r in rows.items()
    }


def run(seed: int) -> list[dict[str, object]]:
    """Marks of both kinds, from one first model."""
    data, rows = split(seed), []
    first = FCDDClassifier(random_state=seed, warm_start=True).fit(data["train"])
    base = roc_auc_score(data["y_test"], first.anomaly_score(data["test"]))
    rows.append({"seed": seed, "marks": 0, "choice": "none", "auroc": float(base)})
    chance = np.random.RandomState(100 + seed)
    drawn = chance.permutation(len(data["pool"]))
    chosen = select_images(first, data["pool"], 25)
    stored = pickle.dumps(first)
    for choice, marked in (
        ("chosen", chosen),
        ("random", drawn[:25]),
        ("random", drawn[:50]),
    ):
        started = time.perf_counter()
        model = pickle.loads(stored)
        y = np.concatenate([data["y_train"], data["y_pool"][marked]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model.fit(np.concatenate([data["train"], data["pool"][marked]]), y)
        area = roc_auc_score(data["y_test"], model.anomaly_score(data["test"]))
        rows.append(
            {
                "seed": seed,
                "marks": len(marked),
                "choice": choice,
                "defects": int(data["y_pool"][marked].sum()),
                "auroc": float(area),
                "seconds": round(time.perf_counter() - started, 1),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Run all seeds, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    rows = [row for seed in range(args.seeds) for row in run(seed)]
    print(record("marks", rows))


if __name__ == "__main__":
    main()
