"""Thresholds for rates that the number of scores is too small for."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from scipy.stats import t as student

from skfcdd.conformal import false_alarm_threshold, n_calibration_required
from skfcdd.thresholds._base import Scores

__all__ = ["normal_threshold"]

Groups = npt.NDArray[np.intp]


def normal_threshold(scores: Scores, rate: float, groups: Groups | None) -> float:
    r"""Estimate the score that a proportion `rate` of normal images exceeds.

    Parameters
    ----------
    scores : ndarray of shape (n,), float64
        Scores of normal images.
    rate : float
        Proportion in [0, 1).
    groups : ndarray of int of shape (n,), or None
        Group of each image. Each group counts as one image.

    Returns
    -------
    float
        Quantile of the scores at the rank :math:`(n + 1)(1 - \alpha)`, interpolated if
        that is not an integer; with groups, the next score. If there are too few scores
        for this rank, the result of :func:`log_normal_quantile`.
    """
    n = len(scores) if groups is None else len(np.unique(groups))
    if rate > 0 and n < n_calibration_required(rate):
        return log_normal_quantile(scores, rate, groups)
    if groups is None:
        # One more image exceeds it with a probability of `rate`, if scores are uniform.
        return float(np.quantile(scores, 1 - rate, method="weibull"))
    if rate == 0:
        return float(scores.max())
    return false_alarm_threshold(scores, rate, groups=groups)


def log_normal_quantile(scores: Scores, rate: float, groups: Groups | None) -> float:
    r"""Quantile of a log-normal distribution with the moments of the scores.

    .. math:: \exp\left(m + z \, s \sqrt{1 + 1 / n}\right)

    with the mean :math:`m` and the standard deviation :math:`s` of the logarithms, and
    the quantile :math:`z` of a normal distribution. The root is the margin for the
    error of the mean. That of the standard deviation has none, so that more than the
    asked share :math:`\alpha` of log-normal scores exceed it: 6.7 % instead of 5 % with
    ten images. :math:`z` is raised such that it is never more than :math:`2 \alpha`: to
    the quantile for it of Student's distribution, if that is greater, as it is with
    four images or fewer.

    With groups, :math:`n` is their number, the mean is that of the groups' means, and
    the variance is the sum of those between and within groups.

    Parameters
    ----------
    scores, rate, groups
        As for :func:`normal_threshold`.

    Returns
    -------
    float
        The highest score, if there is one image or group only, or a score of 0.
    """
    if groups is None:
        groups = np.arange(len(scores))
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    n = len(sizes)
    if n < 2 or not scores.min() > 0:
        return float(scores.max())
    logs = np.log(scores)
    means = np.bincount(index, logs) / sizes
    variance = float(means.var(ddof=1))
    if len(scores) > n:
        within = float(np.square(logs - means[index]).sum() / (len(scores) - n))
        # The means vary by their share of that within groups too.
        variance += within * (1 - float((1 / sizes).mean()))
    z = max(norm.isf(rate), student.isf(min(0.5, 2 * rate), n - 1))
    margin = float(z) * math.sqrt(variance * (1 + 1 / n))
    return math.exp(float(means.mean()) + margin)
