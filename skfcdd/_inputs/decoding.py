"""Readers for the headers and the unmodified pixel values of image files.

Pillow reads every format that it decodes without loss, tifffile reads the other TIFF
layouts, and NumPy reads array files. Only `decode`, which is not used for the inputs of
models, scales, clips or blends values. Sizes are always those of the upright image.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from joblib import Parallel, delayed

from skfcdd._inputs import numpy_files, tiff
from skfcdd._inputs.pixels import Picture
from skfcdd._utils.optional import pillow
from skfcdd.exceptions import ImageFileError

__all__ = [
    "Header",
    "decode",
    "map_in_threads",
    "naming",
    "opened",
    "read_headers",
    "read_picture",
]

T = TypeVar("T")

_ORIENTATION = 0x0112
_GREY = {"1", "L", "LA", "La", "F"}
# PNG chunks that may contain an orientation, and the first bytes of those that do.
_NOTES = {
    b"eXIf": b"",
    b"iTXt": b"XML:com.adobe.xmp",
    b"tEXt": b"Raw profile type",
    b"zTXt": b"Raw profile type",
}


@dataclass(frozen=True)
class Header:
    """Properties of an image file, known before its pixels are decoded.

    Parameters
    ----------
    size : tuple of int (h, w)
        Size of the upright image, after applying the orientation stored by the camera.
    n_channels : int
        Number of channels without transparency: 1 for grey, 3 for colour, or more.
    dtype : str
        Data type of the values; "uint8" for one-bit and palette images.
    has_alpha : bool
        Whether the file also has a transparency channel.
    n_pages : int
        Number of images (pages or frames) in the file.
    page : int
        Page that the other fields describe.
    """

    size: tuple[int, int]
    n_channels: int
    dtype: str
    has_alpha: bool = False
    n_pages: int = 1
    page: int = 0


def read_headers(
    paths: Sequence[Path], n_jobs: int | None = None, page: int | None = None
) -> list[Header | ImageFileError]:
    """Read the header of each file; for an unreadable file, return the error."""

    def attempt(path: Path) -> Header | ImageFileError:
        try:
            return _header(path, page or 0)
        except ImageFileError as error:
            return error

    return map_in_threads(attempt, paths, n_jobs)


def map_in_threads(
    function: Callable[[Any], T], items: Sequence[Any], n_jobs: int | None
) -> list[T]:
    """Apply a function to items in threads; Pillow decodes without holding the GIL."""
    n_jobs = n_jobs or min(8, os.cpu_count() or 1)
    if n_jobs == 1 or len(items) < 2:
        return [function(item) for item in items]
    parallel = Parallel(n_jobs=n_jobs, prefer="threads")
    return list(parallel(delayed(function)(item) for item in items))


def _header(path: Path, page: int) -> Header:
    with naming(path):
        if numpy_files.holds_arrays(path):
            return Header(**numpy_files.describe(path, page), page=page)
        own = None
        try:
            with opened(path, page) as image:
                own = _of_pillow(image, path)
        except Exception as error:
            if not _is_for_tifffile(error, path):
                raise
        if own is None:
            own = Header(**tiff.describe(path, page))
        return replace(own, page=page)


def _is_for_tifffile(error: Exception, path: Path) -> bool:
    """Whether Pillow failed because it does not support this kind of TIFF file."""
    unknown = type(error).__name__ in ("UnidentifiedImageError", "SyntaxError")
    return unknown and tiff.is_tiff(path)


def read_picture(path: Path, page: int | None = None) -> Picture:
    """Read the pixel values of a file, as an upright image.

    Raises
    ------
    ImageFileError
        If the file cannot be read, or contains NaN or infinity.
    """
    with naming(path):
        picture = _picture(path, page or 0)
        if picture.values.dtype.kind == "f" and not np.isfinite(picture.values).all():
            raise ValueError("it contains NaN or infinity")
        return picture


def _picture(path: Path, page: int) -> Picture:
    if numpy_files.holds_arrays(path):
        return Picture(numpy_files.read(path, page))
    try:
        with opened(path, page) as image:
            header = _of_pillow(image, path)
            if header is not None:
                return _values(image, header, path, page)
    except Exception as error:
        if not _is_for_tifffile(error, path):
            raise
    return tiff.read(path, page)


class opened:  # noqa: N801
    """Context manager that opens a page of a file as a Pillow image."""

    def __init__(self, path: Path, page: int) -> None:
        self.path, self.page = path, page

    def __enter__(self) -> Any:
        with ExitStack() as stack:
            # If Pillow opened the path itself, it might memory-map pixels that are
            # not upright, but with the shape of the upright image.
            file = stack.enter_context(self.path.open("rb"))
            image = stack.enter_context(pillow("Image").open(file))
            try:
                if self.page:
                    image.seek(self.page)
            except EOFError as error:
                raise ValueError(f"it has no page {self.page}") from error
            self.stack = stack.pop_all()
        return image

    def __exit__(self, *error: object) -> None:
        self.stack.close()


class naming:  # noqa: N801
    """Context manager that turns any error into one that names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pillow("Image")  # raises a helpful error if Pillow is missing

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, ImageFileError):
            raise _failure(self.path, error) from error


