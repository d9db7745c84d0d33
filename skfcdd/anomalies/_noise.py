"""Texture anomalies: whole images of noise, and noise-shaped regions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from skfcdd.anomalies._drawing import (
    Draw,
    Uses,
    coarse_size,
    enlarge,
    finish,
    limited,
    n_drawings,
)


def solid(images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Replace each image with a single colour.

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
        True everywhere.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.anomalies import solid
    >>> changed, masks = solid(torch.rand(2, 3, 8, 8), torch.Generator())
    >>> float(changed[0, 0].std()), bool(masks.all())
    (0.0, True)
    """
    n, c = images.shape[:2]
    return _everywhere(Draw(generator).uniform(n, c, 1, 1).expand_as(images).clone())


def gaussian(images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Replace each image with Gaussian noise around the centre of the unit range.

    Parameters
    ----------
    images : Tensor of shape (n, c, h, w), float32
        Images in the unit range.
    generator : torch.Generator
        Generator on the device of `images`.

    Returns
    -------
    images : Tensor of shape (n, c, h, w), float32
        In the unit range, with a standard deviation of up to 0.3.
    masks : Tensor of shape (n, 1, h, w), bool
        True everywhere.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.anomalies import gaussian
    >>> changed, masks = gaussian(torch.zeros(2, 3, 8, 8), torch.Generator())
    >>> changed.shape, bool(masks.all())
    (torch.Size([2, 3, 8, 8]), True)
    """
    draw = Draw(generator)
    spread = draw.uniform(len(images), 1, 1, 1, low=0.1, high=0.3)
    return _everywhere((0.5 + spread * draw.normal(*images.shape)).clamp_(0, 1))


def uniform(images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Replace each image with uniform noise between 0 and 1.

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
        True everywhere.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.anomalies import uniform
    >>> changed, masks = uniform(torch.zeros(2, 3, 8, 8), torch.Generator())
    >>> changed.shape, bool(masks.all())
    (torch.Size([2, 3, 8, 8]), True)
    """
    return _everywhere(Draw(generator).uniform(*images.shape))


def _everywhere(images: Tensor) -> tuple[Tensor, Tensor]:
    return images, torch.ones_like(images[:, :1], dtype=torch.bool)


def perlin(images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Blend other content into regions shaped by Perlin noise.

    The content is an enlarged, mirrored and recoloured image of the batch, or
    structured noise (after Zavrtanik et al., "DRAEM", ICCV 2021).

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
    >>> from skfcdd.anomalies import perlin
    >>> images = torch.full((4, 1, 64, 64), 0.5)
    >>> changed, masks = perlin(images, torch.Generator().manual_seed(0))
    >>> bool(masks.any(dim=(1, 2, 3)).all())
    True
    """
    draw, n = Draw(generator), len(images)
    h, w = images.shape[2:]
    size = coarse_size(h, w)
    uses = Uses(n_drawings(n))
    noise = perlin_noise(draw, uses.n_drawn, size)
    # The threshold determines the fraction of the image that is changed, never zero.
    share = draw.uniform(uses.n_drawn, 1, 1, 1, low=0.02, high=0.2)
    level = _upper_quantile(noise, share)
    coverage = ((noise - level) * 8).clamp_(0, 1)
    other = draw.chance(n, 1, 1, 1)
    recolour = _recolour(images, draw)
    grains = _grains(images, draw)
    strength = draw.uniform(n, 1, 1, 1, low=0.3)

    def change(rows: slice) -> Tensor:
        own = images[rows]
        content = torch.where(
            other[rows], recolour(rows), enlarge(grains[rows], (h, w))
        )
        opacity = uses.mirror(coverage[uses.source(rows)], rows) * strength[rows]
        return limited(torch.lerp(own, content, enlarge(opacity, (h, w))), own)

    return finish(images, change, uses)


def _upper_quantile(noise: Tensor, share: Tensor) -> Tensor:
    """Compute the values (n, 1, 1, 1) that about a fraction `share` of cells exceeds.

    Only a quarter of the cells are sorted, as neighbours have nearly the same value.
    """
    flat = noise[..., ::2, ::2].flatten(1).sort(dim=1, descending=True).values
    index = (share.flatten(1) * flat.shape[1]).long().clamp(max=flat.shape[1] - 1)
    return flat.gather(1, index)[..., None, None]


def perlin_noise(draw: Draw, n: int, size: tuple[int, int]) -> Tensor:
    """Create gradient noise (n, 1, gh, gw) with 2 to 16 periods per side.

    The algorithm is that of Perlin (1985).
    """
    periods = [int(p) for p in draw.on_host().log_uniform(2, low=2, high=16)]
    py, px = (min(p, s) for p, s in zip(periods, size, strict=True))
    angles = draw.uniform(n, py + 1, px + 1, high=2 * math.pi)
    # The interpolation between the slopes at four corners is a sum of two products.
    (up, rows), (along, columns) = (
        _lattice(length, periods, angles.device)
        for length, periods in zip(size, (py, px), strict=True)
    )
    vertical, horizontal = angles.sin() @ columns.T, angles.cos() @ along.T
    slopes = torch.cat([vertical, horizontal], dim=1)
    return (torch.cat([up, rows], dim=1) @ slopes)[:, None]


def _lattice(length: int, periods: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Compute the weighted distances from lattice points, and the weights.

    Both have shape (length, periods + 1). Each position is between two lattice points,
    and the weights change smoothly from one to the other.
    """
    position = (torch.arange(length, device=device) + 0.5) * (periods / length)
    distance = position[:, None] - torch.arange(periods + 1, device=device)
    t = (1 - distance.abs()).clamp_(min=0)
    weight = t**3 * (t * (6 * t - 15) + 10)
    return distance * weight, weight


def _recolour(images: Tensor, draw: Draw) -> Callable[[slice], Tensor]:
    """Return a function that computes the content from the batch in reverse order.

    The images are enlarged, mirrored and recoloured.
    """
    n, c, h, w = images.shape
    gain = draw.uniform(n, 1, 1, 1, low=-1.5, high=1.5)
    offset = draw.uniform(n, c, 1, 1, low=-0.3, high=0.3)
    part = images[..., : max(1, h // 2), : max(1, w // 2)].flip(0, 2, 3)
    shift = offset + part.mean(dim=(2, 3), keepdim=True) * (1 - gain)

    def recoloured(rows: slice) -> Tensor:
        return torch.addcmul(shift[rows], enlarge(part[rows], (h, w)), gain[rows])

    return recoloured


def _grains(images: Tensor, draw: Draw) -> Tensor:
    """Create noise with one random grain size and random colours, at low resolution."""
    n, c, h, w = images.shape
    grain = max(1, int(draw.on_host().log_uniform(1, low=1, high=8)))
    return draw.uniform(n, c, -(-h // grain), -(-w // grain))
