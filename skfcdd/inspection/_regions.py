"""Regions of images, given by name, as boxes or as masks."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._inputs.labels import as_truth
from skfcdd._regions import Region
from skfcdd.exceptions import ImageShapeError

__all__ = ["CORNERS", "as_regions", "check_parts"]

CORNERS = ("top_left", "top_right", "bottom_left", "bottom_right")
NAMES = ("border", *CORNERS)
# Default size of a region, as a fraction of the sides.
_BORDER, _CORNER = 1 / 16, 1 / 4

Masks = npt.NDArray[np.bool_]


def as_regions(
    region: Any,
    shape: tuple[int, int, int],
    size: float | None = None,
    name: str = "region",
) -> Masks:
    """Return one region for each of n images, (n, h, w).

    Parameters
    ----------
    region : str, box, Region or array
        See :func:`skfcdd.inspection.region_share`.
    shape : tuple of int (n, h, w)
    size : int or float, default=None
        Size of a region given by name.
    name : str, default="region"
        Argument name in messages.

    Raises
    ------
    ImageShapeError
        If a mask has another size, or a box extends beyond the image.
    ValueError
        If the name or size is invalid, or a mask contains values other than 0 and 1.
    """
    if isinstance(region, str):
        return np.broadcast_to(_named(region, shape[1:], size, name), shape)
    if size is not None:
        raise ValueError(
            f"Got size={size!r}, but only regions given by name have a size."
        )
    if isinstance(region, Region):
        region = region.bbox
    if np.ndim(region) == 1 and len(region) == 4:
        return np.broadcast_to(_box(region, shape[1:], name), shape)
    masks = np.asarray(region)
    if masks.shape not in (shape, shape[1:]):
        raise ImageShapeError(
            f"{name} must be a name, a box (top, left, bottom, right), or a mask of "
            f"shape (h, w) = {shape[1:]} or (n, h, w) = {shape}. Got an array of shape "
            f"{masks.shape}."
        )
    return np.broadcast_to(as_truth(masks), shape)


def check_parts(regions: Masks, name: str = "region") -> None:
    """Raise if a region is empty, or covers a whole image.

    Raises
    ------
    ValueError
        If there is such a region.
    """
    flat = regions.reshape(len(regions), -1)
    for rows, what in ((~flat.any(axis=1), "empty"), (flat.all(axis=1), "the whole")):
        if rows.any():
            raise ValueError(
                f"{name} is {what} in {rows.sum()} image(s), the first in row "
                f"{np.flatnonzero(rows)[0]}: there is nothing to compare. Exclude "
                "these images, or choose another region."
            )


def _named(
    region: str, size: tuple[int, int], extent: float | None, name: str
) -> Masks:
    if region not in NAMES:
        raise ValueError(
            f"Got {name}={region!r}, but expected one of {NAMES}, a box or a mask."
        )
    if region == "border":
        # Equally wide on all sides.
        a = b = _pixels(extent, min(size), _BORDER)
        mask = np.ones(size, dtype=bool)
        mask[a : size[0] - a, b : size[1] - b] = False
        return mask
    a, b = (_pixels(extent, side, _CORNER) for side in size)
    mask = np.zeros(size, dtype=bool)
    rows = slice(0, a) if region.startswith("top") else slice(size[0] - a, None)
    columns = slice(0, b) if region.endswith("left") else slice(size[1] - b, None)
    mask[rows, columns] = True
    return mask


def _pixels(extent: Any, side: int, usual: float) -> int:
    """Convert a size to pixels along a side."""
    extent = usual if extent is None else extent
    whole = isinstance(extent, Integral) and not isinstance(extent, bool)
    if whole and 1 <= int(extent) <= side:
        return int(extent)
    if not whole and isinstance(extent, Real) and 0 < float(extent) < 1:
        return max(1, round(float(extent) * side))
    raise ValueError(
        f"Got size={extent!r}, but expected an int from 1 to {side} (pixels), or a "
        "float between 0 and 1 (share of the side)."
    )


def _box(box: Any, size: tuple[int, int], name: str) -> Masks:
    if not all(isinstance(edge, Integral) for edge in box):
        raise ValueError(f"Got {name}={box!r}, but a box needs four integers.")
    top, left, bottom, right = (int(edge) for edge in box)
    if not (0 <= top < bottom <= size[0] and 0 <= left < right <= size[1]):
        raise ImageShapeError(
            f"Got {name}={(top, left, bottom, right)}, but expected a box (top, left, "
            f"bottom, right) within images of (h, w) = {size}."
        )
    mask = np.zeros(size, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask
