"""Image files as an array: decoded in parallel, at one size, when they are asked for.

Pillow decodes; this module decides what a file means: which way is up, what becomes of
a palette or of transparency, how many bits a value has, and what to do with a file that
cannot be read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed

from skfcdd._utils.optional import pillow
from skfcdd.exceptions import ImageFileError

__all__ = ["Header", "ImageFiles", "decode", "read_headers"]

_DEEP = {"I;16", "I;16B", "I;16L", "I"}
_GREY = {"1", "L", "LA", "La", *_DEEP, "F"}


@dataclass(frozen=True)
class Header:
    """What the first bytes of a file say.

    Parameters
    ----------
    size : tuple of int (h, w)
        As a person sees it: turned by the orientation that a camera has noted.
    grey : bool
        Whether the image has no colours.
    deep : bool
        Whether a value has 16 bits.
    n_pages : int
        Number of images in the file.
    """

    size: tuple[int, int]
    grey: bool
    deep: bool
    n_pages: int


def read_headers(
    paths: Sequence[Path], n_jobs: int | None = None
) -> list[Header | ImageFileError]:
    """Headers of files, or what is wrong with them."""

    def attempt(path: Path) -> Header | ImageFileError:
        try:
            return _header(path)
        except ImageFileError as error:
            return error

    return _map(attempt, paths, n_jobs)


def _map(function: Any, items: Sequence[Any], n_jobs: int | None) -> list[Any]:
    """Pillow lets other threads run while it decodes."""
    n_jobs = n_jobs or min(8, os.cpu_count() or 1)
    if n_jobs == 1 or len(items) < 2:
        return [function(item) for item in items]
    parallel = Parallel(n_jobs=n_jobs, prefer="threads")
    return list(parallel(delayed(function)(item) for item in items))


class _Opened:
    """A file as an image of Pillow; whatever goes wrong names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Any:
        image = pillow("Image")
        try:
            self.image = image.open(self.path)
        except Exception as error:
            raise _failure(self.path, error) from error
        return self.image

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.image.close()
        if isinstance(error, Exception) and not isinstance(error, ImageFileError):
            raise _failure(self.path, error) from error


def _failure(path: Path, error: Exception) -> ImageFileError:
    if isinstance(error, FileNotFoundError):
        why = "there is no such file"
    elif type(error).__name__ == "UnidentifiedImageError":
        why = "it is no image of a known format"
    elif type(error).__name__ == "DecompressionBombError":
        why = f"it would need too much memory ({error})"
    else:
        why = str(error) or type(error).__name__
    return ImageFileError(
        f"Cannot read {str(path)!r}: {why}. Mend or remove it, or skip such files "
        f"with on_error='skip' of load_images, --on-error skip of the command line."
    )


def _header(path: Path) -> Header:
    with _Opened(path) as image:
        w, h = image.size
        # Pillow would decode a whole PNG file to see what stands behind its pixels.
        known = image.format != "PNG" or "exif" in image.info
        if known and image.getexif().get(0x0112, 1) in (5, 6, 7, 8):  # on its side
            h, w = w, h
        mode = image.mode
        if mode == "P":
            mode = image.palette.mode if _is_colourful(image) else "L"
        n_pages = getattr(image, "n_frames", 1)
        return Header((h, w), mode in _GREY, image.mode in _DEEP, n_pages)


def _is_colourful(image: Any) -> bool:
    """Whether a palette has colours that are not grey."""
    palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
    return bool((np.ptp(palette, axis=1) > 0).any())


def decode(path: Path, *, grey: bool, deep: bool, page: int = 0) -> Any:
    """An image of Pillow as a person sees it: upright, on white where transparent.

    Modes "L" or "RGB", or "I;16" and "F" where `deep`.
    """
    with _Opened(path) as image:
        if page:
            image.seek(page)
        image = pillow("ImageOps").exif_transpose(image)
        if deep:
            return _deep(image)
        if image.mode in _DEEP:
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


