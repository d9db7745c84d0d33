"""Rules that use only normal images."""

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

    Its rank among :math:`n` sorted scores is :math:`(n + 1)(1 - \alpha)`, interpolated
    if that is not an integer, so that a new normal image exceeds it with a probability
    of about the requested :math:`\alpha`.

    If there are too few scores for this rank (fewer than 19 for 5 %), the quantile of a
    log-normal distribution fitted to the scores is used:
    :math:`\exp(m + z s \sqrt{1 + 1/n})` with the mean :math:`m` and the standard
    deviation :math:`s` of the log scores, and the quantile :math:`z` of the standard
    normal distribution. If scores are log-normal, a threshold for 5 % that is based on
    ten images is exceeded by 6.7 % of new normal images; for four images or fewer,
    :math:`z` is increased so that at most 10 % exceed it.

    Parameters
    ----------
    contamination : float, default=0.05
        Proportion of normal images that may be predicted as anomalous, in [0, 1).

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
        """Compute the quantile."""
        return just_above(normal_threshold(normal, self.contamination, None))

    def choose_by_group(
        self, normal: Scores, anomalous: Scores, groups: npt.NDArray[Any]
    ) -> float:
        """Compute the quantile, with equal weights for all groups."""
        return just_above(normal_threshold(normal, self.contamination, groups))

    def asked_rate(self, n_anomalous: int) -> float | None:
        """Return `contamination`; None for 0, which no number of images can support."""
        return self.contamination or None


@dataclass(frozen=True)
class FalseAlarmRate(Threshold):
    """Lowest threshold with a guaranteed maximum rate of false alarms.

    See :func:`skfcdd.conformal.false_alarm_threshold`. An error is raised if there are
    too few calibration images for the guarantee.

    Parameters
    ----------
    rate : float
        Proportion of normal images that may be predicted as anomalous, in (0, 1).
    confidence : float, default=None
        Probability, over calibration sets, that the rate of the chosen threshold is
        within the limit. None guarantees the limit on average over calibration sets.

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
        """Raise if there are too few normal images for the guarantee."""
        super().check(n_normal, n_anomalous)
        if n_normal < n_calibration_required(self.rate, confidence=self.confidence):
            zeros = np.zeros(n_normal)  # raises the error
            false_alarm_threshold(zeros, self.rate, confidence=self.confidence)

    def choose(
        self, normal: Scores, anomalous: Scores, weights: tuple[Scores, Scores] | None
    ) -> float:
        """Return the lowest score for which the guarantee holds."""
        return just_above(
            false_alarm_threshold(normal, self.rate, confidence=self.confidence)
        )

    def choose_by_group(
        self, normal: Scores, anomalous: Scores, groups: npt.NDArray[Any]
    ) -> float:
        """Return the lowest score with the guarantee for images of new groups."""
        lowest = false_alarm_threshold(
            normal, self.rate, confidence=self.confidence, groups=groups
        )
        return just_above(lowest)

    def asked_rate(self, n_anomalous: int) -> float | None:
        """Return `rate`."""
        return self.rate


@dataclass(frozen=True)
class Natural(Threshold):
    """Fixed threshold ln 2, at which the model's probability 1 - exp(-s) is 0.5.

    Examples
    --------
    >>> from skfcdd.thresholds import Natural
    >>> round(Natural()([0], [0.1]), 4)
    0.6931
    """

    def choose(
        self, normal: Scores, anomalous: Scores, weights: tuple[Scores, Scores] | None
    ) -> float:
        """Return ln 2."""
        return math.log(2)
