"""Figures of merit of heatmaps against masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._inputs.labels import as_truth
from skfcdd.metrics import _curves as curves
from skfcdd.metrics._checks import check_maps
from skfcdd.metrics._curves import PixelSample, sort_pixels
from skfcdd.metrics._histogram import PixelHistogram

__all__ = [
    "MOST_EXACT",
    "aupro_score",
    "f1_max_score",
    "intersection_over_union_score",
    "pixel_average_precision_score",
    "pixel_roc_auc_score",
    "region_overlap_curve",
]

# Up to this many pixels are sorted one by one, which takes about 30 bytes for each.
MOST_EXACT = 1 << 24


def _pixels(
    masks: Any, heatmaps: Any, method: str, *, regions: bool = False
) -> PixelSample:
    """Pixels, one by one or counted, after all checks."""
    if method not in ("auto", "exact", "histogram"):
        raise ValueError(
            f"Got method={method!r}, but expected 'auto', 'exact' or 'histogram'."
        )
    truth, values = check_maps(masks, heatmaps)
    if method == "exact" or (method == "auto" and truth.size <= MOST_EXACT):
        return sort_pixels(truth, values, regions=regions)
    return PixelHistogram(regions=regions).update(truth, values).sample()


def pixel_roc_auc_score(masks: Any, heatmaps: Any, *, method: str = "auto") -> float:
    """Area under the ROC curve over all pixels of all images.

    Parameters
    ----------
    masks : array-like of shape (n, h, w), or list with None
        1 (or 255) at anomalous pixels, else 0. Images whose mask is None, as it is not
        known, take no part.
    heatmaps : array-like of shape (n, h, w)
        Greater is more anomalous.
    method : {"auto", "exact", "histogram"}, default="auto"
        "exact" sorts all pixels, with about 30 bytes for each. "histogram" counts
        them block by block, in memory that does not depend on their number; how far
        it can be off is said by :class:`PixelHistogram`. "auto" is exact up to 16
        million pixels.

    Returns
    -------
    float
        0.5 for heatmaps that tell nothing, 1 for perfect ones.

    Raises
    ------
    ~skfcdd.exceptions.ImageShapeError
        If the shapes differ.
    ValueError
        If masks hold other values, or pixels of one kind alone, or heatmaps are not
        finite.

    Examples
    --------
    >>> from skfcdd.metrics import pixel_roc_auc_score
    >>> pixel_roc_auc_score([[[0, 0, 1, 1]]], [[[0.1, 0.4, 0.35, 0.8]]])
    0.75
    """
    return curves.roc_auc(_pixels(masks, heatmaps, method))


def pixel_average_precision_score(
    masks: Any, heatmaps: Any, *, method: str = "auto"
) -> float:
    """Average precision over all pixels: the ROC's counterpart for rare defects.

    Parameters
    ----------
    masks, heatmaps, method
        As for :func:`pixel_roc_auc_score`.

    Returns
    -------
    float
        About the share of anomalous pixels for heatmaps that tell nothing, 1 for
        perfect ones.

    Raises
    ------
    ValueError
        As for :func:`pixel_roc_auc_score`.

    Examples
    --------
    >>> from skfcdd.metrics import pixel_average_precision_score
    >>> masks, heatmaps = [[[0, 0, 1, 1]]], [[[0.1, 0.4, 0.35, 0.8]]]
    >>> round(pixel_average_precision_score(masks, heatmaps), 3)
    0.833
    """
    return curves.average_precision(_pixels(masks, heatmaps, method))


def aupro_score(
    masks: Any, heatmaps: Any, *, max_fpr: float = 0.3, method: str = "auto"
) -> float:
    """Area under the per-region overlap, in which small defects count like large ones.

    At each threshold, the overlap is the share of a defect's pixels that is found,
    averaged over all defects: the connected regions of the masks, diagonals included.
    It is integrated over the share of normal pixels that are found wrongly, up to
    `max_fpr`, and divided by it (Bergmann et al., "The MVTec Anomaly Detection
    Dataset", IJCV 2021).

    Parameters
    ----------
    masks, heatmaps, method
        As for :func:`pixel_roc_auc_score`.
    max_fpr : float, default=0.3
        Greatest false-positive rate, in (0, 1].

    Returns
    -------
    float
        ``max_fpr / 2`` for heatmaps that tell nothing, 1 for perfect ones.

    Raises
    ------
    ValueError
        As for :func:`pixel_roc_auc_score`.

    Examples
    --------
    >>> from skfcdd.metrics import aupro_score
    >>> masks = [[[1, 0, 0, 0, 0, 0, 1, 1]]]
    >>> round(aupro_score(masks, [[[9, 0, 0, 0, 0, 0, 9, 0]]], max_fpr=0.2), 3)
    0.775
    """
    return curves.aupro(_pixels(masks, heatmaps, method, regions=True), max_fpr)


def region_overlap_curve(
    masks: Any, heatmaps: Any, *, method: str = "auto"
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Per-region overlap at each threshold: the curve whose area is `aupro_score`.

    Parameters
    ----------
    masks, heatmaps, method
        As for :func:`pixel_roc_auc_score`.

    Returns
    -------
    fpr : ndarray of shape (k,), float64
        Share of the normal pixels at or above each threshold, in increasing order,
        from 0 to 1.
    overlap : ndarray of shape (k,), float64
        Share of a defect's pixels at or above it, averaged over all defects.
    thresholds : ndarray of shape (k,)
        In decreasing order; the first is infinite. Thresholds between two points on a
        straight line are left out.

    Raises
    ------
    ValueError
        As for :func:`pixel_roc_auc_score`.

    Examples
    --------
    >>> from skfcdd.metrics import region_overlap_curve
    >>> masks = [[[1, 0, 0, 0, 0, 0, 1, 1]]]
    >>> fpr, overlap, _ = region_overlap_curve(masks, [[[9, 0, 0, 0, 0, 0, 9, 0]]])
    >>> fpr, overlap
    (array([0., 0., 1.]), array([0.  , 0.75, 1.  ]))
    """
    return curves.region_overlap(_pixels(masks, heatmaps, method, regions=True))


def f1_max_score(
    masks: Any, heatmaps: Any, *, method: str = "auto"
) -> tuple[float, float]:
    """Greatest F1 over all thresholds, and the threshold at which it is reached.

    Parameters
    ----------
    masks, heatmaps, method
        As for :func:`pixel_roc_auc_score`.

    Returns
    -------
    f1 : float
        Harmonic mean of precision and recall of the pixels.
    threshold : float
        The least score that is called anomalous.

    Raises
    ------
    ValueError
        As for :func:`pixel_roc_auc_score`.

    Examples
    --------
    >>> from skfcdd.metrics import f1_max_score
    >>> f1_max_score([[[0, 0, 1, 1]]], [[[0.1, 0.4, 0.5, 0.8]]])
    (1.0, 0.5)
    """
    return curves.f1_max(_pixels(masks, heatmaps, method))


def intersection_over_union_score(
    masks: Any, predictions: Any, *, average: str = "image"
) -> float:
    """Intersection over union of true and predicted anomalous pixels.

    Parameters
    ----------
    masks : array-like of shape (n, h, w)
        1 (or 255) at truly anomalous pixels, else 0.
    predictions : array-like of shape (n, h, w)
        1 (or 255) where predicted, else 0.
    average : {"image", "pixel"}, default="image"
        "image" is the mean over images; one without an anomalous pixel counts 1 if
        none is predicted, and 0 otherwise. "pixel" takes all pixels together.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ~skfcdd.exceptions.ImageShapeError
        If the shapes differ.
    ValueError
        If there are other values.

    Examples
    --------
    >>> from skfcdd.metrics import intersection_over_union_score
    >>> masks = [[[0, 1, 1]], [[0, 0, 0]]]
    >>> intersection_over_union_score(masks, [[[0, 0, 1]], [[0, 0, 0]]])
    0.75
    """
    if average not in ("image", "pixel"):
        raise ValueError(f"Got average={average!r}, but expected 'image' or 'pixel'.")
    truth, guess = check_maps(masks, predictions, "predictions")
    both, either = np.zeros((2, len(truth)), dtype=np.int64)
    for i in range(0, len(truth), 64):
        rows = slice(i, i + 64)
        t, g = (_flat(as_truth(np.asarray(a[rows]))) for a in (truth, guess))
        both[rows], either[rows] = (t & g).sum(axis=1), (t | g).sum(axis=1)
    if average == "pixel":
        both, either = both.sum(keepdims=True), either.sum(keepdims=True)
    return float(np.where(either > 0, both / np.maximum(either, 1), 1.0).mean())


def _flat(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return masks.reshape(len(masks), -1)
