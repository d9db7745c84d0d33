"""Whether images are on the scale of those that a model was fitted on.

Needs neither torch nor scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["scale_problem"]

# Brighter than the images of fit by so many times their range: another scale.
_FAR = 50
# Of a range of at least this width, values from 0 to 1 are no part.
_WIDE = 100


def scale_problem(
    dtype: str,
    largest: Callable[[], float],
    fitted_dtype: str,
    limits: tuple[float, float],
) -> str | None:
    """Say what is wrong where images of one scale are now given on another.

    Parameters
    ----------
    dtype, fitted_dtype : str
        Type of the values, now and in ``fit``.
    largest : callable
        Gives the largest value; not called if nothing depends on it.
    limits : tuple of float (low, high)
        What the images of ``fit`` ranged over.

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
        f"ranged from {low:.4g} to {high:.4g}, of type {fitted_dtype}: are they on "
        f"another scale? Scores are meaningless then."
    )
