"""Small images that a small network learns in a second."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from skfcdd import FCDDClassifier


def make_images(n=40, size=(16, 20), n_anomalous=0, seed=0, dtype=np.uint8):
    """Noisy grey stripes; anomalies, the last ones, have a bright square.

    Returns images (n, h, w), labels (n,) and masks (n, h, w).
    """
    rng = np.random.RandomState(seed)
    h, w = size
    stripes = 100 + 20 * np.sin(np.arange(w) / 2)
    images = stripes + 8 * rng.standard_normal((n, h, w))
    masks = np.zeros((n, h, w), dtype=np.uint8)
    for i in range(n - n_anomalous, n):
        top, left = rng.randint(0, h - 6), rng.randint(0, w - 6)
        masks[i, top : top + 6, left : left + 6] = 1
    images = np.clip(images + 100 * masks, 0, 255).astype(dtype)
    return images, masks.any(axis=(1, 2)).astype(int), masks


def quick(**params):
    """A classifier that trains in a fraction of a second, once."""
    defaults = {
        "max_epochs": 3,
        "random_state": 0,
        "device": "cpu",
        "validation_fraction": 0.1,
    }
    return FCDDClassifier(**{**defaults, **params})


def with_fitted(model, **changes):
    """A copy of an estimator with other fields of its fitted model."""
    changed = copy.copy(model)
    changed._fitted = replace(model._fitted, **changes)
    return changed


def with_threshold(model, value):
    """A copy of an estimator with another threshold."""
    return with_fitted(model, threshold=float(value))


def with_judging(model, **changes):
    """A copy that judges otherwise, as after ``calibrate``, but by the same threshold.

    Such as by another `heatmap_sigma` or `min_area`.
    """
    changed = copy.copy(model).set_params(**changes)
    fitted = changed._fitted
    convention = fitted.convention
    if "min_area" in changes:
        convention = replace(convention, min_area=changes["min_area"])
    judging = replace(fitted.judging, **changes)
    return with_fitted(changed, judging=judging, convention=convention)


def maps_of(model, images):
    """Anomaly maps (n, u, v) of images."""
    parts = model._fitted.maps(model._check_images(images))
    return np.concatenate([maps for _, maps in parts])
