"""Heatmaps of large images: the anomaly map in tiles, and the heatmap in bands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skfcdd._engine.bands import BAND, heatmap_bands
from skfcdd._engine.light import FlatField
from skfcdd._engine.model import FittedModel
from skfcdd._engine.other_size import SAME, fitted_field
from skfcdd._engine.roi import resolve_roi
from skfcdd._engine.surroundings import SPREAD, Surroundings, reach_of
from skfcdd._engine.whole_image import Tally
from skfcdd._inputs.images import ImageArray
from skfcdd._inputs.lazy_arrays import check_out, check_values, is_lazy
from skfcdd._utils.device import lowered
from skfcdd._utils.random import undisturbed
from skfcdd.exceptions import ImageShapeError

__all__ = ["explain_large"]

Mask = npt.NDArray[np.bool_]

# Side in pixels of the pieces in which a large image is filled around a region.
_PIECE = 1024
# Candidates for the period of a network, in cells.
_PERIODS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def explain_large(
    model: FittedModel, image: Any, tile_size: Any, out: Any, roi: Any = None
) -> Any:
    """Explain a large image; see :meth:`skfcdd._base.BaseFCDD.explain_large`."""
    _check_can_tile(model, tile_size)
    source = _check_image(model, image)
    h, w, _ = source.image_shape
    region = _region(model, source, roi)
    heatmap = np.empty((h, w), dtype=np.float32) if out is None else out
    check_out(heatmap, (h, w))
    anomaly_map = _Tiles(model, source, int(tile_size), region).anomaly_map()
    for rows, band in heatmap_bands(model, anomaly_map, (h, w), region):
        heatmap[rows] = band
    return heatmap


def _region(model: FittedModel, source: ImageArray, roi: Any) -> Mask | None:
    """Return the pixels (h, w) of the image that count; None if all do."""
    size = source.image_shape[:2]
    if roi is not None:
        return resolve_roi(roi, source)
    if model.roi is not None and size != model.image_size:
        raise ImageShapeError(
            f"The region of interest of this model refers to images of size "
            f"{model.image_size}, and its position in an image of size {size} is "
            "unknown. Pass roi=, the region in this image."
        )
    return model.roi


def _check_can_tile(model: FittedModel, tile_size: Any) -> None:
    module, field = model.module, fitted_field(model)
    whole = isinstance(tile_size, Integral) and not isinstance(tile_size, bool)
    if not whole or tile_size < 1:
        raise ValueError(f"tile_size must be an int of at least 1. Got {tile_size!r}.")
    if not module.objective.spatial:
        raise ValueError(
            f"{type(module.objective).__name__} has no anomaly map that could be "
            "assembled from tiles. Fit with loss='fcdd'."
        )
    if module.preprocess.size is not None:
        raise ValueError(
            f"resize={module.preprocess.size} scales the images in fit, and tiles "
            "would be scaled differently. Fit without resize, and resize images "
            "beforehand."
        )
    if model.memory is not None and model.memory.position:
        raise ValueError(
            "MemoryBank(position=...) compares cells with training cells at the same "
            "position, and positions do not correspond in images of another size. Fit "
            "with position=0."
        )
    if isinstance(module.preprocess.light, FlatField):
        raise ValueError(
            "normalize='flat-field' has learned the lighting at each pixel of images "
            f"of size {model.image_size} only. Fit with normalize='local', which "
            "estimates the lighting from the image itself."
        )
    if not all(map(math.isfinite, field.extent)):
        raise ValueError(
            "A cell of this network sees the whole image, whatever its size, so "
            "images cannot be processed in tiles. Choose a backbone without global "
            "pooling."
        )
    if not field.regular:
        raise ValueError(
            "The cells of this network are not on a regular grid, so an image cannot "
            "be processed in tiles. Cut the image into pieces of the training size, "
            "and use explain."
        )
    if any(j < 1 or j != round(j) for j in field.stride):
        raise ValueError(
            f"The cells of this network are {field.stride} pixels apart, but tiles "
            "need integer strides of at least 1. Choose a backbone whose maps are no "
            "larger than the image."
        )


def _check_image(model: FittedModel, image: Any) -> ImageArray:
    """Validate the image, and return it as a batch of one that is read lazily."""
    array = image if is_lazy(image) else np.asanyarray(image)
    n_channels = model.images.shape[2]
    first = model.images.channels == "first" and array.ndim == 3
    found = array.shape[0 if first else -1] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or found != n_channels:
        raise ImageShapeError(
            f"Expected one image with {n_channels} channel(s), as (h, w) or (h, w, c), "
            f"or (c, h, w) with channels='first'. Got an array of shape {array.shape}."
        )
    ends = check_values(array, "image")
    source = ImageArray(_OneImage(array), channels_first=first)
    least = fitted_field(model).extent
    if any(n < r for n, r in zip(source.image_shape[:2], least, strict=True)):
        raise ImageShapeError(
            f"The image of {source.image_shape[:2]} pixels is smaller than the "
            f"receptive field of a cell, {least}. Use a larger image."
        )
    model.warn_about_range(ImageArray(array, known_limits=ends))
    return source


class _OneImage:
    """Image as a batch of one, read window by window."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.dtype = array.dtype
        self.shape = (1, *array.shape) if array.ndim == 3 else (1, *array.shape, 1)

    def window(
        self, rows: slice, columns: slice, channels_first: bool
    ) -> npt.NDArray[Any]:
        """Return a window of the image as a batch of one."""
        if channels_first:
            return np.asarray(self.array[:, rows, columns])[None]
        part = np.asarray(self.array[rows, columns])
        return (part if part.ndim == 3 else part[..., None])[None]


