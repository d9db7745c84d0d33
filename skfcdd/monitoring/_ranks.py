"""Ranks of scores among earlier ones, and a trace of the evidence."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Ranks", "Trace", "coarse"]

# Bits of a score to keep: the scores of equal images may differ by a few millionths.
_BITS = 18
# Maximum number of points of a trace.
_POINTS = 2048


def coarse(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Round scores to five or six digits, so that those of equal images mostly agree.

    Each score is rounded independently of the others, so that exchangeable scores
    remain exchangeable.
    """
    mantissa, exponent = np.frexp(scores)
    rounded: npt.NDArray[np.float64] = np.ldexp(
        np.round(np.ldexp(mantissa, _BITS)), exponent - _BITS
    )
    return rounded


class Ranks:
    """Smoothed rank of each score among the scores kept so far, as a p-value.

    Let all scores be exchangeable, and let U be uniform on (0, 1]. Given the *set* of
    the compared scores, the newest is equally likely to be any of them. Therefore,
    (number of higher scores + U * number of equal scores, including the newest) /
    number of scores is uniform. All later p-values depend only on this set and on later
    scores, not on which score of the set was the newest, so p-values are independent.

    At most `size` scores are kept: after each comparison, one of the compared scores is
    dropped at random. The choice depends neither on the values nor on which score was
    the newest, so that the argument also holds for the remaining set.

    Parameters
    ----------
    scores : iterable of float
        Initial scores.
    size : int
        Maximum number of scores to keep.
    generator : numpy Generator
        Breaks ties, and chooses the scores to drop.
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
        """Return the p-value of the next score, in (0, 1]; small for high scores."""
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
    """Trace of a value over any number of steps, at fewer than 2048 equidistant steps.

    Attributes
    ----------
    stride : int
        Number of steps between two points.
    values : list of float
        Values after `stride`, 2 `stride`, ... steps.
    """

    def __init__(self, stride: int = 1, values: Iterable[float] = ()) -> None:
        self.stride = stride
        self.values = list(values)

    def add(self, step: int, value: float) -> None:
        """Add the value after a step; the first step has the number 1."""
        if step % self.stride:
            return
        self.values.append(value)
        if len(self.values) == _POINTS:
            self.values = self.values[1::2]
            self.stride *= 2

    def state(self) -> dict[str, Any]:
        """Return the state for JSON."""
        return {"stride": self.stride, "values": self.values}
