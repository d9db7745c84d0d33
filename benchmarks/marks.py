"""Gain from marking selected images, compared with images drawn at random.

A classifier is fitted on normal images. From a pool of further images, an eighth of
them defective, some are marked: those selected by `select_images`, or random ones. The
training is then continued with the marked images, and the image AUROC is measured on a
separate test set. For comparison, training is also continued without marks, because
this alone improves results. The images are magnetic tiles, with different tiles in
training, pool and test, and generated tablets, which may be missing and then resemble
no synthetic anomaly. Writes results/marks.json.
"""

from __future__ import annotations

import argparse
import pickle
import time
import warnings

import numpy as np
from _common import data_folder, earlier, record
from sklearn.metrics import roc_auc_score

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects
from skfcdd.monitoring import select_images

N_TRAIN, N_POOL, POOL_DEFECTS, N_TEST = 150, 210, 30, 150


def tiles(seed: int) -> dict[str, np.ndarray]:
    """Load magnetic tiles for training, pool and test, without common tiles."""
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


def tablets(seed: int) -> dict[str, np.ndarray]:
    """Generate small images of tablets for training, pool and test."""
    data = make_defects(
        1000,
        texture="tablets",
        defect="missing",
        image_size=48,
        anomaly_fraction=0.3,
        random_state=seed,
    )
    good, bad = (np.flatnonzero(data.target == k) for k in (0, 1))
    rows = {
        "train": good[:N_TRAIN],
        "pool": np.concatenate([good[N_TRAIN:][:N_POOL], bad[:POOL_DEFECTS]]),
        "test": np.concatenate([good[N_TRAIN + N_POOL :][:N_TEST], bad[-N_TEST:]]),
    }
    return {name: data.images[r] for name, r in rows.items()} | {
        f"y_{name}": data.target[r] for name, r in rows.items()
    }


SOURCES = {"tiles": tiles, "tablets": tablets}


def run(name: str, seed: int) -> list[dict[str, object]]:
    """Compare selected and random images, starting from the same model."""
    data, rows = SOURCES[name](seed), []
    first = FCDDClassifier(random_state=seed, warm_start=True).fit(data["train"])
    base = roc_auc_score(data["y_test"], first.anomaly_score(data["test"]))
    known: dict[str, object] = {"data": name, "seed": seed}
    rows.append(known | {"marks": 0, "choice": "before", "auroc": float(base)})
    chance = np.random.RandomState(100 + seed)
    drawn = chance.permutation(len(data["pool"]))
    chosen = select_images(first, data["pool"], 25)
    stored = pickle.dumps(first)
    for choice, marked in (
        ("none", drawn[:0]),
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
            known
            | {
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
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--data", nargs="*", default=list(SOURCES), choices=SOURCES)
    args = parser.parse_args()
    rows = []
    if set(args.data) < set(SOURCES):
        rows = [row for row in earlier("marks") if row["data"] not in args.data]
    for name in args.data:
        for seed in range(args.seeds):
            rows += run(name, seed)
    print(record("marks", rows))


if __name__ == "__main__":
    main()
