"""Encoding of images, heatmaps and outlines as text, for use in a page."""

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

# Heatmaps have 256 levels. The first two numbers are those of levels below and on the
# colour scale; the other levels go up to this multiple of its upper limit.
_BELOW, _ON, _BEYOND = 32, 128, 100.0


def heat_levels(low: float, high: float) -> npt.NDArray[np.float64]:
    """Return the 256 values to which heatmaps are rounded.

    They are equidistant below and on the colour scale, and have equal ratios above it,
    where all values have the same colour.
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
    """Return red, green, blue and opacity of each level, as eight hexadecimal digits.

    The opacity is relative to that of the highest level.
    """
    low, high = scale
    shade, alpha = ramp((levels - low) / (high - low))
    rgba = np.concatenate([plasma(shade), alpha[:, None]], axis=1)
    return np.rint(255 * rgba).astype(np.uint8).tobytes().hex()


def encode_picture(
    picture: npt.NDArray[np.uint8], size: tuple[int, int], quality: int | None
) -> str:
    """Encode a picture (h, w) or (h, w, 3) as a data URL.

    Parameters
    ----------
    picture : ndarray
    size : tuple of int (h, w)
        Size to which the picture is reduced.
    quality : int or None
        WebP quality from 1 to 100; None uses PNG, which is lossless.
    """
    image = _resized(picture, size)
    if quality is None:
        return _address(image, "png", optimize=False)
    return _address(image, "webp", quality=quality)


def encode_heatmap(
    heatmap: npt.NDArray[Any], size: tuple[int, int], levels: npt.NDArray[np.float64]
) -> str:
    """Encode a heatmap (h, w) as a grey PNG, whose pixels are indices of levels."""
    values = np.asarray(_resized(np.ascontiguousarray(heatmap, np.float32), size))
    codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, values).astype(np.uint8)
    return _address(pillow("Image").fromarray(codes), "png", optimize=True)


def _resized(values: npt.NDArray[Any], size: tuple[int, int]) -> Any:
    """Return a resized Pillow image; each pixel is the mean of those it replaces."""
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
    """Return the edges of a mask as an SVG path, in pixels of a picture of `size`.

    Edges of neighbouring pixels are joined into one line.
    """
    small = mask
    if mask.shape != size:  # a pixel is set if any part of it is
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
    """Return the run lengths of a mask, row by row, resized to a picture of `size`.

    The first run is outside the mask, and may be empty. A pixel of the picture is
    inside if at least half of it is.
    """
    small = np.asarray(_resized(mask.astype(np.float32), size)).ravel() >= 0.5
    turns = np.flatnonzero(np.diff(small, prepend=False))
    lengths: list[int] = np.diff(turns, prepend=0, append=small.size).tolist()
    return lengths


def _runs(edges: npt.NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Return line, start and length of each run of True along the rows of an array."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    lines, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    return [
        (int(line), int(start), int(end - start))
        for line, start, end in zip(lines, starts, ends, strict=True)
    ]
