r"""Upsampling of anomaly maps to heatmaps of the size of the image.

The heatmap of an image with anomaly map :math:`A` (u x v) is

.. math:: A' = U_h \, A \, U_w^\top ,

where column :math:`k` of :math:`U_h` (h x u) is a Gaussian over the pixel rows around
the centre of the receptive field of cell row :math:`k`, truncated at the borders of
that field, and likewise for :math:`U_w` and pixel columns. This is the transposed
convolution with a fixed Gaussian kernel of Liznerski et al. (ICLR 2021, algorithm 1),
written as two matrix products, for any image size and aspect ratio. The columns are
scaled such that

.. math:: \operatorname{mean}(A') = \operatorname{mean}(A) = s :

the mean of the pixels equals the anomaly score, even for cells at the image border.

The boundary of a region of interest acts like the image border. Outside the region,
the heatmap is 0, and each cell spreads its value over the pixels inside. The weight
:math:`w_k` of cell :math:`k` is proportional to the number of pixels inside for which
it is the nearest cell. The weights sum to 1, so that the mean of the pixels inside is
:math:`\sum_k w_k A_k = s`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from skfcdd.receptive_field import ReceptiveField

__all__ = ["GaussianUpsampler", "default_sigma", "gaussian_matrix", "heatmap_sigmas"]

# A cell is ignored if its Gaussian has less than this mass in a region of interest, per
# pixel of the region for which it is the nearest cell.
_UNREACHED = 1e-20


def default_sigma(extent: float, stride: float = 1.0) -> float:
    r"""Return the standard deviation of the Gaussian for a receptive field.

    By the rule of the authors of FCDD, it is :math:`\log_{10}(0.45 k + 1) + 0.25` for a
    receptive field of :math:`k < 32` pixels, and 10 otherwise. For :math:`k \ge 64`,
    which exceeds the receptive fields of their networks, it is 12, the largest value
    that they tuned manually. It is at least half the distance between neighbouring
    cells, because narrower Gaussians would appear as a grid of spots.

    Parameters
    ----------
    extent : float
        Extent of the receptive field in pixels; may be infinite.
    stride : float, default=1.0
        Distance between neighbouring cells in pixels.

    Returns
    -------
    float
        Standard deviation in pixels.

    Examples
    --------
    >>> from skfcdd.heatmaps import default_sigma
    >>> round(default_sigma(16), 2), default_sigma(53)
    (1.16, 10.0)
    """
    if extent < 32:
        width = math.log10(0.45 * extent + 1) + 0.25
    else:
        width = 10.0 if extent < 64 else 12.0
    return max(width, stride / 2)


def heatmap_sigmas(
    receptive_field: ReceptiveField,
    sigma: float | tuple[float, float] | None = None,
    scale: tuple[float, float] = (1.0, 1.0),
) -> tuple[float, float]:
    """Return the standard deviations of the Gaussians along both axes of a heatmap.

    Parameters
    ----------
    receptive_field : ReceptiveField
        Receptive field of a cell, in pixels of the network input.
    sigma : float, tuple of float or None, default=None
        Standard deviation in pixels of the heatmap, or one for each axis. None uses
        :func:`default_sigma` for each axis.
    scale : tuple of float, default=(1.0, 1.0)
        Pixels of the heatmap per pixel of the network input.

    Returns
    -------
    tuple of float
        Standard deviations in pixels of the heatmap.

    Examples
    --------
    >>> from skfcdd.heatmaps import heatmap_sigmas
    >>> from skfcdd.receptive_field import ReceptiveField
    >>> field = ReceptiveField(extent=(9, 9), stride=(4, 4), offset=(1.5, 1.5))
    >>> heatmap_sigmas(field, scale=(1.0, 4.0))
    (2.0, 10.0)
    """
    if sigma is not None:
        return sigma if isinstance(sigma, tuple) else (sigma, sigma)
    rows, columns = (
        default_sigma(extent * factor, stride * factor)
        for extent, stride, factor in zip(
            receptive_field.extent, receptive_field.stride, scale, strict=True
        )
    )
    return rows, columns


def gaussian_matrix(
    n_pixels: int,
    centers: npt.ArrayLike,
    sigma: float,
    *,
    extent: float = math.inf,
) -> npt.NDArray[np.float64]:
    """Return a matrix whose columns are the Gaussians of cells along an axis.

    Parameters
    ----------
    n_pixels : int
        Number of pixels along the axis.
    centers : array-like of shape (n_cells,)
        Centre of the receptive field of each cell in pixels; 0 is the centre of the
        first pixel.
    sigma : float
        Standard deviation in pixels, greater than 0.
    extent : float, default=inf
        Extent of the receptive field in pixels, to which each Gaussian is truncated.

    Returns
    -------
    ndarray of shape (n_pixels, n_cells), float64
        Non-negative; each column sums to n_pixels / n_cells.

    Raises
    ------
    ValueError
        If `sigma` is not greater than 0.

    Examples
    --------
    >>> from skfcdd.heatmaps import gaussian_matrix
    >>> gaussian_matrix(4, [0.5, 2.5], sigma=1.0, extent=2)
    array([[1., 0.],
           [1., 0.],
           [0., 1.],
           [0., 1.]])
    """
    if not sigma > 0:
        raise ValueError(f"Got sigma={sigma!r}, but expected a number greater than 0.")
    distance = np.arange(n_pixels)[:, None] - np.asarray(centers, dtype=np.float64)
    exponent = -0.5 * (distance / sigma) ** 2
    # However narrow the extent, a cell affects at least its nearest pixel.
    nearest = np.abs(distance).min(axis=0)
    seen = np.abs(distance) <= np.maximum((extent - 1) / 2, nearest) + 1e-6
    exponent = np.where(seen, exponent, -np.inf)
    weights = np.exp(exponent - exponent.max(axis=0))
    matrix: npt.NDArray[np.float64] = weights * (
        n_pixels / (distance.shape[1] * weights.sum(axis=0))
    )
    return matrix


class GaussianUpsampler(nn.Module):
    """Module that upsamples anomaly maps to heatmaps of one image size.

    Parameters
    ----------
    image_shape : tuple of int (h, w)
        Size of the heatmaps.
    cells_shape : tuple of int (u, v)
        Number of cells along each axis.
    receptive_field : ReceptiveField
        Receptive field of a cell, in pixels of the network input.
    sigma : float, tuple of float or None, default=None
        Standard deviation in pixels of the heatmap, or one for each axis; None uses
        :func:`default_sigma` for each axis.
    scale : tuple of float, default=(1.0, 1.0)
        Pixels of the heatmap per pixel of the network input, if images are resized.
    roi : array-like of shape (h, w), bool, default=None
        Region of interest; the heatmap is 0 outside. None means the whole image.

    Attributes
    ----------
    weights : ndarray of shape (u, v), float64, or None
        With a region of interest, the weight of each cell in the mean of the pixels
        inside. The weights sum to 1.

    Raises
    ------
    ValueError
        If no cell reaches the region of interest.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.heatmaps import GaussianUpsampler
    >>> from skfcdd.receptive_field import ReceptiveField
    >>> field = ReceptiveField(extent=(6, 6), stride=(4, 4), offset=(1.5, 1.5))
    >>> upsample = GaussianUpsampler((16, 12), (4, 3), field)
    >>> cells = torch.rand(5, 4, 3)
    >>> heatmaps = upsample(cells)
    >>> heatmaps.shape
    torch.Size([5, 16, 12])
    >>> torch.allclose(heatmaps.mean(dim=(1, 2)), cells.mean(dim=(1, 2)))
    True
    """

    rows: Tensor
    columns: Tensor
    inside: Tensor
    gains: Tensor
    shares: Tensor
    weights: npt.NDArray[np.float64] | None = None

    def __init__(
        self,
        image_shape: tuple[int, int],
        cells_shape: tuple[int, int],
        receptive_field: ReceptiveField,
        sigma: float | tuple[float, float] | None = None,
        scale: tuple[float, float] = (1.0, 1.0),
        roi: npt.ArrayLike | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(sigma, tuple):
            sigma = heatmap_sigmas(receptive_field, sigma, scale)
        matrices, nearest = [], []
        for axis, name in enumerate(("rows", "columns")):
            factor = scale[axis]
            extent = receptive_field.extent[axis] * factor
            centers = receptive_field.centers(cells_shape[axis], axis)
            centers = (centers + 0.5) * factor - 0.5
            matrix = gaussian_matrix(
                image_shape[axis], centers, sigma[axis], extent=extent
            )
            self.register_buffer(name, torch.from_numpy(matrix).float())
            matrices.append(matrix)
            nearest.append(_nearest(image_shape[axis], centers))
        if roi is not None:
            self._confine(np.asarray(roi, dtype=bool), matrices, nearest)

    def _confine(
        self,
        inside: npt.NDArray[np.bool_],
        matrices: list[npt.NDArray[np.float64]],
        nearest: list[npt.NDArray[np.float64]],
    ) -> None:
        """Confine heatmaps to a region, and weight the cells by their pixels in it."""
        pixels = inside.astype(np.float64)
        own = nearest[0].T @ pixels @ nearest[1]
        mass = matrices[0].T @ pixels @ matrices[1]
        gains = confining_gains(own, mass)
        weights = np.where(gains > 0, own, 0.0)
        self.weights = weights / weights.sum()
        # Not stored in model files, because they are recomputed from the region.
        for name, values in (
            ("inside", pixels),
            ("gains", gains),
            ("shares", self.weights),
        ):
            tensor = torch.from_numpy(values).float()
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, cells: Tensor) -> Tensor:
        """Upsample cells (n, u, v) to heatmaps (n, h, w) of the same data type."""
        with torch.autocast(cells.device.type, enabled=False):
            rows, columns = self.rows.to(cells.dtype), self.columns.to(cells.dtype)
            if self.weights is None:
                return rows @ cells @ columns.T
            heatmaps = rows @ (cells * self.gains.to(cells.dtype)) @ columns.T
            return heatmaps * self.inside.to(cells.dtype)

    def mean(self, cells: Tensor) -> Tensor:
        """Return the mean of each heatmap inside the region, for cells (n, u, v)."""
        if self.weights is None:
            return cells.mean(dim=(1, 2))
        return (cells * self.shares.to(cells)).sum(dim=(1, 2))


def confining_gains(
    own: npt.NDArray[np.float64], mass: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the factors of cells by which their Gaussians fill a region only.

    Parameters
    ----------
    own : ndarray of shape (u, v)
        Number of pixels inside to which each cell is the nearest.
    mass : ndarray of shape (u, v)
        Sum of the Gaussian of each cell over the pixels inside.
    """
    reached = mass > _UNREACHED * own
    weights = np.where(reached, own, 0.0)
    if not weights.any():
        raise ValueError(
            "No cell of the map reaches the region of interest (roi=). Use a "
            "larger region, or a larger heatmap_sigma."
        )
    gains: npt.NDArray[np.float64] = (
        weights / weights.sum() * own.sum() / np.where(reached, mass, 1.0)
    )
    return gains


def _nearest(
    n_pixels: int, centers: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return a matrix (n_pixels, n_cells) with 1 at the cell nearest to each pixel."""
    distance = np.abs(np.arange(n_pixels)[:, None] - centers)
    matrix: npt.NDArray[np.float64] = np.eye(len(centers))[distance.argmin(axis=1)]
    return matrix
