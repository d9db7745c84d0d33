"""Metrics that compare heatmaps with masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._inputs.labels import as_truth
from skfcdd.metrics import _curves as curves
from skfcdd.metrics._checks import check_maps, check_region
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

# Up to this many pixels are sorted exactly, which takes about 30 bytes per pixel.
MOST_EXACT = 1 << 24


def _pixels(
    masks: Any, heatmaps: Any, method: str, roi: Any, *, regions: bool = False
) -> PixelSample:
    """Validate the maps, and return their pixels individually or as a histogram."""
    if method not in ("auto", "exact", "histogram"):
        raise ValueError(
            f"Got method={method!r}, but expected 'auto', 'exact' or 'histogram'."
        )
    truth, values = check_maps(masks, heatmaps)
    if method == "exact" or (method == "auto" and truth.size <= MOST_EXACT):
        inside = check_region(roi, truth.shape)
        return sort_pixels(truth, values, regions=regions, roi=inside)
    return PixelHistogram(regions=regions).update(truth, values, roi).sample()


def pixel_roc_auc_score(
    masks: Any, heatmaps: Any, *, method: str = "auto", roi: Any = None
) -> float:
    """Compute the area under the ROC curve over all pixels of all images.

    Parameters
    ----------
    masks : array-like of shape (n, h, w), or list with None
        1 (or 255) at anomalous pixels, otherwise 0. Images whose mask is None (unknown)
        are ignored.
    heatmaps : array-like of shape (n, h, w)
        Higher values are more anomalous.
    method : {"auto", "exact", "histogram"}, default="auto"
        "exact" sorts all pixels, which takes about 30 bytes per pixel. "histogram"
        counts them block by block, with a memory use that does not depend on their
        number; see :class:`PixelHistogram` for its accuracy. "auto" uses "exact" for up
        to 16 million pixels, and "histogram" for more.
    roi : array-like of shape (h, w), bool, default=None
        Region of interest, such as ``roi_`` of an estimator; pixels outside are
        ignored. None uses all pixels.

    Returns
    -------
    float
        0.5 for uninformative heatmaps, 1 for perfect ones.

    Raises
    ------
    ImageShapeError
        If the shapes differ.
    ValueError
        If masks contain other values, all pixels are normal or all are anomalous, or
        heatmaps are not finite.

    Examples
    --------
    >>> from skfcdd.metrics import pixel_roc_auc_score
    >>> pixel_roc_auc_score([[[0, 0, 1, 1]]], [[[0.1, 0.4, 0.35, 0.8]]])
    0.75
    """
    return curves.roc_auc(_pixels(masks, heatmaps, method, roi))


def pixel_average_precision_score(
    masks: Any, heatmaps: Any, *, method: str = "auto", roi: Any = None
) -> float:
    """Compute the average precision over all pixels, suited to rare defects.

    Parameters
    ----------
    masks, heatmaps, method, roi
        See :func:`pixel_roc_auc_score`.

    Returns
    -------
    float
        About the fraction of anomalous pixels for uninformative heatmaps, 1 for perfect
        ones.

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
    return curves.average_precision(_pixels(masks, heatmaps, method, roi))


def aupro_score(
    masks: Any,
    heatmaps: Any,
    *,
    max_fpr: float = 0.3,
    method: str = "auto",
    roi: Any = None,
) -> float:
    """Compute the area under the per-region overlap curve (AUPRO).

    Small defects count as much as large ones. At each threshold, the overlap is the
    fraction of the pixels of a defect that are above the threshold, averaged over all
    defects. Defects are the connected regions of the masks; diagonal neighbours are
    connected. The overlap is integrated over the false positive rate of pixels up to
    `max_fpr`, and divided by `max_fpr` (Bergmann et al., "The MVTec Anomaly Detection
    Dataset", IJCV 2021).

    Parameters
    ----------
    masks, heatmaps, method, roi
        See :func:`pixel_roc_auc_score`.
    max_fpr : float, default=0.3
        Upper limit of the false positive rate, in (0, 1].

    Returns
    -------
    float
        ``max_fpr / 2`` for uninformative heatmaps, 1 for perfect ones.

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
    pixels = _pixels(masks, heatmaps, method, roi, regions=True)
    return curves.aupro(pixels, max_fpr)


def region_overlap_curve(
    masks: Any, heatmaps: Any, *, method: str = "auto", roi: Any = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute the per-region overlap curve, the area under which is `aupro_score`.

    Parameters
    ----------
    masks, heatmaps, method, roi
        See :func:`pixel_roc_auc_score`.

    Returns
    -------
    fpr : ndarray of shape (k,), float64
        Fraction of the normal pixels at or above each threshold, increasing from 0 to
        1.
    overlap : ndarray of shape (k,), float64
        Fraction of the pixels of a defect at or above each threshold, averaged over all
        defects.
    thresholds : ndarray of shape (k,)
        Decreasing thresholds; the first is infinite. Thresholds between two points on a
        straight line are dropped.

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
    return curves.region_overlap(_pixels(masks, heatmaps, method, roi, regions=True))


def f1_max_score(
    masks: Any, heatmaps: Any, *, method: str = "auto", roi: Any = None
) -> tuple[float, float]:
    """Compute the maximum F1 over all thresholds, and the threshold that attains it.

    Parameters
    ----------
    masks, heatmaps, method, roi
        See :func:`pixel_roc_auc_score`.

    Returns
    -------
    f1 : float
        Harmonic mean of precision and recall of the pixels.
    threshold : float
        The lowest score counted as anomalous.

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
    return curves.f1_max(_pixels(masks, heatmaps, method, roi))


def intersection_over_union_score(
    masks: Any, predictions: Any, *, average: str = "image", roi: Any = None
) -> float:
    """Compute the intersection over union of true and predicted anomalous pixels.

    Parameters
    ----------
    masks : array-like of shape (n, h, w)
        1 (or 255) at truly anomalous pixels, otherwise 0.
    predictions : array-like of shape (n, h, w)
        1 (or 255) at pixels predicted to be anomalous, otherwise 0.
    average : {"image", "pixel"}, default="image"
        "image" averages over images; an image without anomalous pixels counts as 1 if
        none are predicted, and as 0 otherwise. "pixel" combines the pixels of all
        images.
    roi : array-like of shape (h, w), bool, default=None
        Region of interest; pixels outside are ignored. None uses all pixels.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ImageShapeError
        If the shapes differ.
    ValueError
        If masks or predictions contain other values, or `average` is unknown.

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
    inside = check_region(roi, truth.shape)
    both, either = np.zeros((2, len(truth)), dtype=np.int64)
    for i in range(0, len(truth), 64):
        rows = slice(i, i + 64)
        t, g = (as_truth(np.asarray(a[rows])) for a in (truth, guess))
        t, g = (_flat(a if inside is None else a[:, inside]) for a in (t, g))
        both[rows], either[rows] = (t & g).sum(axis=1), (t | g).sum(axis=1)
    if average == "pixel":
        both, either = both.sum(keepdims=True), either.sum(keepdims=True)
    return float(np.where(either > 0, both / np.maximum(either, 1), 1.0).mean())


def _flat(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return masks.reshape(len(masks), -1)
