"""Confidence intervals of metrics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.utils import check_consistent_length, check_random_state

from skfcdd._inputs.mask_arrays import known_rows

__all__ = ["Interval", "bootstrap_interval", "wilson_interval"]


class Interval(NamedTuple):
    """Value of a metric with its confidence interval.

    Parameters
    ----------
    value : float
        Value of the metric on all images.
    low, high : float
        Limits of the confidence interval.

    Examples
    --------
    >>> from skfcdd.metrics import Interval
    >>> Interval(0.9, 0.85, 0.94).low
    0.85
    """

    value: float
    low: float
    high: float


def bootstrap_interval(
    metric: Callable[[Any, Any], float],
    y_true: Any,
    y_score: Any,
    *,
    other: Any = None,
    groups: Any = None,
    n_resamples: int = 999,
    confidence_level: float = 0.95,
    random_state: Any = None,
) -> Interval:
    """Compute a percentile bootstrap interval over images, or over groups of images.

    Normal and anomalous images are resampled separately, so that their numbers stay the
    same. With `other`, the interval is for the difference between two detectors on the
    same resamples: a paired comparison, which is much more precise than comparing two
    intervals.

    Parameters
    ----------
    metric : callable (y_true, y_score) -> float
        Metric to compute, such as :func:`sklearn.metrics.roc_auc_score` or
        :func:`pixel_roc_auc_score`.
    y_true : array-like of shape (n,) or (n, h, w)
        Labels, with 1 for anomalies; or masks, with None for images to ignore.
    y_score : array-like of the same shape
        Anomaly scores or heatmaps.
    other : array-like of the same shape, default=None
        Scores or heatmaps of another detector. The value is then the metric of
        `y_score` minus the metric of `other`.
    groups : array-like of shape (n,), default=None
        Group of each image, such as the part that it shows. Groups are resampled as a
        whole, because similar photographs carry less information than the same number
        of independent ones.
    n_resamples : int, default=999
        Number of resamples. The time is proportional to it.
    confidence_level : float, default=0.95
        Confidence level of the interval.
    random_state : int, RandomState instance or None, default=None
        Controls the resampling.

    Returns
    -------
    Interval
        Named tuple (value, low, high).

    Raises
    ------
    ValueError
        If lengths differ, or there is only one normal or one anomalous image (or
        group).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.metrics import roc_auc_score
    >>> from skfcdd.metrics import bootstrap_interval
    >>> y = np.repeat([0, 1], 50)
    >>> score = np.random.default_rng(0).normal(size=100) + 2 * y
    >>> interval = bootstrap_interval(roc_auc_score, y, score, random_state=0)
    >>> interval.low < interval.value < interval.high
    True
    """
    if (known := known_rows(y_true)) is not None:
        check_consistent_length(y_true, y_score, other, groups)
        y_true = [y_true[row] for row in known]
        y_score, other, groups = (
            None if given is None else np.asanyarray(given)[known]
            for given in (y_score, other, groups)
        )
    truth, score = np.asanyarray(y_true), np.asanyarray(y_score)
    rival = None if other is None else np.asanyarray(other)
    check_consistent_length(truth, score, rival, groups)

    def figure(rows: npt.NDArray[np.intp]) -> float:
        value = metric(truth[rows], score[rows])
        return value - (0.0 if rival is None else metric(truth[rows], rival[rows]))

    kind = truth.reshape(len(truth), -1).any(axis=1)
    members = None if groups is None else _members(np.asarray(groups))
    if members is not None:
        kind = np.array([bool(kind[rows].any()) for rows in members])
    strata = tuple(
        np.flatnonzero(kind == k) for k in (False, True) if (kind == k).any()
    )
    if min(len(stratum) for stratum in strata) < 2:
        raise ValueError(
            "Resampling needs at least 2 images (or groups) of each kind. Got "
            f"{int((~kind).sum())} normal and {int(kind.sum())} anomalous."
        )

    def statistic(*drawn: npt.NDArray[np.intp]) -> float:
        units = np.concatenate(drawn)
        if members is None:
            return figure(units)
        return figure(np.concatenate([members[u] for u in units]))

    result = stats.bootstrap(
        strata,
        statistic,
        n_resamples=n_resamples,
        confidence_level=confidence_level,
        vectorized=False,
        method="percentile",
        random_state=check_random_state(random_state),
    )
    low, high = result.confidence_interval
    return Interval(float(figure(np.arange(len(truth)))), float(low), float(high))


def _members(units: npt.NDArray[Any]) -> list[npt.NDArray[np.intp]]:
    """Return the rows of each group."""
    _, number = np.unique(units, return_inverse=True)
    order = np.argsort(number, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(number[order])) + 1)


def wilson_interval(share: float, n: int, level: float = 0.95) -> Interval:
    """Return a fraction of `n` cases with Wilson's confidence interval.

    The fraction need not be a multiple of 1 / n, because ties may count in part.
    """
    z = float(stats.norm.ppf((1 + level) / 2))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    spread = (
        z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    )
    # Rounding must not move the fraction out of its own interval.
    low, high = min(middle - spread, share), max(middle + spread, share)
    return Interval(share, max(0.0, low), min(1.0, high))
