"""Read mask files created with any tool.

A pixel is anomalous if its value is not 0. In images with a palette, the value is the
index; in colour images, the highest channel; in images with transparency, the opacity
if only one colour was drawn. A threshold, half of the maximum, is used only for binary
masks that were blurred by compression or resizing.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from skfcdd._inputs.decoding import naming, opened
from skfcdd._inputs.files import ImageFiles
from skfcdd._utils.optional import pillow
from skfcdd.datasets._found import Entry, first_of, plural
from skfcdd.exceptions import ImageFileError

__all__ = ["MaskReader", "read_mask"]

Mask = npt.NDArray[np.bool_]

# A mask with only lower values may contain class numbers.
_HIGH = 128
# Lossless, hand-drawn masks have fewer values than this; blurred edges have more.
_FEW = 16
# Distance in pixels over which compression or resampling spreads an edge, ...
_NEAR = 3
# ... and JPEG blocks spread faint noise, of up to this fraction of the maximum.
_BLOCK, _FAINT = 16, 0.2
_LOSSY = {"JPEG", "WEBP", "MPO"}


def read_mask(path: Path, page: int | None = None) -> tuple[Mask, str | None]:
    """Read a mask (h, w) from a file; return it with a message if it is ambiguous.

    Raises
    ------
    ImageFileError
        If the file cannot be read, or contains NaN or infinity.
    """
    with naming(path), opened(path, 0) as image:
        if page is not None and 0 < page < getattr(image, "n_frames", 1):
            image.seek(page)
        lossy = image.format in _LOSSY
        image = pillow("ImageOps").exif_transpose(image)
        if image.mode in ("P", "PA"):
            indices = np.asarray(image)
            indices = indices[..., 0] if indices.ndim == 3 else indices
            return indices != 0, _inverted(image)
        values, coloured = _values(image)
    if not np.isfinite(values).all():
        raise ImageFileError(
            f"The mask {str(path)!r} contains NaN or infinity. Use 0 for normal and 1 "
            "for anomalous pixels."
        )
    return _marked(values, lossy=lossy, coloured=coloured)


def _marked(
    values: npt.NDArray[Any], *, lossy: bool, coloured: bool
) -> tuple[Mask, str | None]:
    """Return the anomalous pixels, and a message if the values are ambiguous."""
    if values.min(initial=0) < 0:
        return values != 0, "values below 0"
    top = values.max(initial=0)
    between = np.unique(values[(values != 0) & (values != top)])
    if len(between) == 0:
        return values != 0, None
    if top < _HIGH:
        return values != 0, "faint values in a lossy format" if lossy else None
    few = not lossy and len(between) < _FEW
    if not few and _is_blurred(values, float(top)):
        return values > top / 2, None
    if few and coloured:  # one colour per class
        return values != 0, None
    return values != 0, f"values between 0 and {top:g}, such as {between[:3].tolist()}"


def _values(image: Any) -> tuple[npt.NDArray[Any], bool]:
    """Return one value per pixel, 0 if it is normal, and whether there are colours."""
    if image.mode in ("LA", "La", "RGBA", "RGBa"):
        plain = {"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)
        array = np.asarray(image.convert(plain))
        colours, alpha = array[..., :-1], array[..., -1]
        return _of_transparency(colours, alpha), _has_colours(colours)
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    array = np.asarray(image)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.ndim == 3:
        return array.max(axis=2), _has_colours(array)
    return array, False


def _has_colours(array: npt.NDArray[Any]) -> bool:
    return bool((array != array[..., :1]).any())


def _inverted(image: Any) -> str | None:
    """Return a message if another index of a palette than 0 is black."""
    used = np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)
    background = np.array(image.getpalette("RGB") or [0, 0, 0])[:3]
    if background.any() and (used == 0).all(axis=1).any():
        return "a palette in which black is not 0"
    return None


def _of_transparency(
    colours: npt.NDArray[Any], alpha: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Return the opacity if one colour was drawn, otherwise the highest channel."""
    seen = alpha > 0
    brightest = colours.max(axis=2)
    if alpha.size == 0 or alpha.min() == alpha.max():
        return brightest
    drawn = colours[seen]
    if (drawn == drawn[0]).all():
        return alpha
    return np.where(seen, brightest, 0)


