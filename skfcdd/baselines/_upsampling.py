"""Upsampling of maps whose normal cells are not near zero, such as distances.

Gaussians that preserve the mean (:mod:`skfcdd.heatmaps`) do not preserve a constant
map: the result has ripples between cells and at the border. This does not matter if
normal cells are near zero, as in FCDD. Distances and errors are not near zero, so the
ripples would hide defects.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from skfcdd.heatmaps import GaussianUpsampler, gaussian_matrix
from skfcdd.receptive_field import ReceptiveField

__all__ = ["FlatUpsampler", "balanced_matrix", "pixel_upsampler"]

# Rescaling stops when the sums of rows are 1 within this tolerance, or after this many
# steps.
_TOLERANCE, _MOST_STEPS = 0.005, 1000
# Minimum weight before rescaling, so that no row consists of zeros.
_LEAST = 1e-200


def balanced_matrix(
    n_pixels: int, centers: npt.ArrayLike, sigma: float
) -> npt.NDArray[np.float64]:
    """Compute Gaussian weights that preserve both the mean and constant maps.

    The columns are the Gaussians of :func:`skfcdd.heatmaps.gaussian_matrix`; rows and
    columns are rescaled alternately (Sinkhorn and Knopp, 1967).

    Parameters
    ----------
    n_pixels : int
        Number of pixels along the axis.
    centers : array-like of shape (n_cells,)
        Centre of each cell in pixels.
    sigma : float
        Standard deviation in pixels, greater than 0.

    Returns
    -------
    ndarray of shape (n_pixels, n_cells), float64
        Non-negative; columns sum to n_pixels / n_cells, rows to 1 within 0.005
        (slightly more if cells are far from the centre of their share of the pixels).

    Examples
    --------
    >>> from skfcdd.baselines._upsampling import balanced_matrix
    >>> matrix = balanced_matrix(8, [1.5, 5.5], sigma=2.0)
    >>> matrix.sum(axis=0).round(6)
    array([4., 4.])
    >>> bool(abs(matrix.sum(axis=1) - 1).max() <= 0.005)
    True
    """
    matrix = np.maximum(gaussian_matrix(n_pixels, centers, sigma), _LEAST)
    for _ in range(_MOST_STEPS):
        sums = matrix.sum(axis=1, keepdims=True)
        if np.abs(sums - 1).max() <= _TOLERANCE:
            break
        matrix /= sums
        # Columns come last, so that the mean is exact even if the rows are not.
        matrix *= n_pixels / matrix.shape[1] / matrix.sum(axis=0)
    return matrix


class FlatUpsampler(GaussianUpsampler):
    """Upsampler to full resolution that maps a constant map to a constant heatmap.

    Parameters
    ----------
    image_shape : tuple of int (h, w)
        Size of the heatmaps.
    map_shape : tuple of int (u, v)
        Number of cells per axis.
    receptive_field : ReceptiveField
        Defines the positions of the cells, in pixels of the network input.
    sigma : float or None, default=None
        Standard deviation in pixels of the heatmap; None uses half the distance between
        two cells.
    scale : tuple of float, default=(1.0, 1.0)
        Pixels of the heatmap per pixel of the network input.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.baselines._upsampling import FlatUpsampler
    >>> from skfcdd.receptive_field import ReceptiveField
    >>> field = ReceptiveField(extent=(6, 6), stride=(4, 4), offset=(1.5, 1.5))
    >>> heatmaps = FlatUpsampler((16, 12), (4, 3), field)(torch.ones(1, 4, 3))
    >>> torch.allclose(heatmaps, torch.ones(1, 16, 12), atol=0.01)
    True
    """

    def __init__(
        self,
        image_shape: tuple[int, int],
        map_shape: tuple[int, int],
        receptive_field: ReceptiveField,
        sigma: float | None = None,
        scale: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        nn.Module.__init__(self)
        for axis, name in enumerate(("rows", "columns")):
            factor = scale[axis]
            centers = receptive_field.centers(map_shape[axis], axis)
            width = receptive_field.stride[axis] * factor / 2
            matrix = balanced_matrix(
                image_shape[axis],
                (centers + 0.5) * factor - 0.5,
                width if sigma is None else sigma,
            )
            self.register_buffer(name, torch.from_numpy(matrix).float())


def pixel_upsampler(
    image_shape: tuple[int, int], seen: tuple[int, int], sigma: float | None
) -> nn.Module:
    """Create the upsampler of a map with one cell per input pixel, optionally blurred.

    Parameters
    ----------
    image_shape : tuple of int (h, w)
        Size of the original images, and of the heatmaps.
    seen : tuple of int (h, w)
        Size to which the images are resized for the network.
    sigma : float or None
        Standard deviation in pixels of the heatmap; None blurs only as much as the
        change of size requires.
    """
    if seen == image_shape and sigma is None:
        return nn.Identity()
    pixels = ReceptiveField((1.0, 1.0), (1.0, 1.0), (0.0, 0.0))
    scale = (image_shape[0] / seen[0], image_shape[1] / seen[1])
    return FlatUpsampler(image_shape, seen, pixels, sigma, scale)
