"""Rules that look at normal images alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from skfcdd.conformal import false_alarm_threshold, n_calibration_required
from skfcdd.thresholds._base import Scores, Threshold, check_share, just_above

__all__ = ["FalseAlarmRate", "Natural", "Quantile"]


@dataclass(frozen=True)
class Quantile(Threshold):
    """Quantile ``1 - contamination`` of the normal scores.

    Parameters
    ----------
    contamination : float, default=0.05
        Share of the normal images that may be called anomalous, in [0, 1).

    Examples
    --------
    >>> from skfcdd.thresholds import Quantile
    >>> 0.9 < Quantile(0.1)([0] * 11, [i / 10 for i in range(11)]) < 0.91
    True
    """

    contamination: float = 0.05

    def __post_init__(self) -> None:
        check_share(self, "contamination", closed="left")

    def choose(
        self, normal: Scores, anomalous: Scores, weights: tuple[Scores, Scores] | None
    ) -> float:
        """Take the quantile."""
        quantile = np.quantile(normal, 1 - self.contamination, method="higher")
        return just_above(float(quantile))


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
