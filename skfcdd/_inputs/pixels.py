"""Conversion of the pixel values of a file: channels, data type and size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._utils.optional import pillow

__all__ = ["Picture", "as_channels", "can_become", "resized", "retyped", "turned"]

# Luma weights of the primary colours (ITU-R BT.601, as in Pillow).
_LUMINANCE = np.array([299, 587, 114]) / 1000
# Data types that can be converted to each other, and their values for white.
_WHOLE = {"uint8": 255, "uint16": 65535}


@dataclass(frozen=True)
class Picture:
    """Pixel values of a file.

    Parameters
    ----------
    values : ndarray of shape (h, w, c)
        Values of all channels except transparency.
    alpha : ndarray of shape (h, w) or None
        Transparency, in the data type of `values`; the maximum means opaque.
    doubtful : bool
        Whether `alpha` may be something else, such as an infrared channel.
    """

    values: npt.NDArray[Any]
    alpha: npt.NDArray[Any] | None = None
    doubtful: bool = False


def turned(values: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn values (h, w, ...) upright, given the orientation stored by the camera."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def as_channels(
    picture: Picture, n_channels: int, *, keep_alpha: bool
) -> tuple[npt.NDArray[Any], str | None]:
    """Convert values (h, w, c) to `n_channels`; also return a message, or None.

    Parameters
    ----------
    picture : Picture
    n_channels : int
        1 converts colour to grey; 3 repeats the grey channel.
    keep_alpha : bool
        Whether transparency is kept as a channel; otherwise the image is blended with
        white.

    Raises
    ------
    ValueError
        If the channels of the image cannot be converted.
    """
    values, alpha, note = picture.values, picture.alpha, None
    if alpha is not None and keep_alpha:
        values = np.dstack([values, alpha])
    elif alpha is not None:
        values, note = _on_white(values, alpha)
    found = values.shape[2]
    if found == n_channels:
        return values, note
    if found == 1 and n_channels == 3:
        return values.repeat(3, axis=2), note
    if found == 3 and n_channels == 1:
        return _grey(values), note
    raise ValueError(f"it has {found} channels, but {n_channels} are expected")


def _on_white(
    values: npt.NDArray[Any], alpha: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], str | None]:
    opaque = np.iinfo(alpha.dtype).max
    if (alpha == opaque).all():
        return values, None
    if not alpha.any():  # as nothing would be visible, it cannot be transparency
        return values, "is entirely transparent; its transparency is ignored"
    if values.dtype == np.uint8:
        image = pillow("Image")
        colours = values if values.shape[2] == 3 else values.repeat(3, axis=2)
        front = image.fromarray(np.dstack([colours, alpha]))
        white = image.new("RGBA", front.size, "white")
        on_white = np.asarray(image.alpha_composite(white, front))
        return on_white[..., : values.shape[2]], None
    share = alpha[..., None] / opaque
    mixed = values * share + opaque * (1 - share)
    return np.rint(mixed).astype(values.dtype), None


def _grey(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if values.dtype == np.uint8:
        image = pillow("Image").fromarray(np.ascontiguousarray(values))
        return np.asarray(image.convert("L"))[..., None]
    grey = values @ _LUMINANCE
    if values.dtype.kind in "iu":
        grey = np.rint(grey)
    return grey.astype(values.dtype)[..., None]


def can_become(found: str, wanted: str, *, rescale: bool) -> bool:
    """Whether values of one data type can be converted to another."""
    return found == wanted or (rescale and found in _WHOLE and wanted in _WHOLE)


def retyped(values: npt.NDArray[Any], wanted: np.dtype[Any]) -> npt.NDArray[Any]:
    """Convert between 8 and 16 bits, preserving black and white."""
    if values.dtype == wanted:
        return values
    factor = _WHOLE[wanted.name] / _WHOLE[values.dtype.name]
    return np.rint(values * factor).astype(wanted)


def resized(values: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Resize values (h, w, c) bilinearly, with antialiasing."""
    if values.shape[:2] == size:
        return values
    image, n_channels = pillow("Image"), values.shape[2]
    h, w = size
    if values.dtype == np.uint8 and n_channels == 3:
        whole = image.fromarray(np.ascontiguousarray(values))
        return np.asarray(whole.resize((w, h), image.Resampling.BILINEAR))
    plane = np.uint8 if values.dtype == np.uint8 else np.float32
    planes = [
        image.fromarray(np.ascontiguousarray(values[..., k], dtype=plane)).resize(
            (w, h), image.Resampling.BILINEAR
        )
        for k in range(n_channels)
    ]
    new = np.stack([np.asarray(p) for p in planes], axis=2)
    if new.dtype == values.dtype:
        return new
    if values.dtype.kind in "iu":
        # The largest 32-bit integers have no exact equivalent in single precision.
        new = np.rint(new.astype(np.float64)).clip(values.min(), values.max())
    return new.astype(values.dtype)
