"""Histogram bins of scores, on a linear or logarithmic axis."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["bar_edges", "choose_log"]

# Ratio of the largest to the smallest score above which the axis is logarithmic.
_DECADES = 30


def choose_log(values: npt.NDArray[np.float64], log_scale: bool | str) -> bool:
    """Decide whether the axis is logarithmic.

    Raises
    ------
    ValueError
        If a logarithmic axis is requested but a value is not positive, or the option is
        unknown.
    """
    if log_scale not in (True, False, "auto"):
        raise ValueError(
            f"Got log_scale={log_scale!r}, but expected True, False or 'auto'."
        )
    low, high = values.min(), values.max()
    if log_scale == "auto":
        return bool(low > 0 and high >= _DECADES * low)
    if log_scale and low <= 0:
        raise ValueError(
            f"log_scale=True needs positive scores. The smallest is {low:g}."
        )
    return bool(log_scale)


def bar_edges(
    values: npt.NDArray[np.float64], bins: int, threshold: float | None, log: bool
) -> npt.NDArray[np.float64]:
    """Compute the edges of about `bins` bins, one of them at the threshold.

    Parameters
    ----------
    values : ndarray of shape (n,)
        All values shown on the axis, including the threshold.
    bins : int
        Number of bins from the smallest to the largest value.
    threshold : float or None
        Edge between two bins; a value equal to it belongs to the left one.
    log : bool
        Whether bins have equal width on a logarithmic axis.

    Returns
    -------
    ndarray of shape (k,), float64
        Increasing; all values are between the first and the last.

    Raises
    ------
    ValueError
        If `bins` is less than 1.
    """
    if bins < 1:
        raise ValueError(f"Got bins={bins}, but expected at least 1.")
    places = np.log(values) if log else values
    low, high = float(places.min()), float(places.max())
    width = (high - low) / bins or max(abs(low), 1.0) / bins
    # Narrower bins would begin and end at the same number.
    width = max(width, 1e-12 * max(abs(low), abs(high)))
    start = low
    if threshold is not None:
        cut = float(np.log(threshold)) if log else threshold
        start = cut - np.ceil((cut - low) / width) * width
    if start >= low:  # the smallest value is inside the first bin
        start -= width
    n_bars = int(np.ceil((high - start) / width)) + 1
    edges: npt.NDArray[np.float64] = start + width * np.arange(n_bars + 1.0)
    if log:
        edges = np.exp(edges)
    if threshold is not None:
        nearest = int(np.argmin(np.abs(edges - threshold)))
        edges[nearest] = np.nextafter(threshold, np.inf)
    return edges
