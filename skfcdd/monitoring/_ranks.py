"""Ranks of scores among those before them, and the course of the evidence."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Ranks", "Trace", "coarse"]

# Bits of a score that count: equal images have scores that differ by a few millionths.
_BITS = 18
# Points of a course that are kept.
_POINTS = 2048


def coarse(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scores to five or six digits, so that those of equal images are mostly equal.

    The same rule for each score, whatever the others are: exchangeable scores stay so.
    """
    mantissa, exponent = np.frexp(scores)
    rounded: npt.NDArray[np.float64] = np.ldexp(
        np.round(np.ldexp(mantissa, _BITS)), exponent - _BITS
    )
    return rounded


class Ranks:
    """Smoothed rank of each score among those kept from before, as a p-value.

    Let all scores be exchangeable, and U be uniform on (0, 1]. Given the *set* of those
    compared, the newest is equally likely to be any of them, so that (number of greater
    ones + U (number of equal ones, itself included)) / number is uniform. All later
    p-values depend on this set and on later scores only, not on which of it came last:
    so p-values are independent.

    At most `size` scores are kept: after each comparison, one of those compared is
    drawn and left out. It is drawn without regard to values and to which came last, so
    that the argument holds for the set that is left.

    Parameters
    ----------
    scores : iterable of float
        Initial scores.
    size : int
        Maximum number of scores that are kept.
    generator : numpy Generator
        Breaks ties, and selects the score to drop.
    """

    def __init__(
        self, scores: Iterable[float], size: int, generator: np.random.Generator
    ) -> None:
        kept = np.array(list(scores), dtype=np.float64)
        if len(kept) > size:
            kept = generator.choice(kept, size, replace=False)
        self.kept: list[float] = sorted(kept.tolist())
        self.size = size
        self.generator = generator

    def __call__(self, score: float) -> float:
        """The p-value of the next score, in (0, 1]; small if it is great."""
        first = bisect.bisect_left(self.kept, score)
        last = bisect.bisect_right(self.kept, score)
        greater, n = len(self.kept) - last, len(self.kept) + 1
        chance = 1 - self.generator.random()
        p = (greater + chance * (1 + last - first)) / n
        self.kept.insert(last, score)
        if n > self.size:
            del self.kept[int(self.generator.integers(n))]
        return p


class Trace:
    """A course of any length, at up to 2048 points that are equally far apart.

    Attributes
    ----------
    stride : int
        Distance between two points.
    values : list of float
        After `stride`, 2 `stride`, ... steps.
    """

    def __init__(self, stride: int = 1, values: Iterable[float] = ()) -> None:
        self.stride = stride
        self.values = list(values)

    def add(self, step: int, value: float) -> None:
        """Note the value after a step, which are counted from 1."""
        if step % self.stride:
            return
        self.values.append(value)
        if len(self.values) == _POINTS:
            self.values = self.values[1::2]
            self.stride *= 2

    def state(self) -> dict[str, Any]:
        """Return the state for JSON."""
        return {"stride": self.stride, "values": self.values}