def _deep(image: Any) -> Any:
    """Grey values of 16 bits, as 32-bit numbers that Pillow can resize."""
    values = np.asarray(image)
    if values.ndim == 3 or image.mode in ("1", "P"):
        values = np.asarray(image.convert("L"))
    if values.dtype == np.uint8:
        values = values.astype(np.float32) * 257
    return pillow("Image").fromarray(np.ascontiguousarray(values, dtype=np.float32))


class ImageFiles:
    """Image files as an array (n, h, w) or (n, h, w, c) that is read when sliced.

    The estimators take it as X. Only what is asked for is decoded, by several threads.

    Parameters
    ----------
    paths : sequence of path
        The files, one for each image.
    resize : int or tuple of int (h, w), default=None
        Common size. None asks for files of one size.
    keep_aspect : bool, default=False
        Whether images keep the ratio of their sides: they are then made as large as
        fits, in the middle, and their border pixels fill the rest.
    mode : {"auto", "grey", "colour"}, default="auto"
        "auto" is grey if all files are.
    page : int, default=0
        Which image of files with several.
    n_jobs : int, default=None
        Number of threads that decode. None takes one a core, at most 8.

    Attributes
    ----------
    shape : tuple of int
        (n, h, w) or (n, h, w, 3).
    dtype : numpy.dtype
        uint8; uint16 if all files are grey and have 16 bits.
    sizes : list of tuple of int (h, w)
        Of the files.

    Raises
    ------
    ~skfcdd.exceptions.ImageFileError
        If a file cannot be read; when it is sliced, if its header was sound.
    ~skfcdd.exceptions.ImageShapeError
        If the files have several sizes and there is no `resize`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from skfcdd.datasets import ImageFiles
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "a.png"
    >>> Image.fromarray(np.zeros((6, 8), np.uint8)).save(path)
    >>> images = ImageFiles([path], resize=(3, 4))
    >>> images.shape, images[:1].shape, images.sizes
    ((1, 3, 4), (1, 3, 4), [(6, 8)])
    >>> folder.cleanup()
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        resize: int | tuple[int, int] | None = None,
        keep_aspect: bool = False,
        mode: str = "auto",
        page: int = 0,
        n_jobs: int | None = None,
        headers: Sequence[Header] | None = None,
    ) -> None:
        if mode not in ("auto", "grey", "colour"):
            raise ValueError(
                f"Got mode={mode!r}, but expected 'auto', 'grey' or 'colour'."
            )
        if isinstance(paths, (str, os.PathLike)):
            raise ValueError(
                f"Got paths={os.fspath(paths)!r}, but expected several. Give a list, "
                f"or read a folder with skfcdd.datasets.load_images."
            )
        self.paths = [Path(path) for path in paths]
        if not self.paths:
            raise ValueError("There are no image files: paths is empty.")
        found = read_headers(self.paths, n_jobs) if headers is None else list(headers)
        for header in found:
            if isinstance(header, ImageFileError):
                raise header
        known = [header for header in found if isinstance(header, Header)]
        self.sizes = [header.size for header in known]
        self.grey = mode == "grey" or (mode == "auto" and all(h.grey for h in known))
        self.deep = self.grey and all(h.deep for h in known)
        self.dtype = np.dtype(np.uint16 if self.deep else np.uint8)
        self.size = _common_size(self.paths, self.sizes, resize)
        self.keep_aspect, self.page, self.n_jobs = keep_aspect, page, n_jobs
        self._resize, self._mode = resize, mode
        self.shape = (len(self.paths), *self.size, *([] if self.grey else [3]))
        self.ndim = len(self.shape)
        # Where this is asked for, arrays are read in pieces.
        self.chunks = (1, *self.shape[1:])

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def reading(self) -> dict[str, Any]:
        """The options with which other files are read alike."""
        return {
            "resize": None if self._resize is None else self.size,
            "keep_aspect": self.keep_aspect,
            # Grey files among colours are fine; colours are never dropped unasked.
            "mode": self._mode if self.grey else "colour",
            "page": self.page,
        }

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        chosen = np.arange(len(self.paths))[index]
        if np.ndim(chosen) == 0:
            return self._load(int(chosen))
        images = _map(self._load, chosen.tolist(), self.n_jobs)
        return (
            np.stack(images) if images else np.empty((0, *self.shape[1:]), self.dtype)
        )

    def __array__(
        self, dtype: Any = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        values = self[:]
        return values if dtype is None else values.astype(dtype)

    def _load(self, row: int) -> npt.NDArray[Any]:
        path = self.paths[row]
        image = decode(path, grey=self.grey, deep=self.deep, page=self.page)
        h, w = self._inner(row)
        if image.size != (w, h):
            image = image.resize((w, h), pillow("Image").Resampling.BILINEAR)
        values = np.asarray(image)
        if self.deep:
            values = values.clip(0, 65535).round().astype(np.uint16)
        top, left = (self.size[0] - h) // 2, (self.size[1] - w) // 2
        if (h, w) != self.size:
            around = [(top, self.size[0] - h - top), (left, self.size[1] - w - left)]
            values = np.pad(values, around + [(0, 0)] * (values.ndim - 2), mode="edge")
        return values

    def _inner(self, row: int) -> tuple[int, int]:
        """Size of the picture itself within the common size."""
        if not self.keep_aspect:
            return self.size
        h, w = self.sizes[row]
        scale = min(self.size[0] / h, self.size[1] / w)
        return max(1, round(h * scale)), max(1, round(w * scale))

    def at_original_size(
        self, heatmaps: npt.NDArray[Any], rows: Sequence[int] | slice | None = None
    ) -> list[npt.NDArray[np.float32]]:
        """Heatmaps (n, h, w) of these files, each at the size of its file.

        Parameters
        ----------
        heatmaps : ndarray of shape (n, h, w)
            At the common size, one for each file.
        rows : sequence of int or slice, default=None
            The files that they belong to. None means all.

        Returns
        -------
        list of ndarray of shape (file_h, file_w), float32
        """
        every = np.arange(len(self.paths))
        chosen = every if rows is None else every[rows]
        if heatmaps.shape != (len(chosen), *self.size):
            raise ValueError(
                f"heatmaps must have shape {(len(chosen), *self.size)}. Got "
                f"{heatmaps.shape}."
            )
        return [
            self._restored(heatmap, int(row))
            for heatmap, row in zip(heatmaps, chosen, strict=True)
        ]

    def _restored(self, heatmap: npt.NDArray[Any], row: int) -> npt.NDArray[np.float32]:
        h, w = self._inner(row)
        top, left = (self.size[0] - h) // 2, (self.size[1] - w) // 2
        values = heatmap[top : top + h, left : left + w].astype(np.float32)
        old_h, old_w = self.sizes[row]
        if (h, w) == (old_h, old_w):
            return values
        image = pillow("Image").fromarray(np.ascontiguousarray(values))
        image = image.resize((old_w, old_h), pillow("Image").Resampling.BILINEAR)
        return np.asarray(image)


def _common_size(
    paths: Sequence[Path],
    sizes: Sequence[tuple[int, int]],
    resize: int | tuple[int, int] | None,
) -> tuple[int, int]:
    from skfcdd.exceptions import ImageShapeError

    if resize is not None:
        sides: Any = resize if isinstance(resize, (tuple, list)) else (resize, resize)
        whole = [int(n) for n in sides if isinstance(n, Integral) and int(n) >= 1]
        if len(whole) != 2 or len(sides) != 2:
            raise ValueError(
                f"resize must be a number of pixels of at least 1, or (h, w). Got "
                f"{resize!r}."
            )
        return whole[0], whole[1]
    different = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
    if different is not None:
        raise ImageShapeError(
            f"The files have several sizes: {paths[0].name!r} is (h, w) = {sizes[0]}, "
            f"{paths[different].name!r} is {sizes[different]}. Give a common one: "
            f"load_images(..., resize=(h, w)), or ImageFiles(paths, resize=(h, w))."
        )
    return sizes[0]
