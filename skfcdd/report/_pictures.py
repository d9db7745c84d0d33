"""Images, heatmaps and outlines as text that a page can hold."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._utils.optional import pillow
from skfcdd.display._look import plasma, ramp

__all__ = [
    "encode_heatmap",
    "encode_picture",
    "heat_colours",
    "heat_levels",
    "outline",
    "run_lengths",
]

# Heatmaps have 256 levels: numbers of levels below and on the colour scale; the rest go
# up to this multiple of its upper limit.
_BELOW, _ON, _BEYOND = 32, 128, 100.0


def heat_levels(low: float, high: float) -> npt.NDArray[np.float64]:
    """The 256 values that a heatmap of a page is rounded to.

    Even below the scale of colours and on it; above, where no colour depends on them,
    in even ratios.
    """
    n_above = 255 - _BELOW - _ON
    return np.concatenate(
        [
            np.linspace(0, low, _BELOW, endpoint=False),
            np.linspace(low, high, _ON + 1),
            high * _BEYOND ** (np.arange(1, n_above + 1) / n_above),
        ]
    )


def heat_colours(levels: npt.NDArray[np.float64], scale: tuple[float, float]) -> str:
    """Red, green, blue and opacity of each level, as eight hexadecimal digits.

    Opacity is a share of that of the hottest pixels.
    """
    low, high = scale
    shade, alpha = ramp((levels - low) / (high - low))
    rgba = np.concatenate([plasma(shade), alpha[:, None]], axis=1)
    return np.rint(255 * rgba).astype(np.uint8).tobytes().hex()


def encode_picture(
    picture: npt.NDArray[np.uint8], size: tuple[int, int], quality: int | None
) -> str:
    """A picture (h, w) or (h, w, 3) as an address of its data.

    Parameters
    ----------
    picture : ndarray
    size : tuple of int (h, w)
        Size to reduce the picture to.
    quality : int or None
        WebP quality from 1 to 100; None uses PNG, which keeps every value.
    """
    image = _resized(picture, size)
    if quality is None:
        return _address(image, "png", optimize=False)
    return _address(image, "webp", quality=quality)


def encode_heatmap(
    heatmap: npt.NDArray[Any], size: tuple[int, int], levels: npt.NDArray[np.float64]
) -> str:
    """A heatmap (h, w) as a grey PNG, whose values are the numbers of its levels."""
    values = np.asarray(_resized(np.ascontiguousarray(heatmap, np.float32), size))
    codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, values).astype(np.uint8)
    return _address(pillow("Image").fromarray(codes), "png", optimize=True)


def _resized(values: npt.NDArray[Any], size: tuple[int, int]) -> Any:
    """An image of Pillow; each of its pixels is the mean of those it stands for."""
    image = pillow("Image").fromarray(values)
    h, w = size
    if image.size == (w, h):
        return image
    return image.resize((w, h), pillow("Image").Resampling.BOX)


def _address(image: Any, kind: str, **options: Any) -> str:
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    text = base64.b64encode(stream.getvalue()).decode("ascii")
    return f"data:image/{kind};base64,{text}"


def outline(mask: npt.NDArray[np.bool_], size: tuple[int, int]) -> str:
    """The edges of a mask as an SVG path, in pixels of a picture of `size`.

    Edges of neighbouring pixels are joined to one line.
    """
    small = mask
    if mask.shape != size:  # any part of a pixel counts
        shares = np.asarray(_resized(mask.astype(np.float32), size))
        small = shares > 0
    tall, wide = np.pad(small, ((1, 1), (0, 0))), np.pad(small, ((0, 0), (1, 1)))
    across = _runs(tall[1:] != tall[:-1])
    down = _runs((wide[:, 1:] != wide[:, :-1]).T)
    return "".join(
        [f"M{start} {line}h{length}" for line, start, length in across]
        + [f"M{line} {start}v{length}" for line, start, length in down]
    )


def run_lengths(mask: npt.NDArray[np.bool_], size: tuple[int, int]) -> list[int]:
    """A mask as the lengths of its runs, row by row, in pixels of a picture of `size`.

    The first run is outside, and may have no pixel. A pixel of the picture is inside if
    half of it is.
    """
    small = np.asarray(_resized(mask.astype(np.float32), size)).ravel() >= 0.5
    turns = np.flatnonzero(np.diff(small, prepend=False))
    lengths: list[int] = np.diff(turns, prepend=0, append=small.size).tolist()
    return lengths


def _runs(edges: npt.NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Line, start and length of the runs of True along the lines of an array."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    lines, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    return [
        (int(line), int(start), int(end - start))
        for line, start, end in zip(lines, starts, ends, strict=True)
    ]
