"""How estimators judge: images or pixels, by which labels, with which sign.

One protocol for estimators and exported models. Needs neither torch nor scikit-learn.
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

# Scores of one image differ by rounding, with the images beside it in a batch and with
# the library that computes them. By so much of a score they are the same.
SLACK = 3e-6


def limit(threshold: float) -> float:
    """The greatest score that is still on a threshold."""
    return threshold + SLACK * abs(threshold)


def is_above(scores: npt.ArrayLike, threshold: float) -> Any:
    """Which scores are above a threshold by more than rounding."""
    # Both in double precision: a plain number would be rounded to single.
    return np.asarray(scores) > np.float64(limit(threshold))


def settled(scores: npt.ArrayLike, threshold: float) -> Scores:
    """Scores, with those that are above a threshold by rounding alone put on it."""
    values = np.asarray(scores, dtype=np.float64)
    on = (values > threshold) & ~is_above(values, threshold)
    return np.where(on, threshold, values)


@dataclass(frozen=True, eq=False)
class Convention:
    """What the verdicts of an estimator look like.

    An image or a pixel is anomalous exactly if its score is above the threshold, by
    more than the scores of equal images differ (three millionths of it).

    Parameters
    ----------
    kind : {"classifier", "detector", "segmenter"}
    classes : ndarray of shape (2,)
        The labels in sort order: -1 and 1 of a detector, 0 and 1 of a segmenter.
    anomaly_sign : {1, -1}, default=1
        1 if ``classes[1]`` means "anomaly", else -1.
    min_area : int, default=1
        Least number of pixels that a segmenter marks together.
    image_anomaly_label : label, default=None
        Of a segmenter: the label of anomalous images, where ``fit`` was given labels.
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
        """Whether verdicts, and the threshold, are about pixels."""
        return self.kind == "segmenter"

    @property
    def anomaly_label(self) -> Any:
        """The label that means "anomaly"."""
        return self.classes[1 if self.anomaly_sign > 0 else 0]

    def index(self, scores: Scores, threshold: float) -> npt.NDArray[np.int_]:
        """Place in `classes` of each label."""
        above = is_above(scores, threshold)
        return (above == (self.anomaly_sign > 0)).astype(int)

    def decision(self, scores: Scores, threshold: float) -> Scores:
        """Distance from the threshold, positive for ``classes[1]``.

        A score on the threshold is normal, so it counts as positive where
        ``classes[1]`` means "normal".
        """
        scores = settled(scores, threshold)
        if self.anomaly_sign > 0:
            return scores - threshold
        distance = threshold - scores
        return np.where(distance == 0, np.finfo(np.float64).tiny, distance)

    def probabilities(self, scores: Scores, threshold: float) -> Scores:
        """Columns in the order of `classes`; 0.5 at the threshold."""
        normal = np.exp2(-settled(scores, threshold) / threshold)
        columns = (normal, 1 - normal)
        return np.stack(columns[:: self.anomaly_sign], axis=1)

    def pixel_probabilities(
        self, heatmaps: npt.NDArray[np.float32], threshold: float
    ) -> Scores:
        """Probability of each pixel that it is anomalous; 0.5 at the threshold."""
        ratio = settled(heatmaps, threshold) / threshold
        return np.asarray(-np.expm1(-np.log(2) * ratio))

    def masks(
        self, heatmaps: npt.NDArray[np.float32], threshold: float
    ) -> npt.NDArray[np.bool_]:
        """Anomalous pixels, in regions of at least `min_area` of them."""
        return drop_small(is_above(heatmaps, threshold), self.min_area)


def convention_of(estimator: Any) -> Convention:
    """The convention of an estimator; one that states none judges images."""
    convention: Convention = getattr(estimator, "convention_", Convention())
    return convention


def outline_level(estimator: Any) -> float:
    """Pixels of heatmaps above it are outlined in pictures.

    ``pixel_threshold_``, or the middle of the scale of colours of a model without it.
    """
    if convention_of(estimator).judges_pixels:
        return float(estimator.threshold_)
    level = getattr(estimator, "pixel_threshold_", None)
    return middle_of(*estimator.heatmap_scale_) if level is None else float(level)


def middle_of(low: float, high: float) -> float:
    """The middle of a scale of colours, in ratios if it begins above 0."""
    return math.sqrt(low * high) if low > 0 else (low + high) / 2


def decisive_scores(
    estimator: Any, X: Any, heatmaps: npt.NDArray[np.float32] | None = None
) -> Scores:
    """Scores of images on the scale of the threshold of `estimator`.

    An image is an anomaly exactly if its score is above, see :func:`is_above`. Of a
    segmenter, whose threshold is one of pixels: the least threshold at which no defect
    is marked in the image. With ``min_area=1`` this is the peak of the heatmap.
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