def _is_blurred(values: npt.NDArray[Any], top: float) -> bool:
    """Whether low values other than 0 occur only near edges, as after blurring."""
    high = values > top / 2
    if high.all():
        return False
    to_edge = ndimage.distance_transform_cdt(~high, metric="chessboard")
    near = to_edge <= _NEAR
    faint = (values <= _FAINT * top) & (to_edge <= _BLOCK)
    return bool((high | (values == 0) | near | faint).all())


@dataclass
class MaskReader:
    """Reader that resizes masks to the size of their images, and collects warnings.

    Parameters
    ----------
    images : ImageFiles
        Images that the masks belong to.
    on_error : {"raise", "skip"}
        How to handle masks that cannot be read.
    keep_empty : bool
        Whether to keep empty masks of defects instead of treating them as unknown.
    """

    images: ImageFiles
    on_error: str = "raise"
    keep_empty: bool = False
    empty: list[Path] = field(default_factory=list)
    failed: list[ImageFileError] = field(default_factory=list)
    doubts: list[tuple[Path, str]] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    def read(self, entries: Sequence[Entry]) -> list[npt.NDArray[np.uint8] | None]:
        """Read the mask (h, w) of each image; None for defects with an unknown mask.

        Raises
        ------
        ImageFileError
            If a mask cannot be read, or does not have the size of its image.
        ValueError
            If the mask of a good image has anomalous pixels.
        """
        return [self._of(row, entry) for row, entry in enumerate(entries)]

    @functools.cached_property
    def nothing(self) -> npt.NDArray[np.uint8]:
        """Shared, read-only mask of good images."""
        empty = np.zeros(self.images.size, dtype=np.uint8)
        empty.flags.writeable = False
        return empty

    def warnings(self) -> list[str]:
        """Return the warnings about the masks."""
        told = []
        if self.empty:
            n = plural(len(self.empty), "empty mask")
            told.append(
                f"{n} of defects treated as unknown, the first {first_of(self.empty)}"
            )
        if self.doubts:
            path, doubt = self.doubts[0]
            n = plural(len({path for path, _ in self.doubts}), "mask")
            told.append(
                f"{n} with ambiguous values, which are treated as anomalous unless "
                f"they are 0, the first {str(path)!r}: {doubt}"
            )
        if len(self.shares) > 1 and np.median(self.shares) > 0.5:
            told.append(
                "most masks have more anomalous than normal pixels, so they may be "
                "inverted (0 should mean normal)"
            )
        return told

    def _of(self, row: int, entry: Entry) -> npt.NDArray[np.uint8] | None:
        if not entry.masks:
            return None if entry.anomalous else self.nothing
        try:
            parts = [self._part(path, row) for path in entry.masks]
        except ImageFileError as error:
            if self.on_error == "raise":
                raise
            self.failed.append(error)
            return None
        mask = np.logical_or.reduce(parts)
        if not entry.anomalous and mask.any():
            raise ValueError(
                f"{str(entry.path)!r} counts as good, but its mask "
                f"{str(entry.masks[0])!r} has {int(mask.sum())} anomalous pixels. "
                "Move the image to a folder of defects, or label it as a defect."
            )
        if entry.anomalous and not mask.any() and not self.keep_empty:
            self.empty.append(entry.masks[0])
            return None
        if entry.anomalous:
            self.shares.append(float(mask.mean()))
        return self._fitted(mask, row)

    def _part(self, path: Path, row: int) -> Mask:
        mask, doubt = read_mask(path, self.images.page)
        if doubt is not None:
            self.doubts.append((path, doubt))
        if mask.shape != self.images.sizes[row]:
            raise ImageFileError(
                f"The mask {str(path)!r} has (h, w) = {mask.shape}, but its image has "
                f"{self.images.sizes[row]}."
            )
        return mask

    def _fitted(self, mask: Mask, row: int) -> npt.NDArray[np.uint8]:
        """Resize a mask to the image size; partly anomalous pixels become anomalous."""
        h, w = self.images._inner(row)
        if mask.shape != (h, w):
            image = pillow("Image")
            # With 8 bits, a small anomalous fraction of a pixel would be rounded to 0.
            grey = image.fromarray(mask.astype(np.float32))
            mask = np.asarray(grey.resize((w, h), image.Resampling.BOX)) > 0
        whole = np.zeros(self.images.size, dtype=np.uint8)
        top, left = (self.images.size[0] - h) // 2, (self.images.size[1] - w) // 2
        whole[top : top + h, left : left + w] = mask
        return whole
