"""Check that images have the same scale as those the model was fitted on.

Depends neither on torch nor on scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["scale_problem"]

# Images that exceed the range in fit by this factor have another scale.
_FAR = 50
# A range of at least this width is not compatible with values from 0 to 1.
_WIDE = 100


def scale_problem(
    dtype: str,
    largest: Callable[[], float],
    fitted_dtype: str,
    limits: tuple[float, float],
) -> str | None:
    """Describe the problem if the scale of images differs from that in ``fit``.

    Parameters
    ----------
    dtype, fitted_dtype : str
        Data type, now and in ``fit``.
    largest : callable
        Returns the largest value; called only if needed.
    limits : tuple of float (low, high)
        Range of the images in ``fit``.

    Returns
    -------
    str or None
    """
    low, high = limits
    width = high - low
    if dtype == fitted_dtype == "uint8" and width == 255:
        return None
    kind = np.dtype(dtype)
    most = largest()
    narrow = (
        kind.kind in "ui"
        and np.dtype(fitted_dtype).kind in "ui"
        and np.iinfo(kind).max < high / 2
    )
    beyond = fitted_dtype == "uint8" and most > np.iinfo(np.uint8).max
    unit = kind.kind == "f" and width >= _WIDE and 0 < most <= 1
    if not (narrow or beyond or unit or most > low + _FAR * width):
        return None
    return (
        f"X has values up to {most:.4g} of type {dtype}, but the images given to fit "
        f"ranged from {low:.4g} to {high:.4g}, of type {fitted_dtype}. If the scales "
        "differ, the scores are meaningless."
    )
