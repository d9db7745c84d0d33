"""Confidence interval for the difference between two rates on the same images."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from skfcdd.metrics import Interval

__all__ = ["paired_difference"]


def paired_difference(
    first: npt.NDArray[np.bool_],
    second: npt.NDArray[np.bool_],
    confidence_level: float,
) -> Interval:
    r"""Compute the rate of True in `second` minus `first`, with a confidence interval.

    A bootstrap interval would have zero width if both agree on every image, however few
    images there are. Instead, half an image is added to each of the four cells of the
    2 x 2 table. The coverage of the Wald interval is then close to nominal even for
    small samples [1]_.

    References
    ----------
    .. [1] Agresti and Min, "Simple improved confidence intervals for comparing matched
       proportions", Statistics in Medicine 24, 2005.
    """
    n = len(first)
    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    more, fewer, total = gained + 0.5, lost + 0.5, n + 2.0
    middle = (more - fewer) / total
    spread = math.sqrt(more + fewer - (more - fewer) ** 2 / total) / total
    reach = float(norm.ppf((1 + confidence_level) / 2)) * spread
    low, high = max(-1.0, middle - reach), min(1.0, middle + reach)
    return Interval((gained - lost) / n, low, high)
