"""Validation of masks and heatmaps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._inputs.labels import as_truth
from skfcdd._inputs.mask_arrays import as_planes, known_rows
from skfcdd.exceptions import ImageShapeError

__all__ = ["blocks", "check_maps", "check_region"]

# Maps are read in blocks of about this many pixels, so that memory-mapped files are not
# loaded as a whole.
_BLOCK = 1 << 22


def check_maps(
    masks: Any, maps: Any, name: str = "heatmaps"
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return masks and maps as arrays of equal shape, without checking their values.

    Images whose mask is None are dropped.

    Raises
    ------
    ImageShapeError
        If the shapes differ, or there are no pixels.
    """
    array = np.asanyarray(maps)
    rows = known_rows(masks)
    if rows is not None and len(masks) == len(array) and len(rows):
        masks, array = [masks[row] for row in rows], array[rows]
    elif rows is not None:
        raise ImageShapeError(
            f"There are {len(rows)} masks for {len(array)} {name}. Pass one mask "
            f"(None if unknown) per entry of {name}, at least one of them known."
        )
    truth = as_planes(np.asanyarray(masks), array.shape)
    if truth.shape != array.shape or truth.ndim == 0:
        raise ImageShapeError(
            f"masks and {name} must have the same shape (n, h, w). Got {truth.shape} "
            f"and {array.shape}."
        )
    if truth.size == 0:
        raise ImageShapeError(f"masks and {name} are empty: shape {truth.shape}.")
    return truth, array


def check_region(roi: Any, shape: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
    """Validate a region of interest (h, w) for maps of shape (n, h, w).

    Raises
    ------
    ImageShapeError
        If the shapes differ.
    ValueError
        If the region is empty.
    """
    if roi is None:
        return None
    inside = np.asarray(roi) != 0
    if inside.shape != shape[1:]:
        raise ImageShapeError(
            f"roi must have the shape (h, w) = {shape[1:]} of the maps. Got "
            f"{inside.shape}."
        )
    if not inside.any():
        raise ValueError("roi is False everywhere, so there are no pixels to score.")
    return inside


def blocks(
    masks: npt.NDArray[Any], maps: npt.NDArray[Any]
) -> Iterator[tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]]:
    """Yield blocks of whole images after checking their values.

    Raises
    ------
    ValueError
        If masks contain values other than 0 and 1 (or 255), or maps are not finite.
    """
    step = max(1, _BLOCK // max(1, masks[0].size))
    for start in range(0, len(masks), step):
        truth = as_truth(np.asarray(masks[start : start + step]))
        values = np.asarray(maps[start : start + step])
        if not np.isfinite(values).all():
            row = start + int(
                np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))[0]
            )
            raise ValueError(f"heatmaps contain NaN or infinity, first in row {row}.")
        yield truth, values
