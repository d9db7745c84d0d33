"""What a model says of images, as a report needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._regions import drop_small
from skfcdd.display._estimators import is_segmenter

__all__ = ["Findings", "describe", "examine", "image_scores"]


@dataclass
class Findings:
    """Of a batch of images.

    Parameters
    ----------
    heatmaps : ndarray of shape (n, h, w)
    scores : ndarray of shape (n,), float64
        An image is called anomalous if its score is above the threshold.
    peaks : list of tuple (value, row, column)
        The hottest pixel of each.
    """

    heatmaps: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float64]
    peaks: list[tuple[float, int, int]]


def examine(
    estimator: Any, X: Any, scores: npt.NDArray[np.float64] | None = None
) -> Findings:
    """Scores, unless they are known, and heatmaps of a batch.

    Raises
    ------
    ValueError
        If they are not finite.
    """
    heatmaps = np.asarray(estimator.explain(X))
    if scores is None:
        scores = image_scores(estimator, X, heatmaps)
    if not (np.isfinite(heatmaps).all() and np.isfinite(scores).all()):
        raise ValueError("The scores or heatmaps of the model hold NaN or infinity.")
    places = heatmaps.reshape(len(heatmaps), -1).argmax(axis=1)
    rows, columns = np.unravel_index(places, heatmaps.shape[1:])
    peaks = [
        (float(heatmap[row, column]), int(row), int(column))
        for heatmap, row, column in zip(heatmaps, rows, columns, strict=True)
    ]
    return Findings(heatmaps, scores, peaks)


def image_scores(
    estimator: Any, X: Any, heatmaps: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float64]:
    """Scores of images on the scale of the threshold of `estimator`.

    Of a segmenter, whose threshold is one of pixels: the least threshold at which no
    defect is marked in the image. With ``min_area=1`` this is the peak of the heatmap.
    """
    if not is_segmenter(estimator):
        return np.asarray(estimator.anomaly_score(X), dtype=np.float64)
    if heatmaps is None:
        heatmaps = np.asarray(estimator.explain(X))
    return _silent_at(heatmaps, _min_area(estimator))


def _min_area(estimator: Any) -> int:
    return int(getattr(estimator, "min_area", getattr(estimator, "_min_area", 1)))


def _silent_at(
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


def describe(estimator: Any) -> dict[str, Any]:
    """What a page says of the model."""
    pixels = is_segmenter(estimator)
    name = type(estimator).__name__
    if hasattr(estimator, "metadata_"):
        name = f"{estimator.metadata_.get('estimator', 'model')}, exported to ONNX"
    low, high = estimator.heatmap_scale_
    return {
        "name": name,
        "threshold": float(estimator.threshold_),
        "pixels": pixels,
        "min_area": _min_area(estimator),
        "scale": [float(low), float(high)],
        "facts": list(_facts(estimator).items()),
    }


def _facts(estimator: Any) -> dict[str, str]:
    if hasattr(estimator, "calibration_scores_"):
        from skfcdd._repr import facts

        return facts(estimator)
    h, w, c = estimator.image_shape_
    low, high = estimator.heatmap_scale_
    return {
        "threshold": f"{estimator.threshold_:.4g}",
        "images": f"{h} x {w} pixels, {c} channel{'s' * (c > 1)}",
        "heatmap colours": f"{low:.3g} to {high:.3g}",
    }
