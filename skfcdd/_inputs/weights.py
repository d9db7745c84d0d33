"""Weights of images and classes in training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils import compute_class_weight

from skfcdd._inputs.labels import Labels, Targets
from skfcdd._utils.sklearn import check_sample_weight

__all__ = ["class_factors", "with_weights"]


def with_weights(targets: Targets, sample_weight: Any) -> Targets:
    """Add sample weights to the targets of a set of images.

    Parameters
    ----------
    targets : Targets
    sample_weight : array-like of shape (n,) or None
        Non-negative weight of each image in training. Equal weights have no effect.

    Raises
    ------
    ValueError
        If `sample_weight` has the wrong shape, contains NaN or negative numbers, or is
        zero for all normal images.
    """
    if sample_weight is None:
        return targets
    n = len(targets.anomalous)
    weight = check_sample_weight(sample_weight, n)
    if not weight.any():
        raise ValueError(
            f"sample_weight is zero for all {n} images. At least one normal image "
            "needs a positive weight."
        )
    if not weight[~targets.anomalous].any():
        raise ValueError(
            "sample_weight is zero for all images of the normal class, so none are "
            "left to train on."
        )
    if np.ptp(weight) == 0:
        return targets
    return replace(targets, weight=weight)


def class_factors(
    class_weight: Any, labels: Labels, anomaly_fraction: float
) -> tuple[float, float] | None:
    """Return the factors for the losses of normal and anomalous images.

    Their mean over a batch is 1, so that only the ratio of the weights matters.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
        Weights by label. "balanced" gives both classes the same share of the loss.
    labels : Labels
    anomaly_fraction : float
        Fraction of anomalies in a batch.

    Returns
    -------
    (float, float) or None
        None if both factors are equal.

    Raises
    ------
    ValueError
        If a key is not a label, or a weight is not a positive finite number.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str):
        normal, anomalous = anomaly_fraction, 1 - anomaly_fraction
    else:
        found = compute_class_weight(class_weight, classes=labels.classes, y=[])
        if not (np.isfinite(found).all() and (found > 0).all()):
            raise ValueError(
                f"Got class_weight={class_weight!r}, but weights must be positive and "
                "finite. To exclude images, set their sample_weight to 0."
            )
        normal, anomalous = found[1 - labels.anomaly_index], found[labels.anomaly_index]
    if normal == anomalous:
        return None
    mean = (1 - anomaly_fraction) * normal + anomaly_fraction * anomalous
    return float(normal / mean), float(anomalous / mean)
