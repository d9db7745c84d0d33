"""Regular grids fitted to the centres of receptive fields."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Grid", "fit_grid"]

# A rounder stride is preferred unless its error is larger by more than this factor.
_WORSE = 1.25


@dataclass(frozen=True)
class Grid:
    """Grid of cells along an axis.

    Parameters
    ----------
    extent : float
        Maximum number of pixels in a receptive field.
    sharp : float
        Maximum for the channels with the smallest receptive field.
    stride : float
        Distance between neighbouring cells.
    offset : float
        Centre of the first cell.
    slack : float
        Maximum distance between the measured and the predicted receptive fields.
    exact : bool
        Whether all fitted cells are on the grid.
    regular : bool
        Whether all cells are within half a stride of the grid.
    n_fitted : int
        Number of fitted cells.
    placed : bool, default=True
        Whether the grid is valid for the image, and not only for a larger one.
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
        """Whether `n_cells` cells cover approximately `n_pixels` pixels."""
        usual = n_pixels / n_cells
        within = (n_cells - 1) * self.stride <= n_pixels + self.extent
        return self.exact and self.stride >= usual / 2 and within

    def nowhere(self) -> Grid:
        """Return the grid, marked as invalid for the image."""
        return replace(self, regular=False, placed=False)


def fit_grid(
    numbers: npt.NDArray[np.intp], edges: npt.NDArray[Any], usual: float
) -> Grid:
    """Fit a grid to measured cells.

    Parameters
    ----------
    numbers : ndarray of int (cells,)
        Indices of at least two cells, in increasing order.
    edges : ndarray (2, cells, 2)
        First and last pixel of the receptive fields, of all channels and of only the
        sharpest ones.
    usual : float
        Distance between cells if they were spaced evenly over the image.
    """
    spans = edges[..., 1] - edges[..., 0] + 1.0
    centers = edges[1].mean(axis=-1)
    apart = np.diff(centers) / np.diff(numbers)
    fits = [
        (stride, *_offset(numbers, centers, stride))
        for stride in _strides(numbers, centers, usual)
    ]
    least = min(error for _, _, error in fits)
    # If all cells deviate about equally because they form groups, even spacing is
    # accepted: its errors at the ends are smaller than those of extrapolation from a
    # few cells.
    limits = {usual: max(_WORSE * least, apart.max() / 2) if least > 1e-9 else 0.0}
    stride, offset, error = next(
        f for f in fits if f[2] <= limits.get(f[0], _WORSE * least) + 1e-9
    )
    # Cells that share their receptive field form groups, with jumps in between.
    regular = stride > 0 and error <= max(stride, apart.max()) / 2 + 1e-9
    varied = (spans[1].max() - spans[1].min()) / 2
    extent, sharp = (float(s.max()) for s in spans)
    # The last cell of an upsampled map has a field further inside than predicted.
    slack = float(error + varied + apart.max())
    exact, n = error <= 1e-9, len(numbers)
    return Grid(extent, sharp, stride, offset, slack, exact, bool(regular), n)


def _strides(
    numbers: npt.NDArray[np.intp], centers: npt.NDArray[np.floating], usual: float
) -> list[float]:
    """Return candidate strides, the roundest first."""
    ends = float((centers[-1] - centers[0]) / (numbers[-1] - numbers[0]))
    fitted = float(np.polyfit(numbers, centers, 1)[0])
    whole = [float(round(s)) for s in (usual, ends, fitted) if round(s) >= 1]
    return [*whole, usual, ends, fitted]


def _offset(
    numbers: npt.NDArray[np.intp], centers: npt.NDArray[np.floating], stride: float
) -> tuple[float, float]:
    """Return the offset with the smallest maximum deviation, and that deviation."""
    rest = centers - stride * numbers
    return float(rest.max() + rest.min()) / 2, float(rest.max() - rest.min()) / 2
