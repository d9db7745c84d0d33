"""The receptive field of a fully convolutional network, measured on the network.

A NaN in the input reaches exactly those cells of the output that depend on it:
through convolutions (also where a weight is 0), pooling, activations, branches and
gates alike. Filling the image with NaN up to some row, and finding by bisection the
row at which a cell of the output turns NaN, gives the first row which that cell
sees; filling from the other side gives the last. Nothing is typed in by hand, so any
module can be measured.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from skfcdd._utils.random import undisturbed

__all__ = ["ReceptiveField", "measure_receptive_field"]

# An axis is enlarged between these sizes until a cell's field fits inside.
_MAX_CANVAS = 4096
_LEAST_CANVAS = 64  # a multiple of the strides of most networks
# Widths of the strips on which the other axis is measured.
_STRIPS = (8, 48)


@dataclass(frozen=True)
class ReceptiveField:
    """What a cell of the map sees, per axis (rows, columns), in pixels.

    Parameters
    ----------
    extent : tuple of float
        Number of pixels that a cell depends on; infinite where it depends on all.
    stride : tuple of float
        Distance between the centres of neighbouring cells.
    offset : tuple of float
        Centre of the first cell; 0 is the middle of the first pixel.

    Examples
    --------
    >>> from skfcdd.receptive_field import ReceptiveField
    >>> field = ReceptiveField(extent=(6, 6), stride=(4, 4), offset=(1.5, 1.5))
    >>> field.centers(3)
    array([1.5, 5.5, 9.5])
    >>> field.share((12, 24))
    (0.5, 0.25)
    """

    extent: tuple[float, float]
    stride: tuple[float, float]
    offset: tuple[float, float]

    def centers(self, n_cells: int, axis: int = 0) -> npt.NDArray[np.float64]:
        """Centres of the first `n_cells` cells along an axis, in pixels.

        Parameters
        ----------
        n_cells : int
            Number of cells along the axis.
        axis : {0, 1}, default=0
            0 for rows, 1 for columns.

        Returns
        -------
        ndarray of shape (n_cells,), float64
        """
        numbers = np.arange(n_cells, dtype=np.float64)
        return self.offset[axis] + numbers * self.stride[axis]

    def share(self, image_shape: tuple[int, int]) -> tuple[float, float]:
        """Extent as a share of an image of (h, w) pixels, at most 1, per axis.

        Parameters
        ----------
        image_shape : tuple of int (h, w)
            Size of the image.

        Returns
        -------
        tuple of float
        """
        rows, columns = (
            min(1.0, r / n) for r, n in zip(self.extent, image_shape, strict=True)
        )
        return rows, columns


def measure_receptive_field(
    module: nn.Module, image_shape: tuple[int, int], n_channels: int
) -> ReceptiveField:
    """Receptive field of the cells of a module's output.

    Parameters
    ----------
    module : torch.nn.Module
        Maps (n, c, h, w) to (n, d, u, v). It is copied, measured on the CPU in
        evaluation mode, and left as it was.
    image_shape : tuple of int (h, w)
        Size of the images. Larger ones are tried too where a field reaches the
        border, as long as the module takes them.
    n_channels : int
        Number of channels of the images.

    Returns
    -------
    ReceptiveField
        An extent is infinite where every cell depends on the whole axis at every size
        that was tried (as behind global pooling); stride and offset then spread the
        cells evenly over the image.

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
    # In double precision, for which only plain kernels exist: they compute each cell
    # from its own pixels, where fused or blocked ones may let a NaN leak into a
    # neighbour.
    probe = copy.deepcopy(module).cpu().double().eval()
    with torch.no_grad(), undisturbed(probe, "cpu"):
        rows = _measure_axis(probe, image_shape, n_channels, 0)
        # Nearly always the same, which is quicker to check than to find.
        columns = _measure_axis(probe, image_shape, n_channels, 1, like=rows)
    (r_h, j_h, c_h), (r_w, j_w, c_w) = rows, columns
    return ReceptiveField(extent=(r_h, r_w), stride=(j_h, j_w), offset=(c_h, c_w))


