"""Conversion of scores to decisions, labels and probabilities.

Estimators and exported models share this module, so it depends on neither torch nor
scikit-learn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._regions import drop_small

__all__ = [
    "SLACK",
    "Convention",
    "anomaly_probability",
    "convention_of",
    "decisive_scores",
    "is_above",
    "limit",
    "middle_of",
    "outline_level",
    "settled",
    "silent_at",
]

Scores = npt.NDArray[np.float64]

# Relative difference up to which scores count as equal. Due to rounding, the score of
# an image depends slightly on the other images in its batch and on the library used.
SLACK = 3e-6


def limit(threshold: float) -> float:
    """Return the highest score that still counts as equal to a threshold."""
    return threshold + SLACK * abs(threshold)


def is_above(scores: npt.ArrayLike, threshold: float) -> Any:
    """Compare scores with a threshold, ignoring differences due to rounding."""
    # np.float64 keeps the comparison in double precision; NumPy would round a Python
    # float to the precision of the scores.
    return np.asarray(scores) > np.float64(limit(threshold))


def settled(scores: npt.ArrayLike, threshold: float) -> Scores:
    """Replace scores that exceed a threshold only due to rounding by the threshold."""
    values = np.asarray(scores, dtype=np.float64)
    on = (values > threshold) & ~is_above(values, threshold)
    return np.where(on, threshold, values)


@dataclass(frozen=True, eq=False)
class Convention:
    """Labels, signs and decisions of an estimator's predictions.

    An image or a pixel is anomalous if and only if its score exceeds the threshold by
    more than rounding errors (a relative difference of three millionths).

    Parameters
    ----------
    kind : {"classifier", "detector", "segmenter"}
        Kind of the estimator.
    classes : ndarray of shape (2,)
        The sorted labels: -1 and 1 for a detector, 0 and 1 for a segmenter.
    anomaly_sign : {1, -1}, default=1
        1 if ``classes[1]`` means "anomaly", else -1.
    min_area : int, default=1
        Minimum number of pixels of a region marked by a segmenter.
    image_anomaly_label : label, default=None
        For a segmenter that was fitted with image labels, the label of anomalies.
    """

    kind: str = "classifier"
    classes: npt.NDArray[Any] = field(default_factory=lambda: np.array([0, 1]))
    anomaly_sign: int = 1
    min_area: int = 1
    image_anomaly_label: Any = None

    def __post_init__(self) -> None:
        own = np.array(self.classes)
        own.setflags(write=False)
        object.__setattr__(self, "classes", own)

    @property
    def judges_pixels(self) -> bool:
        """Whether predictions and the threshold refer to pixels."""
        return self.kind == "segmenter"

    @property
    def anomaly_label(self) -> Any:
        """The label that means "anomaly"."""
        return self.classes[1 if self.anomaly_sign > 0 else 0]

    def index(self, scores: Scores, threshold: float) -> npt.NDArray[np.int_]:
        """Return the index in `classes` of each predicted label."""
        above = is_above(scores, threshold)
        return (above == (self.anomaly_sign > 0)).astype(int)

    def decision(self, scores: Scores, threshold: float) -> Scores:
        """Return the signed distance from the threshold, positive for ``classes[1]``.

        A score equal to the threshold is normal, so it counts as positive if
        ``classes[1]`` means "normal".
        """
        scores = settled(scores, threshold)
        if self.anomaly_sign > 0:
            return scores - threshold
        distance = threshold - scores
        return np.where(distance == 0, np.finfo(np.float64).tiny, distance)

    def probabilities(self, scores: Scores, threshold: float) -> Scores:
        """Return probabilities in the order of `classes`; 0.5 at the threshold."""
        normal = np.exp2(-settled(scores, threshold) / threshold)
        columns = (normal, 1 - normal)
        return np.stack(columns[:: self.anomaly_sign], axis=1)

    def pixel_probabilities(
        self, heatmaps: npt.NDArray[np.float32], threshold: float
    ) -> Scores:
        """Return the probability that each pixel is anomalous; 0.5 at the threshold."""
        return anomaly_probability(heatmaps, threshold)

    def masks(
        self, heatmaps: npt.NDArray[np.float32], threshold: float
    ) -> npt.NDArray[np.bool_]:
        """Return masks of anomalous regions of at least `min_area` pixels."""
        return drop_small(is_above(heatmaps, threshold), self.min_area)


def anomaly_probability(scores: npt.NDArray[Any], threshold: float) -> Scores:
    """Return the probability of an anomaly, above 0.5 for predicted anomalies."""
    ratio = settled(scores, threshold) / threshold
    return np.asarray(-np.expm1(-np.log(2) * ratio))


def convention_of(estimator: Any) -> Convention:
    """Return the convention of an estimator, by default that of a classifier."""
    convention: Convention = getattr(estimator, "convention_", Convention())
    return convention


def outline_level(estimator: Any) -> float:
    """Return the heatmap value above which pixels are outlined in plots.

    This is ``pixel_threshold_`` or, for a model without it, the middle of the colour
    scale.
    """
    if convention_of(estimator).judges_pixels:
        return float(estimator.threshold_)
    level = getattr(estimator, "pixel_threshold_", None)
    return middle_of(*estimator.heatmap_scale_) if level is None else float(level)


def middle_of(low: float, high: float) -> float:
    """Return the middle of a colour scale: the geometric mean if `low` is above 0."""
    return math.sqrt(low * high) if low > 0 else (low + high) / 2


def decisive_scores(
    estimator: Any, X: Any, heatmaps: npt.NDArray[np.float32] | None = None
) -> Scores:
    """Return scores of images on the scale of the threshold of `estimator`.

    An image is an anomaly if and only if its score exceeds the threshold, see
    :func:`is_above`. For a segmenter, whose threshold is for pixels, this is the lowest
    threshold at which no defect is marked in the image: the peak of the heatmap with
    ``min_area=1``.
    """
    convention = convention_of(estimator)
    if not convention.judges_pixels:
        return np.asarray(estimator.anomaly_score(X), dtype=np.float64)
    if heatmaps is None:
        heatmaps = np.asarray(estimator.explain(X))
    return silent_at(heatmaps, convention.min_area)


def silent_at(
    heatmaps: npt.NDArray[np.float32], min_area: int
) -> npt.NDArray[np.float64]:
    """Find the lowest value above which no region has `min_area` pixels, by bisection.

    Regions shrink as the threshold rises, so there is exactly one such value, and it is
    the value of a pixel.
    """
    n, n_pixels = len(heatmaps), int(np.prod(heatmaps.shape[1:]))
    if min_area <= 1:
        return heatmaps.reshape(n, -1).max(axis=1).astype(np.float64)
    if min_area > n_pixels:  # no defect can ever be marked
        return np.zeros(n)
    values = np.sort(heatmaps.reshape(n, -1), axis=1)
    every = np.arange(n)
    # No pixel exceeds the maximum.
    first, last = np.zeros(n, dtype=int), np.full(n, n_pixels - 1)
    while (first < last).any():
        middle = (first + last) // 2
        above = heatmaps > values[every, middle][:, None, None]
        marked = drop_small(above, min_area).any(axis=(1, 2))
        first = np.where(marked, middle + 1, first)
        last = np.where(marked, last, middle)
    return values[every, last].astype(np.float64)