def _failure(path: Path, error: Exception) -> ImageFileError:
    if isinstance(error, FileNotFoundError):
        why = "there is no such file"
    elif type(error).__name__ == "UnidentifiedImageError":
        why = "it is not an image in a known format"
    elif type(error).__name__ == "DecompressionBombError":
        why = f"it would need too much memory ({error})"
    else:
        why = str(error).rstrip(".") or type(error).__name__
    return ImageFileError(
        f"Cannot read {str(path)!r}: {why}. Repair or remove the file, or skip such "
        "files with load_images(..., on_error='skip') or, on the command line, "
        "--on-error skip."
    )


def _of_pillow(image: Any, path: Path) -> Header | None:
    """Return the header of a file, or None if Pillow would alter its values."""
    if image.format == "TIFF" and not tiff.is_lossless(image):
        return None
    w, h = image.size
    if image.format == "TIFF":  # image.size depends on the version of Pillow
        h, w = tiff.upright_size(image)
    elif _orientation(image, path) in (5, 6, 7, 8):  # stored on its side
        h, w = w, h
    mode, wide = image.mode, _is_wide(image)
    if mode == "CMYK" and wide:
        raise ValueError("16-bit CMYK is not supported")
    n_channels = 3
    if mode in _GREY or mode.startswith("I") or _is_grey_in_colours(image):
        n_channels = 1
    elif mode in ("P", "PA"):
        n_channels = 3 if _is_colourful(image) else 1
    alpha = image.has_transparency_data and (not wide or mode == "RGBA")
    if image.format == "TIFF" and mode == "RGBA" and not tiff.says_alpha(image):
        n_channels, alpha = 4, False
    deep = mode.startswith("I") or mode == "F"
    pages = 1
    # All pictures in an MPO photograph except the first are previews.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        pages = tiff.n_pages(image) if image.format == "TIFF" else image.n_frames
    dtype = "uint16" if wide else _dtype(image)
    return Header((h, w), n_channels, dtype, alpha and not deep, pages)


def _dtype(image: Any) -> str:
    if image.format == "TIFF":
        found = tiff.dtype(image)
        return found if image.mode in ("L", "F") or image.mode[0] == "I" else "uint8"
    if image.mode == "F":
        return "float32"
    return "uint16" if image.mode.startswith("I") else "uint8"


def _orientation(image: Any, path: Path) -> int:
    # To find chunks after the pixels, Pillow would decode the whole PNG file.
    if image.format == "PNG" and not _has_notes(path):
        return 1
    return int(image.getexif().get(_ORIENTATION, 1))


