"""Choice of picture sizes and quality that keeps a report below a given size."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Budget", "Form", "forms"]

# Shares of the sides of pictures that are kept, one after another.
_SCALES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.42, 0.35, 0.29, 0.24, 0.2, 0.16, 0.12)


@dataclass(frozen=True)
class Form:
    """Storage format of pictures.

    Parameters
    ----------
    quality : int or None
        WebP quality from 1 to 100; None uses PNG, which keeps every value.
    scale : float
        Share of its sides that is kept.
    """

    quality: int | None
    scale: float = 1.0

    @property
    def exact(self) -> bool:
        return self.quality is None and self.scale == 1


def forms(quality: int | None, max_bytes: int | None) -> list[Form]:
    """Forms to be tried, from the most exact one to the smallest.

    Parameters
    ----------
    quality : int or None
        The requested one; None adapts it to the size.
    max_bytes : int or None
        None keeps the first form.
    """
    best = Form(quality)
    if max_bytes is None:
        return [best]
    lossy = [] if quality is not None else [Form(q) for q in (90, 80, 70, 60)]
    least = quality or 60
    smaller = [Form(least, s) for s in _SCALES]
    return [best, *lossy, *smaller]


class Budget:
    """The form in which pictures are stored, and how many bytes are left for them.

    Parameters
    ----------
    choices : list of Form
        Formats to choose from, the most exact first.
    max_bytes : int or None
        Limit for all pictures together.

    Attributes
    ----------
    left : int
        Number of pictures that are still to be written.
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
        """Whether all that is left fits, if it is as large as these samples on average.

        If not, the next form is taken.
        """
        mean = sum(sizes) / len(sizes)
        if self.max_bytes is None or self.is_least:
            return True
        # Samples are few: a little room is kept.
        if self.n_bytes + 1.05 * mean * self.left <= self.max_bytes:
            return True
        self._k += 1
        return False

    def add(self, sizes: list[int]) -> None:
        """Count pictures that were written; those after them may have to be smaller."""
        self.n_bytes += sum(sizes)
        self.left -= len(sizes)
        if self.max_bytes is None or self.is_least or not self.left:
            return
        room = (self.max_bytes - self.n_bytes) / self.left
        if sum(sizes) / len(sizes) > 1.25 * room:
            self._k += 1
