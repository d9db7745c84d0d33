"""Metrics computed from the arrays written by a peer, with the same code for all."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
)

from benchmarks._common import auroc_by_kind
from skfcdd.metrics import aupro_score, bootstrap_interval, pixel_roc_auc_score

__all__ = ["BLUR", "compare", "figures", "joined"]

# Standard deviation in pixels; blurring shows the effect of coarse maps on pixel AUROC.
BLUR = 16.0


def figures(
    scores: np.ndarray,
    heatmaps: np.ndarray | None,
    arrays: dict[str, np.ndarray],
    n_resamples: int = 999,
) -> dict[str, object]:
    """Compute all metrics of one run.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Image scores; higher is more anomalous.
    heatmaps : ndarray of shape (n, h, w) or None
        Heatmaps, if the method has any.
    arrays : dict of ndarray
        Arrays with the keys "kind_test", "mask_test" and "tile_test".
    n_resamples : int, default=999
        Number of bootstrap samples for the interval.

    Returns
    -------
    dict
        Metrics by name. Image AUROC is [value, low, high], with a 95 % bootstrap
        interval over tiles; pixel-level metrics are None without heatmaps.
    """
    truth = arrays["kind_test"] != "free"
    _check(scores, heatmaps, arrays)
    interval = bootstrap_interval(
        roc_auc_score,
        truth,
        scores,
        groups=arrays["tile_test"],
        n_resamples=n_resamples,
        random_state=0,
    )
    found: dict[str, object] = {
        "image_auroc": [round(float(v), 4) for v in interval],
        "image_ap": round(float(average_precision_score(truth, scores)), 4),
        "image_f1_max": round(f1_max(truth, scores), 4),
        "image_auroc_by_kind": auroc_by_kind(arrays["kind_test"], scores),
        "pixel_auroc": None,
        "aupro": None,
    }
    if heatmaps is not None and arrays.get("mask_test") is not None:
        masks = arrays["mask_test"]
        found["pixel_auroc"] = round(float(pixel_roc_auc_score(masks, heatmaps)), 4)
        found["aupro"] = round(float(aupro_score(masks, heatmaps)), 4)
        blurred = gaussian_filter(heatmaps, (0, BLUR, BLUR))
        found["pixel_auroc_blurred"] = round(
            float(pixel_roc_auc_score(masks, blurred)), 4
        )
    return found


def f1_max(truth: np.ndarray, scores: np.ndarray) -> float:
    """Compute the highest F1 score over all thresholds."""
    precision, recall, _ = precision_recall_curve(truth, scores)
    return float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)))


def compare(
    ours: np.ndarray,
    theirs: np.ndarray,
    arrays: dict[str, np.ndarray],
    n_resamples: int = 999,
) -> list[float]:
    """Compute their image AUROC minus ours: [value, low, high]."""
    found = bootstrap_interval(
        roc_auc_score,
        arrays["kind_test"] != "free",
        theirs,
        other=ours,
        groups=arrays["tile_test"],
        n_resamples=n_resamples,
        random_state=0,
    )
    return [round(float(v), 4) for v in found]


def joined(
    ours: np.ndarray, theirs: np.ndarray, kinds: np.ndarray, weight: float = 0.5
) -> dict[str, float]:
    """Compute the image AUROC by kind of our score plus a share of theirs.

    Both scores are divided by their spread on the normal test images, from the 10th to
    the 90th percentile. The result shows whether a peer detects defects that we miss.
    It is not a usable method, because it requires the test labels.
    """
    good = kinds == "free"

    def scaled(scores: np.ndarray) -> np.ndarray:
        low, middle, high = np.percentile(scores[good], (10, 50, 90))
        return (scores - middle) / (high - low)

    return auroc_by_kind(kinds, scaled(ours) + weight * scaled(theirs))


def _check(
    scores: np.ndarray, heatmaps: np.ndarray | None, arrays: dict[str, np.ndarray]
) -> None:
    n = len(arrays["kind_test"])
    if scores.shape != (n,) or not np.isfinite(scores).all():
        raise ValueError(f"Expected {n} finite scores, but got {scores.shape}.")
    if heatmaps is not None:
        shape = arrays["mask_test"].shape
        if heatmaps.shape != shape or not np.isfinite(heatmaps).all():
            raise ValueError(
                f"Expected finite heatmaps {shape}, but got {heatmaps.shape}."
            )
