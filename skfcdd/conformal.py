r"""Conformal prediction from scores of normal images not used for training.

Let :math:`s_1, \dots, s_n` be the scores of `n` normal images that were not used for
training, and :math:`s` that of a new image. If the new image is normal too, all
:math:`n + 1` scores are exchangeable, and the rank of :math:`s` among them is uniform.
All guarantees follow from this [1]_ [2]_, for any network and any distribution of
scores. They do not hold if the new images differ from the held-out ones, for example
in lighting or camera, or if the training images show the same parts as the held-out
ones.

Photographs of the same part resemble each other and are not exchangeable. With
`groups`, only whole groups are assumed to be exchangeable: each group has weight 1,
which is divided equally among its images [3]_. The number of groups then replaces the
number of images.

References
----------
.. [1] Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005.
.. [2] Bates, Candes, Lei, Romano and Sesia, "Testing for outliers with conformal
   p-values", Annals of Statistics 51, 2023.
.. [3] Lee, Barber and Willett, "Distribution-free inference with hierarchical data",
   2023.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, false_discovery_control
from sklearn.utils import check_array, check_random_state

from skfcdd._verdicts import SLACK
from skfcdd.exceptions import CalibrationError

__all__ = [
    "conformal_p_values",
    "false_alarm_threshold",
    "n_calibration_required",
    "select_discoveries",
]

# Tolerance for rounding errors of products such as 0.29 * 100.
_ROUNDING = 1e-9


def conformal_p_values(
    calibration_scores: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    smoothed: bool = False,
    random_state: Any = None,
) -> npt.NDArray[np.float64]:
    r"""Compute p-values for the hypothesis that an image is normal.

    .. math:: p = \frac{1 + \#\{i : s_i \ge s\}}{n + 1}

    For a normal image, :math:`P(p \le \alpha) \le \alpha` for every :math:`\alpha`.
    Calibration scores equal to the new score increase the p-value, so that the
    guarantee also holds with ties. Scores with a relative difference of less than three
    millionths are treated as equal: due to rounding, the score of an image can differ
    by this much depending on the other images in its batch.

    Parameters
    ----------
    calibration_scores : array-like of shape (n_calibration,)
        Scores of held-out normal images; higher is more anomalous.
    scores : array-like of shape (n,)
        Scores of new images.
    groups : array-like of shape (n_calibration,), default=None
        Group of each calibration image. Each group counts as one image: in the
        numerator, it contributes the proportion of its images with at least this score,
        and :math:`n` is the number of groups.
    smoothed : bool, default=False
        Whether to break ties at random, including that of the image with itself. The
        p-values of normal images are then exactly uniform, but depend on
        `random_state`.
    random_state : int, RandomState instance or None, default=None
        Random state for breaking ties if `smoothed` is True.

    Returns
    -------
    ndarray of shape (n,), float64
        p-values in [1 / (n_calibration + 1), 1], or in [0, 1] if `smoothed`. With
        `groups`, `n_calibration` is the number of groups.

    Raises
    ------
    ValueError
        If scores are missing or not finite, or `groups` has a different length.

    Examples
    --------
    >>> from skfcdd.conformal import conformal_p_values
    >>> conformal_p_values([0.1, 0.2, 0.3, 0.4], [0.05, 0.3, 0.9])
    array([1. , 0.6, 0.2])
    """
    calibration, above, n = _ranked(calibration_scores, groups)
    new = _check_scores(scores, "scores", may_be_empty=True)
    slack = SLACK * np.abs(new)
    at_least = above[np.searchsorted(calibration, new - slack, side="left")]
    if not smoothed:
        return (1 + at_least) / (n + 1)
    greater = above[np.searchsorted(calibration, new + slack, side="right")]
    chance = check_random_state(random_state).uniform(size=len(new))
    p: npt.NDArray[np.float64] = (greater + chance * (1 + at_least - greater)) / (n + 1)
    return p


def false_alarm_threshold(
    calibration_scores: npt.ArrayLike,
    rate: float,
    *,
    confidence: float | None = None,
    groups: npt.ArrayLike | None = None,
) -> float:
    r"""Compute the lowest threshold that limits the rate of false alarms.

    Without `confidence`, a new normal image is above the threshold with a probability
    of at most `rate` :math:`= \alpha`, on average over calibration sets: the threshold
    is the :math:`\lceil (n + 1)(1 - \alpha) \rceil`-th smallest calibration score.

    With `confidence`, the limit holds for *this* calibration set: with a probability of
    at least `confidence`, the rate of false alarms of its threshold is at most `rate`.
    At most :math:`j` calibration scores are then above the threshold, where :math:`j`
    is the largest number with
    :math:`P(\mathrm{Bin}(n, \alpha) \le j) \le 1 -` `confidence`.

    Parameters
    ----------
    calibration_scores : array-like of shape (n_calibration,)
        Scores of held-out normal images; higher is more anomalous.
    rate : float
        Proportion of normal images that may be above the threshold, in (0, 1).
    confidence : float, default=None
        Probability that the rate holds for this calibration set, in (0, 1). None
        limits the rate on average over calibration sets.
    groups : array-like of shape (n_calibration,), default=None
        Group of each image, as for :func:`conformal_p_values`. With `confidence`, each
        group is represented by its highest score.

    Returns
    -------
    float
        Threshold. Images with a higher score are anomalies.

    Raises
    ------
    CalibrationError
        If there are too few calibration scores for the guarantee; the message states
        how many are needed.

    Examples
    --------
    >>> import numpy as np
    >>> from skfcdd.conformal import false_alarm_threshold
    >>> scores = np.arange(1, 100)
    >>> false_alarm_threshold(scores, 0.05)
    95.0
    >>> false_alarm_threshold(scores, 0.05, confidence=0.95)
    98.0
    """
    calibration, above, n = _ranked(calibration_scores, groups)
    needed = n_calibration_required(rate, confidence=confidence)
    if n < needed:
        promise = f"rate={rate:g}"
        if confidence is not None:
            promise += f" with confidence={confidence:g}"
        kind = "images" if groups is None else "groups of images"
        raise CalibrationError(
            f"Got {promise}, which needs the scores of at least {needed} normal "
            f"{kind} that were not used for training, but there are {n}. Increase "
            "validation_fraction=, call calibrate with more normal images, or allow "
            "more false alarms."
        )
    if confidence is None:
        most = (n + 1) * rate - 1
    else:
        if groups is not None:  # a bound for group maxima also holds for images
            names, groups = np.unique(np.asarray(groups), return_inverse=True)
            greatest = np.zeros(len(names))
            np.maximum.at(greatest, groups, np.asarray(calibration_scores, dtype=float))
            calibration, above, n = _ranked(greatest, None)
        most = int(binom.ppf(1 - confidence, n, rate))
        # ppf returns the first count whose probability is at least this high.
        most -= most > 0 and binom.cdf(most, n, rate) > 1 - confidence
    # The first score with at most this many above it.
    return float(calibration[np.argmax(above[1:] <= most + n * _ROUNDING)])


def n_calibration_required(rate: float, *, confidence: float | None = None) -> int:
    """Return how many calibration images are needed for a rate of false alarms.

    Parameters
    ----------
    rate, confidence : float
        As for :func:`false_alarm_threshold`.

    Returns
    -------
    int
        Minimum number of normal images.

    Raises
    ------
    ValueError
        If `rate` or `confidence` is not in (0, 1).

    Examples
    --------
    >>> from skfcdd.conformal import n_calibration_required
    >>> n_calibration_required(0.01)
    99
    >>> n_calibration_required(0.01, confidence=0.95)
    299
    """
    for name, value in (("rate", rate), ("confidence", confidence)):
        if value is not None and not 0 < value < 1:
            raise ValueError(f"Got {name}={value!r}, but expected a number in (0, 1).")
    if confidence is None:
        return max(1, math.ceil(1 / rate - 1 - _ROUNDING))
    needed = math.log1p(-confidence) / math.log1p(-rate)
    return max(1, math.ceil(needed - _ROUNDING))


def select_discoveries(
    p_values: npt.ArrayLike, n_calibration: int, *, rate: float = 0.1
) -> npt.NDArray[np.bool_]:
    """Select anomalies in a batch while controlling the false discovery rate.

    With the procedure of Benjamini and Hochberg, the expected proportion of normal
    images among the selected ones is at most `rate`. This also holds for conformal
    p-values, although they share one calibration set (Bates et al. 2023, theorem 2).

    Parameters
    ----------
    p_values : array-like of shape (n,)
        p-values from :func:`conformal_p_values`, not smoothed.
    n_calibration : int
        Number of calibration scores that the p-values were computed from.
    rate : float, default=0.1
        False discovery rate, in (0, 1).

    Returns
    -------
    ndarray of shape (n,), bool
        True for selected images.

    Raises
    ------
    CalibrationError
        If there are too few calibration scores for any p-value to be selected.
    ValueError
        If p-values are not in [0, 1].

    Examples
    --------
    >>> from skfcdd.conformal import select_discoveries
    >>> select_discoveries([0.01, 0.02, 0.3, 0.8], n_calibration=99, rate=0.1)
    array([ True,  True, False, False])
    """
    needed = n_calibration_required(rate)
    if n_calibration < needed:
        raise CalibrationError(
            f"With {n_calibration} calibration images, no p-value is below "
            f"1/{n_calibration + 1}, so nothing can be selected at rate={rate:g}. At "
            f"least {needed} are needed, or m times as many if one image in m is "
            "anomalous. Increase validation_fraction=, or call calibrate with more "
            "normal images."
        )
    p = _check_scores(p_values, "p_values", may_be_empty=True)
    if len(p) == 0:
        return np.zeros(0, dtype=bool)
    selected: npt.NDArray[np.bool_] = false_discovery_control(p) <= rate + _ROUNDING
    return selected


def _ranked(
    scores: npt.ArrayLike, groups: npt.ArrayLike | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], int]:
    """Return sorted scores, the weight of all scores >= each, and the total weight.

    Each image has weight 1 or, with groups, each group has weight 1.
    """
    checked = _check_scores(scores, "calibration_scores")
    order = np.argsort(checked, kind="stable")
    weights, n = np.ones(len(checked)), len(checked)
    if groups is not None:
        names = np.asarray(groups)
        if names.shape != checked.shape:
            raise ValueError(
                f"groups must name the group of each of the {len(checked)} "
                f"calibration scores. Got the shape {names.shape}."
            )
        _, index, sizes = np.unique(names, return_inverse=True, return_counts=True)
        weights, n = 1 / sizes[index], len(sizes)
    above = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)
    return checked[order], above, n


def _check_scores(
    scores: npt.ArrayLike, name: str, *, may_be_empty: bool = False
) -> npt.NDArray[np.float64]:
    checked: npt.NDArray[np.float64] = check_array(
        scores,
        dtype=np.float64,
        ensure_2d=False,
        ensure_min_samples=0 if may_be_empty else 1,
        input_name=name,
    )
    if checked.ndim != 1:
        raise ValueError(f"{name} must be of shape (n,). Got {checked.shape}.")
    return checked
