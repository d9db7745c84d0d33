"""Number of calibration images that are needed to detect drift."""

from __future__ import annotations

import math

from skfcdd.monitoring._martingale import Martingale

__all__ = ["n_scores_required"]


def n_scores_required(false_alarm_probability: float) -> int:
    """Return how many calibration images are needed to detect the largest change.

    The guarantee of :class:`DriftMonitor` holds for any number of images. With few of
    them, however, the images after a change soon outnumber those before it, and become
    the new reference. With the returned number, an alarm is raised for a typical stream
    in which every image scores higher than all calibration images. Smaller changes need
    more images.

    Parameters
    ----------
    false_alarm_probability : float
        Probability in (0, 1). For a monitor with k columns, divide it by k.

    Returns
    -------
    int
        Minimum number of calibration images.

    Raises
    ------
    ValueError
        If the probability is not in (0, 1).

    Examples
    --------
    >>> from skfcdd.monitoring import n_scores_required
    >>> n_scores_required(0.01) < n_scores_required(0.0001)
    True
    """
    if not 0 < false_alarm_probability < 1:
        raise ValueError(
            f"Got false_alarm_probability={false_alarm_probability!r}, but expected a "
            "number between 0 and 1."
        )
    level, n = -math.log(false_alarm_probability), 1
    while _best_evidence(n) < level:
        n += 1
    return n


def _best_evidence(n: int) -> float:
    """Return the highest log wealth for a stream with higher scores than `n` others.

    The t-th p-value is uniform between 0 and t / (n + t). Its geometric mean, 1 / e
    times the upper limit, represents a typical stream.
    """
    martingale = Martingale()
    for step in range(1, 2 * n + 3):
        martingale.bet(step / (n + step) / math.e)
    return martingale.log_greatest
