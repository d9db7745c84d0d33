"""Weights of images in training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from skfcdd._inputs.labels import Targets
from skfcdd._utils.sklearn import check_sample_weight

__all__ = ["with_weights"]


def with_weights(targets: Targets, sample_weight: Any) -> Targets:
    """What is known of a set of images, with how much each counts.

    Parameters
    ----------
    targets : Targets
    sample_weight : array-like of shape (n,) or None
        Non-negative. One weight for all says nothing.

    Raises
    ------
    ValueError
        If it has another shape, holds NaN or negative numbers, or leaves no normal
        image.
    """
    if sample_weight is None:
        return targets
    n = len(targets.anomalous)
    weight = check_sample_weight(sample_weight, n)
    if not weight.any():
        raise ValueError(f"sample_weight is zero for all {n} images.")
    if not weight[~targets.anomalous].any():
        raise ValueError(
            "sample_weight is zero for all images of the normal class, and none are "
            "left to learn from."
        )
    if np.ptp(weight) == 0:
        return targets
    return replace(targets, weight=weight)