class _Tiles:
    """Computation of the anomaly map of an image, tile by tile.

    A tile is a window that starts at a multiple of the network's period, so that its
    cells have the same positions as in the whole image. It has a margin of one
    receptive field, so that the border of the window does not affect the cells of its
    core.
    """

    def __init__(
        self,
        model: FittedModel,
        source: ImageArray,
        tile_size: int,
        roi: Mask | None = None,
    ) -> None:
        self.roi = None if roi is None else torch.from_numpy(roi)
        own = model.module.preprocess.roi
        self.spread = SPREAD if own is None else own.spread
        self.net = model.runner
        self.module = model.fast.eval()
        self.source = source
        memory = self.module.memory
        # The image-level evidence is known only after the last tile.
        self.tally = Tally(memory) if memory is not None and memory.whole else None
        field = fitted_field(model)
        self.strides = [round(j) for j in field.stride]
        self.margins = [
            math.ceil(r / j) + 1 for r, j in zip(model.reach, self.strides, strict=True)
        ]
        self.period = period = self._period(model)
        self.margins = [-(-m // period) * period for m in self.margins]
        self.cores = [-(-tile_size // (j * period)) * period for j in self.strides]
        light = self.module.preprocess.light
        self.level: Tensor | None = None
        self.load: Callable[[slice, slice], Tensor] = self._load
        self.level = self._mean_inside()
        self.load = partial(light.window, self._load) if light else self._load
        self.normalize = self._normalizer()

    def _period(self, model: FittedModel) -> int:
        """Find the smallest window shift, in cells, that preserves the cell values.

        It is more than one cell if coarser maps are upsampled to the size of finer
        ones, and is determined by experiment.

        Raises
        ------
        ValueError
            If there is no such shift, or the image size is not a multiple of it.
        """
        if len(getattr(self.module.backbone, "taken", ())) == 1:
            return 1 if model.memory is None else model.memory.period
        period = _find_period(self._map, model, self.strides, self.margins)
        for axis, name in enumerate(("high", "wide")):
            pixels = self.strides[axis] * period
            found = self.source.image_shape[axis]
            if period > 1 and found % pixels:
                raise ImageShapeError(
                    "This network upsamples coarse maps to the size of finer ones, so "
                    f"the image must be a multiple of {pixels} pixels {name}. Got "
                    f"{found}: crop {found % pixels} pixels, or pad by "
                    f"{pixels - found % pixels}."
                )
        return period

    def anomaly_map(self) -> npt.NDArray[np.float32]:
        """Compute the anomaly map (u, v) of the whole image."""
        cells: npt.NDArray[np.float32] = np.concatenate(
            [
                np.concatenate([self._core(y, x) for x in self._windows(1)], axis=1)
                for y in self._windows(0)
            ]
        )
        if self.tally is not None:
            cells += np.float32(self.tally.global_part())
        return cells

    def _windows(self, axis: int) -> Iterator[tuple[slice, slice]]:
        """Yield the pixels of each window along an axis, and the cells of its core."""
        n_pixels = self.source.image_shape[axis]
        core, margin = self.cores[axis], self.margins[axis]
        stride = self.strides[axis]
        # In some networks, padding depends on the size of the input, but cells have the
        # same positions in all sizes that leave the same remainder.
        rest = n_pixels % (stride * self.period)
        first = 0
        while first * stride < n_pixels:
            # The last core includes the remainder.
            end = (first + core + margin) * stride + rest
            last = end >= n_pixels
            start = max(0, first - margin)
            stop = n_pixels if last else end
            own = slice(first - start, None if last else first - start + core)
            yield slice(start * stride, stop), own
            if last:
                return
            first += core

    @torch.no_grad()
    def _core(
        self, rows: tuple[slice, slice], columns: tuple[slice, slice]
    ) -> npt.NDArray[np.float32]:
        images = self.normalize(self.load(rows[0], columns[0]))
        with lowered(self.net.precision, self.net.device):
            anomaly_map = self._map(images, rows[1], columns[1])
        core: npt.NDArray[np.float32] = (
            anomaly_map[0, rows[1], columns[1]].cpu().numpy()
        )
        return core

    def _map(self, images: Tensor, *core: slice) -> Tensor:
        """Compute anomaly maps (n, u, v) of normalised images (n, c, h, w).

        If `core`, the rows and columns of a tile's core, is passed, the image-level
        evidence is omitted, and the features of the core are added to its tally.
        """
        images = images.contiguous(memory_format=torch.channels_last)
        with undisturbed(self.module, self.net.device):
            if self.tally is None or not core:
                return self.module.maps_of(images)
            own, kept = self.module.own_map(images)
            maps = self.tally.memory.maps(kept)
            self.tally.add(maps, *core)
            return own + self.tally.memory.local(maps, own.shape[1:])

    def _load(self, rows: slice, columns: slice) -> Tensor:
        """Load a window (1, c, h, w) in the unit range, filled outside of a region."""
        if self.roi is None or self.level is None:
            return self._unit(rows, columns)
        h, w = self.source.image_shape[:2]
        parts = [
            torch.cat([self._filled(y, x) for x in _pieces(columns, w)], dim=3)
            for y in _pieces(rows, h)
        ]
        return torch.cat(parts, dim=2)

    def _filled(self, rows: slice, columns: slice) -> Tensor:
        """Load a window, which must not be large, and fill it outside of the region."""
        assert self.roi is not None
        inside = self.roi[rows, columns]
        if inside.all():
            return self._unit(rows, columns)
        reach = reach_of(self.spread)
        starts = [max(0, part.start - reach) for part in (rows, columns)]
        wide = [
            slice(start, part.stop + reach)
            for start, part in zip(starts, (rows, columns), strict=True)
        ]
        around = Surroundings(self.roi[wide[0], wide[1]].contiguous(), self.spread)
        filled: Tensor = around.to(self.net.device)(self._unit(*wide), self.level)
        top, left = rows.start - starts[0], columns.start - starts[1]
        h, w = inside.shape
        return filled[..., top : top + h, left : left + w]

    def _unit(self, rows: slice, columns: slice) -> Tensor:
        """Load a window (1, c, h, w) in the unit range, as it is in the image."""
        first = self.source.channels_first
        part = ImageArray(self.source.data.window(rows, columns, first), first)
        preprocess = self.module.preprocess
        raw = part.take(slice(None), self.net.device).to(preprocess.mean.dtype)
        unit: Tensor = preprocess.unit(raw)
        return unit

    def _mean_inside(self) -> Tensor | None:
        """Compute the mean (c, 1, 1) over the region of interest; None without one."""
        if self.roi is None:
            return None
        total = torch.zeros(self.source.image_shape[2], dtype=torch.float64)
        for band in self._bands():
            values = self.load(band, self._every_column).cpu().double()
            total += values[0][:, self.roi[band]].sum(dim=1)
        mean = total / int(self.roi.sum())
        return mean.to(self.module.preprocess.mean)[:, None, None]

    @property
    def _every_column(self) -> slice:
        return slice(0, self.source.image_shape[1])

    def _bands(self) -> list[slice]:
        h = self.source.image_shape[0]
        return [slice(y, min(y + BAND, h)) for y in range(0, h, BAND)]

    def _normalizer(self) -> Callable[[Tensor], Tensor]:
        """Return a function that normalises windows by the statistics of the image."""
        preprocess = self.module.preprocess
        light = preprocess.light
        if not preprocess.contrast and light is None:
            return preprocess
        n = math.prod(self.source.image_shape)
        bands = self._bands()

        def values(band: slice) -> Tensor:  # some devices have no float64
            return self.load(band, self._every_column).cpu().double()

        if light is not None:
            square = sum(float(values(band).square().sum()) for band in bands)
            own = preprocess.mean.new_tensor([math.sqrt(square / n)])
            return lambda part: preprocess.standardized(light.rebuilt(part, own))
        mean = sum(float(values(band).sum()) for band in bands) / n
        square = sum(float((values(band) - mean).square().sum()) for band in bands)
        std = math.sqrt(square / n)
        return lambda images: (images - mean) / (std + preprocess.least_contrast)


def _pieces(part: slice, n_pixels: int) -> Iterator[slice]:
    """Divide a part of an axis into pieces that are filled separately."""
    stop = min(part.stop, n_pixels)
    for start in range(part.start, stop, _PIECE):
        yield slice(start, min(start + _PIECE, stop))


@torch.no_grad()
def _find_period(
    compute: Callable[[Tensor], Tensor],
    model: FittedModel,
    strides: list[int],
    margins: list[int],
) -> int:
    """Find the smallest of `_PERIODS` for which shifted noise yields equal cells."""
    preprocess = model.module.preprocess
    generator = torch.Generator().manual_seed(0)
    for period in _PERIODS:
        # Several periods, so that inner cells remain even without padding.
        n_cells = [(3 * m // period + 3) * period for m in margins]
        size = [n * j for n, j in zip(n_cells, strides, strict=True)]
        noise = torch.rand(1, model.images.shape[2], *size, generator=generator)
        noise = preprocess(noise.to(preprocess.mean))
        dy, dx = (period * j for j in strides)
        part, moved = compute(noise[..., dy:, dx:])[0], compute(noise)[0]
        moved = moved[period:, period:]
        if part.shape == moved.shape:
            inner = tuple(slice(m, -m) for m in margins)
            error = (part - moved)[inner].abs().max()
            if error <= SAME * moved[inner].abs().max():
                return period
    raise ValueError(
        "The output of this network depends on where a window is cut out, so an image "
        "cannot be processed in tiles. Cut the image into pieces of the training "
        "size, and use explain."
    )
