"""Conversion of any form of X to an array of images and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import judge, named_axes
from skfcdd._inputs.containers import is_paths
from skfcdd._inputs.files import files_for
from skfcdd.exceptions import ImageShapeError
from skfcdd.inspection._checks import check_int

__all__ = ["Stack", "chunks", "read_stack", "score_changed", "to_dtype"]


@dataclass(frozen=True)
class Stack:
    """Images in memory, with the form in which the estimator takes them.

    Parameters
    ----------
    images : ndarray of shape (n, h, w, c)
        In the original data type.
    shape : tuple of int
        Original shape of one image.
    first : bool
        Whether channels came first.
    columns : object
        Column names and type of the table, if X was one; otherwise None.
    """

    images: npt.NDArray[Any]
    shape: tuple[int, ...]
    first: bool
    columns: tuple[Any, Any] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        h, w = self.images.shape[1:3]
        return int(h), int(w)

    def given(self, images: npt.NDArray[Any]) -> Any:
        """Return images (k, h, w, c) in the original form and data type of X."""
        images = to_dtype(images, self.images.dtype)
        if self.first:
            images = np.moveaxis(images, 3, 1)
        images = images.reshape(len(images), *self.shape)
        if self.columns is None:
            return images
        table, names = self.columns
        return table(images, columns=names)

    def opened(self, X: Any, name: str) -> npt.NDArray[Any]:
        """Read further images (m, h, w, c), given in the form of X, or a single one.

        Raises
        ------
        ImageShapeError
            If they have another shape.
        ValueError
            If they contain NaN or infinity, or have another scale.
        """
        array = np.asarray(_as_array(X))
        if array.shape == self.shape:
            array = array[None]
        if array.shape[1:] != self.shape or len(array) == 0:
            raise ImageShapeError(
                f"{name} must be one or more images of shape {self.shape}, like those "
                f"of X. Got {array.shape}."
            )
        if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            raise ValueError(f"{name} must hold finite numbers.")
        unit = array.dtype.kind == "f" and array.max() <= 1
        if unit and self.images.dtype == np.uint8 and self.images.max() > 1:
            raise ValueError(
                f"{name} has values from 0 to 1, but X has bytes up to "
                f"{self.images.max()}. Use the same scale for both."
            )
        return _opened(array, self.images.shape[1:], self.first)


def read_stack(estimator: Any, X: Any) -> Stack:
    """Load images accepted by `estimator` into memory.

    Raises
    ------
    ImageShapeError
        If the axes of the pixels are ambiguous.
    """
    fitted = getattr(estimator, "image_shape_", None)
    if is_paths(X):
        X = files_for(X, getattr(estimator, "reading_", None), fitted)[:]
    columns = (type(X), X.columns) if hasattr(X, "iloc") else None
    array = np.asarray(_as_array(X))
    first, shape = _layout(estimator, array.shape, fitted)
    images = _opened(array, shape, first)
    return Stack(images, array.shape[1:], first, columns)


def _as_array(X: Any) -> Any:
    """Convert torch tensors, also in lists, to arrays."""
    if isinstance(X, (list, tuple)):
        return np.stack([_as_array(x) for x in X]) if len(X) else np.empty(0)
    if hasattr(X, "detach"):
        X = X.detach().cpu()
        X = X.float() if str(X.dtype) == "torch.bfloat16" else X
    return np.asarray(X)


def _opened(
    array: npt.NDArray[Any], shape: tuple[int, ...], first: bool
) -> npt.NDArray[Any]:
    h, w, c = shape
    if first:
        return np.moveaxis(array.reshape(len(array), c, h, w), 1, 3)
    return array.reshape(len(array), h, w, c)


def _layout(
    estimator: Any, shape: tuple[int, ...], fitted: tuple[int, int, int] | None
) -> tuple[bool, tuple[int, int, int]]:
    """Return whether channels come first, and the shape (h, w, c) of an image."""
    if len(shape) == 3:
        return False, (shape[1], shape[2], 1)
    channels, rows = named_axes(estimator)
    first = channels == "first"
    if len(shape) == 2 and fitted is not None:
        return first and rows is not None, fitted
    if len(shape) != 4:
        raise ImageShapeError(
            f"Expected images as (n, h, w), (n, h, w, c) or (n, c, h, w). Got an array "
            f"of shape {shape}."
        )
    if fitted is not None:
        h, w, c = fitted
        fits_first, fits_last = shape[1:] == (c, h, w), shape[1:] == (h, w, c)
        first = fits_first if fits_first != fits_last else first
    if first:
        return True, (shape[2], shape[3], shape[1])
    return False, (shape[1], shape[2], shape[3])


def to_dtype(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Convert values to the data type of images: round and clip to its range."""
    if values.dtype == dtype:
        return values
    if dtype.kind == "b":
        return values >= 0.5
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        values = np.clip(np.rint(values), info.min, info.max)
    return values.astype(dtype)


def chunks(n: int, batch_size: int) -> Iterator[slice]:
    """Yield slices of at most `batch_size` that cover `n` items.

    Raises
    ------
    ValueError
        If `batch_size` is not a positive integer.
    """
    batch_size = check_int("batch_size", batch_size, 1)
    return (slice(k, min(n, k + batch_size)) for k in range(0, n, batch_size))


def score_changed(
    estimator: Any,
    stack: Stack,
    n: int,
    make: Callable[[slice], npt.NDArray[Any]],
    batch_size: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_] | None]:
    """Score and label modified images, with one batch in memory at a time.

    Parameters
    ----------
    estimator : estimator
    stack : Stack
        Defines the form in which images are passed to the estimator.
    n : int
        Number of images.
    make : callable (slice) -> ndarray of shape (k, h, w, c)
        Creates the images of a slice.
    batch_size : int

    Returns
    -------
    scores : ndarray of shape (n,), float64
    anomalous : ndarray of shape (n,), bool, or None
        None for an estimator without a threshold.
    """
    scores, anomalous = np.empty(n), np.zeros(n, dtype=bool)
    judges = hasattr(estimator, "threshold_")
    for rows in chunks(n, batch_size):
        changed = stack.given(make(rows))
        scores[rows] = estimator.anomaly_score(changed)
        if judges:
            anomalous[rows] = judge(estimator, changed, scores[rows])
    return scores, anomalous if judges else None
