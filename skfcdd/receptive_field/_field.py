"""Receptive field and positions of the cells of a feature map."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["ReceptiveField"]

Places = tuple[float, ...] | None


@dataclass(frozen=True)
class ReceptiveField:
    """Receptive field of the cells of a feature map, in pixels, as (rows, columns).

    Parameters
    ----------
    extent : tuple of float
        Number of pixels that a cell depends on; infinite if it depends on all.
    stride : tuple of float
        Distance between the centres of neighbouring cells.
    offset : tuple of float
        Centre of the first cell; 0 is the centre of the first pixel.
    places : tuple of (tuple of float or None), default=None
        Centres of all cells along each axis on which they do not form a regular grid;
        `stride` is then their mean distance. None if `stride` and `offset` determine
        the centres.

    Examples
    --------
    >>> from skfcdd.receptive_field import ReceptiveField
    >>> field = ReceptiveField(extent=(6, 6), stride=(4, 4), offset=(1.5, 1.5))
    >>> field.centers(3)
    array([1.5, 5.5, 9.5])
    >>> field.share((12, 24))
    (0.5, 0.25)
    """

    extent: tuple[float, float]
    stride: tuple[float, float]
    offset: tuple[float, float]
    places: tuple[Places, Places] | None = field(default=None, repr=False)

    @property
    def regular(self) -> bool:
        """Whether the cells are on a regular grid."""
        return self.places is None

    def centers(self, n_cells: int, axis: int = 0) -> npt.NDArray[np.float64]:
        """Compute the centres of the first `n_cells` cells along an axis, in pixels.

        Parameters
        ----------
        n_cells : int
            Number of cells along the axis.
        axis : {0, 1}, default=0
            0 for rows, 1 for columns.

        Returns
        -------
        ndarray of shape (n_cells,), float64

        Raises
        ------
        ValueError
            If the cells are not on a regular grid, and the field was measured for fewer
            cells.
        """
        own = None if self.places is None else self.places[axis]
        if own is None:
            numbers = np.arange(n_cells, dtype=np.float64)
            return self.offset[axis] + numbers * self.stride[axis]
        if n_cells > len(own):
            raise ValueError(
                f"Got n_cells={n_cells}, but the field was measured for {len(own)} "
                f"cells along axis {axis}, which are not on a regular grid. Measure "
                "it for images of the intended size."
            )
        return np.array(own[:n_cells], dtype=np.float64)

    def share(self, image_shape: tuple[int, int]) -> tuple[float, float]:
        """Compute the extent as a fraction of the image size, at most 1, per axis.

        Parameters
        ----------
        image_shape : tuple of int (h, w)
            Size of the image.

        Returns
        -------
        tuple of float
        """
        rows, columns = (
            min(1.0, r / n) for r, n in zip(self.extent, image_shape, strict=True)
        )
        return rows, columns
