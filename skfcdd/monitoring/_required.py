"""Number of calibration images that are needed to detect drift."""

from __future__ import annotations

import math

from skfcdd.monitoring._martingale import Martingale

__all__ = ["n_scores_required"]


def n_scores_required(false_alarm_probability: float) -> int:
    """Return how many calibration images are needed to detect the largest change.

    The guarantee of :class:`DriftMonitor` holds for any number. With few images,
    however, those after a change soon outnumber those before it, and become the new
    reference. With this number, an alarm is raised for a typical stream in which every
    image scores higher than all calibration images. Smaller changes need more images.

    Parameters
    ----------
    false_alarm_probability : float
        Probability in (0, 1). For a monitor with k columns, divide it by k.

    Returns
    -------
    int

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
            f"Got false_alarm_probability={false_alarm_probability!r}, but expected it "
            f"between 0 and 1."
        )
    level, n = -math.log(false_alarm_probability), 1
    while _best_evidence(n) < level:
        n += 1
    return n


def _best_evidence(n: int) -> float:
    """Logarithm of the highest wealth if all of a stream scores above `n` others.

    The t-th p-value is uniform up to t / (n + t); 1/e of that is its geometric mean.
    """
    martingale = Martingale()
    for step in range(1, 2 * n + 3):
        martingale.bet(step / (n + step) / math.e)
    return martingale.log_greatest
