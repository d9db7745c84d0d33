"""Images for all peers, with features of the pretrained network."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from benchmarks._common import load_surface, load_tiles
from skfcdd.backbones import make_backbone

__all__ = ["DATA", "load", "write_images"]

TEXTURES = ("fabric", "brushed_metal", "wood", "tablets")
# Stages whose features are pooled, as in PatchCore: maps of 1/8 and 1/16 of the sides.
STAGES = (3, 4)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 32

Arrays = dict[str, np.ndarray]


def load(data: str) -> Arrays:
    """Load X_train, X_test, mask_test, kind_test and tile_test (the groups)."""
    if data.startswith("tiles"):
        return load_tiles(int(data.removeprefix("tiles")))
    arrays = load_surface(data)
    return arrays | {"tile_test": np.arange(len(arrays["X_test"]))}


DATA = ("tiles128", "tiles224", *TEXTURES)


def write_images(arrays: Arrays, path: Path) -> None:
    """Write the inputs of the peers: images and features, without labels or masks."""
    found: Arrays = {}
    for part in ("train", "test"):
        X = found[f"X_{part}"] = arrays[f"X_{part}"]
        started = time.process_time()
        found[f"features_{part}"] = pooled_features(X)
        found[f"features_{part}_s"] = np.array(time.process_time() - started)
    np.savez(path, **found)


@torch.inference_mode()
def pooled_features(X: np.ndarray) -> np.ndarray:
    """Compute means (n, 152) over the cells of two stages of EfficientNet-Lite0."""
    h, w = X.shape[1:3]
    network = make_backbone(
        "efficientnet_lite0", (h, w, 3), weights="imagenet", stages=STAGES
    ).eval()
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    rows = []
    for start in range(0, len(X), BATCH):
        batch = torch.from_numpy(X[start : start + BATCH]).float() / 255
        batch = batch[:, None] if batch.ndim == 3 else batch.movedim(-1, 1)
        batch = (batch.expand(-1, 3, -1, -1) - mean) / std
        rows.append(network(batch).mean(dim=(2, 3)))
    return torch.cat(rows).numpy()
