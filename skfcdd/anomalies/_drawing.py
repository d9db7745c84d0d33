"""Random numbers, soft shapes and painting, for whole batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from skfcdd._utils.random import on_host

# Shapes are drawn on grids with about this many cells along the shorter side and
# upsampled, which makes their edges soft.
_GRID = 64
# A pixel counts as changed if any channel differs by more than this.
_VISIBLE = 0.03
# On the CPU, images are processed in chunks of about this many values.
_PART = 1 << 18
# In batches of at least this many images, up to four images share each drawing.
_SHARED = 128
# Axes along which a drawing is mirrored, for each of its uses.
_MIRRORED: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))


class Draw:
    """Source of random numbers on the device of a generator."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def on_host(self) -> Draw:
        """Return a source on the CPU, for random numbers that are needed in Python."""
        return Draw(on_host(self.generator))

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw uniformly between `low` and `high`."""
        draws = torch.rand(
            *shape, generator=self.generator, device=self.generator.device
        )
        return low + (high - low) * draws

    def normal(self, *shape: int) -> Tensor:
        """Draw from the standard normal distribution."""
        return torch.randn(
            *shape, generator=self.generator, device=self.generator.device
        )

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """Draw log-uniformly between `low` and `high`."""
        return self.uniform(*shape, low=math.log(low), high=math.log(high)).exp()

    def chance(self, *shape: int, p: float | Tensor = 0.5) -> Tensor:
        """Draw True with probability `p`."""
        return self.uniform(*shape) < p


def coarse_size(h: int, w: int) -> tuple[int, int]:
    """Return the size of the drawing grid for images of h x w pixels."""
    factor = max(1, min(h, w) // _GRID)
    return -(-h // factor), -(-w // factor)


def enlarge(shapes: Tensor, size: tuple[int, int]) -> Tensor:
    """Upsample drawings (n, k, gh, gw) to the image size by linear interpolation.

    On a CPU, the axes are interpolated one after the other, in whole rows.
    """
    if shapes.shape[2:] == size:
        return shapes
    if shapes.device.type != "cpu":
        return F.interpolate(shapes, size, mode="bilinear", align_corners=False)
    (n, k, gh, gw), (h, w) = shapes.shape, size
    rows = F.interpolate(shapes.reshape(n, k * gh, gw), w, mode="linear").view(-1, w)
    place = ((torch.arange(h) + 0.5) * (gh / h) - 0.5).clamp_(min=0)
    above = place.long()
    below = (above + 1).clamp_(max=gh - 1)
    first = torch.arange(n * k)[:, None] * gh
    upper = rows.index_select(0, (first + above).flatten())
    lower = rows.index_select(0, (first + below).flatten())
    weight = (place - above).repeat(n * k)[:, None]
    return torch.lerp(upper, lower, weight).view(n, k, h, w)


def n_drawings(n: int) -> int:
    """Return the number of drawings for `n` images.

    Drawing a shape takes several times as long as painting it. In large batches, each
    drawing is therefore used up to four times, mirrored and with different colours.
    """
    return n if n < _SHARED else -(-n // len(_MIRRORED))


class Uses:
    """Assignment of drawings, and of their mirror images, to the images of a batch.

    Image i uses drawing i modulo `n_drawn`.

    Parameters
    ----------
    n_drawn : int
        Number of drawings, at least a quarter of the images.
    """

    def __init__(self, n_drawn: int) -> None:
        self.n_drawn = n_drawn

    def slices(self, n: int, step: int) -> Iterator[slice]:
        """Yield chunks of at most `step` of `n` images, each mirrored in one way."""
        for first in range(0, n, self.n_drawn):
            last = min(n, first + self.n_drawn)
            for start in range(first, last, step):
                yield slice(start, min(last, start + step))

    def source(self, rows: slice) -> slice:
        """Return the drawings that these images use."""
        turn = rows.start // self.n_drawn * self.n_drawn
        return slice(rows.start - turn, rows.stop - turn)

    def mirror(self, drawings: Tensor, rows: slice) -> Tensor:
        """Mirror drawings as required for these images."""
        axes = _MIRRORED[rows.start // self.n_drawn]
        return drawings.flip(axes) if axes else drawings


def grid(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return coordinates of cell centres, as columns y (gh, 1) and rows x (1, gw)."""
    gh, gw = size
    y = torch.arange(gh, device=device)[:, None] + 0.5
    x = torch.arange(gw, device=device)[None, :] + 0.5
    return y, x


def rectangles(
    size: tuple[int, int],
    center: Tensor,
    extent: Tensor,
    angle: Tensor,
) -> Tensor:
    """Compute the soft coverage (n, k, gh, gw) of rotated rectangles.

    Parameters
    ----------
    size : tuple of int (gh, gw)
        Size of the grid.
    center, extent : Tensor of shape (n, k, 2)
        Centres and side lengths (y, x), in cells.
    angle : Tensor of shape (n, k)
        Rotation in radians.
    """
    y, x = grid(size, center.device)
    dy = y - center[..., 0, None, None]
    dx = x - center[..., 1, None, None]
    cos, sin = angle.cos()[..., None, None], angle.sin()[..., None, None]
    half = extent[..., None, None] / 2
    reach = half + 0.5
    along = (dy * cos - dx * sin).abs_()
    across = (dy * sin + dx * cos).abs_()
    torch.sub(reach[:, :, 0], along, out=along)
    torch.sub(reach[:, :, 1], across, out=across)
    return along.minimum(across).clamp_(0, 1)


