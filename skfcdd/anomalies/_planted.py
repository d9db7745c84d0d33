"""Anomalies with a place: confetti, blobs, scratches, cut and paste."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from skfcdd.anomalies._drawing import (
    Draw,
    coarse_size,
    enlarge,
    fill_values,
    finish,
    grid,
    paint,
    rectangles,
)

# Sizes are those at 224 pixels in the paper, relative to the shorter side.
_SIDES = (8 / 224, 54 / 224)


def _centers(draw: Draw, n: int, k: int, size: tuple[int, int]) -> Tensor:
    scale = torch.tensor(size, device=draw.generator.device, dtype=torch.float32)
    return draw.uniform(n, k, 2) * scale


def _first_and_some(draw: Draw, n: int, k: int) -> Tensor:
    """Which of k shapes an image has (n, k): the first, and a random share."""
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
    """Plant coloured and plain rectangles, rotated by up to 45 degrees, soft-edged.

    After the confetti noise of Liznerski et al. (ICLR 2021): sides of 8 to 54 pixels
    at 224, scaled with the image.

    Parameters
    ----------
    images : Tensor of shape (n, c, h, w), float32
        In the unit range.
    generator : torch.Generator
        On the device of `images`.
    max_shapes : int, default=5
        Greatest number of rectangles in an image; there is at least one.
    least_contrast : float, default=0.1
        Least distance of a rectangle's value from the mean of the image.

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
    draw, n, k = Draw(generator), len(images), max_shapes
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
    return finish(images, paint(images, coverage, values))


def blobs(
    images: Tensor,
    generator: Generator,
    *,
    max_shapes: int = 3,
    least_contrast: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """Plant spots and stains of irregular outline, from pin holes to patches.

    Parameters
    ----------
    images : Tensor of shape (n, c, h, w), float32
        In the unit range.
    generator : torch.Generator
        On the device of `images`.
    max_shapes : int, default=3
        Greatest number of spots in an image; there is at least one.
    least_contrast : float, default=0.1
        Least distance of a spot's value from the mean of the image.

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
    draw, n, k = Draw(generator), len(images), max_shapes
    size = coarse_size(*images.shape[2:])
    center = _centers(draw, n, k, size)[..., None, None]
    stretch = draw.log_uniform(n, k, 1, 1, low=0.6, high=1.7)
    radius = draw.log_uniform(n, k, 1, 1, low=0.015, high=0.15) * min(size)
    y, x = grid(size, images.device)
    dy = (y - center[:, :, 0]) * stretch
    dx = (x - center[:, :, 1]) / stretch
    distance = torch.sqrt(dy * dy + dx * dx)
    # Waves of the radius make the outline irregular.
    turn = draw.uniform(n, k, 1, 1, high=2 * math.pi)
    wave = torch.sin(3 * torch.atan2(dy, dx) + turn)
    waviness = draw.uniform(n, k, 1, 1, high=0.4)
    softness = draw.log_uniform(n, k, 1, 1, low=1.0, high=4.0)
    edge = (radius * (1 + waviness * wave) - distance) / softness
    coverage = (edge + 0.5).clamp_(0, 1)
    coverage *= (_first_and_some(draw, n, k) * draw.uniform(n, k, low=0.5))[
        ..., None, None
    ]
    values = fill_values(images, draw, k, least_contrast)
    return finish(images, paint(images, coverage, values))


def scratches(
    images: Tensor,
    generator: Generator,
    *,
    least_contrast: float = 0.1,
    n_steps: int = 48,
) -> tuple[Tensor, Tensor]:
    """Plant one thin line an image: a straight scratch or a winding crack.

    Up to four pixels wide at 224, from a twentieth to the whole of the side long.

    Parameters
    ----------
    images : Tensor of shape (n, c, h, w), float32
        In the unit range.
    generator : torch.Generator
        On the device of `images`.
    least_contrast : float, default=0.1
        Least distance of the line's value from the mean of the image.
    n_steps : int, default=48
        Number of turns that a winding line may make.

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
    draw, n = Draw(generator), len(images)
    h, w = images.shape[2:]
    side = min(h, w)
    points = _walk(draw, n, (h, w), n_steps)
    # Several points a pixel, scattered over the width of the line.
    dense = F.interpolate(points, 6 * n_steps, mode="linear", align_corners=True)
    width = draw.uniform(n, 1, 1, low=0.0, high=4 / 224) * side
    dense = dense + (draw.uniform(n, 2, 6 * n_steps) - 0.5) * width
    cells = dense.floor().long()
    inside = (cells >= 0).all(dim=1) & (cells[:, 0] < h) & (cells[:, 1] < w)
    index = cells[:, 0].clamp(0, h - 1) * w + cells[:, 1].clamp(0, w - 1)
    density = torch.zeros(n, h * w, device=images.device)
    density.scatter_add_(1, index, inside.float())
    coverage = density.view(n, 1, h, w).clamp_(max=1)
    soft = F.avg_pool2d(coverage, 3, stride=1, padding=1) * 2
    coverage = torch.where(
        draw.chance(n, 1, 1, 1), torch.maximum(coverage, soft.clamp_(max=1)), coverage
    )
    opacity = draw.uniform(n, 1, 1, 1, low=0.5)
    values = fill_values(images, draw, 1, least_contrast)
    return finish(images, paint(images, coverage * opacity, values))


def _walk(draw: Draw, n: int, size: tuple[int, int], n_steps: int) -> Tensor:
    """Points (n, 2, n_steps), (y, x) in pixels, of a walk that winds or does not."""
    winding = draw.uniform(n, 1, high=0.6) * draw.chance(n, 1, p=0.7)
    angle = draw.uniform(n, 1, high=2 * math.pi)
    angle = angle + (winding * draw.normal(n, n_steps)).cumsum(dim=1)
    step = draw.log_uniform(n, 1, 1, low=0.05, high=1.0) * min(size) / n_steps
    path = (torch.stack([angle.sin(), angle.cos()], dim=1) * step).cumsum(dim=2)
    middle = path.mean(dim=2, keepdim=True)
    return path - middle + _centers(draw, n, 1, size).mT


def cutpaste(images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Paste a part of the same image elsewhere: a rectangle, or a long thin scar.

    With a change of brightness and contrast, and turned over (Li et al., "CutPaste",
    CVPR 2021).

    Parameters
    ----------
    images : Tensor of shape (n, c, h, w), float32
        In the unit range.
    generator : torch.Generator
        On the device of `images`.

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
    coverage = enlarge(rectangles(size, center, sides * min(size), angle), (h, w))
    pasted = _moved(images, draw)
    gain = draw.uniform(n, 1, 1, 1, low=0.6, high=1.4)
    offset = draw.uniform(n, 1, 1, 1, low=-0.2, high=0.2)
    mean = pasted.mean(dim=(2, 3), keepdim=True)
    pasted = (pasted - mean) * gain + mean + offset
    return finish(images, torch.lerp(images, pasted, coverage))


def _moved(images: Tensor, draw: Draw) -> Tensor:
    """Each image moved around its borders, by at least a quarter of its sides."""
    n, _, h, w = images.shape
    index = []
    for length, shape in ((h, (n, 1, 1)), (w, (n, 1, 1))):
        offset = (draw.uniform(*shape, low=0.25, high=0.75) * length).long()
        index.append((torch.arange(length, device=images.device) + offset) % length)
    rows, columns = index[0].view(n, h, 1), index[1].view(n, 1, w)
    batch = torch.arange(n, device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[batch, rows, columns].permute(0, 3, 1, 2)
