"""Local anomalies: confetti, blobs, scratches, cut and paste."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from skfcdd._utils.tensors import moved
from skfcdd.anomalies._drawing import (
    Draw,
    coarse_size,
    enlarge,
    fill_values,
    finish,
    grid,
    limited,
    n_drawings,
    paint,
    rectangles,
)

# Sizes are relative to the shorter side, and match those of the paper at 224 pixels.
_SIDES = (8 / 224, 54 / 224)


def _centers(draw: Draw, n: int, k: int, size: tuple[int, int]) -> Tensor:
    center = draw.uniform(n, k, 2)
    for axis in (0, 1):  # a single tensor would synchronise a GPU
        center[..., axis] *= size[axis]
    return center


def _first_and_some(draw: Draw, n: int, k: int) -> Tensor:
    """Choose shapes for each image (n, k): the first, and a random subset of others."""
    chosen = draw.chance(n, k, p=draw.uniform(n, 1, high=0.8))
    chosen[:, 0] = True
    return chosen


def confetti(
    images: Tensor,
    generator: Generator,
    *,
    max_shapes: int = 5,
    least_contrast: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """Draw coloured and grey rectangles, rotated by up to 45 degrees, with soft edges.

    This follows the confetti noise of Liznerski et al. (ICLR 2021). Side lengths are 8
    to 54 pixels if the shorter side of the image has 224 pixels, and scale with it.

    Parameters
    ----------
    images : Tensor of shape (n, c, h, w), float32
        Images in the unit range.
    generator : torch.Generator
        Generator on the device of `images`.
    max_shapes : int, default=5
        Maximum number of rectangles per image; there is at least one.
    least_contrast : float, default=0.1
        Minimum difference between the value of a rectangle and the image mean.

    Returns
    -------
    images : Tensor of shape (n, c, h, w), float32
    masks : Tensor of shape (n, 1, h, w), bool

    Examples
    --------
    >>> import torch
    >>> from skfcdd.anomalies import confetti
    >>> images = torch.full((4, 3, 64, 64), 0.5)
    >>> changed, masks = confetti(images, torch.Generator().manual_seed(0))
    >>> bool(masks.any(dim=(1, 2, 3)).all())
    True
    """
    draw, n, k = Draw(generator), n_drawings(len(images)), max_shapes
    size = coarse_size(*images.shape[2:])
    coverage = rectangles(
        size,
        _centers(draw, n, k, size),
        draw.uniform(n, k, 2, low=_SIDES[0], high=_SIDES[1]) * min(size),
        draw.uniform(n, k, low=-math.pi / 4, high=math.pi / 4),
    )
    coverage *= (_first_and_some(draw, n, k) * draw.uniform(n, k, low=0.5))[
        ..., None, None
    ]
    values = fill_values(images, draw, k, least_contrast)
    return paint(images, coverage, values)


def blobs(
    images: Tensor,
    generator: Generator,
    *,
    max_shapes: int = 3,
    least_contrast: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """Draw spots and stains with irregular outlines, from pinholes to patches.

    Parameters
    ----------
    images : Tensor of shape (n, c, h, w), float32
        Images in the unit range.
    generator : torch.Generator
        Generator on the device of `images`.
    max_shapes : int, default=3
        Maximum number of spots per image; there is at least one.
    least_contrast : float, default=0.1
        Minimum difference between the value of a spot and the image mean.

    Returns
    -------
    images : Tensor of shape (n, c, h, w), float32
    masks : Tensor of shape (n, 1, h, w), bool

    Examples
    --------
    >>> import torch
    >>> from skfcdd.anomalies import blobs
    >>> images = torch.full((4, 1, 64, 64), 0.5)
    >>> changed, masks = blobs(images, torch.Generator().manual_seed(0))
    >>> bool(masks.any(dim=(1, 2, 3)).all())
    True
    """
    draw, n, k = Draw(generator), n_drawings(len(images)), max_shapes
    size = coarse_size(*images.shape[2:])
    center = _centers(draw, n, k, size)[..., None, None]
    stretch = draw.log_uniform(n, k, 1, 1, low=0.6, high=1.7)
    radius = draw.log_uniform(n, k, 1, 1, low=0.015, high=0.15) * min(size)
    y, x = grid(size, images.device)
    dy = (y - center[:, :, 0]) * stretch
    dx = (x - center[:, :, 1]) / stretch
    distance = torch.sqrt(dy * dy + dx * dx).clamp_(min=1e-6)
    turn = draw.uniform(n, k, 1, 1, high=2 * math.pi)
    wave = _three_waves(dy / distance, dx / distance, turn)
    waviness = draw.uniform(n, k, 1, 1, high=0.4)
    softness = draw.log_uniform(n, k, 1, 1, low=1.0, high=4.0)
    outline = wave.mul_(waviness).add_(1).mul_(radius)
    coverage = outline.sub_(distance).div_(softness).add_(0.5).clamp_(0, 1)
    coverage *= (_first_and_some(draw, n, k) * draw.uniform(n, k, low=0.5))[
        ..., None, None
    ]
    values = fill_values(images, draw, k, least_contrast)
    return paint(images, coverage, values)


def _three_waves(sin: Tensor, cos: Tensor, turn: Tensor) -> Tensor:
    """Compute sin(3 a + turn) from the sine and cosine of the angle a.

    Three waves along the circumference make an outline irregular.
    """
    sin3 = sin * (3 - 4 * sin * sin)
    cos3 = cos * (4 * cos * cos - 3)
    return sin3 * turn.cos() + cos3 * turn.sin()


def scratches(
    images: Tensor,
    generator: Generator,
    *,
    least_contrast: float = 0.1,
    n_steps: int = 48,
) -> tuple[Tensor, Tensor]:
    """Draw one thin line per image: a straight scratch or a winding crack.

    If the shorter side of the image has 224 pixels, the line is up to four pixels wide.
    Its length is between a twentieth and the whole of this side.

    Parameters
    ----------
    images : Tensor of shape (n, c, h, w), float32
        Images in the unit range.
    generator : torch.Generator
        Generator on the device of `images`.
    least_contrast : float, default=0.1
        Minimum difference between the value of the line and the image mean.
    n_steps : int, default=48
        Maximum number of turns of a winding line.

    Returns
    -------
    images : Tensor of shape (n, c, h, w), float32
    masks : Tensor of shape (n, 1, h, w), bool

    Examples
    --------
    >>> import torch
    >>> from skfcdd.anomalies import scratches
    >>> images = torch.full((4, 1, 64, 64), 0.5)
    >>> changed, masks = scratches(images, torch.Generator().manual_seed(0))
    >>> bool(masks.any(dim=(1, 2, 3)).all())
    True
    """
    draw, n = Draw(generator), n_drawings(len(images))
    h, w = images.shape[2:]
    side = min(h, w)
    points = _walk(draw, n, (h, w), n_steps)
    # Several points per pixel, scattered over the width of the line.
    dense = F.interpolate(points, 6 * n_steps, mode="linear", align_corners=True)
    width = draw.uniform(n, 1, 1, low=0.0, high=4 / 224) * side
    dense = dense + (draw.uniform(n, 2, 6 * n_steps) - 0.5) * width
    cells = dense.floor().long()
    inside = (cells >= 0).all(dim=1) & (cells[:, 0] < h) & (cells[:, 1] < w)
    index = cells[:, 0].clamp(0, h - 1) * w + cells[:, 1].clamp(0, w - 1)
    density = torch.zeros(n, h * w, device=images.device)
    density.scatter_add_(1, index, inside.float())
    coverage = density.view(n, 1, h, w).clamp_(max=1)
    soft = _box_sum(coverage).mul_(2 / 9).clamp_(max=1).maximum(coverage)
    coverage = torch.where(draw.chance(n, 1, 1, 1), soft, coverage)
    opacity = draw.uniform(n, 1, 1, 1, low=0.5)
    values = fill_values(images, draw, 1, least_contrast)
    return paint(images, coverage * opacity, values)


def _box_sum(coverage: Tensor) -> Tensor:
    """Compute sums over the 3x3 neighbourhood of each pixel."""
    for axis in (2, 3):
        total = coverage.clone()
        rest = coverage.shape[axis] - 1
        total.narrow(axis, 1, rest).add_(coverage.narrow(axis, 0, rest))
        total.narrow(axis, 0, rest).add_(coverage.narrow(axis, 1, rest))
        coverage = total
    return coverage


def _walk(draw: Draw, n: int, size: tuple[int, int], n_steps: int) -> Tensor:
    """Draw points (n, 2, n_steps) of a straight or winding walk: (y, x), in pixels."""
    winding = draw.uniform(n, 1, high=0.6) * draw.chance(n, 1, p=0.7)
    angle = draw.uniform(n, 1, high=2 * math.pi)
    angle = angle + (winding * draw.normal(n, n_steps)).cumsum(dim=1)
    step = draw.log_uniform(n, 1, 1, low=0.05, high=1.0) * min(size) / n_steps
    path = (torch.stack([angle.sin(), angle.cos()], dim=1) * step).cumsum(dim=2)
    middle = path.mean(dim=2, keepdim=True)
    return path - middle + _centers(draw, n, 1, size).mT


def cutpaste(images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Paste a part of each image elsewhere: a rectangle, or a long thin scar.

    The brightness and contrast of the pasted part are changed (after Li et al.,
    "CutPaste", CVPR 2021).

    Parameters
    ----------
    images : Tensor of shape (n, c, h, w), float32
        Images in the unit range.
    generator : torch.Generator
        Generator on the device of `images`.

    Returns
    -------
    images : Tensor of shape (n, c, h, w), float32
    masks : Tensor of shape (n, 1, h, w), bool

    Examples
    --------
    >>> import torch
    >>> from skfcdd.anomalies import cutpaste
    >>> images = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> changed, masks = cutpaste(images, torch.Generator().manual_seed(0))
    >>> bool(masks.any(dim=(1, 2, 3)).all())
    True
    """
    draw, n = Draw(generator), len(images)
    h, w = images.shape[2:]
    size = coarse_size(h, w)
    scar = draw.chance(n, 1, 1)
    long = draw.uniform(n, 1, 1, low=0.1, high=0.4)
    sides = torch.where(
        scar,
        torch.cat([draw.uniform(n, 1, 1, low=0.02, high=0.06), long], dim=2),
        draw.uniform(n, 1, 2, low=0.06, high=0.3),
    )
    angle = draw.uniform(n, 1, low=-math.pi / 2, high=math.pi / 2) * scar[:, :, 0]
    center = _centers(draw, n, 1, size)
    coverage = rectangles(size, center, sides * min(size), angle)
    rows, columns = _offsets((h, w), draw, n)
    gain = draw.uniform(n, 1, 1, 1, low=0.6, high=1.4)
    offset = draw.uniform(n, 1, 1, 1, low=-0.2, high=0.2)
    # The pasted content comes from the image after a cyclic shift, so its mean is that
    # of the image. The change of contrast preserves this mean.
    offset = offset + images.mean(dim=(2, 3), keepdim=True) * (1 - gain)

    def change(part: slice) -> Tensor:
        own = images[part]
        pasted = torch.addcmul(
            offset[part], moved(own, rows[part], columns[part]), gain[part]
        )
        return limited(torch.lerp(own, pasted, enlarge(coverage[part], (h, w))), own)

    return finish(images, change)


def _offsets(size: tuple[int, int], draw: Draw, n: int) -> list[Tensor]:
    """Return rows (n, h) and columns (n, w) for a cyclic shift of each image.

    The shift is at least a quarter of each side.
    """
    index = []
    for length in size:
        offset = (draw.uniform(n, 1, low=0.25, high=0.75) * length).long()
        index.append((torch.arange(length, device=offset.device) + offset) % length)
    return index
