"""From cells to scores."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["pool_cells"]

Scores = npt.NDArray[np.float64]


def pool_cells(
    cells: npt.NDArray[np.floating], pooling: str | float
) -> npt.NDArray[np.float64]:
    """Scores (n,), float64, from cells (n, u, v).

    Parameters
    ----------
    cells : ndarray of shape (n, u, v)
        Non-negative cells of the network.
    pooling : {"mean", "max"} or float
        A float is the share of greatest cells to average, at least one cell.
    """
    flat = cells.reshape(len(cells), -1).astype(np.float64)
    n_cells = flat.shape[1]
    if pooling == "mean":
        return flat.mean(axis=1)
    # 7 % of 100 cells are 7 cells, although 0.07 * 100 is a little more than 7.
    count = 1 if pooling == "max" else math.ceil(float(pooling) * n_cells - 1e-9)
    if count >= n_cells:
        return flat.mean(axis=1)
    top = np.partition(flat, n_cells - count, axis=1)[:, n_cells - count :]
    # Summing in sort order makes the result independent of where the cells stand.
    scores: Scores = np.sort(top, axis=1).mean(axis=1)
    return scores
