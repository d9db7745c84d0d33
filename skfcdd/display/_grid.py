"""Grids of axes with a column for each image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd.display._common import new_figure

__all__ = ["make_grid"]

# In inches: width of an image, its minimum and maximum height, and the space around it
# for the title, gap, colour bar and legend.
_WIDTH, _LEAST, _MOST = 1.5, 0.5, 4.0
_TITLE, _GAP, _BESIDE, _BELOW = 0.19, 0.06, 0.8, 0.3


def make_grid(
    ax: Any, n: int, n_columns: int, n_rows: int, size: tuple[int, int], n_titles: int
) -> tuple[Any, npt.NDArray[Any]]:
    """Create axes of shape (n, n_rows), and return them with their figure.

    Parameters
    ----------
    ax : Axes, array of Axes, or None
        Axes to replace by the grid, axes to use, or None for a new figure.
    n : int
        Number of images.
    n_columns : int
        Number of images side by side.
    n_rows : int
        Number of axes per image, stacked vertically.
    size : tuple of int (h, w)
        Size of the images.
    n_titles : int
        Total number of title lines above the axes of an image.

    Raises
    ------
    ValueError
        If the number of axes is wrong, or `ax` is not in a grid.
    """
    if n_columns < 1:
        raise ValueError(f"Got n_columns={n_columns}, but expected at least 1.")
    if np.ndim(ax) > 0:
        axes = np.asarray(ax, dtype=object)
        if axes.shape != (n, n_rows):
            raise ValueError(
                f"ax must be an array of axes of shape {(n, n_rows)}, one row for each "
                f"image. Got {axes.shape}."
            )
        return axes.flat[0].figure, axes
    n_columns = min(n_columns, n)
    n_blocks = -(-n // n_columns)
    if ax is None:
        height = np.clip(_WIDTH * size[0] / size[1], _LEAST, _MOST)
        block = n_rows * (height + _GAP) + n_titles * _TITLE
        figsize = (_WIDTH * n_columns + _BESIDE, block * n_blocks + _BELOW)
        figure = new_figure(figsize=figsize, layout="compressed")
        grid = figure.add_gridspec(n_blocks * n_rows, n_columns)
    else:
        figure, place = ax.figure, ax.get_subplotspec()
        if place is None:
            raise ValueError(
                "ax is not part of a grid of subplots. Create it with plt.subplots, "
                "or omit it."
            )
        ax.set_axis_off()
        grid = place.subgridspec(n_blocks * n_rows, n_columns)
    axes = np.empty((n, n_rows), dtype=object)
    for k, row in np.ndindex(n, n_rows):
        block, column = divmod(k, n_columns)
        axes[k, row] = figure.add_subplot(grid[block * n_rows + row, column])
    return figure, axes
