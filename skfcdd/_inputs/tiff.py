"""TIFF files: tags read by Pillow, and layouts that only tifffile reads.

Such layouts have values of any numeric type and any number of channels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._inputs.pixels import Picture, turned
from skfcdd._utils.optional import require

__all__ = [
    "OTHER_ORDER",
    "as_type",
    "correct_order",
    "describe",
    "dtype",
    "inversion",
    "is_lossless",
    "is_tiff",
    "n_pages",
    "raw_mode",
    "read",
    "says_alpha",
    "set_raw_mode",
    "upright_size",
]

# Tag numbers.
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 254, 256, 257, 258, 262
_ORIENTATION, _SAMPLES, _PLANAR, _EXTRA, _FORMAT = 274, 277, 284, 338, 339
_INVERTED, _RGB, _PALETTE = 0, 2, 3
# Number of channels of each photometric interpretation that has several.
_COLOURS = {_RGB: 3, 5: 4, 6: 3, 8: 3}
_UNASSOCIATED = 2
# Last letter of a raw mode of Pillow, and that for the opposite byte order.
OTHER_ORDER = {"L": "B", "B": "L", "N": "B"}
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UNSIGNED, _SIGNED = 1, 2


def is_tiff(path: Path) -> bool:
    """Whether a file begins with a TIFF signature."""
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


def _tag(image: Any, number: int, default: int) -> int:
    """Return the value of a tag, or the first of several."""
    value = image.tag_v2.get(number, default)
    return int(value[0] if isinstance(value, tuple) else value)


def raw_mode(image: Any) -> str:
    """Return the raw mode in which Pillow decodes the pixels."""
    args = image.tile[0][3] if getattr(image, "tile", None) else ""
    raw = args if isinstance(args, str) else (args or ("",))[0]
    return raw if isinstance(raw, str) else ""


def set_raw_mode(image: Any, change: Callable[[str], str]) -> None:
    """Change the raw mode in which Pillow decodes the pixels."""
    kind = type(image.tile[0])  # a named tuple in newer versions of Pillow
    tiles = []
    for codec, extents, offset, args in image.tile:
        text = isinstance(args, str)
        new: Any = change(args) if text else (change(args[0]), *args[1:])
        tile = (codec, extents, offset, new)
        tiles.append(kind._make(tile) if hasattr(kind, "_make") else tile)
    image.tile = tiles


def correct_order(image: Any) -> None:
    """Make Pillow read 32-bit values in native byte order if libtiff has decoded them.

    libtiff returns values in native byte order, but Pillow assumes that of the file.
    """
    unpacked = image.tile and image.tile[0][0] == "libtiff"
    if unpacked and image.mode in ("I", "F"):
        set_raw_mode(image, lambda raw: re.sub(r";(\d+)[BN]?", r";\1N", raw))


def upright_size(image: Any) -> tuple[int, int]:
    """Return the height and width of a Pillow image after turning it upright."""
    h, w = _tag(image, _HEIGHT, 0), _tag(image, _WIDTH, 0)
    return (w, h) if _tag(image, _ORIENTATION, 1) in (5, 6, 7, 8) else (h, w)


def says_alpha(image: Any) -> bool:
    """Whether the channel after the colours is declared as transparency."""
    extra = image.tag_v2.get(_EXTRA, ())
    return bool(extra) and extra[0] in (1, 2)


def is_lossless(image: Any) -> bool:
    """Whether Pillow decodes all values of an opened image without loss."""
    photometric = _tag(image, _PHOTOMETRIC, _INVERTED)
    samples, bits = _tag(image, _SAMPLES, 1), _tag(image, _BITS, 1)
    more = samples - _COLOURS.get(photometric, 1)
    if more < 0 or (_tag(image, _PLANAR, 1) == 2 and samples > 1 and bits > 8):
        return more < 0  # subsampled colours, which Pillow decodes as stored
    extra = tuple(image.tag_v2.get(_EXTRA, ()))
    if more == 0:
        return True
    if more > 1 or photometric not in (_RGB, 1, _PALETTE):
        return False
    # Pillow undoes premultiplied alpha only in 8 bits.
    return extra in ((), (_UNASSOCIATED,)) or (extra == (1,) and bits == 8)


def n_pages(image: Any) -> int:
    """Count the pages that are not reduced copies of other pages."""
    here, count = image.tell(), 0
    for page in range(image.n_frames):
        image.seek(page)
        count += not _tag(image, _SUBFILE, 0) & 1
    image.seek(here)
    return max(1, count)


def dtype(image: Any) -> str:
    """Return the data type of a Pillow image with one channel."""
    bits, kind = _tag(image, _BITS, 1), _tag(image, _FORMAT, _UNSIGNED)
    if image.mode == "F":
        return "float32"
    if image.mode == "L":
        return "int8" if kind == _SIGNED and bits == 8 else "uint8"
    if image.mode != "I":
        return "uint16"
    return f"{'int' if kind == _SIGNED else 'uint'}{bits}"


def as_type(values: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """Convert values to their data type, which the Pillow mode does not determine."""
    new = np.dtype(name)
    if new in (np.dtype(np.int8), np.dtype(np.uint32)):
        return values.view(new)
    return values.astype(new, copy=False)


def inversion(image: Any) -> Any:
    """Return the maximum if 0 means white and Pillow does not invert it, else None."""
    if image.mode != "I;16" or _tag(image, _PHOTOMETRIC, 1) != _INVERTED:
        return None
    return np.uint16((1 << _tag(image, _BITS, 16)) - 1)


def _tifffile() -> Any:
    try:
        return require("tifffile", "tifffile")
    except ImportError as error:
        raise ImportError(
            "this TIFF layout needs the package tifffile, which is not installed: pip "
            "install 'skfcdd[tiff]'"
        ) from error


def _page(file: Any, number: int) -> Any:
    if not number < len(file.pages):
        raise ValueError(f"it has no page {number}")
    return file.pages[number]


def describe(path: Path, page: int) -> dict[str, Any]:
    """Return the fields of the header of a page, read with tifffile."""
    with _tifffile().TiffFile(path) as file:
        own = _page(file, page)
        h, w, n = _layout(own)
        if _orientation(own) in (5, 6, 7, 8):
            h, w = w, h
        alpha = _has_alpha(own, n)
        whole = sum(not page.subfiletype & 1 for page in file.pages)
        return {
            "size": (h, w),
            "n_channels": n - alpha,
            "dtype": _plain(own.dtype).name,
            "has_alpha": alpha,
            "n_pages": max(1, whole),
        }


def read(path: Path, page: int) -> Picture:
    """Read the values of a page with tifffile."""
    with _tifffile().TiffFile(path) as file:
        own = _page(file, page)
        h, w, n = _layout(own)
        values = own.asarray(maxworkers=1)
    values = values.reshape(h, w, n) if own.axes != "SYX" else np.moveaxis(values, 0, 2)
    values = values.astype(_plain(values.dtype), copy=False)
    if own.photometric == _INVERTED and values.dtype.kind == "u":
        values = values.dtype.type((1 << own.bitspersample) - 1) - values
    values = np.ascontiguousarray(turned(values, _orientation(own)))
    if _has_alpha(own, n):
        return Picture(values[..., :-1], values[..., -1], doubtful=True)
    return Picture(values)


def _layout(page: Any) -> tuple[int, int, int]:
    """Return the height, width and number of channels of a page, before rotation."""
    axes, shape = page.axes, page.shape
    if page.dtype is None or page.dtype.kind not in "buif":
        raise ValueError(f"its values are of type {page.dtype}, which are not numbers")
    if page.photometric not in (_INVERTED, 1, _RGB):
        raise ValueError(
            f"its colour model is {page.photometric.name}, which is not supported"
        )
    if axes == "YX":
        return shape[0], shape[1], 1
    if axes == "YXS":
        return shape
    if axes == "SYX":
        return shape[1], shape[2], shape[0]
    raise ValueError(
        f"its axes are {axes}, but an image must have rows, columns and at most one "
        "axis of channels"
    )


def _orientation(page: Any) -> int:
    return int(page.tags.valueof(_ORIENTATION, 1))


def _has_alpha(page: Any, n: int) -> bool:
    return (
        page.photometric == _RGB
        and n == 4
        and page.dtype.name in ("uint8", "uint16")
        and tuple(page.extrasamples) == (_UNASSOCIATED,)
    )


def _plain(found: np.dtype[Any]) -> np.dtype[Any]:
    """Return the data type to convert values to: native byte order, no float16."""
    if found.kind == "b":
        return np.dtype(np.uint8)
    return (
        np.dtype(np.float32)
        if found.itemsize == 2 and found.kind == "f"
        else (found.newbyteorder("="))
    )
