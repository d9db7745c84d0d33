"""Magnetic tiles: a network of the paper, trained on normal images only.

The images are split by tile, so that no tile is in both the training and the test set.
Writes results/magnetic_tiles.json and prints a table.

    python benchmarks/magnetic_tiles.py --variants default mean+30 --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from _common import auroc_by_kind, auroc_by_pooling, earlier, load_tiles, record
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest

from skfcdd import FCDDClassifier
from skfcdd.metrics import pixel_roc_auc_score

FLIPS = ("shift", "jitter", "horizontal_flip", "vertical_flip")

# Parameters that differ from `weights=None`, which selects the network by image size.
VARIANTS: dict[str, dict[str, object]] = {
    "default": {},
    "30 epochs": {"max_epochs": 30},
    "confetti alone": {"synthetic": "confetti"},
    "confetti, blobs, scratches": {"synthetic": ("confetti", "blobs", "scratches")},
    "standard normalisation": {"normalize": "standard"},
    "with flips": {"augment": FLIPS},
    "with flips, 30 epochs": {"augment": FLIPS, "max_epochs": 30},
    "no augmentation": {"augment": None},
    "pixel loss": {"pixel_loss": "anomalous"},
    "published pixel loss": {"pixel_loss": "all"},
    "batches of 64": {"batch_size": 64},
    "smaller field (fcdd32_s)": {"backbone": "fcdd32_s"},
    "hsc": {"loss": "hsc"},
    "bce": {"loss": "bce"},
}


def run_variant(name: str, tiles: dict[str, np.ndarray], seed: int) -> dict:
    """Fit once, and compute metrics for every pooling."""
    model = FCDDClassifier(random_state=seed, weights=None, **VARIANTS[name])
    started = time.perf_counter()
    model.fit(tiles["X_train"])
    fit_s = time.perf_counter() - started
    row = {"variant": name, "seed": seed, "fit_s": round(fit_s, 1)}
    row["epochs"] = len(model.history_)
    row["image_auroc"] = auroc_by_pooling(model, tiles["X_test"], tiles["kind_test"])
    heatmaps = model.explain(tiles["X_test"])
    row["pixel_auroc"] = round(pixel_roc_auc_score(tiles["mask_test"], heatmaps), 4)
    return row


def run_baselines(tiles: dict[str, np.ndarray]) -> list[dict]:
    """Measure PCA reconstruction and an isolation forest on the pixels."""
    train = tiles["X_train"].reshape(len(tiles["X_train"]), -1) / 255
    test = tiles["X_test"].reshape(len(tiles["X_test"]), -1) / 255
    pca = PCA(0.95, random_state=0).fit(train)
    residual = test - pca.inverse_transform(pca.transform(test))
    forest = IsolationForest(random_state=0).fit(train)
    scores = {
        "PCA reconstruction": (residual**2).mean(axis=1),
        "IsolationForest": -forest.score_samples(test),
    }
    return [
        {"variant": k, "image_auroc": {"-": auroc_by_kind(tiles["kind_test"], v)}}
        for k, v in scores.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--keep", action="store_true", help="add to the results")
    arguments = parser.parse_args()
    tiles = load_tiles()
    rows = earlier("magnetic_tiles") if arguments.keep else run_baselines(tiles)
    for name in arguments.variants:
        for seed in arguments.seeds:
            rows.append(run_variant(name, tiles, seed))
            record("magnetic_tiles", rows)
    for row in rows:
        for pooling, figures in row["image_auroc"].items():
            kinds = "  ".join(f"{k} {v:.3f}" for k, v in figures.items())
            print(
                f"{row['variant']:28s} {row.get('seed', '')!s:2s} {pooling:5s} {kinds}"
            )


if __name__ == "__main__":
    main()
