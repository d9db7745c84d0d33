"""Conversion of any images to pictures that can be shown, grey or in colour."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd.exceptions import ChannelOrderError, ImageShapeError

__all__ = ["as_grey", "as_pictures", "usual_range"]

# Luma weights of red, green and blue.
_LUMA = (0.299, 0.587, 0.114)
# Percentage of the darkest and of the brightest values that is clipped.
_TAILS = (0.5, 99.5)


def as_pictures(
    X: Any,
    size: tuple[int, int],
    *,
    channels: str | None = None,
    channel: int | None = None,
    value_range: tuple[float, float] | None = None,
) -> npt.NDArray[np.float32]:
    """Convert images to values from 0 to 1, all on one scale.

    Parameters
    ----------
    X : array-like of shape (n, h, w), (n, h, w, c), (n, c, h, w) or (n, h * w * c)
        Real numbers of any type.
    size : tuple of int (h, w)
        Used to determine the order of the axes.
    channels : {"first", "last"} or None
        Needed if the order is ambiguous.
    channel : int or None
        The channel to show, in grey. None shows three or four channels as red, green
        and blue, and the mean of any other number in grey.
    value_range : tuple of float or None
        Values shown as black and white. None uses the range of the data type for bytes
        and booleans, 0 to 1 for floats in this range, and otherwise the range of all
        but one percent of the values.

    Returns
    -------
    ndarray of shape (n, h, w) or (n, h, w, 3), float32

    Raises
    ------
    ImageShapeError, ChannelOrderError
        If X does not contain images of this size, or is ambiguous.
    ValueError
        If there are NaN or infinity, or the channel does not exist.
    """
    images = _shown_values(X, size, channels, channel)
    low, high = _range(images) if value_range is None else value_range
    if not low < high:
        raise ValueError(f"Got value_range={(low, high)}, but expected low < high.")
    values = (images.astype(np.float32) - low) / (high - low)
    return np.clip(values, 0, 1).astype(np.float32)


def usual_range(
    X: Any,
    size: tuple[int, int],
    *,
    channels: str | None = None,
    channel: int | None = None,
) -> tuple[float, float]:
    """Return the default `value_range` of :func:`as_pictures` for these images."""
    return _range(_shown_values(X, size, channels, channel))


def _shown_values(
    X: Any, size: tuple[int, int], channels: str | None, channel: int | None
) -> npt.NDArray[Any]:
    """Return images (n, h, w) or (n, h, w, 3) with their original values."""
    if str(getattr(X, "dtype", "")) == "torch.bfloat16":  # unknown to NumPy
        X = X.float()
    array = np.asarray(X.detach().cpu() if hasattr(X, "detach") else X)
    images = _channels_last(array, size, channels)
    if images.dtype.kind not in "biuf" or not np.isfinite(images).all():
        raise ValueError(
            f"X must hold finite real numbers. Got dtype {images.dtype}"
            f"{' with NaN or infinity' if images.dtype.kind == 'f' else ''}."
        )
    return _shown_channels(images, channel)


def as_grey(pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Convert pictures to grey (n, h, w)."""
    if pictures.ndim == 3:
        return pictures
    grey: npt.NDArray[np.float32] = pictures @ np.array(_LUMA, dtype=np.float32)
    return grey


def _channels_last(
    array: npt.NDArray[Any], size: tuple[int, int], channels: str | None
) -> npt.NDArray[Any]:
    """Move the channels last: images (n, h, w, c)."""
    h, w = size
    if channels not in (None, "first", "last"):
        raise ValueError(
            f"Got channels={channels!r}, but expected 'first', 'last' or None."
        )
    if array.ndim == 2 and array.shape[1] % (h * w) == 0:
        if channels == "first":
            array = array.reshape(len(array), -1, h, w)
        else:
            array = array.reshape(len(array), h, w, -1)
    elif array.ndim == 3 and array.shape[1:] == size:
        return array[..., None]
    if array.ndim == 4:
        first, last = array.shape[2:] == size, array.shape[1:3] == size
        if first and last and channels is None:
            raise ChannelOrderError(
                f"X of shape {array.shape} can be read as (n, h, w, c) or as (n, c, "
                "h, w). State the order with channels='last' or channels='first'."
            )
        if first and channels != "last":
            return np.moveaxis(array, 1, 3)
        if last and channels != "first":
            return array
    raise ImageShapeError(
        f"X must hold images with the size of the heatmaps, (h, w) = {size}, as (n, "
        "h, w), (n, h, w, c), (n, c, h, w) or flat rows. Got an array of shape "
        f"{array.shape} and channels={channels!r}."
    )


def _shown_channels(images: npt.NDArray[Any], channel: int | None) -> npt.NDArray[Any]:
    n_channels = images.shape[3]
    if channel is not None:
        if not -n_channels <= channel < n_channels:
            raise ValueError(
                f"Got channel={channel}, but the images have {n_channels} channel(s)."
            )
        return images[..., channel]
    if n_channels == 1:
        return images[..., 0]
    if n_channels in (3, 4):
        return images[..., :3]
    mean = images.mean(axis=3, dtype=np.float64)
    # The mean of bytes has the range of bytes.
    return mean.round().astype(images.dtype) if images.dtype.kind in "ui" else mean


def _range(images: npt.NDArray[Any]) -> tuple[float, float]:
    if images.dtype == np.uint8:
        return 0.0, 255.0
    if images.dtype == bool:
        return 0.0, 1.0
    low, high = float(images.min()), float(images.max())
    if images.dtype.kind == "f" and low >= 0 and high <= 1:
        return 0.0, 1.0
    inner = np.percentile(images, _TAILS)
    if inner[0] < inner[1]:
        low, high = float(inner[0]), float(inner[1])
    return low, high if high > low else low + 1.0
