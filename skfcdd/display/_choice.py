"""Selection and reading of the images to show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import column_or_1d

from skfcdd._answers import judge, named_axes
from skfcdd._inputs.containers import is_paths, path_list
from skfcdd._inputs.files import files_for
from skfcdd._verdicts import convention_of
from skfcdd.display._pictures import as_pictures, usual_range

__all__ = [
    "choose_rows",
    "file_names",
    "pictures_of",
    "range_of",
    "ranked",
]

ORDERS = ("score", "errors", "threshold", "given")


def choose_rows(
    rows: Any, n: int, order: str, n_images: int | None
) -> npt.NDArray[np.intp] | None:
    """Return the rows given by the caller, or the first ones; None if scores decide.

    Raises
    ------
    ValueError
        If the rows or the order do not exist.
    """
    if order not in ORDERS:
        raise ValueError(f"Got order={order!r}, but expected one of {ORDERS}.")
    if n_images is not None and n_images < 1:
        raise ValueError(f"Got n_images={n_images}, but expected at least 1, or None.")
    if n == 0:
        raise ValueError("X holds no images, so there is nothing to show.")
    if rows is None:
        return np.arange(n)[:n_images] if order == "given" else None
    chosen = column_or_1d(rows)
    if chosen.dtype.kind not in "iu" or len(chosen) == 0:
        raise ValueError(
            f"rows must be integer indices of images. Got {len(chosen)} values of "
            f"dtype {chosen.dtype}."
        )
    if not ((chosen >= -n) & (chosen < n)).all():
        raise ValueError(f"rows goes to {chosen.max()}, but X has {n} images.")
    return chosen % n


def ranked(
    estimator: Any,
    X: Any,
    order: str,
    scores: npt.NDArray[np.float64],
    truth: npt.NDArray[np.bool_] | None,
) -> npt.NDArray[np.intp]:
    """Sort all rows by `order`.

    Raises
    ------
    ValueError
        If `order` requires unknown labels or threshold.
    """
    keys: list[npt.NDArray[Any]] = [-scores]
    if order == "errors":
        if truth is None:
            raise ValueError("order='errors' needs ground truth: pass y or masks.")
        keys.append(judge(estimator, X, scores) == truth)
    if order == "threshold":
        if convention_of(estimator).judges_pixels:
            raise ValueError(
                "order='threshold' compares image scores with the threshold, but a "
                "segmenter has a pixel threshold."
            )
        keys.append(np.abs(scores - estimator.threshold_))
    return np.lexsort(keys)


def file_names(X: Any, rows: npt.NDArray[np.intp]) -> list[str] | None:
    """Return the folder and name of each file, if X is files."""
    paths = getattr(X, "paths", None) or path_list(X)
    if paths is None:
        return None
    chosen = [Path(os.fspath(paths[row])) for row in rows]
    return [f"{path.parent.name}/{path.name}".lstrip("/") for path in chosen]


def pictures_of(
    estimator: Any, X: Any, size: tuple[int, int], **options: Any
) -> npt.NDArray[np.float32]:
    """Convert images, as read by `estimator`, to pictures."""
    X, channels = _as_read(estimator, X, size)
    return as_pictures(X, size, channels=channels, **options)


def range_of(
    estimator: Any, X: Any, size: tuple[int, int], channel: int | None
) -> tuple[float, float]:
    """Return the values that :func:`pictures_of` shows as black and white."""
    X, channels = _as_read(estimator, X, size)
    return usual_range(X, size, channels=channels, channel=channel)


def _as_read(estimator: Any, X: Any, size: tuple[int, int]) -> tuple[Any, str | None]:
    """Return images and the order of their axes."""
    c = estimator.image_shape_[2]
    if is_paths(X):
        X = files_for(X, getattr(estimator, "reading_", None), (*size, c))[:]
    channels, rows = named_axes(estimator)
    if np.ndim(X) == 2 and rows is None:
        return X, "last"  # flat rows, in the layout of the estimator
    return X, _channels(channels, np.shape(X), size, c)


def _channels(
    named: str | None, shape: tuple[int, ...], size: tuple[int, int], c: int
) -> str | None:
    """Return the order of the axes if the shape is ambiguous."""
    if len(shape) == 4 and (shape[1:] == (c, *size)) != (shape[1:] == (*size, c)):
        return "first" if shape[1:] == (c, *size) else "last"
    return named
