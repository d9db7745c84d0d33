"""Quantiles of normal scores, extrapolated if there are too few scores."""

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
        Quantile of the scores at the rank :math:`(n + 1)(1 - \alpha)`, where
        :math:`\alpha` is `rate`. If the rank is not an integer, it is interpolated;
        with groups, the next higher score is returned instead. If there are too few
        scores for this rank, the result is that of :func:`log_normal_quantile`.
    """
    n = len(scores) if groups is None else len(np.unique(groups))
    if rate > 0 and n < n_calibration_required(rate):
        return log_normal_quantile(scores, rate, groups)
    if groups is None:
        # If scores are uniform, a new image exceeds it with a probability of `rate`.
        return float(np.quantile(scores, 1 - rate, method="weibull"))
    if rate == 0:
        return float(scores.max())
    return false_alarm_threshold(scores, rate, groups=groups)


def log_normal_quantile(scores: Scores, rate: float, groups: Groups | None) -> float:
    r"""Estimate a quantile by fitting a log-normal distribution to the scores.

    .. math:: \exp\left(m + z \, s \sqrt{1 + 1 / n}\right)

    with the mean :math:`m` and the standard deviation :math:`s` of the log scores, and
    the quantile :math:`z` of the standard normal distribution. The square root accounts
    for the error of the mean. Nothing accounts for the error of the standard deviation,
    so if scores are log-normal, new ones exceed the estimate at a higher rate than the
    requested :math:`\alpha`: 6.7 % instead of 5 % with ten images. To limit this rate
    to :math:`2 \alpha`, :math:`z` is replaced by the quantile of Student's
    t-distribution for :math:`2 \alpha` if that is higher, which is the case for four
    images or fewer.

    With groups, :math:`n` is the number of groups, :math:`m` is the mean of the group
    means, and the variance is the sum of the variances between and within groups.

    Parameters
    ----------
    scores, rate, groups
        As for :func:`normal_threshold`.

    Returns
    -------
    float
        The estimate. If there is only one image or group, or if a score is 0, it is the
        highest score.
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
        # The variance of the means already includes a part of that within groups.
        variance += within * (1 - float((1 / sizes).mean()))
    z = max(norm.isf(rate), student.isf(min(0.5, 2 * rate), n - 1))
    margin = float(z) * math.sqrt(variance * (1 + 1 / n))
    return math.exp(float(means.mean()) + margin)
