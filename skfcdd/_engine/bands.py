"""Heatmaps of large images, band by band."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from skfcdd._engine.model import FittedModel
from skfcdd._engine.other_size import field_at
from skfcdd.heatmaps import confining_gains, gaussian_matrix, heatmap_sigmas

__all__ = ["BAND", "banded_gaussians", "heatmap_bands"]

# Number of rows of a large image or of its heatmap that are processed together.
BAND = 512


class _Band(NamedTuple):
    """Band of pixels along an axis, the cells that affect it, and their weights."""

    pixels: slice
    near: slice
    weights: npt.NDArray[np.float32]


def banded_gaussians(
    n_pixels: int, centers: npt.NDArray[np.float64], sigma: float, extent: float
) -> list[_Band]:
    """Compute :func:`~skfcdd.heatmaps.gaussian_matrix` in bands, omitting most zeros.

    Parameters
    ----------
    n_pixels : int
        Length of the axis.
    centers : ndarray of shape (n_cells,)
        Centre of the receptive field of each cell, in pixels.
    sigma : float
        Standard deviation of the Gaussian, in pixels.
    extent : float
        Extent of the receptive field, in pixels.
    """
    blocks, n_cells = [], len(centers)
    for start in range(0, n_cells, BAND):
        own = centers[start : start + BAND]
        first = min(max(0, math.floor(own[0] - extent)), n_pixels - 1)
        last = min(n_pixels, max(first, math.ceil(own[-1] + extent)) + 1)
        matrix = gaussian_matrix(last - first, own - first, sigma, extent=extent)
        matrix *= n_pixels / n_cells * len(own) / (last - first)
        rows, columns = np.nonzero(matrix)
        blocks.append((matrix[rows, columns], rows + first, columns + start))
    values, rows, columns = (np.concatenate(x) for x in zip(*blocks, strict=True))
    shape = (n_pixels, n_cells)
    whole = sparse.csr_array((values, (rows, columns)), shape, dtype=np.float32)
    bands = []
    for start in range(0, n_pixels, BAND):
        pixels = slice(start, min(start + BAND, n_pixels))
        part = whole[pixels]
        first, last = part.indices.min(initial=n_cells), part.indices.max(initial=-1)
        near = slice(int(first), int(last) + 1)
        bands.append(_Band(pixels, near, part[:, near].toarray()))
    return bands


def heatmap_bands(
    model: FittedModel,
    anomaly_map: npt.NDArray[np.float32],
    size: tuple[int, int],
    roi: npt.NDArray[np.bool_] | None = None,
) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    """Yield the rows of each band, and the heatmap in it.

    Parameters
    ----------
    model : FittedModel
    anomaly_map : ndarray of shape (u, v)
    size : tuple of int (h, w)
        Size of the image.
    roi : ndarray of shape (h, w), bool, or None
        Region to which the heatmap is confined.
    """
    field = field_at(model, size)
    sigmas = heatmap_sigmas(field, model.heatmap_sigmas)
    centers = [field.centers(anomaly_map.shape[axis], axis) for axis in (0, 1)]
    rows, columns = (
        banded_gaussians(size[axis], centers[axis], sigmas[axis], field.extent[axis])
        for axis in (0, 1)
    )
    if roi is not None:
        anomaly_map = anomaly_map * _gains(roi, rows, columns, centers)
    for band in rows:
        spread = band.weights @ anomaly_map[band.near]
        parts = [spread[:, own.near] @ own.weights.T for own in columns]
        heat = np.concatenate(parts, axis=1)
        yield band.pixels, heat if roi is None else heat * roi[band.pixels]


def _gains(
    roi: npt.NDArray[np.bool_],
    rows: list[_Band],
    columns: list[_Band],
    centers: list[npt.NDArray[np.float64]],
) -> npt.NDArray[np.float32]:
    """Return the factors (u, v) of cells that confine a heatmap to a region.

    As ``gains`` of :class:`~skfcdd.heatmaps.GaussianUpsampler`, in bands.
    """
    u, v = map(len, centers)
    own, mass = np.zeros((u, v)), np.zeros((u, v))
    cell_of = [
        np.searchsorted((c[1:] + c[:-1]) / 2, np.arange(n))
        for c, n in zip(centers, roi.shape, strict=True)
    ]
    for band in rows:
        part = roi[band.pixels].astype(np.float32)
        y, x = np.nonzero(part)
        cells = cell_of[0][band.pixels][y] * v + cell_of[1][x]
        own += np.bincount(cells, minlength=u * v).reshape(u, v)
        spread = np.zeros((len(part), v), dtype=np.float32)
        for each in columns:
            spread[:, each.near] += part[:, each.pixels] @ each.weights
        mass[band.near] += band.weights.T @ spread
    return confining_gains(own, mass).astype(np.float32)
