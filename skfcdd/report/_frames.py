"""Sizes of the images in a report, and positions of heatmaps on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._inputs.decoding import read_picture
from skfcdd._inputs.files import ImageFiles
from skfcdd._inputs.pixels import as_channels, retyped
from skfcdd.display._pictures import as_pictures

__all__ = ["Frames"]

# Longer side of stored heatmaps; they are smooth, so more pixels would add no detail.
_HEAT_SIDE = 256

Size = tuple[int, int]


class Frames:
    """Sizes of the images, and their positions in the input of the model.

    Files are shown at their original size. The input of the model may be smaller, have
    another aspect ratio, or be padded.

    Parameters
    ----------
    X : array-like or ImageFiles
    size : tuple of int (h, w)
        Size of the model's input.
    """

    def __init__(self, X: Any, size: Size) -> None:
        self.files = X if isinstance(X, ImageFiles) else None
        self.size = size

    @property
    def of_files(self) -> bool:
        """Whether pictures show the files instead of the input of the model."""
        return self.files is not None

    def whole(self, row: int) -> Size:
        """Return the height and width of an image."""
        return self.size if self.files is None else self.files.sizes[row]

    @property
    def files_sizes(self) -> list[Size]:
        """Sizes of the files; empty if the images are arrays."""
        return [] if self.files is None else self.files.sizes

    def summary(self, n: int) -> dict[str, Any]:
        """Return the common size, or all sizes if they differ, and the median size."""
        sizes = [self.whole(row) for row in range(n)]
        alike = len(set(sizes)) == 1
        h, w = np.median(np.array(sizes), axis=0)
        return {
            "size": list(sizes[0]) if alike else None,
            "sizes": None if alike else [list(size) for size in sizes],
            "aspect": [float(h), float(w)],
        }

    def inside(self, row: int) -> tuple[slice, slice]:
        """Return the rows and columns of the model's input without its padding."""
        if self.files is None:
            return slice(None), slice(None)
        h, w = self.files._inner(row)
        top, left = (self.size[0] - h) // 2, (self.size[1] - w) // 2
        return slice(top, top + h), slice(left, left + w)

    def heat_size(self, row: int, max_side: int | None) -> Size:
        """Return the size at which the heatmap of an image is stored."""
        h, w = self.size if self.files is None else self.files._inner(row)
        return shrunk_size((h, w), min(max_side or _HEAT_SIDE, _HEAT_SIDE))

    def heat_share(self, max_side: int | None) -> float:
        """Return the number of stored heatmap pixels per pixel of the model's input."""
        h, w = shrunk_size(self.size, min(max_side or _HEAT_SIDE, _HEAT_SIDE))
        return h * w / (self.size[0] * self.size[1])

    def place(self, row: int, peak: tuple[float, int, int]) -> tuple[float, int, int]:
        """Convert the position of a peak from the model's input to the image."""
        if self.files is None:
            return peak
        value, down, across = peak
        inner = self.files._inner(row)
        found = []
        for axis, (at, part) in enumerate(
            zip((down, across), self.inside(row), strict=True)
        ):
            share = (at - part.start + 0.5) / inner[axis]
            last = self.whole(row)[axis] - 1
            found.append(int(np.clip(share * (last + 1), 0, last)))
        return value, found[0], found[1]

    def picture(
        self, row: int, value_range: tuple[float, float], channel: int | None
    ) -> npt.NDArray[np.float32]:
        """Read the pixels of a file, (h, w) or (h, w, 3), scaled from 0 to 1."""
        assert self.files is not None
        files = self.files
        found = read_picture(files.paths[row], files.page)
        values, _ = as_channels(
            found, files.n_channels, keep_alpha=files.mode == "channels"
        )
        values = retyped(values, files.dtype)
        pictures = as_pictures(
            values[None],
            values.shape[:2],
            channels="last",
            channel=channel,
            value_range=value_range,
        )
        return pictures[0]


def shrunk_size(size: Size, max_side: float) -> Size:
    """Shrink a size (h, w) so that its longer side is at most `max_side`."""
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
