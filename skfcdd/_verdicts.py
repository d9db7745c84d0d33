"""Verdicts on whole images, also of estimators that judge pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._regions import drop_small

__all__ = ["decisive_scores", "is_segmenter", "min_area", "silent_at"]


def is_segmenter(estimator: Any) -> bool:
    """Whether its threshold is one of pixels."""
    exported = getattr(estimator, "_kind", None) == "segmenter"
    return exported or hasattr(estimator, "regions")


def decisive_scores(
    estimator: Any, X: Any, heatmaps: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float64]:
    """Scores of images on the scale of the threshold of `estimator`.

    An image is an anomaly exactly if its score is above. Of a segmenter, whose
    threshold is one of pixels: the least threshold at which no defect is marked in the
    image. With ``min_area=1`` this is the peak of the heatmap.
    """
    if not is_segmenter(estimator):
        return np.asarray(estimator.anomaly_score(X), dtype=np.float64)
    if heatmaps is None:
        heatmaps = np.asarray(estimator.explain(X))
    return silent_at(heatmaps, min_area(estimator))


def min_area(estimator: Any) -> int:
    """Least number of pixels that a segmenter marks together."""
    return int(getattr(estimator, "min_area", getattr(estimator, "_min_area", 1)))


def silent_at(
    heatmaps: npt.NDArray[np.float32], min_area: int
) -> npt.NDArray[np.float64]:
    """Least value above which there is no region of `min_area` pixels, by bisection.

    Regions shrink as the threshold rises, so that there is one such value, and it is
    one of the heatmap.
    """
    n, n_pixels = len(heatmaps), int(np.prod(heatmaps.shape[1:]))
    if min_area <= 1:
        return heatmaps.reshape(n, -1).max(axis=1).astype(np.float64)
    if min_area > n_pixels:  # no defect can ever be marked
        return np.zeros(n)
    values = np.sort(heatmaps.reshape(n, -1), axis=1)
    every = np.arange(n)
    # Above the greatest value there is nothing.
    first, last = np.zeros(n, dtype=int), np.full(n, n_pixels - 1)
    while (first < last).any():
        middle = (first + last) // 2
        above = heatmaps > values[every, middle][:, None, None]
        marked = drop_small(above, min_area).any(axis=(1, 2))
        first = np.where(marked, middle + 1, first)
        last = np.where(marked, last, middle)
    return values[every, last].astype(np.float64)
