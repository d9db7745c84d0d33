"""Axes, colours and keyword arguments shared by all displays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import column_or_1d

from skfcdd._utils.optional import require

__all__ = [
    "ANOMALOUS",
    "NORMAL",
    "as_flags",
    "as_numbers",
    "check_scale",
    "figure_of",
    "foreground",
    "matplotlib",
    "new_figure",
    "style",
]

# Two colours of Okabe and Ito, distinguishable with any colour vision deficiency.
NORMAL, ANOMALOUS = "#0072B2", "#D55E00"


def matplotlib(module: str = "") -> Any:
    """Import matplotlib, or one of its modules.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    return require(f"matplotlib.{module}" if module else "matplotlib", "matplotlib")


def new_figure(**options: Any) -> Any:
    """Create a pyplot figure, which is shown in notebooks."""
    return matplotlib("pyplot").figure(**options)


def figure_of(ax: Any) -> tuple[Any, Any]:
    """Return the figure of `ax`, and `ax`; new ones if it is None."""
    if ax is None:
        figure = new_figure(layout="constrained")
        return figure, figure.add_subplot()
    return ax.figure, ax


def foreground() -> str:
    """Return the text colour: dark on a light background, light on a dark one."""
    colour: str = matplotlib().rcParams["text.color"]
    return colour


def style(
    given: Mapping[str, Any] | None, artist: str, **defaults: Any
) -> dict[str, Any]:
    """Merge keyword arguments into defaults, resolving aliases such as "c".

    Parameters
    ----------
    given : dict or None
        Keyword arguments of the caller.
    artist : str
        The matplotlib class that defines the aliases, such as "lines.Line2D".
    **defaults
        Default values, by full name.
    """
    module, name = artist.split(".")
    kind = getattr(matplotlib(module), name)
    return defaults | matplotlib("cbook").normalize_kwargs(given, kind)


def as_flags(values: Any, name: str, n: int) -> npt.NDArray[np.bool_]:
    """Validate booleans, or 1 and 0, for each of `n` images.

    Raises
    ------
    ValueError
        If there are other values, or the length is not `n`.
    """
    flags = column_or_1d(values)
    if len(flags) != n:
        raise ValueError(f"There are {n} images, but {name} has {len(flags)} values.")
    if flags.dtype != bool and not np.isin(flags, (0, 1)).all():
        raise ValueError(
            f"{name} must hold True (or 1) for anomalous images and False (or 0) for "
            f"others. Got {np.unique(flags)[:10].tolist()}. To convert labels, pass y "
            "== label."
        )
    return flags.astype(bool)


def as_numbers(values: Any, name: str, n: int | None = None) -> npt.NDArray[np.float64]:
    """Validate finite numbers of shape (n,).

    Raises
    ------
    ValueError
        If they are not finite, or have another shape or length.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1:
        raise ValueError(f"{name} must be of shape (n,). Got {numbers.shape}.")
    if n is not None and len(numbers) != n:
        raise ValueError(f"There are {n} images, but {name} has {len(numbers)} values.")
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise ValueError(f"{name} holds NaN or infinity, first in row {row}.")
    return numbers


def check_scale(scale: Any) -> tuple[float, float]:
    """Validate the ends of a colour scale."""
    try:
        low, high = (float(end) for end in scale)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"scale must be two numbers (low, high), such as heatmap_scale_ of the "
            f"model. Got {scale!r}."
        ) from error
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"Got scale={(low, high)}, but expected finite low < high.")
    return low, high