def fill_values(images: Tensor, draw: Draw, n_shapes: int, least: float) -> Tensor:
    """Draw colours (n, k, c) that differ from the mean colour of each image.

    One channel differs by at least `least`, unless it is clipped to [0, 1]. In about
    half of the colours, all channels differ by the same amount, if clipping permits.
    """
    n, c = images.shape[:2]
    mean = images.mean(dim=(2, 3))[:, None, :].clamp(0, 1)
    contrast = draw.log_uniform(n, n_shapes, 1, low=least, high=1.0)
    signs = draw.uniform(n, n_shapes, c, low=-1, high=1)
    plain = draw.chance(n, n_shapes, 1)
    signs = torch.where(plain, torch.where(signs[..., :1] < 0, -1.0, 1.0), signs)
    strongest = signs.abs().amax(dim=2, keepdim=True).clamp(min=1e-3)
    change = contrast * signs / strongest
    # If there is no room on one side of the mean, use the other.
    outside = ((mean + change) < 0) | ((mean + change) > 1)
    return (mean + torch.where(outside, -change, change)).clamp(0, 1)


def paint(images: Tensor, coverage: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Blend colours (n, k, c) into images, with soft coverages (m, k, gh, gw).

    The colours of overlapping shapes are mixed. If there are fewer coverages than
    images (see :func:`n_drawings`), they are mirrored and used again.

    Returns
    -------
    images : Tensor of shape (n, c, h, w)
    masks : Tensor of shape (n, 1, h, w), bool
    """
    gh, gw = coverage.shape[2:]
    h, w = images.shape[2:]
    uses = Uses(len(coverage))
    opacity = coverage.amax(dim=1, keepdim=True)
    total = coverage.sum(dim=1, keepdim=True).clamp_(min=1e-6)
    share = coverage * (opacity / total)

    def change(rows: slice) -> Tensor:
        source = uses.source(rows)
        part = share[source]
        colour = torch.bmm(values[rows].mT, part.flatten(2)).view(len(part), -1, gh, gw)
        layer = uses.mirror(torch.cat([opacity[source], colour], dim=1), rows)
        layer = enlarge(layer, (h, w))
        return torch.addcmul(layer[:, 1:], images[rows], 1 - layer[:, :1])

    return finish(images, change, uses)


def finish(
    images: Tensor, change: Callable[[slice], Tensor], uses: Uses | None = None
) -> tuple[Tensor, Tensor]:
    """Keep only the visible changes, with at least one changed pixel per image.

    Parameters
    ----------
    images : Tensor of shape (n, c, h, w)
    change : callable
        Function that returns the new values of the images in a slice. Large batches are
        processed in chunks whose temporary tensors fit in the CPU cache.
    uses : Uses or None, default=None
        Assignment of shared drawings. All images in a chunk then mirror their drawings
        in the same way.

    Returns
    -------
    images : Tensor of shape (n, c, h, w)
        Equal to the input outside the mask. Inside the mask, values are in the unit
        range, unless those of the input were not.
    masks : Tensor of shape (n, 1, h, w), bool
    """
    changed = torch.empty_like(images)
    masks = torch.empty_like(images[:, :1], dtype=torch.bool)
    step = len(images)
    if images.device.type == "cpu":
        step = max(1, _PART // max(1, images[0].numel()))
    for rows in (uses or Uses(len(images))).slices(len(images), step):
        _keep_visible(images[rows], change(rows), changed[rows], masks[rows])
    return changed, masks


def _keep_visible(images: Tensor, new: Tensor, changed: Tensor, masks: Tensor) -> None:
    """Write the visible changes to `changed`, and their positions to `masks`."""
    difference = new - images
    size = difference.abs().amax(dim=1, keepdim=True)
    torch.gt(size, _VISIBLE, out=masks)
    torch.addcmul(images, difference, masks.to(images.dtype), out=changed)
    # This check is cheap only on a CPU; on a GPU, it would cause a synchronisation.
    if images.device.type == "cpu" and bool((size.flatten(1).amax(1) > _VISIBLE).all()):
        return
    strongest = size.flatten(1).argmax(dim=1, keepdim=True)
    only = torch.zeros_like(masks).flatten(1).scatter_(1, strongest, True)
    only = only.view_as(masks) & ~masks.any(dim=(2, 3), keepdim=True)
    changed.copy_(torch.where(only, (images.clamp(0, 1) + 0.5) % 1, changed))
    masks.logical_or_(only)


def limited(new: Tensor, images: Tensor) -> Tensor:
    """Clip new values to the unit range, in place.

    A pixel that was already out of range because of augmentation may remain so, as
    clipping it would count as a change.
    """
    return new.clamp_(images.clamp(max=0), images.clamp(min=1))
