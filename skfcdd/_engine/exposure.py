"""Preparation of exposed outliers for training."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skfcdd._engine.settings import Settings
from skfcdd._inputs.images import ImageArray, check_images

__all__ = ["exposure"]

# Exposed images are on the scale of X if their value range is at least this fraction of
# that of X, and exceeds it on either side by at most the width of the range of X.
_SAME_SCALE = 1 / 16


def exposure(settings: Settings, images: ImageArray, seed: int) -> dict[str, Any]:
    """Return the arguments of `TrainingData` for exposed outliers, if there are any."""
    if settings.outlier_exposure is None:
        return {}
    exposed = check_images(
        BaseEstimator(),
        settings.outlier_exposure,
        channels=settings.channels,
        image_shape=settings.image_shape,
    )
    rows = np.random.RandomState(seed).permutation(len(exposed))
    return {
        "exposed": exposed,
        "exposed_index": rows[: settings.oe_limit],
        "exposed_range": _exposed_range(exposed, images),
    }


def _exposed_range(
    exposed: ImageArray, images: ImageArray
) -> tuple[float, float] | None:
    """Return the raw values of outliers that map to 0 and 1; None for those of X.

    Images of another type, or with another range of values, have a scale of their own.
    """
    if exposed.data.dtype == np.uint8:
        return 0.0, 255.0
    low, high = exposed.limits()
    if exposed.data.dtype.kind == images.data.dtype.kind:
        least, most = (0, 255) if images.data.dtype == np.uint8 else images.limits()
        width = most - least
        within = least - width <= low and high <= most + width
        if within and high - low >= _SAME_SCALE * width:
            return None
    return low, high if high > low else low + 1.0
