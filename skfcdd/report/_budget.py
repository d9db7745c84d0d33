"""Choice of picture size and quality that keeps a report below a given file size."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Budget", "Form", "forms"]

# Factors by which both sides of pictures are scaled, tried in this order.
_SCALES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.42, 0.35, 0.29, 0.24, 0.2, 0.16, 0.12)


@dataclass(frozen=True)
class Form:
    """Storage format of pictures.

    Parameters
    ----------
    quality : int or None
        WebP quality from 1 to 100; None uses PNG, which is lossless.
    scale : float
        Factor by which both sides are scaled.
    """

    quality: int | None
    scale: float = 1.0

    @property
    def exact(self) -> bool:
        return self.quality is None and self.scale == 1


def forms(quality: int | None, max_bytes: int | None) -> list[Form]:
    """Return the formats to try, from the most exact to the smallest.

    Parameters
    ----------
    quality : int or None
        Requested quality; None adapts it to `max_bytes`.
    max_bytes : int or None
        Limit on the size of the pictures; with None, only the first format is
        returned.
    """
    best = Form(quality)
    if max_bytes is None:
        return [best]
    lossy = [] if quality is not None else [Form(q) for q in (90, 80, 70, 60)]
    least = quality or 60
    smaller = [Form(least, s) for s in _SCALES]
    return [best, *lossy, *smaller]


class Budget:
    """Choice of a format for which the pictures fit into a number of bytes.

    Parameters
    ----------
    choices : list of Form
        Formats to choose from, the most exact first.
    max_bytes : int or None
        Limit on the total size of all pictures.

    Attributes
    ----------
    left : int
        Number of pictures still to be written.
    n_bytes : int
        Total size of the pictures written so far.
    """

    def __init__(self, choices: list[Form], max_bytes: int | None) -> None:
        self.choices, self.max_bytes = choices, max_bytes
        self.left = 0
        self.n_bytes = 0
        self._k = 0

    @property
    def form(self) -> Form:
        return self.choices[self._k]

    @property
    def is_least(self) -> bool:
        return self._k == len(self.choices) - 1

    def fits(self, sizes: list[int]) -> bool:
        """Whether the remaining pictures fit if they have the mean size of the samples.

        If not, the next smaller format is chosen.
        """
        mean = sum(sizes) / len(sizes)
        if self.max_bytes is None or self.is_least:
            return True
        # 5 % are reserved because there are only a few samples.
        if self.n_bytes + 1.05 * mean * self.left <= self.max_bytes:
            return True
        self._k += 1
        return False

    def add(self, sizes: list[int]) -> None:
        """Count written pictures; choose a smaller format for the rest if needed."""
        self.n_bytes += sum(sizes)
        self.left -= len(sizes)
        if self.max_bytes is None or self.is_least or not self.left:
            return
        room = (self.max_bytes - self.n_bytes) / self.left
        if sum(sizes) / len(sizes) > 1.25 * room:
            self._k += 1
