"""Measurement of receptive fields: extent, stride and offset, or all centres."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from skfcdd._utils.random import undisturbed
from skfcdd._utils.warnings import warn_caller
from skfcdd.exceptions import ReceptiveFieldWarning
from skfcdd.receptive_field._field import ReceptiveField
from skfcdd.receptive_field._grid import Grid, fit_grid
from skfcdd.receptive_field._probe import Edges, Line, Probe

__all__ = ["measure_receptive_field"]

Floats = npt.NDArray[np.float64]

# The image is enlarged along an axis, within these sizes, until the receptive field of
# a cell fits inside.
_MAX_CANVAS = 4096
_LEAST_CANVAS = 64  # a multiple of the strides of most networks
# Widths of the strips of the image along which an axis is measured.
_STRIPS = (8, 48)
# Number of neighbouring cells measured in the centre: upsampled maps have groups of at
# most this many cells with the same field.
_GROUP = 8
# Up to this number of cells, all are compared with the grid.
_FEW = 24
# If cells form groups, the grid is fitted to at most this many cells.
_MANY = 128


def measure_receptive_field(
    module: nn.Module, image_shape: tuple[int, int], n_channels: int
) -> ReceptiveField:
    """Measure the receptive field of the cells of a module's output.

    Parameters
    ----------
    module : torch.nn.Module
        Module that maps (n, c, h, w) to (n, d, u, v). A copy is measured on the CPU in
        evaluation mode; the module is not modified.
    image_shape : tuple of int (h, w)
        Size of the images. If a receptive field extends to the border, larger images
        are tried as well, if the module supports them.
    n_channels : int
        Number of image channels.

    Returns
    -------
    ReceptiveField
        An extent is infinite if every cell depends on the whole axis at all tried sizes
        (as with global pooling); stride and offset then distribute the cells evenly
        over the image. If channels have different fields, as in maps of several scales,
        the extent covers all of them, and the channels with the smallest field
        determine the positions.

    Warns
    -----
    ReceptiveFieldWarning
        If cells cannot be located in the image; they are then distributed evenly.

    Examples
    --------
    >>> from torch import nn
    >>> from skfcdd.receptive_field import measure_receptive_field
    >>> net = nn.Sequential(
    ...     nn.Conv2d(1, 4, 5, padding=2), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3)
    ... )
    >>> measure_receptive_field(net, (32, 48), n_channels=1)
    ReceptiveField(extent=(10.0, 10.0), stride=(2.0, 2.0), offset=(2.5, 2.5))
    """
    probe = Probe(module)
    with torch.no_grad(), undisturbed(probe.module, "cpu"):
        probe.check((n_channels, *image_shape))
        axes = [_Axis(_line(probe, image_shape, n_channels, a)).found for a in (0, 1)]
    if not all(found.sure for found in axes):
        warn_caller(
            "The positions of the cells of the map cannot be measured on images of "
            f"{image_shape} pixels, because all cells depend on nearly the same "
            "pixels. The cells are assumed to be spread evenly over the image. To "
            "localise defects, use larger images, or a backbone with a smaller "
            "receptive field.",
            ReceptiveFieldWarning,
        )
    rows, columns = axes
    places = (rows.places, columns.places)
    return ReceptiveField(
        extent=(rows.extent, columns.extent),
        stride=(rows.stride, columns.stride),
        offset=(rows.offset, columns.offset),
        places=None if places == (None, None) else places,
    )


def _line(
    probe: Probe, image_shape: tuple[int, int], n_channels: int, axis: int
) -> Line:
    """Return the narrowest strip that suffices, as the other axis does not matter."""
    whole = Line(probe, (n_channels, *image_shape), axis)
    n_cells = whole.touched(whole.length, [(0, 0)]).shape[2]
    for width in _STRIPS:
        shape = [n_channels, *(min(n, width) for n in image_shape)]
        shape[1 + axis] = whole.length
        strip = Line(probe, shape, axis)
        if strip.count(whole.length) != n_cells:
            continue
        # With strides and padding, a strip may be outside the field of the cells.
        if strip.touched(whole.length, [(0, whole.length)])[0, 0, n_cells // 2]:
            return strip
    return whole


@dataclass(frozen=True)
class _Found:
    """Result of the measurement along one axis."""

    extent: float
    stride: float
    offset: float
    places: tuple[float, ...] | None = None
    sure: bool = True


class _Axis:
    """Measurement along one axis."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.n_pixels = line.length
        self.n_cells = int(line.touched(line.length, [(0, 0)]).shape[2])
        self.found = self._measure()

    def _measure(self) -> _Found:
        grid = self._on_canvas() or self._inside(self.n_pixels, self.n_cells, 0.0)
        even = self.n_pixels / self.n_cells
        if grid is None:
            return _Found(math.inf, even, (even - 1) / 2)
        if grid.regular and self._fits(grid):
            return _Found(grid.extent, grid.stride, grid.offset)
        return self._each_cell(grid)

    def _on_canvas(self) -> Grid | None:
        """Return the grid on the smallest image with enough fields inside, or None."""
        n = self.n_pixels
        length, first = n, None
        while length <= max(_MAX_CANVAS, 2 * n + _LEAST_CANVAS):
            cells = self.n_cells if length == n else self.line.count(length)
            if cells is None:  # the module supports a single size only
                break
            if first is not None and cells == self.n_cells:
                break  # the number of cells is fixed, so positions depend on the size
            grid = self._inside(length, cells, 1.0)
            if grid is not None:
                # If the number of cells does not grow in proportion to the image,
                # positions depend on its size.
                grown = abs((cells - self.n_cells) * grid.stride - (length - n))
                if grown > abs(grid.stride) + 1:
                    grid = grid.nowhere()
                if grid.n_fitted > _GROUP or grid.spans(cells, length):
                    return grid
                first = first or grid
            # If padding depends on the size, positions agree between sizes that leave
            # the same remainder at every stride.
            length += -(-length // _LEAST_CANVAS) * _LEAST_CANVAS
        return first

    def _inside(self, length: int, n_cells: int, margin: float) -> Grid | None:
        """Return the grid if the fields of enough cells are inside the image, or None.

        A dilated field has gaps, so it may extend beyond the border even if it does not
        include the pixels next to the border. A margin, as a multiple of the measured
        extent, ensures that no field is truncated.
        """
        first = n_cells // 2
        ends = self.line.touched(length, [(0, 1), (length - 1, length)])
        if ends[:, 0, first].any():
            return None
        middle = self.line.edges(length, [first])
        if not _lie_inside(middle, length, margin)[0]:
            return None
        self.line.find_sharp(length)
        far = n_cells // 4 // _GROUP * _GROUP
        few = [first - far, first, first + 1, first + far]
        many = [first - far, *range(first - 1, first + _GROUP), first + far]
        most = np.linspace(0, n_cells - 1, min(n_cells, _MANY)).astype(int).tolist()
        for cells in (few, many, most) if far else (many, most):
            numbers = np.unique([k for k in cells if 0 <= k < n_cells])
            move = (numbers - first) * round(length / n_cells)
            guess = np.clip(middle + move[None, :, None], 0, length - 1)
            edges = self.line.edges(length, numbers.tolist(), guess)
            inner = _lie_inside(edges, length, margin)
            if inner.sum() < 2:
                continue
            grid = fit_grid(numbers[inner], edges[:, inner], length / n_cells)
            # If cells form groups, neighbours are not on the grid of distant cells.
            if cells is most or (grid.exact and (cells is many or grid.n_fitted > 2)):
                return grid
        return None

    def _fits(self, grid: Grid) -> bool:
        """Whether the measured fields of cells agree with the grid."""
        n, k = self.n_pixels, self.n_cells
        numbers = np.arange(k)
        if k > _FEW:
            some = [*range(4), *range(k // 2, k // 2 + _GROUP), *range(k - 4, k)]
            numbers = np.unique([*some, *np.linspace(0, k - 1, _GROUP).astype(int)])
        centers = grid.offset + grid.stride * numbers
        reach = (np.array([grid.extent, grid.sharp]) - 1)[:, None] / 2
        spans = np.stack([centers - reach, centers + reach], axis=-1)
        guess = np.clip(np.rint(spans), 0, n - 1).astype(int)
        low, high = np.moveaxis(self.line.edges(n, numbers.tolist(), guess)[1], -1, 0)
        seen = low >= 0
        slack = grid.slack + 1e-6
        apart = np.maximum(spans[1, :, 0] - low, high - spans[1, :, 1])
        return bool((apart[seen] <= slack).all())

    def _each_cell(self, grid: Grid) -> _Found:
        """Locate the cells one by one, without assuming a grid."""
        n, k = self.n_pixels, self.n_cells
        edges = self.line.edges(n, range(k))
        extent = grid.extent
        if not grid.placed:
            widest = float((edges[0, :, 1] - edges[0, :, 0] + 1).max())
            extent = math.inf if widest >= n else widest
        low, high = np.moveaxis(edges[1].astype(float), -1, 0)
        seen, spans = low >= 0, high - low + 1
        whole = float(np.median(spans[seen])) if seen.any() else math.inf
        # Extend the fields of border cells beyond the image.
        centers, short = (low + high) / 2, spans < whole
        centers = np.where(short & (low == 0), high - (whole - 1) / 2, centers)
        centers = np.where(short & (high == n - 1), low + (whole - 1) / 2, centers)
        even = n / k
        if whole > n / 2 and _width(centers[seen]) < (n - even) / 2:
            return _Found(math.inf, even, (even - 1) / 2, sure=False)
        centers = np.interp(range(k), np.flatnonzero(seen), centers[seen])
        return self._placed(centers, extent)

    def _placed(self, centers: Floats, extent: float) -> _Found:
        """Return a regular grid if the centres are on one, otherwise the centres."""
        k = self.n_cells
        if k == 1:
            return _Found(extent, float(self.n_pixels), float(centers[0]))
        edges = np.stack([centers, centers], axis=-1)[None].repeat(2, axis=0)
        grid = fit_grid(np.arange(k), edges, self.n_pixels / k)
        if grid.regular:
            return _Found(extent, grid.stride, grid.offset)
        stride = float(centers.max() - centers.min()) / (k - 1)
        places = tuple(centers.tolist())
        return _Found(extent, stride, places[0], places)


def _lie_inside(edges: Edges, length: int, margin: float) -> npt.NDArray[np.bool_]:
    """Return which cells have a field that is inside the image, including a margin."""
    low, high = edges[0, :, 0], edges[0, :, 1]
    room = margin * (high - low + 1)
    inside: npt.NDArray[np.bool_] = (low >= np.maximum(room, 1)) & (
        high <= length - 1 - np.maximum(room, 1)
    )
    return inside


def _width(values: Floats) -> float:
    return float(values.max() - values.min()) if len(values) else 0.0
