"""Random augmentations under which a normal image remains normal.

Each augmentation takes images (n, c, h, w) in the unit range, masks (n, 1, h, w) and
a generator, and returns images and masks. It processes a whole batch at once, but draws
independent random numbers for each image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Generator, Tensor

from skfcdd._utils.tensors import moved

__all__ = ["AUGMENTATIONS", "Augmentation", "resolve_augment"]

Augmentation = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]

# Maximum shift, as a fraction of the side of the image.
_SHIFT = 1 / 16
# Maximum change of brightness, in the unit range, and of contrast, as a fraction.
_BRIGHTNESS, _CONTRAST = 0.05, 0.1


def _draw(images: Tensor, generator: Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator, device=images.device)


def _flip(
    images: Tensor, masks: Tensor, generator: Generator, axis: int
) -> tuple[Tensor, Tensor]:
    chosen = _draw(images, generator, len(images), 1, 1, 1) < 0.5
    return (
        torch.where(chosen, images.flip(axis), images),
        torch.where(chosen, masks.flip(axis), masks),
    )


def horizontal_flip(
    images: Tensor, masks: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Flip horizontally with probability 1/2."""
    return _flip(images, masks, generator, 3)


def vertical_flip(
    images: Tensor, masks: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Flip vertically with probability 1/2."""
    return _flip(images, masks, generator, 2)


def transpose(
    images: Tensor, masks: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Transpose square images with probability 1/2; return others unchanged."""
    if images.shape[2] != images.shape[3]:
        return images, masks
    chosen = _draw(images, generator, len(images), 1, 1, 1) < 0.5
    return (
        torch.where(chosen, images.mT, images),
        torch.where(chosen, masks.mT, masks),
    )


def shift(images: Tensor, masks: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Shift by up to 1/16 of each side, with reflection padding."""
    indices = []
    for n_pixels in images.shape[2:]:
        reach = int(n_pixels * _SHIFT)
        offset = _draw(images, generator, len(images), 1) * (2 * reach + 1) - reach
        position = torch.arange(n_pixels, device=images.device) + offset.floor().long()
        position = position.abs()
        indices.append(torch.minimum(position, 2 * (n_pixels - 1) - position))
    return moved(images, *indices), moved(masks, *indices)


def jitter(
    images: Tensor, masks: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Change brightness by up to 0.05 of the unit range and contrast by up to 10 %."""
    draws = 2 * _draw(images, generator, len(images), 2) - 1
    brightness = _BRIGHTNESS * draws[:, 0, None, None, None]
    gain = 1 + _CONTRAST * draws[:, 1, None, None, None]
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return torch.addcmul(mean * (1 - gain) + brightness, images, gain), masks


AUGMENTATIONS: Mapping[str, Augmentation] = MappingProxyType(
    {
        "horizontal_flip": horizontal_flip,
        "vertical_flip": vertical_flip,
        "transpose": transpose,
        "shift": shift,
        "jitter": jitter,
    }
)


def resolve_augment(augment: Any, *, cached: bool = False) -> Sequence[Augmentation]:
    """Return the augmentations requested by `augment`, in order.

    "auto" means "shift" and "jitter", or none if features of frozen stages are
    `cached`, because these are computed only once.

    Raises
    ------
    ValueError
        If a name is unknown.
    TypeError
        If an entry is neither a name nor callable.
    """
    if isinstance(augment, str) and augment == "auto":
        augment = None if cached else ("shift", "jitter")
    if augment is None:
        return ()
    entries = [augment] if isinstance(augment, str) or callable(augment) else augment
    found: list[Augmentation] = []
    for entry in entries:
        if isinstance(entry, str):
            if entry not in AUGMENTATIONS:
                raise ValueError(
                    f"Got augment={augment!r}, but expected names from "
                    f"{sorted(AUGMENTATIONS)}, callables or None."
                )
            found.append(AUGMENTATIONS[entry])
        elif callable(entry):
            found.append(entry)
        else:
            raise TypeError(
                f"Got {entry!r} in augment, but expected a name or a callable."
            )
    return found
