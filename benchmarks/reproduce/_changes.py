"""Random augmentations of the paper, as callables for `augment=`.

Each accepts images (n, c, h, w) in the range 0 to 1, masks (n, 1, h, w) and a
generator, and returns images and masks. Parameters are drawn for each image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from skfcdd._engine.augmentation import Augmentation, resolve_augment
from skfcdd._engine.preprocessing import resize

# Weights of red, green and blue in the brightness of a pixel.
_GREY = (0.299, 0.587, 0.114)
# Conversion of RGB to the YIQ colour space: brightness and two axes of colour.
_YIQ = (
    _GREY,
    (0.595716, -0.274453, -0.321263),
    (0.211456, -0.522591, 0.311135),
)
_BLOCK = 1024


def _uniform(images: Tensor, generator: Generator, reach: float) -> Tensor:
    """Draw numbers (n, 1, 1, 1) between -reach and reach."""
    draws = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)
    return (2 * draws - 1) * reach


@dataclass(frozen=True)
class ColorJitter:
    """Random change of brightness, contrast, saturation and hue by up to these shares.

    Hue is a share of the colour circle, and is rotated about the grey axis. Saturation
    and hue of grey images are not changed.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float

    def __call__(
        self, images: Tensor, masks: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        brightness, contrast, saturation, hue = (
            _uniform(images, generator, reach)
            for reach in (self.brightness, self.contrast, self.saturation, self.hue)
        )
        images = (images * (1 + brightness)).clamp(0, 1)
        mean = _grey(images).mean(dim=(1, 2, 3), keepdim=True)
        images = torch.lerp(mean, images, 1 + contrast).clamp(0, 1)
        if images.shape[1] == 3:
            images = torch.lerp(_grey(images), images, 1 + saturation).clamp(0, 1)
            images = _turn(images, 2 * math.pi * hue).clamp(0, 1)
        return images, masks


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] != 3:
        return images.mean(dim=1, keepdim=True)
    return torch.einsum("nchw,c->nhw", images, images.new_tensor(_GREY))[:, None]


def _turn(images: Tensor, angle: Tensor) -> Tensor:
    """Rotate hues by angles (n, 1, 1, 1), in radians."""
    to_yiq = images.new_tensor(_YIQ)
    y, i, q = torch.einsum("nchw,dc->dnhw", images, to_yiq)
    cos, sin = angle[:, 0].cos(), angle[:, 0].sin()
    turned = torch.stack([y, cos * i - sin * q, sin * i + cos * q])
    return torch.einsum("dnhw,cd->nchw", turned, torch.linalg.inv(to_yiq))


@dataclass(frozen=True)
class PaddedCrop:
    """Random shift by up to `pad` pixels, filled with black or by reflection."""

    pad: int
    reflect: bool = False

    def __call__(
        self, images: Tensor, masks: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        n, _, h, w = images.shape
        rows, columns = (
            torch.randint(
                2 * self.pad + 1, (n, 1), generator=generator, device=images.device
            )
            + torch.arange(side, device=images.device)
            for side in (h, w)
        )
        place = torch.arange(n, device=images.device)[:, None, None]
        index = (place, rows[:, :, None], columns[:, None, :])
        mode = "reflect" if self.reflect else "constant"
        moved = [
            F.pad(part, (self.pad,) * 4, mode=mode).permute(0, 2, 3, 1)[index]
            for part in (images, masks.to(images.dtype))
        ]
        images, where = (part.permute(0, 3, 1, 2) for part in moved)
        return images, where > 0.5


@dataclass(frozen=True)
class Zoom:
    """Enlargement of a random window, with a probability of 1/2.

    The sides of the window are `share` of those of the image.
    """

    share: float

    def __call__(
        self, images: Tensor, masks: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        x, y = (_uniform(images, generator, 1 - self.share)[:, 0, 0, 0] for _ in "xy")
        scale, zero = torch.full_like(x, self.share), torch.zeros_like(x)
        theta = torch.stack([scale, zero, x, zero, scale, y], dim=1).view(-1, 2, 3)
        shape = [len(images), 1, *images.shape[2:]]
        grid = F.affine_grid(theta, shape, align_corners=False)
        chosen = _uniform(images, generator, 1) < 0
        larger = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
        where = F.grid_sample(
            masks.to(images.dtype), grid, mode="nearest", align_corners=False
        )
        return (
            torch.where(chosen, larger, images),
            torch.where(chosen, where > 0.5, masks > 0),
        )


@dataclass(frozen=True)
class Noise:
    """Gaussian noise.

    With `relative`, `std` is in units of the standard deviation of the image, half of
    the images are not changed, and the result is clipped to the range 0 to 1.
    """

    std: float
    relative: bool = False

    def __call__(
        self, images: Tensor, masks: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        noise = torch.empty_like(images).normal_(generator=generator) * self.std
        if not self.relative:
            return images + noise, masks
        strength = images.std(dim=(1, 2, 3), keepdim=True)
        strength = strength * (_uniform(images, generator, 1) < 0)
        return (images + strength * noise).clamp(0, 1), masks


@dataclass(frozen=True)
class Either:
    """One of two colour augmentations, each with a probability of 1/2."""

    first: Augmentation
    second: Augmentation

    def __call__(
        self, images: Tensor, masks: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        chosen = _uniform(images, generator, 1) < 0
        first, second = (
            change(images, masks, generator)[0] for change in (self.first, self.second)
        )
        return torch.where(chosen, first, second), masks


def changed_copies(
    images: np.ndarray,
    shape: tuple[int, ...],
    augment: Sequence[str | Augmentation],
    *,
    n_copies: int,
    seed: int,
) -> np.ndarray:
    """Augment exposed outliers once, in the same way as normal images.

    The estimators augment normal images only. If these had black borders, and the
    exposed outliers had none, the network would learn to recognise the borders.

    Parameters
    ----------
    images : ndarray of shape (n, h, w) or (n, h, w, c), uint8
        Exposed outliers.
    shape : tuple of int (h, w) or (h, w, c)
        Shape of the normal images.
    augment : sequence
        Augmentations, as for the estimators.
    n_copies : int
        Number of differently augmented copies of each image.
    seed : int
        Seed of the augmentations.

    Returns
    -------
    ndarray of shape (n * n_copies, h, w) or (n * n_copies, h, w, c), uint8
    """
    changes = resolve_augment(list(augment))
    generator = Generator().manual_seed(seed)
    images = np.concatenate([images] * n_copies)
    out = np.empty((len(images), *shape), dtype=np.uint8)
    for start in range(0, len(images), _BLOCK):
        part = torch.from_numpy(images[start : start + _BLOCK]).float() / 255
        part = part[..., None] if part.ndim == 3 else part
        part = part.permute(0, 3, 1, 2)
        if part.shape[2:] != shape[:2]:
            part = resize(part, (shape[0], shape[1]))
        if len(shape) == 2:
            part = _grey(part)
        elif part.shape[1] != shape[2]:
            part = _grey(part).expand(-1, shape[2], -1, -1)
        masks = torch.ones_like(part[:, :1], dtype=torch.bool)
        for change in changes:
            part, masks = change(part, masks, generator)
        whole = (part.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1)
        out[start : start + _BLOCK] = whole.reshape(-1, *shape).numpy()
    return out
