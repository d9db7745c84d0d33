"""Conversion of the parameter `roi` (a mask, a file or polygons) to a mask."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._inputs.files import ImageFiles
from skfcdd._inputs.images import ImageArray
from skfcdd.datasets._masks import read_mask
from skfcdd.exceptions import ImageShapeError

__all__ = ["draw_polygon", "resolve_roi"]

Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]


def resolve_roi(roi: Any, images: ImageArray) -> Mask | None:
    """Return the mask (h, w) of the pixels that count; None if all do.

    Parameters
    ----------
    roi : array-like, path or None
        Parameter of the estimator.
    images : ImageArray
        Images of ``fit``. If they are files that are resized when read, the region may
        be in pixels of the files.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImageFileError
        If the file cannot be read as a mask.
    ImageShapeError
        If the size of a mask differs from that of the images.
    TypeError
        If `roi` is neither a mask nor points.
    ValueError
        If `roi` contains NaN, a mask contains more than two values, a polygon has fewer
        than three points, or no pixel is inside.
    """
    if roi is None:
        return None
    frame = _Frame(images)
    if isinstance(roi, (str, os.PathLike)):
        inside = frame.fitted(_read(Path(roi)), f"roi={os.fspath(roi)!r}")
    elif (polygons := _polygons(roi, frame.size)) is not None:
        inside = frame.drawn(polygons)
    else:
        inside = frame.fitted(_mask(roi), "roi")
    if not inside.any():
        raise ValueError(
            f"roi has no pixel inside images of {frame.size} pixels, so no pixel "
            "would be scored. Mark the pixels that count with 1, or draw a polygon "
            "around them, as (x, y) from the top left."
        )
    return None if inside.all() else inside


def _read(path: Path) -> Mask:
    if not path.is_file():
        raise FileNotFoundError(
            f"Got roi={str(path)!r}, but there is no such file. Pass the path of a "
            "mask image, an array, or a polygon."
        )
    return read_mask(path)[0]


class _Frame:
    """Pixels in which a region may be specified: of the images or of their files."""

    def __init__(self, images: ImageArray) -> None:
        self.size: tuple[int, int] = images.image_shape[:2]
        source = getattr(images.data, "array", images.data)
        self.files = source if isinstance(source, ImageFiles) else None
        self.sizes = {self.size} if self.files is None else set(self.files.sizes)

    def fitted(self, mask: Mask, name: str) -> Mask:
        """Return a mask at the size of the images.

        Raises
        ------
        ImageShapeError
            If the mask has neither that size nor that of the files.
        """
        if mask.shape == self.size:
            return mask
        if len(self.sizes) == 1 and mask.shape in self.sizes:
            return self._scaled(mask)
        of_files = ""
        if self.sizes != {self.size}:
            of_files = (
                f" or {next(iter(self.sizes))}, the size of the files"
                if len(self.sizes) == 1
                else " (the files have several sizes)"
            )
        raise ImageShapeError(
            f"{name} has the shape {mask.shape}, but the images have (h, w) = "
            f"{self.size}. Pass a mask of shape {self.size}{of_files}."
        )

    def drawn(self, polygons: list[Points]) -> Mask:
        """Return polygons as a mask at the size of the images.

        Raises
        ------
        ValueError
            If the files have several sizes.
        """
        if len(self.sizes) > 1:
            raise ValueError(
                f"roi= contains points in pixels of the files, but these have "
                f"{len(self.sizes)} sizes, such as {sorted(self.sizes)[:2]}. Pass a "
                f"mask of shape (h, w) = {self.size}, the size to which they are "
                "resized."
            )
        (size,) = self.sizes
        whole = np.zeros(size, dtype=bool)
        for points in polygons:
            whole |= draw_polygon(points, size)
        return self._scaled(whole)

    def _scaled(self, mask: Mask) -> Mask:
        """Resize a mask by nearest neighbours and pad it, as is done with the files."""
        if self.files is None or mask.shape == self.size:
            return mask
        h, w = self.files._inner(0)
        rows, columns = (
            ((np.arange(n) + 0.5) * old / n).astype(int)
            for n, old in zip((h, w), mask.shape, strict=True)
        )
        whole = np.zeros(self.size, dtype=bool)
        top, left = (self.size[0] - h) // 2, (self.size[1] - w) // 2
        whole[top : top + h, left : left + w] = mask[rows][:, columns]
        return whole


def _mask(roi: Any) -> Mask:
    """Validate an array of two values, and return it as a mask (h, w)."""
    try:
        array = np.asarray(roi)
    except ValueError:
        array = np.empty(0, dtype=object)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise TypeError(
            f"roi must be a mask of shape (h, w), the path of one, a polygon of "
            f"points (x, y), or a list of polygons. Got {type(roi).__name__} of shape "
            f"{array.shape} and dtype {array.dtype}."
        )
    if not np.isfinite(array).all():
        raise ValueError(
            "roi contains NaN or infinity. Use 1 for pixels that count and 0 for all "
            "others."
        )
    top = array.max(initial=0)
    if not np.isin(array, (0, top)).all() or top not in (0, 1, 255):
        raise ValueError(
            f"roi must be 1 (or 255) for pixels that count and 0 for all others. Got "
            f"{np.unique(array)[:10].tolist()}."
        )
    return array != 0


def _polygons(roi: Any, size: tuple[int, int]) -> list[Points] | None:
    """Return `roi` as a list of polygons; None if it is a mask.

    An array is a mask if it is boolean, or has the size of the images.

    Raises
    ------
    ValueError
        If a polygon has fewer than three points, or some that are not finite.
    """
    whole = _numbers(roi)
    if whole is not None and (whole.dtype == bool or whole.shape == size):
        return None
    if whole is not None and whole.ndim == 2:
        found = [whole] if whole.shape[1] == 2 else None
    else:
        parts = [_numbers(part) for part in roi]
        pairs = [p is not None and p.ndim == 2 and p.shape[1] == 2 for p in parts]
        found = parts if parts and all(pairs) else None  # type: ignore[assignment]
    for number, points in enumerate(found or ()):
        if len(points) < 3 or not np.isfinite(points).all():
            raise ValueError(
                f"A polygon of roi= needs at least 3 points (x, y) of finite numbers. "
                f"Got {points[:10].tolist()} as polygon {number}."
            )
    return None if found is None else [p.astype(np.float64) for p in found]


def _numbers(values: Any) -> npt.NDArray[Any] | None:
    try:
        array = np.asarray(values)
    except ValueError:  # ragged
        return None
    return array if array.dtype.kind in "biuf" else None


def draw_polygon(points: Points, size: tuple[int, int]) -> Mask:
    """Return the mask (h, w) of pixels whose centre is inside a polygon.

    Parameters
    ----------
    points : ndarray of shape (k, 2)
        Corners as (x, y). (0, 0) is the top left corner of the image, and (w, h) its
        bottom right corner, so that pixel (row, column) has its centre at (column +
        0.5, row + 0.5).
    size : tuple of int (h, w)

    Examples
    --------
    >>> import numpy as np
    >>> from skfcdd._engine.roi import draw_polygon
    >>> draw_polygon(np.array([(1.0, 0), (3, 0), (3, 2), (1, 2)]), (3, 4)).astype(int)
    array([[0, 1, 1, 0],
           [0, 1, 1, 0],
           [0, 0, 0, 0]])
    """
    h, w = size
    x, y = np.arange(w) + 0.5, np.arange(h)[:, None] + 0.5
    inside = np.zeros(size, dtype=bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crosses = (y0 <= y) != (y1 <= y)
        at = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
        inside ^= crosses & (x < at)
    return inside
