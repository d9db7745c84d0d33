"""Validation of heatmaps and numbers."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd.exceptions import ImageShapeError

__all__ = ["check_heatmaps", "check_int", "check_number", "hot_pixels"]


def check_heatmaps(
    heatmaps: Any, shape: tuple[int, ...] | None = None
) -> npt.NDArray[Any]:
    """Validate heatmaps as an array of finite numbers (n, h, w), n > 0.

    Raises
    ------
    ImageShapeError
        If they have another shape, or not that of the images.
    ValueError
        If they contain NaN or infinity.
    """
    array = np.asarray(heatmaps)
    if array.ndim != 3 or array.size == 0:
        raise ImageShapeError(
            f"heatmaps must be of shape (n, h, w), n > 0. Got {array.shape}."
        )
    if shape is not None and array.shape != shape:
        raise ImageShapeError(
            f"heatmaps must have the shape of the images, (n, h, w) = {shape}. Got "
            f"{array.shape}."
        )
    if array.dtype.kind not in "biuf":
        raise ValueError(f"heatmaps must hold real numbers. Got dtype {array.dtype}.")
    if not np.isfinite(array).all():
        finite = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        row = int(np.flatnonzero(~finite)[0])
        raise ValueError(f"heatmaps hold NaN or infinity, first in row {row}.")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def check_int(name: str, value: Any, least: int) -> int:
    """Validate an integer with a lower limit.

    Raises
    ------
    ValueError
        If the value is too small, or not an integer.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(
            f"Got {name}={value!r}, but expected an int of {least} or more."
        )
    return int(value)


def check_number(
    name: str, value: Any, low: float = -np.inf, high: float = np.inf
) -> float:
    """Validate a number between two limits, which are included if finite.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    unlike = isinstance(value, bool) or not isinstance(value, Real)
    number = np.nan if unlike else float(value)
    if not (np.isfinite(number) and low <= number <= high):
        raise ValueError(
            f"Got {name}={value!r}, but expected a number from {low:g} to {high:g}."
        )
    return number


def hot_pixels(estimator: Any, heatmaps: npt.NDArray[Any]) -> Any:
    """Return pixels (n, h, w) hotter than nearly all normal pixels; None if unknown."""
    scale = getattr(estimator, "heatmap_scale_", None)
    return None if scale is None else heatmaps > scale[0]