def _has_notes(path: Path) -> bool:
    """Whether a PNG file has a chunk that may contain an orientation."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            start = file.tell()
            if kind in _NOTES and file.read(32).startswith(_NOTES[kind]):
                return True
            file.seek(start + length + 4)
    return False


def _is_colourful(image: Any) -> bool:
    """Whether a palette contains colours other than grey."""
    palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
    return bool((np.ptp(palette, axis=1) > 0).any())


def _is_wide(image: Any) -> bool:
    """Whether there are several 16-bit channels; Pillow keeps their upper 8 bits."""
    return image.mode in ("RGB", "RGBA", "CMYK") and ";16" in tiff.raw_mode(image)


def _is_grey_in_colours(image: Any) -> bool:
    """Whether an image is 16-bit grey with alpha, for which Pillow has no mode."""
    return image.mode == "RGBA" and tiff.raw_mode(image).startswith("LA;16")


def _values(image: Any, header: Header, path: Path, page: int) -> Picture:
    """Return the pixel values of an opened file."""
    if header.dtype == "uint16" and _is_wide(image):
        return _wide(image, path, page)
    doubtful = image.format == "TIFF" and header.has_alpha
    as_bits = tiff.inversion(image) if image.format == "TIFF" else None
    image = _upright(image)
    if image.mode[0] in "IF" or header.dtype == "int8":
        values = tiff.as_type(np.asarray(image), header.dtype)
        return Picture((values if as_bits is None else as_bits - values)[..., None])
    mode = "L" if header.n_channels == 1 else "RGB"
    if header.n_channels == 4:
        return Picture(np.asarray(image))
    if not header.has_alpha:
        values = np.asarray(image if image.mode == mode else image.convert(mode))
        return Picture(values if values.ndim == 3 else values[..., None])
    values = np.asarray(image.convert("RGBA"))
    return Picture(values[..., : header.n_channels], values[..., 3], doubtful)


def _upright(image: Any) -> Any:
    if image.format == "TIFF":
        tiff.correct_order(image)
    image.load()
    return pillow("ImageOps").exif_transpose(image)


def _wide(image: Any, path: Path, page: int) -> Picture:
    """Decode several 16-bit channels by reading upper and lower bytes separately."""
    alpha = image.mode == "RGBA"
    if _is_grey_in_colours(image):
        tiff.set_raw_mode(image, lambda raw: "RGBA")
        four = np.asarray(_upright(image)).astype(np.uint16)
        values = four[..., ::2] << 8 | four[..., 1::2]
        return Picture(values[..., :1], values[..., 1])
    is_tiff = image.format == "TIFF"
    trusted = not is_tiff or tiff.says_alpha(image)
    upper = np.asarray(_upright(image)).astype(np.uint16)
    with opened(path, page) as again:
        tiff.set_raw_mode(again, lambda raw: raw[:-1] + tiff.OTHER_ORDER[raw[-1]])
        values = upper << 8 | np.asarray(_upright(again))
    if not alpha:
        return Picture(values)
    if not trusted:
        return Picture(values)
    return Picture(values[..., :3], values[..., 3], doubtful=is_tiff)


def decode(path: Path, *, grey: bool, page: int | None = 0) -> Any:
    """Decode a file as an image viewer shows it: upright, with transparency on white.

    Returns a Pillow image of mode "L" or "RGB", for masks and plots; model inputs are
    read by :func:`read_picture`.
    """
    with naming(path), opened(path, page or 0) as image:
        image = _upright(image)
        if image.mode.startswith("I"):
            values = np.asarray(image, dtype=np.float32) / 257
            image = pillow("Image").fromarray(values.round().astype(np.uint8))
        elif image.mode == "F":
            values = np.clip(np.asarray(image), 0, 255)
            image = pillow("Image").fromarray(values.astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = pillow("Image").new("RGBA", image.size, "white")
            image = pillow("Image").alpha_composite(white, image)
        return image.convert("L" if grey else "RGB")
