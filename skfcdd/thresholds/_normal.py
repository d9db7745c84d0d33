"""Rules that look at normal images alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd.conformal import false_alarm_threshold, n_calibration_required
from skfcdd.thresholds._base import Scores, Threshold, check_share, just_above
from skfcdd.thresholds._tail import normal_threshold

__all__ = ["FalseAlarmRate", "Natural", "Quantile"]


@dataclass(frozen=True)
class Quantile(Threshold):
    r"""Quantile ``1 - contamination`` of the normal scores.

    Its place among :math:`n` scores in order is :math:`(n + 1)(1 - \alpha)`, between
    two of them if that is no whole number, so that one more normal image exceeds it
    with about the asked probability :math:`\alpha`.

    So few scores that not even the greatest is exceeded as rarely as that (fewer than
    19 for 5 %) have no such quantile. It is then that of a log-normal distribution with
    their moments: :math:`\exp(m + z s \sqrt{1 + 1/n})` with the mean :math:`m` and the
    standard deviation :math:`s` of the logarithms, and the quantile :math:`z` of a
    normal distribution. Of log-normal scores of ten images, 6.7 % then exceed a
    threshold for 5 %; :math:`z` is raised for four images or fewer, so that it is 10 %
    at most.

    Parameters
    ----------
    contamination : float, default=0.05
        Share of the normal images that may be called anomalous, in [0, 1).

    Examples
    --------
    >>> from skfcdd.thresholds import Quantile
    >>> round(Quantile(0.1)([0] * 11, [i / 10 for i in range(11)]), 6)
    0.98
    """

    contamination: float = 0.05

    def __post_init__(self) -> None:
        check_share(self, "contamination", closed="left")

    def choose(
        self, normal: Scores, anomalous: Scores, weights: tuple[Scores, Scores] | None
    ) -> float:
        """Take the quantile."""
        return just_above(normal_threshold(normal, self.contamination, None))

    def choose_by_group(
        self, normal: Scores, anomalous: Scores, groups: npt.NDArray[Any]
    ) -> float:
        """Take the quantile of which each group has an equal share."""
        return just_above(normal_threshold(normal, self.contamination, groups))

    def asked_rate(self, n_anomalous: int) -> float | None:
        """`contamination`; None for 0, which no number of images can show."""
        return self.contamination or None


@dataclass(frozen=True)
class FalseAlarmRate(Threshold):
    """Lowest threshold with a guarantee on false alarms.

    See :func:`skfcdd.conformal.false_alarm_threshold`. Refuses where the calibration
    images are too few for the promise.

    Parameters
    ----------
    rate : float
        Share of normal images that may be called anomalous, in (0, 1).
    confidence : float, default=None
        Probability with which this holds for the one threshold that is set. None
        promises the rate on average over calibration sets.

    Examples
    --------
    >>> from skfcdd.thresholds import FalseAlarmRate
    >>> 0.09 <= FalseAlarmRate(0.1)([0] * 9, [i / 100 for i in range(1, 10)]) < 0.0901
    True
    """

    rate: float
    confidence: float | None = None

    def __post_init__(self) -> None:
        check_share(self, "rate", closed="neither")
        check_share(self, "confidence", closed="neither", optional=True)

    def check(self, n_normal: int, n_anomalous: int) -> None:
        """Raise where so few normal images cannot support the promise."""
        super().check(n_normal, n_anomalous)
        if n_normal < n_calibration_required(self.rate, confidence=self.confidence):
            zeros = np.zeros(n_normal)  # for the one message about it
            false_alarm_threshold(zeros, self.rate, confidence=self.confidence)

    def choose(
        self, normal: Scores, anomalous: Scores, weights: tuple[Scores, Scores] | None
    ) -> float:
        """Take the order statistic that keeps the promise."""
        return just_above(
            false_alarm_threshold(normal, self.rate, confidence=self.confidence)
        )

    def choose_by_group(
        self, normal: Scores, anomalous: Scores, groups: npt.NDArray[Any]
    ) -> float:
        """Take the score that keeps the promise for images of new groups."""
        lowest = false_alarm_threshold(
            normal, self.rate, confidence=self.confidence, groups=groups
        )
        return just_above(lowest)

    def asked_rate(self, n_anomalous: int) -> float | None:
        """`rate`."""
        return self.rate


@dataclass(frozen=True)
class Natural(Threshold):
    """The score ln 2, at which the model's probability 1 - exp(-s) is one half.

    Examples
    --------
    >>> from skfcdd.thresholds import Natural
    >>> round(Natural()([0], [0.1]), 4)
    0.6931
    """

    def choose(
        self, normal: Scores, anomalous: Scores, weights: tuple[Scores, Scores] | None
    ) -> float:
        """Take ln 2."""
        return math.log(2)
