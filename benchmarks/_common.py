"""Code shared by the benchmark scripts: real data, metrics and records."""

from __future__ import annotations

import copy
import json
import os
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import sklearn
import torch
from sklearn.metrics import roc_auc_score

from skfcdd._engine.inference import pool_maps
from skfcdd._inputs.images import ImageArray
from skfcdd._scoring import AnomalyScorer
from skfcdd.datasets import make_defects

POOLINGS = ("mean", 0.1, 0.02, "max")
RESULTS = Path(__file__).parent / "results"
Scorer = TypeVar("Scorer", bound=AnomalyScorer)


def data_folder() -> Path:
    """Return the folder of the real data sets, which SKFCDD_TEST_DATA overrides."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SKFCDD_TEST_DATA", default))
    if not folder.is_dir():
        sys.exit(f"{folder} does not exist. Set SKFCDD_TEST_DATA to the data folder.")
    return folder


def load_tiles(side: int = 128) -> dict[str, np.ndarray]:
    """Load magnetic tiles, split by tile; the training set has normal images only."""
    name = "magnetic_tile.npz" if side == 128 else f"magnetic_tile_{side}.npz"
    with np.load(data_folder() / name, allow_pickle=False) as file:
        X, mask, kind, split, tile = (
            file[k] for k in ("X", "mask", "kind", "split_tile", "tile")
        )
    train, test = split == "train", split == "test"
    assert (kind[train] == "free").all()
    return {
        "X_train": X[train],
        "X_test": X[test],
        "mask_test": mask[test],
        "kind_test": kind[test],
        "tile_test": tile[test],
    }


def load_surface(texture: str) -> dict[str, np.ndarray]:
    """Generate 300 normal training images; the test set has 100 of each class."""
    data = make_defects(
        500, image_size=128, texture=texture, anomaly_fraction=0.2, random_state=1
    )
    good, bad = np.flatnonzero(data.target == 0), np.flatnonzero(data.target)
    test = np.concatenate([good[-len(bad) :], bad])
    return {
        "X_train": data.images[good[: -len(bad)]],
        "X_test": data.images[test],
        "mask_test": data.masks[test],
        "kind_test": np.where(data.target[test], data.defect[test], "free"),
    }


def auroc_by_kind(kind: np.ndarray, score: np.ndarray) -> dict[str, float]:
    """Compute the image AUROC of all defects and of each kind against normal images."""
    good = kind == "free"
    figures = {"all": roc_auc_score(~good, score)}
    for name in np.unique(kind[~good]):
        rows = good | (kind == name)
        figures[str(name)] = roc_auc_score(kind[rows] == name, score[rows])
    return {k: round(float(v), 4) for k, v in figures.items()}


def auroc_by_pooling(
    model: AnomalyScorer, X: np.ndarray, kind: np.ndarray
) -> dict[str, dict[str, float]]:
    """Compute the image AUROC by kind for several values of `score_pooling`."""
    parts = model._fitted.maps(ImageArray(X if X.ndim == 4 else X[..., None]))
    cells = np.concatenate([cells for _, cells in parts])
    return {str(p): auroc_by_kind(kind, pool_maps(cells, p)) for p in POOLINGS}


def with_reading(model: Scorer, **changes: object) -> Scorer:
    """Copy a model with parameters changed that do not need training.

    An example is `heatmap_sigma`. The threshold, which does not affect AUROC, is not
    changed.
    """
    model = copy.copy(model).set_params(**changes)
    judging = replace(model._fitted.judging, **changes)
    model._fitted = replace(model._fitted, judging=judging)
    return model


def machine() -> dict[str, object]:
    """Return what a result depends on, apart from the code."""
    return {
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "bfloat16": bool(torch.cpu._is_avx512_bf16_supported()),
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "scikit-learn": sklearn.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def earlier(name: str) -> list[dict[str, object]]:
    """Read the rows written by an earlier run."""
    path = RESULTS / f"{name}.json"
    rows: list[dict[str, object]] = json.loads(path.read_text())["rows"]
    return rows


def record(name: str, rows: object) -> Path:
    """Write the results as JSON into the folder `results`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    return path
