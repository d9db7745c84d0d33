"""How many images it takes to calibrate on, for an alarm to be possible."""

from __future__ import annotations

import math

from skfcdd.monitoring._martingale import Martingale

__all__ = ["n_scores_required"]


def n_scores_required(false_alarm_probability: float) -> int:
    """Number of calibration images that it takes to notice the greatest change.

    The guarantee of :class:`DriftMonitor` holds for any number. But with few images,
    those after a change soon outnumber those before, and are then what is usual. With
    this number, an alarm is raised by a typical stream in which every image scores
    higher than all of calibration. Smaller changes take more.

    Parameters
    ----------
    false_alarm_probability : float
        In (0, 1); of a monitor with k columns, that divided by k.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If it is not in (0, 1).

    Examples
    --------
    >>> from skfcdd.monitoring import n_scores_required
    >>> n_scores_required(0.01) < n_scores_required(0.0001)
    True
    """
    if not 0 < false_alarm_probability < 1:
        raise ValueError(
            f"Got false_alarm_probability={false_alarm_probability!r}, but expected it "
            f"between 0 and 1."
        )
    level, n = -math.log(false_alarm_probability), 1
    while _best_evidence(n) < level:
        n += 1
    return n


def _best_evidence(n: int) -> float:
    """Logarithm of the greatest wealth if all of a stream scores above `n` others.

    The t-th p-value is uniform up to t / (n + t); 1/e of that is its geometric mean.
    """
    martingale = Martingale()
    for step in range(1, 2 * n + 3):
        martingale.bet(step / (n + step) / math.e)
    return martingale.log_greatest
