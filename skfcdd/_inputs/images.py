"""Validation of X: shape, order of axes and data type.

`check_images` wraps every accepted form of X in an `ImageArray`, a view of the images:
nothing is converted or copied until a batch is taken. All errors about the shape of X
are raised here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data
from torch import Tensor

from skfcdd._inputs.containers import (
    is_table,
    named_columns,
    path_list,
    refuse_container,
)
from skfcdd._inputs.files import ImageFiles, files_for
from skfcdd._inputs.lazy_arrays import blocks, by_parts, check_values, is_lazy, read
from skfcdd.exceptions import ChannelOrderError, ImageShapeError

__all__ = ["ImageArray", "check_images", "to_device"]

# Images are hashed in blocks of about this many values.
_BLOCK = 1 << 22
# An axis of this length is assumed to be channels: grey, grey + alpha, RGB, RGBA.
_USUAL_CHANNELS = (1, 2, 3, 4)
# Fraction of the free device memory that images may use; the rest is for training.
_RESIDENT_SHARE = 0.4


@dataclass(frozen=True)
class ImageArray:
    """View of images in memory or in files.

    Parameters
    ----------
    data : array of shape (n, h, w, c), or (n, c, h, w) if `channels_first`
        NumPy array, lazy array or tensor of any real data type.
    channels_first : bool
        Whether the channel axis comes before height and width.
    known_limits : tuple of float or None
        Minimum and maximum of all images, if known.
    reading : mapping or None
        Options with which the files were read, if the images are in files.
    """

    data: Any
    channels_first: bool = False
    known_limits: tuple[float, float] | None = None
    reading: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        return int(self.data.shape[0])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and number of channels."""
        if self.channels_first:
            c, h, w = self.data.shape[1:]
        else:
            h, w, c = self.data.shape[1:]
        return h, w, c

    def limits(self) -> tuple[float, float]:
        """Return the minimum and maximum of all images."""
        if self.known_limits is not None:
            return self.known_limits
        ends = [(block.min(), block.max()) for block in blocks(self.data)]
        return float(min(low for low, _ in ends)), float(max(high for _, high in ends))

    def take(self, index: Any, device: torch.device | str = "cpu") -> Tensor:
        """Return a float32 batch (k, c, h, w) of the images at `index`, on `device`.

        Raises
        ------
        ValueError
            If values exceed the range of single precision.
        """
        if isinstance(self.data, Tensor):
            return self._arranged(self.data[to_device(np.asarray(index), device)])
        batch = np.ascontiguousarray(read(self.data, index))
        # torch supports few other types, and only in native byte order.
        if batch.dtype != np.uint8:
            batch = _single(batch)
        elif not batch.flags.writeable:
            batch = batch.copy()
        return self._arranged(to_device(batch, device))

    def _arranged(self, images: Tensor) -> Tensor:
        if not self.channels_first:  # each channel contiguous, as for applying masks
            images = images.permute(0, 3, 1, 2).contiguous()
        return images.float()

    def digests(self) -> npt.NDArray[np.uint64]:
        """Return a hash of each image.

        Equal images have equal hashes, regardless of their data type and of the order
        of their axes.
        """
        found = np.empty(len(self), dtype=np.uint64)
        step = max(1, _BLOCK // max(1, math.prod(self.data.shape[1:])))
        for start in range(0, len(self), step):
            values = self.take(slice(start, start + step)).cpu().numpy()
            values += 0.0  # make -0 and 0 equal
            for row, image in enumerate(values, start):
                digest = hashlib.blake2b(image.tobytes(), digest_size=8).digest()
                found[row] = int.from_bytes(digest, "little")
        return found

    def resident(self, device: str, free: int) -> ImageArray:
        """Return a copy on `device`, or self if it exceeds a fraction of `free` bytes.

        Only uint8 and float32 images are copied, in their data type. Memory-mapped
        files are read block by block.
        """
        data = self.data
        fits = isinstance(data, np.ndarray) and data.nbytes <= _RESIDENT_SHARE * free
        if not (fits and data.dtype in (np.uint8, np.float32)):
            return self
        kept = torch.empty(
            data.shape, dtype=getattr(torch, data.dtype.name), device=device
        )
        start = 0
        for block in blocks(data):
            own = np.require(block, requirements=["C", "W"])
            kept[start : start + len(block)] = torch.from_numpy(own)
            start += len(block)
        return ImageArray(kept, self.channels_first)


def to_device(values: npt.NDArray[Any], device: torch.device | str) -> Tensor:
    """Copy an array to `device`, asynchronously on a GPU."""
    tensor = torch.from_numpy(values)
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _single(batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    try:
        with np.errstate(over="raise"):
            return batch.astype(np.float32)
    except FloatingPointError:
        largest = float(np.abs(batch).max())
        raise ValueError(
            f"X has values of up to {largest:.3g}, but images are processed in single "
            f"precision, whose largest value is {np.finfo(np.float32).max:.3g}. Scale "
            "X down."
        ) from None


def check_images(
    estimator: BaseEstimator,
    X: Any,
    *,
    channels: str | None = None,
    image_shape: tuple[int, ...] | None = None,
    fitted_shape: tuple[int, int, int] | None = None,
    reading: Mapping[str, Any] | None = None,
    fitted_dtype: str | None = None,
) -> ImageArray:
    """Validate X and determine the order of its axes.

    Parameters
    ----------
    estimator : estimator
        If `fitted_shape` is None, its attributes ``n_features_in_`` and, for tables,
        ``feature_names_in_`` are set; otherwise X is compared with them.
    X : array-like
        Images (n, h, w), (n, h, w, c) or (n, c, h, w), or flat rows.
    channels : {"first", "last"} or None
        Position of the channel axis of a four-dimensional X; required if its shape is
        ambiguous. Ignored for files, which have channels last.
    image_shape : tuple or None
        Shape of the images if X has flat rows: (h, w), (h, w, c), or (c, h, w) if
        `channels` is "first".
    fitted_shape : tuple (h, w, c) or None
        Image shape in ``fit``.
    reading : mapping or None
        Options with which files were read in ``fit``; paths are read with the same.
    fitted_dtype : str or None
        Data type in ``fit``.

    Returns
    -------
    ImageArray

    Raises
    ------
    ImageShapeError, ChannelOrderError
        If the shape is invalid, ragged or ambiguous, or differs from that in ``fit``.
    TypeError
        If X is a container that does not represent images, such as a mapping.
    ValueError
        If X is empty, or contains NaN, infinity or text.
    """
    refuse_container(X)
    if (paths := path_list(X)) is not None:
        X = files_for(paths, reading, fitted_shape, fitted_dtype)
    array = X if is_lazy(X) and X.ndim > 2 else _as_array(X)
    reset = fitted_shape is None
    if array is not None and fitted_shape is not None:
        _refuse_single_image(array.shape, fitted_shape)
    if array is None or array.ndim < 3:
        with named_columns(estimator, X, reset=reset):
            flat = validate_data(estimator, X if array is None else array, reset=reset)
        return _unflatten(flat, channels, image_shape, fitted_shape)
    if array.ndim > 4:
        raise ImageShapeError(
            f"Expected images as (n, h, w), (n, h, w, c), (n, c, h, w) or flat rows. "
            f"Got an array of shape {array.shape}."
        )
    is_files = isinstance(X, ImageFiles)
    first = not is_files and _is_channels_first(array.shape, channels, fitted_shape)
    if fitted_shape is not None:
        _check_fitted_shape(array.shape, first, fitted_shape, X if is_files else None)
    n_features = math.prod(array.shape[1:])
    if by_parts(array):
        ends = check_values(array)
        some = np.asarray(array[:2])
        validate_data(estimator, some.reshape(len(some), n_features), reset=reset)
        how = X.reading if isinstance(X, ImageFiles) else None
        return ImageArray(_with_channels(array), first, ends, how)
    flat = array.reshape(len(array), n_features)
    flat = validate_data(estimator, flat, reset=reset)
    return ImageArray(_with_channels(flat.reshape(array.shape)), channels_first=first)


def _with_channels(array: Any) -> Any:
    """Reshape images (n, h, w) to (n, h, w, 1)."""
    if array.ndim == 4:
        return array
    return GreyImages(array) if is_lazy(array) else array[..., None]


class GreyImages:
    """Chunked array of grey images (n, h, w), read as (n, h, w, 1)."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.dtype = array.dtype
        self.shape = (*array.shape, 1)

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        return read(self.array, index)[..., None]


def _as_array(X: Any) -> npt.NDArray[Any] | None:
    """Convert X to an array, or return None for tables, which scikit-learn checks."""
    if sparse.issparse(X) or is_table(X):
        return None
    if isinstance(X, Tensor):
        X = X.detach().cpu()
        return np.asarray(X.float() if X.dtype == torch.bfloat16 else X)
    if isinstance(X, (list, tuple)) and any(isinstance(x, Tensor) for x in X):
        X = [np.asarray(x.detach().cpu()) if isinstance(x, Tensor) else x for x in X]
    try:
        return np.asanyarray(X)
    except ValueError as error:
        shapes = sorted({np.shape(x) for x in X}) if _all_have_shape(X) else None
        found = f"Got shapes {shapes}." if shapes else "Got a ragged list."
        raise ImageShapeError(
            f"All images in X must have the same shape. {found} Resize them to a "
            "common size first."
        ) from error


def _all_have_shape(X: Any) -> bool:
    return isinstance(X, (list, tuple)) and all(hasattr(x, "shape") for x in X)


def _unflatten(
    flat: npt.NDArray[Any],
    channels: str | None,
    image_shape: tuple[int, ...] | None,
    fitted_shape: tuple[int, int, int] | None,
) -> ImageArray:
    shape: tuple[int, ...]
    first = channels == "first" and image_shape is not None
    if first and image_shape is not None and len(image_shape) == 2:
        shape = (1, *image_shape)
    elif image_shape is not None:
        shape = tuple(image_shape) if len(image_shape) == 3 else (*image_shape, 1)
    elif fitted_shape is not None:
        shape = fitted_shape
    else:
        shape = (1, int(flat.shape[1]), 1)
    if math.prod(shape) != flat.shape[1]:
        raise ImageShapeError(
            f"X has rows of {flat.shape[1]} values, but image_shape={image_shape} "
            f"needs {math.prod(shape)}. Set image_shape to the shape of one image."
        )
    return ImageArray(flat.reshape(len(flat), *shape), channels_first=first)


def _is_channels_first(
    shape: tuple[int, ...],
    channels: str | None,
    fitted_shape: tuple[int, int, int] | None,
) -> bool:
    if len(shape) == 3:
        return False
    if fitted_shape is not None:
        h, w, c = fitted_shape
        fits_first, fits_last = shape[1:] == (c, h, w), shape[1:] == (h, w, c)
        if fits_first != fits_last:
            return fits_first
    if channels is not None:
        return channels == "first"
    first, last = shape[1] in _USUAL_CHANNELS, shape[3] in _USUAL_CHANNELS
    if first == last:
        raise ChannelOrderError(
            f"X of shape {shape} can be read as (n, h, w, c) or as (n, c, h, w). "
            "State the order with channels='last' or channels='first'."
        )
    return first


def _refuse_single_image(
    shape: tuple[int, ...], fitted_shape: tuple[int, int, int]
) -> None:
    """Raise a helpful error for a single image without a sample axis."""
    h, w, c = fitted_shape
    colour = c > 1 and shape in ((h, w, c), (c, h, w))
    grey = shape == (h, w) and h * c > 1  # otherwise it is one flat row
    if colour or grey:
        raise ImageShapeError(
            f"X of shape {shape} is a single image. Pass a batch of one: X[None]."
        )


def _check_fitted_shape(
    shape: tuple[int, ...],
    first: bool,
    fitted_shape: tuple[int, int, int],
    files: ImageFiles | None = None,
) -> None:
    h, w, c = fitted_shape
    if len(shape) == 3:
        found: tuple[int, ...] = (*shape[1:], 1)
    else:
        found = (shape[2], shape[3], shape[1]) if first else shape[1:]
    if found != fitted_shape:
        of = "" if files is None else f" ({str(files.paths[0])!r} is the first)"
        raise ImageShapeError(
            f"X contains images of (h, w, c) = {found}{of}, but the estimator was "
            f"fitted with {fitted_shape}. Convert them to {h}x{w} pixels with {c} "
            "channel(s)."
        )
