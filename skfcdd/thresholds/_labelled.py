"""Rules that use normal images and labelled anomalies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

from skfcdd._verdicts import is_above
from skfcdd.metrics._curves import PixelSample, f1_max
from skfcdd.thresholds._base import Scores, Threshold, check_share, just_above
from skfcdd.thresholds._normal import Quantile

__all__ = ["Auto", "Closest", "MaxF1", "MaxFNR", "MaxFPR", "Youden"]

# "auto" keeps the natural threshold unless another one exceeds its balanced accuracy by
# more than this.
_TOLERANCE = 0.05


@dataclass(frozen=True)
class _Curve(Threshold):
    """Base class of rules that choose a point of the ROC curve."""

    needs_anomalies = True

    def pick(self, fpr: Scores, tpr: Scores) -> int:
        """Return the index of the chosen point; the point at 0 flags no image."""
        raise NotImplementedError

    def choose(
        self, normal: Scores, anomalous: Scores, weights: tuple[Scores, Scores] | None
    ) -> float:
        """Return the midpoint of the gap below the score of the chosen point."""
        truth, scores, weight = _joined(normal, anomalous, weights)
        fpr, tpr, thresholds = roc_curve(
            truth, scores, sample_weight=weight, drop_intermediate=False
        )
        index = self.pick(fpr, tpr)
        if index == 0:
            return just_above(float(scores.max()))
        return _middle_of_gap(scores, float(thresholds[index]))


@dataclass(frozen=True)
class Youden(_Curve):
    """Threshold that maximises Youden's J: sensitivity + specificity - 1.

    Examples
    --------
    >>> from skfcdd.thresholds import Youden
    >>> round(Youden()([0, 0, 1, 1], [0.1, 0.2, 0.4, 0.5]), 6)
    0.3
    """

    def pick(self, fpr: Scores, tpr: Scores) -> int:
        """Return the index of the highest J."""
        return int(np.argmax(tpr - fpr))


@dataclass(frozen=True)
class Closest(_Curve):
    """Threshold whose point on the ROC curve is closest to (0, 1), a perfect result.

    Examples
    --------
    >>> from skfcdd.thresholds import Closest
    >>> round(Closest()([0, 0, 1, 1], [0.1, 0.2, 0.4, 0.5]), 6)
    0.3
    """

    def pick(self, fpr: Scores, tpr: Scores) -> int:
        """Return the index of the closest point."""
        return int(np.argmin(np.hypot(fpr, 1 - tpr)))


@dataclass(frozen=True)
class MaxFPR(_Curve):
    """Threshold with maximum sensitivity for a limited false-positive rate.

    The limit applies to the calibration images. For a guarantee that holds for new
    images, use :class:`FalseAlarmRate`.

    Parameters
    ----------
    rate : float
        Maximum false-positive rate, in [0, 1].

    Examples
    --------
    >>> from skfcdd.thresholds import MaxFPR
    >>> round(MaxFPR(0)([0, 0, 1, 1], [0.1, 0.4, 0.2, 0.5]), 6)
    0.45
    """

    rate: float

    def __post_init__(self) -> None:
        check_share(self, "rate")

    def pick(self, fpr: Scores, tpr: Scores) -> int:
        """Return the first index of the highest sensitivity within the limit."""
        return int(np.argmax(np.where(fpr <= self.rate + 1e-12, tpr, -1.0)))


@dataclass(frozen=True)
class MaxFNR(_Curve):
    """Threshold with the fewest false alarms for a limited false-negative rate.

    Parameters
    ----------
    rate : float
        Maximum false-negative rate, in [0, 1].

    Examples
    --------
    >>> from skfcdd.thresholds import MaxFNR
    >>> round(MaxFNR(0)([0, 0, 1, 1], [0.1, 0.4, 0.2, 0.5]), 6)
    0.15
    """

    rate: float

    def __post_init__(self) -> None:
        check_share(self, "rate")

    def pick(self, fpr: Scores, tpr: Scores) -> int:
        """Return the index of the first point within the limit."""
        return int(np.argmax(1 - tpr <= self.rate + 1e-12))


@dataclass(frozen=True)
class MaxF1(Threshold):
    """Threshold that maximises F1, the harmonic mean of precision and recall.

    For pixels, it also maximises the intersection over union, which is F1 / (2 - F1).

    Examples
    --------
    >>> from skfcdd.thresholds import MaxF1
    >>> round(MaxF1()([0, 0, 1, 1], [0.1, 0.2, 0.4, 0.5]), 6)
    0.3
    """

    needs_anomalies = True

    def choose(
        self, normal: Scores, anomalous: Scores, weights: tuple[Scores, Scores] | None
    ) -> float:
        """Return the midpoint of the gap below the score that maximises F1."""
        truth, scores, weight = _joined(normal, anomalous, weights)
        _, least = f1_max(PixelSample(truth.astype(bool), scores, weight, None))
        return _middle_of_gap(scores, least)


@dataclass(frozen=True)
class Auto(Threshold):
    """Default rule: ln 2 or Youden's J with anomalies, and a quantile without any.

    With anomalies, the natural threshold ln 2 is used unless the balanced accuracy of
    the threshold that maximises Youden's J is higher by more than 0.05.

    Parameters
    ----------
    contamination : float, default=0.05
        Proportion of normal images that may be predicted as anomalous, in [0, 1), as
        for :class:`Quantile`. Used only if there are no anomalies.

    Examples
    --------
    >>> from skfcdd.thresholds import Auto
    >>> round(Auto()([0, 0, 1, 1], [0.1, 0.2, 0.9, 1.5]), 4)
    0.6931
    """

    contamination: float = 0.05

    def __post_init__(self) -> None:
        check_share(self, "contamination", closed="left")

    def choose(
        self, normal: Scores, anomalous: Scores, weights: tuple[Scores, Scores] | None
    ) -> float:
        """Return the quantile, or the better of ln 2 and Youden's threshold."""
        if len(anomalous) == 0:
            return Quantile(self.contamination).choose(normal, anomalous, None)
        natural = math.log(2)
        best = Youden().choose(normal, anomalous, weights)
        gain = _balanced_accuracy(normal, anomalous, best) - _balanced_accuracy(
            normal, anomalous, natural
        )
        return best if gain > _TOLERANCE else natural

    def choose_by_group(
        self, normal: Scores, anomalous: Scores, groups: npt.NDArray[Any]
    ) -> float:
        """Choose the threshold; groups are used only if there are no anomalies."""
        if len(anomalous) == 0:
            rule = Quantile(self.contamination)
            return rule.choose_by_group(normal, anomalous, groups)
        return self.choose(normal, anomalous, None)

    def asked_rate(self, n_anomalous: int) -> float | None:
        """Return `contamination` if there are no anomalies."""
        return None if n_anomalous else self.contamination or None


def _joined(
    normal: Scores, anomalous: Scores, weights: tuple[Scores, Scores] | None
) -> tuple[npt.NDArray[np.int_], Scores, Scores | None]:
    truth = np.repeat([0, 1], [len(normal), len(anomalous)])
    weight = None if weights is None else np.concatenate(weights)
    return truth, np.concatenate([normal, anomalous]), weight


def _middle_of_gap(scores: Scores, score: float) -> float:
    """Return the midpoint between `score` and the next lower score."""
    below = scores[scores < score]
    lower = float(below.max()) if len(below) else 0.0
    return just_above((score + lower) / 2)


def _balanced_accuracy(normal: Scores, anomalous: Scores, threshold: float) -> float:
    found, alarms = is_above(anomalous, threshold), is_above(normal, threshold)
    return float((1 - alarms.mean() + found.mean()) / 2)