def _measure_axis(
    probe: nn.Module,
    image_shape: tuple[int, int],
    n_channels: int,
    axis: int,
    like: tuple[float, float, float] | None = None,
) -> tuple[float, float, float]:
    """Extent, stride and offset along one axis, perhaps `like` those given."""
    shape = [n_channels, *image_shape]
    n_pixels = image_shape[axis]
    n_cells = _seen(probe, shape, axis, lambda image: None).shape[0]
    # The other axis does not matter; the narrowest strip that serves is the quickest.
    for width in _STRIPS:
        strip = [n_channels, *(min(n, width) for n in image_shape)]
        strip[1 + axis] = n_pixels
        if _count_cells(probe, strip, axis) != n_cells:
            continue
        # Behind strides and paddings a strip may be gone from what the cells see.
        whole = _seen(probe, strip, axis, lambda image: image.fill_(math.nan))
        if whole[n_cells // 2]:
            shape = strip
            break
    length = n_pixels if n_pixels >= _LEAST_CANVAS else n_pixels + _LEAST_CANVAS
    while length <= max(_MAX_CANVAS, 2 * n_pixels + _LEAST_CANVAS):
        longer = [*shape]
        longer[1 + axis] = length
        cells = _count_cells(probe, longer, axis)
        if cells is None:  # a module made for one size only
            break
        found = _measure_inside(probe, longer, axis, cells, 1.0, like)
        if found is not None:
            return found
        # Where padding depends on the size, cells lie alike in sizes that leave the
        # same remainders on the way down.
        length += -(-length // _LEAST_CANVAS) * _LEAST_CANVAS
    found = _measure_inside(probe, shape, axis, n_cells, 0.0, like)
    if found is not None:
        return found
    stride = n_pixels / n_cells
    return math.inf, stride, (stride - 1) / 2


def _count_cells(probe: nn.Module, shape: list[int], axis: int) -> int | None:
    """Number of cells along an axis; None where the module refuses the size."""
    try:
        seen = _seen(probe, shape, axis, lambda image: None)
    except (RuntimeError, ValueError, AssertionError):
        return None
    return seen.shape[0]


def _measure_inside(
    probe: nn.Module,
    shape: list[int],
    axis: int,
    n_cells: int,
    margin: float,
    like: tuple[float, float, float] | None,
) -> tuple[float, float, float] | None:
    """Extent, stride and offset if the fields of two cells lie inside the canvas."""
    first = n_cells // 2
    guess = None
    if like is not None and math.isfinite(like[0]):
        middle, reach = like[2] + first * like[1], (like[0] - 1) / 2
        guess = round(middle - reach), round(middle + reach)
    field = _cell_range(probe, shape, axis, first, margin, guess)
    if field is None:
        return None
    low, high = field
    extent, center = high - low + 1.0, (low + high) / 2
    usual = round(shape[1 + axis] / n_cells)
    # Far is more exact; a multiple, for cells that enlarged maps share come in groups.
    far = n_cells // 4 // 8 * 8
    for other in (first + far, first + 1, first - 1):
        if 0 <= other < n_cells and other != first:
            move = (other - first) * usual
            guess = low + move, high + move
            neighbour = _cell_range(probe, shape, axis, other, margin, guess)
            if neighbour is not None:
                stride = (sum(neighbour) / 2 - center) / (other - first)
                return extent, stride, center - first * stride
    return None


def _cell_range(
    probe: nn.Module,
    shape: list[int],
    axis: int,
    cell: int,
    margin: float,
    guess: tuple[int, int] | None = None,
) -> tuple[int, int] | None:
    """First and last pixel that a cell sees; None where that may be cut off.

    A dilated field has holes, so a part of it may lie over the border although the
    pixels next to the border are not seen. A margin, in multiples of what is seen,
    makes sure that nothing was cut.
    """
    n_pixels = shape[1 + axis]

    def touched(start: int, stop: int) -> bool:
        def fill(image: Tensor) -> None:
            image.narrow(2 + axis, start, stop - start).fill_(math.nan)

        return bool(_seen(probe, shape, axis, fill)[cell])

    def from_start(n: int) -> bool:
        return touched(0, n)

    def from_end(n: int) -> bool:
        return touched(n_pixels - n, n_pixels)

    if from_start(1) or from_end(1):
        return None
    expected = (None, None) if guess is None else (guess[0] + 1, n_pixels - guess[1])
    low = _bisect(n_pixels, from_start, expected[0]) - 1
    high = n_pixels - _bisect(n_pixels, from_end, expected[1])
    room = margin * (high - low + 1)
    return (low, high) if room <= low <= high <= n_pixels - 1 - room else None


def _bisect(
    upper: int, condition: Callable[[int], bool], guess: int | None = None
) -> int:
    """Smallest t in 1..upper at which a monotone condition holds, perhaps `guess`."""
    low, high = 0, upper
    if guess is not None and 1 < guess <= upper:
        if not condition(guess):
            low = guess
        elif not condition(guess - 1):
            return guess
        else:
            high = guess - 1
    while high - low > 1:
        middle = (low + high) // 2
        if condition(middle):
            high = middle
        else:
            low = middle
    return high


def _seen(
    probe: nn.Module, shape: list[int], axis: int, fill: Callable[[Tensor], object]
) -> Tensor:
    """Which rows (or columns) of cells turn NaN when `fill` has put NaN in."""
    image = torch.zeros(1, *shape, dtype=torch.float64)
    fill(image)
    output = probe(image)
    if not output.numel():
        raise ValueError(f"No cells are left of an image of {shape[1:]} pixels.")
    seen: Tensor = output[0].isnan().any(dim=0).any(dim=1 - axis)
    return seen
