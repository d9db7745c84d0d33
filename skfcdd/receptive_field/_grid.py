"""A regular grid through the middles of what cells see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Grid", "fit_grid"]

# A rounder stride is taken if it is not this much worse.
_WORSE = 1.25


@dataclass(frozen=True)
class Grid:
    """Cells along an axis.

    Parameters
    ----------
    extent : float
        Pixels that a cell sees, at most.
    sharp : float
        The same in the channels that see least.
    stride : float
        Distance between neighbours.
    offset : float
        Centre of the first one.
    slack : float
        How far what a cell sees may be from what the grid says.
    exact : bool
        Whether all cells through which it was laid are on it.
    regular : bool
        Whether no cell is further from the grid than half the way to the next.
    n_fitted : int
        Number of cells through which it was laid.
    placed : bool, default=True
        Whether the grid holds for the image, and not for a larger one alone.
    """

    extent: float
    sharp: float
    stride: float
    offset: float
    slack: float
    exact: bool
    regular: bool
    n_fitted: int
    placed: bool = True

    def spans(self, n_cells: int, n_pixels: int) -> bool:
        """Whether so many cells take about the whole of so many pixels."""
        usual = n_pixels / n_cells
        within = (n_cells - 1) * self.stride <= n_pixels + self.extent
        return self.exact and self.stride >= usual / 2 and within

    def nowhere(self) -> Grid:
        """The grid of another image."""
        return replace(self, regular=False, placed=False)


def fit_grid(
    numbers: npt.NDArray[np.intp], edges: npt.NDArray[Any], usual: float
) -> Grid:
    """The grid of cells with these numbers and edges.

    Parameters
    ----------
    numbers : ndarray of int (cells,)
        In increasing order, at least two.
    edges : ndarray (2, cells, 2)
        First and last pixel that cells see, in any channel and in the sharpest ones.
    usual : float
        Distance between cells that are spread evenly.
    """
    spans = edges[..., 1] - edges[..., 0] + 1.0
    centers = edges[1].mean(axis=-1)
    apart = np.diff(centers) / np.diff(numbers)
    fits = [
        (stride, *_offset(numbers, centers, stride))
        for stride in _strides(numbers, centers, usual)
    ]
    least = min(error for _, _, error in fits)
    # Cells that are all about as far off as they stand in groups may as well be spread
    # evenly, which errs less at the ends than what a few of them seem to say.
    limits = {usual: max(_WORSE * least, apart.max() / 2) if least > 1e-9 else 0.0}
    stride, offset, error = next(
        f for f in fits if f[2] <= limits.get(f[0], _WORSE * least) + 1e-9
    )
    # Cells that share what they see stand in groups, which jump from one to the next.
    regular = stride > 0 and error <= max(stride, apart.max()) / 2 + 1e-9
    varied = (spans[1].max() - spans[1].min()) / 2
    extent, sharp = (float(s.max()) for s in spans)
    # Enlarged maps end with a cell that looks inwards, where others look outwards.
    slack = float(error + varied + apart.max())
    exact, n = error <= 1e-9, len(numbers)
    return Grid(extent, sharp, stride, offset, slack, exact, bool(regular), n)


def _strides(
    numbers: npt.NDArray[np.intp], centers: npt.NDArray[np.floating], usual: float
) -> list[float]:
    """Strides to try, the roundest first."""
    ends = float((centers[-1] - centers[0]) / (numbers[-1] - numbers[0]))
    fitted = float(np.polyfit(numbers, centers, 1)[0])
    whole = [float(round(s)) for s in (usual, ends, fitted) if round(s) >= 1]
    return [*whole, usual, ends, fitted]


def _offset(
    numbers: npt.NDArray[np.intp], centers: npt.NDArray[np.floating], stride: float
) -> tuple[float, float]:
    """Offset that is best in the worst cell, and how far off that cell is."""
    rest = centers - stride * numbers
    return float(rest.max() + rest.min()) / 2, float(rest.max() - rest.min()) / 2
