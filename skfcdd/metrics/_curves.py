"""Metrics of a sample of pixels, based on scikit-learn's weighted curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    auc,
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from skfcdd._regions import label_regions
from skfcdd.metrics._checks import blocks

__all__ = [
    "PixelSample",
    "check_max_fpr",
    "cut_curve",
    "need_both",
    "overlap_weights",
    "region_overlap",
    "sort_pixels",
]


@dataclass(frozen=True)
class PixelSample:
    """Scores, labels and weights of pixels.

    Parameters
    ----------
    truth : ndarray of shape (k,), bool
    score : ndarray of shape (k,)
    weight : ndarray of shape (k,) or None
        Number of pixels that each entry represents. None means 1.
    overlap : ndarray of shape (k,) or None
        Weights for the per-region overlap: 1 for each normal pixel, and the inverse of
        the size of its region for each anomalous pixel.
    """

    truth: npt.NDArray[np.bool_]
    score: npt.NDArray[Any]
    weight: npt.NDArray[np.float64] | None
    overlap: npt.NDArray[np.float64] | None


def sort_pixels(
    masks: npt.NDArray[Any],
    heatmaps: npt.NDArray[Any],
    *,
    regions: bool = False,
    roi: npt.NDArray[np.bool_] | None = None,
) -> PixelSample:
    """Collect all pixels of maps, or those in a region of interest (h, w)."""
    parts = list(blocks(masks, heatmaps))

    def chosen(maps: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return maps.ravel() if roi is None else maps[:, roi].ravel()

    truth = np.concatenate([chosen(t) for t, _ in parts])
    need_both(int(truth.sum()), truth.size)
    score = np.concatenate([chosen(v) for _, v in parts])
    overlap = None
    if regions:
        within = [t if roi is None else t & roi for t, _ in parts]
        overlap = np.concatenate([chosen(overlap_weights(t)) for t in within])
    return PixelSample(truth, score, None, overlap)


def overlap_weights(truth: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return 1 at normal pixels, and 1 / region size at anomalous pixels."""
    if truth.ndim != 3:
        raise ValueError(f"Regions need masks of shape (n, h, w). Got {truth.shape}.")
    labels, _ = label_regions(truth)
    sizes = np.bincount(labels.ravel()).astype(float)
    sizes[0] = 1
    weights: npt.NDArray[np.float64] = (1 / sizes)[labels]
    return weights


def need_both(n_anomalous: int, n_pixels: int) -> None:
    """Raise if all pixels are normal, or all are anomalous."""
    if n_anomalous in (0, n_pixels):
        what = "no anomalous pixels" if n_anomalous == 0 else "only anomalous pixels"
        raise ValueError(
            f"masks contain {what}, but normal and anomalous pixels are both needed."
        )


def roc_auc(pixels: PixelSample) -> float:
    """Compute the area under the ROC curve."""
    return float(roc_auc_score(pixels.truth, pixels.score, sample_weight=pixels.weight))


def average_precision(pixels: PixelSample) -> float:
    """Compute the average precision."""
    return float(
        average_precision_score(pixels.truth, pixels.score, sample_weight=pixels.weight)
    )


def region_overlap(
    pixels: PixelSample,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute the per-region overlap curve, an ROC curve with different weights."""
    if pixels.overlap is None:
        raise ValueError(
            "AUPRO needs a histogram created with regions=True. Got regions=False."
        )
    fpr, overlap, thresholds = roc_curve(
        pixels.truth, pixels.score, sample_weight=pixels.overlap
    )
    return fpr, overlap, thresholds


def check_max_fpr(max_fpr: float) -> None:
    """Raise if the upper limit of the false positive rate is not in (0, 1]."""
    if not 0 < max_fpr <= 1:
        raise ValueError(f"Got max_fpr={max_fpr!r}, but expected a number in (0, 1].")


def cut_curve(
    fpr: npt.NDArray[np.float64], overlap: npt.NDArray[np.float64], max_fpr: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the curve up to `max_fpr`, with an interpolated last point."""
    check_max_fpr(max_fpr)
    stop = int(np.searchsorted(fpr, max_fpr, side="right"))
    last = overlap[-1]
    if stop < len(fpr):
        last = np.interp(
            max_fpr, fpr[stop - 1 : stop + 1], overlap[stop - 1 : stop + 1]
        )
    return np.append(fpr[:stop], max_fpr), np.append(overlap[:stop], last)


def aupro(pixels: PixelSample, max_fpr: float) -> float:
    """Compute the area under the per-region overlap curve."""
    check_max_fpr(max_fpr)
    fpr, overlap, _ = region_overlap(pixels)
    return float(auc(*cut_curve(fpr, overlap, max_fpr)) / max_fpr)


def f1_max(pixels: PixelSample) -> tuple[float, float]:
    """Compute the maximum F1, and the lowest score counted as anomalous for it."""
    precision, recall, thresholds = precision_recall_curve(
        pixels.truth, pixels.score, sample_weight=pixels.weight
    )
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    best = int(np.argmax(f1[:-1]))
    return float(f1[best]), float(thresholds[best])
