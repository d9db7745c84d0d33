"""NumPy files that contain one image, or a stack of images as pages."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["describe", "holds_arrays", "read"]

# A small image with more channels than this is assumed to be a stack of images.
_FEW = 4


def holds_arrays(path: Path) -> bool:
    """Whether the file name is that of a NumPy file."""
    return path.suffix.lower() in (".npy", ".npz")


def describe(path: Path, page: int) -> dict[str, Any]:
    """Return the fields of the header of a page."""
    values, n_pages = _page(path, page)
    h, w, n_channels = values.shape
    return {
        "size": (h, w),
        "n_channels": n_channels,
        "dtype": _plain(values.dtype).name,
        "n_pages": n_pages,
    }


def read(path: Path, page: int) -> npt.NDArray[Any]:
    """Read the values (h, w, c) of a page."""
    values, _ = _page(path, page)
    if values.dtype == bool:
        return np.asarray(values, dtype=np.uint8) * np.uint8(255)
    return np.array(values, dtype=_plain(values.dtype))


def _plain(found: np.dtype[Any]) -> np.dtype[Any]:
    if found.kind == "b":
        return np.dtype(np.uint8)
    if found.kind == "f" and found.itemsize not in (4, 8):
        return np.dtype(np.float32 if found.itemsize < 4 else np.float64)
    return found.newbyteorder("=")


def _page(path: Path, page: int) -> tuple[npt.NDArray[Any], int]:
    """Return a page (h, w, c), and the number of pages."""
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"it is not a NumPy file of numbers ({error})") from error
    if isinstance(stored, np.ndarray):
        pages: Any = _pages(stored)
        return _image(pages, page), len(pages)
    with stored:
        names = stored.files
        if len(names) == 1:
            pages = _pages(stored[names[0]])
            return _image(pages, page), len(pages)
        if not page < len(names):
            raise ValueError(f"it has no page {page}")
        only = _pages(stored[names[page]])
        if len(only) != 1:
            raise ValueError(
                f"{names[page]!r} contains {len(only)} images, but in a file with "
                "several arrays, each must be one image"
            )
        return _image(only, 0), len(names)


def _image(pages: npt.NDArray[Any], page: int) -> npt.NDArray[Any]:
    if not page < len(pages):
        raise ValueError(f"it has no page {page}")
    image: npt.NDArray[Any] = pages[page]
    return image


def _pages(stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Reshape an array to images (n, h, w, c)."""
    shape = stored.shape
    if stored.dtype.kind not in "buif":
        raise ValueError(
            f"it contains values of type {stored.dtype}, which are not numbers"
        )
    if 0 in shape or stored.ndim not in (2, 3, 4):
        raise ValueError(
            f"it contains an array of shape {shape}, but expected an image (h, w) or "
            "(h, w, c), or a stack of images (n, h, w, c)"
        )
    if stored.ndim == 3 and shape[2] > _FEW and shape[2] >= min(shape[:2]):
        raise ValueError(
            f"its array of shape {shape} does not look like an image (h, w, c). Store "
            "channels last, and stacks of grey images as (n, h, w, 1)"
        )
    if stored.ndim == 2:
        return stored[None, :, :, None]
    return stored[None] if stored.ndim == 3 else stored
