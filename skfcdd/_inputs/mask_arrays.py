"""Conversion of masks with a channel axis to one plane per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["as_plane", "as_planes", "known_rows"]

# Number of equal channels of a grey image saved in colour.
_COLOURS = 3
# Channels are compared in blocks of about this many values, so that a memory-mapped
# file is not loaded as a whole.
_BLOCK = 1 << 24


def as_planes(masks: npt.NDArray[Any], shape: Sequence[int]) -> npt.NDArray[Any]:
    """Return masks without their channel axis, as a view (n, h, w).

    The channel axis may be first or last, with one channel or three equal ones.

    Parameters
    ----------
    masks : ndarray
    shape : sequence of int
        Expected shape (n, h, w). Masks that do not match are returned unchanged.

    Raises
    ------
    ValueError
        If the masks contain colours, whose meaning is unknown.
    """
    n, *size = shape
    if masks.ndim != len(shape) + 1:
        return masks
    for c in (1, _COLOURS):
        for axis, place in ((masks.ndim - 1, (n, *size, c)), (1, (n, c, *size))):
            if masks.shape == place:
                return _plane(masks, axis)
    return masks


def as_plane(mask: Any, size: Sequence[int]) -> npt.NDArray[Any]:
    """Return one mask without its channel axis, as an array (h, w)."""
    array = np.asarray(mask)
    return as_planes(array[None], (1, *size))[0] if array.ndim else array


def _plane(masks: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    first = np.moveaxis(masks, axis, 0)[0]
    step = max(1, _BLOCK // max(1, masks[:1].size))
    for start in range(0, len(masks) if masks.shape[axis] > 1 else 0, step):
        rows = slice(start, start + step)
        if (masks[rows] != np.expand_dims(first[rows], axis)).any():
            raise ValueError(
                f"masks of shape {masks.shape} have a colour axis, and it is unknown "
                "which colours mean anomalous. Pass masks of shape (n, h, w), such as "
                f"masks.any(axis={axis})."
            )
    return first


def known_rows(masks: Any) -> npt.NDArray[np.intp] | None:
    """Return the rows of a list in which a mask is known; None if all are known."""
    if isinstance(masks, (list, tuple)) and any(mask is None for mask in masks):
        return np.array([i for i, mask in enumerate(masks) if mask is not None], int)
    return None
