"""Array of image files, which are decoded in parallel and resized on access.

All files are read in the same way: a fitted model reads new files with the number of
channels, data type, size and page of the files in ``fit``. If a file does not match,
the error names it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._inputs.decoding import Header, map_in_threads, read_headers, read_picture
from skfcdd._inputs.pixels import as_channels, can_become, resized, retyped
from skfcdd._utils.optional import pillow
from skfcdd._utils.warnings import warn_caller
from skfcdd.exceptions import ImageFileError, ImageFileWarning, ImageShapeError

__all__ = ["ImageFiles", "files_for"]

# Models fitted on arrays of these types require files of the same type.
_OF_LIGHT = ("uint8", "uint16")


def files_for(
    paths: Any,
    reading: Mapping[str, Any] | None,
    image_shape: Sequence[int] | None,
    dtype: str | None = None,
) -> ImageFiles:
    """Wrap paths as an array of images that a fitted model accepts.

    Parameters
    ----------
    paths : sequence of path
    reading : mapping or None
        Options with which files were read in ``fit``, if X was files.
    image_shape : sequence of int (h, w, c) or None
        Image shape in ``fit``, if known.
    dtype : str, default=None
        Data type in ``fit``, if known.
    """
    if reading is not None:
        return ImageFiles(paths, **reading)
    # A colour model accepts grey files, but colour is never dropped by default.
    strict = dtype if dtype in _OF_LIGHT else None
    n_channels = None if image_shape is None else image_shape[2]
    return ImageFiles(paths, n_channels=n_channels, dtype=strict)


class ImageFiles:
    """Array (n, h, w) or (n, h, w, c) of images that are read from files when sliced.

    Estimators accept it as X. Slicing decodes only the requested files, in several
    threads. Values and data type are those in the files, except for the conversions
    described below. If a file does not match the others, the error names it.

    Parameters
    ----------
    paths : sequence of path
        The files, one per image.
    resize : int or tuple of int (h, w), default=None
        Size in pixels to which all images are resized. With None, all files must have
        the same size.
    keep_aspect : bool, default=False
        Whether to preserve the aspect ratio: each image is scaled to the largest size
        that fits, centred, and padded by repeating its border pixels.
    mode : {"auto", "grey", "colour", "channels"}, default="auto"
        "grey" and "colour" convert all files to one or three channels. "auto" means
        grey if all files are grey, three channels if any file is in colour, or all
        channels of files with more, such as an infrared channel. "channels" keeps
        transparency as a channel; in the other modes, transparent images are blended
        with white.
    page : int, default=None
        Page or frame to read from files with several, counted from 0. None raises an
        error for such files.
    n_jobs : int, default=None
        Number of decoding threads. None means one per core, at most 8.
    headers : sequence, default=None
        Headers of the files, if already read. None reads them.
    dtype : str, default=None
        Required data type of the values of all files, such as "uint16" or "float32".
        None infers it from the files, which must all have the same type.
    rescale : bool, default=False
        Whether to convert between 8 and 16 bits so that black and white are preserved:
        8-bit values are multiplied by 257; 16-bit values are divided by 257 and
        rounded. This is correct only if the 16-bit values use the full range up to
        65535.
    n_channels : int, default=None
        Required number of channels. None infers it from the files and `mode`.

    Attributes
    ----------
    shape : tuple of int
        (n, h, w) for grey files, otherwise (n, h, w, c).
    dtype : numpy.dtype
        Data type of the values.
    sizes : list of tuple of int (h, w)
        Original sizes of the files, upright.

    Raises
    ------
    ImageFileError
        If a file cannot be read, contains NaN or infinity, has several pages although
        `page` is None, or has a data type other than the expected one. Errors in the
        pixels, rather than in the header, are raised when the array is sliced.
    ImageShapeError
        If the files differ in size and `resize` is None, or if a file has an unexpected
        number of channels.

    Warns
    -----
    ImageFileWarning
        If a file is entirely transparent, so that its transparency is ignored.

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
        page: int | None = None,
        n_jobs: int | None = None,
        headers: Sequence[Header] | None = None,
        dtype: str | None = None,
        rescale: bool = False,
        n_channels: int | None = None,
    ) -> None:
        _check_options(mode, page)
        if isinstance(paths, (str, os.PathLike)):
            raise ValueError(
                f"Got paths={os.fspath(paths)!r}, but expected a list of paths. To "
                "read a folder, use skfcdd.datasets.load_images."
            )
        self.paths = [Path(path) for path in paths]
        if not self.paths:
            raise ValueError("There are no image files: paths is empty.")
        known = _sound_headers(self.paths, headers, n_jobs, page)
        if page is None:
            _refuse_pages(self.paths, known)
        self.sizes = [header.size for header in known]
        self.mode, self.rescale = mode, rescale
        self.n_channels = _common_channels(self.paths, known, mode, n_channels)
        self.dtype = np.dtype(_common_dtype(self.paths, known, dtype, rescale))
        self.size = _common_size(self.paths, self.sizes, resize)
        self.keep_aspect, self.page, self.n_jobs = keep_aspect, page, n_jobs
        self._resize = resize
        self._told: set[int] = set()
        grey = self.n_channels == 1
        self.shape = (len(self.paths), *self.size, *([] if grey else [self.n_channels]))
        self.ndim = len(self.shape)
        # The attribute `chunks` marks this array as one to be read block by block.
        self.chunks = (1, *self.shape[1:])

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def reading(self) -> dict[str, Any]:
        """Options for reading other files in the same way."""
        return {
            "resize": None if self._resize is None else self.size,
            "keep_aspect": self.keep_aspect,
            "mode": self.mode,
            "page": self.page,
            "dtype": self.dtype.name,
            "rescale": self.rescale,
            "n_channels": self.n_channels,
        }

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        chosen = np.arange(len(self.paths))[index]
        rows = np.atleast_1d(chosen).tolist()
        loaded = map_in_threads(self._load, rows, self.n_jobs)
        for row, (_, note) in zip(rows, loaded, strict=True):
            if note is not None and row not in self._told:  # once per file
                self._told.add(row)
                warn_caller(f"{str(self.paths[row])!r} {note}.", ImageFileWarning)
        images = [values for values, _ in loaded]
        if np.ndim(chosen) == 0:
            return images[0]
        return (
            np.stack(images) if images else np.empty((0, *self.shape[1:]), self.dtype)
        )

    def __array__(
        self, dtype: Any = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        values = self[:]
        return values if dtype is None else values.astype(dtype)

    def _load(self, row: int) -> tuple[npt.NDArray[Any], str | None]:
        """Read the values of a file; also return a message about them, or None."""
        path = self.paths[row]
        picture = read_picture(path, self.page)
        found = picture.values.shape[:2], picture.values.dtype.name
        alpha = picture.alpha if picture.doubtful and self.mode == "auto" else None
        try:
            if found[0] != self.sizes[row] or not self._takes(found[1]):
                raise ValueError(
                    "the file has changed since its header was read: it now contains "
                    f"{found[0]} pixels of type {found[1]}"
                )
            if alpha is not None and (alpha != np.iinfo(alpha.dtype).max).any():
                raise ValueError(
                    "its fourth channel is declared as transparency but may be "
                    "something else, such as infrared. Use mode='channels' to keep "
                    "it, or mode='colour' to blend the image with white"
                )
            values, note = as_channels(
                picture, self.n_channels, keep_alpha=self.mode == "channels"
            )
        except ValueError as error:
            raise ImageFileError(f"Cannot read {str(path)!r}: {error}.") from error
        values = resized(retyped(values, self.dtype), self._inner(row))
        h, w = values.shape[:2]
        top, left = (self.size[0] - h) // 2, (self.size[1] - w) // 2
        if (h, w) != self.size:
            around = [(top, self.size[0] - h - top), (left, self.size[1] - w - left)]
            values = np.pad(values, [*around, (0, 0)], mode="edge")
        return values[..., 0] if self.n_channels == 1 else values, note

    def _takes(self, found: str) -> bool:
        return can_become(found, self.dtype.name, rescale=self.rescale)

    def _inner(self, row: int) -> tuple[int, int]:
        """Return the size of a resized image without its padding."""
        if not self.keep_aspect:
            return self.size
        h, w = self.sizes[row]
        scale = min(self.size[0] / h, self.size[1] / w)
        return max(1, round(h * scale)), max(1, round(w * scale))

    def at_original_size(
        self, heatmaps: npt.NDArray[Any], rows: Sequence[int] | slice | None = None
    ) -> list[npt.NDArray[np.float32]]:
        """Resize heatmaps (n, h, w) to the original sizes of the files.

        The padding added by `keep_aspect` is removed.

        Parameters
        ----------
        heatmaps : ndarray of shape (n, h, w)
            Heatmaps at the common size, one per file.
        rows : sequence of int or slice, default=None
            Files to which the heatmaps belong. None means all files.

        Returns
        -------
        list of ndarray of shape (file_h, file_w), float32

        Raises
        ------
        ValueError
            If `heatmaps` does not have the common size, or their number is wrong.
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


def _check_options(mode: str, page: Any) -> None:
    if mode not in ("auto", "grey", "colour", "channels"):
        raise ValueError(
            f"Got mode={mode!r}, but expected 'auto', 'grey', 'colour' or 'channels'."
        )
    if page is not None and not (isinstance(page, Integral) and int(page) >= 0):
        raise ValueError(
            f"page must be an integer of at least 0, or None. Got {page!r}."
        )


def _sound_headers(
    paths: Sequence[Path],
    headers: Sequence[Header] | None,
    n_jobs: int | None,
    page: int | None,
) -> list[Header]:
    """Return the header of one page of each file, or raise the first error."""
    found: Any = headers
    if headers is None or any(header.page != (page or 0) for header in headers):
        found = read_headers(paths, n_jobs, page)
    for header in found:
        if isinstance(header, ImageFileError):
            raise header
    return list(found)


def _refuse_pages(paths: Sequence[Path], headers: Sequence[Header]) -> None:
    for path, header in zip(paths, headers, strict=True):
        if header.n_pages > 1:
            raise ImageFileError(
                f"{str(path)!r} contains {header.n_pages} images (pages or frames). "
                "Choose one: ImageFiles(paths, page=0) or load_images(..., page=0) "
                "reads the first of each file. To use all of them, save each to a "
                "separate file."
            )


def _common_channels(
    paths: Sequence[Path], headers: Sequence[Header], mode: str, wanted: int | None
) -> int:
    """Determine the common number of channels."""
    found = [h.n_channels + (mode == "channels" and h.has_alpha) for h in headers]
    if mode in ("grey", "colour"):
        number = {"grey": 1, "colour": 3}[mode]
        fitting = {1, 3}
    elif mode == "channels":
        number = wanted or found[0]
        fitting = {number}
    else:
        number = wanted or (3 if set(found) == {1, 3} else found[0])
        fitting = {1, 3} if number == 3 else {number}
    if wanted is not None and wanted != number:
        raise ValueError(
            f"Got n_channels={wanted}, but mode={mode!r} reads {number} channel(s). "
            "Omit n_channels, or choose another mode."
        )
    for path, n in zip(paths, found, strict=True):
        if n not in fitting:
            raise _other_channels(path, n, mode, number, paths[0], wanted)
    return number


def _other_channels(
    path: Path, n: int, mode: str, number: int, first: Path, wanted: int | None
) -> ImageShapeError:
    if mode in ("grey", "colour"):
        return ImageShapeError(
            f"{str(path)!r} has {n} channels, but mode={mode!r} accepts only files "
            "with 1 or 3. Use mode='channels' to keep all channels."
        )
    like = "as in fit" if wanted else f"as in {first.name!r}"
    hint = ""
    if (n, number) == (3, 1):
        hint = " Use mode='grey' to convert colour to grey."
    return ImageShapeError(
        f"{str(path)!r} has {n} channel(s), but {number} are expected, {like}.{hint}"
    )


def _common_dtype(
    paths: Sequence[Path], headers: Sequence[Header], wanted: str | None, rescale: bool
) -> str:
    """Determine the common data type."""
    dtype = headers[0].dtype if wanted is None else wanted
    for path, header in zip(paths, headers, strict=True):
        if not can_become(header.dtype, dtype, rescale=rescale):
            like = f"as in {paths[0].name!r}" if wanted is None else "as in fit"
            raise ImageFileError(
                f"{str(path)!r} has values of type {header.dtype}, but {dtype} is "
                f"expected, {like}: their scales differ. Save all files with the same "
                "dtype. If both the 8-bit and the 16-bit files span the full range "
                "from black to white, convert them with ImageFiles(paths, "
                "dtype='uint16', rescale=True)."
            )
    return dtype


def _common_size(
    paths: Sequence[Path],
    sizes: Sequence[tuple[int, int]],
    resize: int | tuple[int, int] | None,
) -> tuple[int, int]:
    if resize is not None:
        sides: Any = resize if isinstance(resize, (tuple, list)) else (resize, resize)
        whole = [int(n) for n in sides if isinstance(n, Integral) and int(n) >= 1]
        if len(whole) != 2 or len(sides) != 2:
            raise ValueError(
                f"resize must be a positive integer, or a tuple (h, w) of two. Got "
                f"{resize!r}."
            )
        return whole[0], whole[1]
    different = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
    if different is not None:
        raise ImageShapeError(
            f"The files differ in size: {paths[0].name!r} is (h, w) = {sizes[0]}, "
            f"{paths[different].name!r} is {sizes[different]}. Resize them to a "
            "common size: load_images(..., resize=(h, w)), or ImageFiles(paths, "
            "resize=(h, w))."
        )
    return sizes[0]
