"""The pixels that count: a region of interest of all images.

Pixels outside get the mean of those inside before anything is computed, so that nothing
depends on them; heat, scores, losses and synthetic anomalies are confined to the pixels
inside. The mean is that of each image: with one value for all, an image that is
brighter than others would differ more from its surroundings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

__all__ = ["Inside", "hitting", "planted"]

# Synthetic anomalies are drawn into the bounding box of the region, which is widened to
# at least this many pixels per side, for kinds that need some room.
_LEAST_SIDE = 32
# How often an anomaly that misses the region is drawn again.
_TRIES = 4

Planter = Callable[[Tensor, Generator], tuple[Tensor, Tensor]]


class Inside(nn.Module):
    """Region of interest of images in the unit range.

    Parameters
    ----------
    inside : ndarray of shape (h, w), bool
        The pixels of raw images that count.
    size : tuple of int (h, w) or None
        Size to which images are resized. A pixel counts if any part of it does.
    """

    inside: Tensor
    seen: Tensor
    raw_index: Tensor
    index: Tensor

    def __init__(
        self, inside: npt.NDArray[np.bool_], size: tuple[int, int] | None
    ) -> None:
        super().__init__()
        raw = torch.from_numpy(np.array(inside, dtype=bool))
        seen = raw.clone() if size is None else _scaled(raw, size)
        self.register_buffer("inside", raw)
        # Found again from the others, so that files need not hold them.
        for name, found in (
            ("seen", seen),
            ("raw_index", raw.flatten().nonzero()[:, 0]),
            ("index", seen.flatten().nonzero()[:, 0]),
        ):
            self.register_buffer(name, found, persistent=False)
        self.box = _box(seen)

    def forward(self, images: Tensor) -> Tensor:
        """Fill what is outside of images (n, c, h, w) at the network's size."""
        return torch.where(self.seen, images, _level(images, self.index))

    def filled(self, images: Tensor) -> Tensor:
        """Fill what is outside of images (n, c, h, w) at the raw size."""
        return torch.where(self.inside, images, _level(images, self.raw_index))

    def pixels(self, maps: Tensor) -> Tensor:
        """The pixels inside of maps (n, h, w), as maps (n, 1, m) of one row."""
        return maps.flatten(1).index_select(1, self.index)[:, None]

    def cells(self, size: Sequence[int]) -> Tensor:
        """The cells (u, v) of a map of this size that are inside with any part."""
        return _scaled(self.seen, size)


def _scaled(inside: Tensor, size: Sequence[int]) -> Tensor:
    rows, columns = size
    maps = F.adaptive_max_pool2d(inside[None, None].float(), (rows, columns))
    return maps[0, 0] > 0


def _level(images: Tensor, index: Tensor) -> Tensor:
    """Return the means (n, c, 1, 1) of some pixels of images."""
    pixels = images.flatten(2).index_select(2, index)
    first = pixels[:, :, :1]  # without contrast, the mean is exactly that value
    return (first + (pixels - first).mean(dim=2, keepdim=True))[..., None]


def _box(seen: Tensor) -> tuple[slice, slice]:
    """Return the bounding box of a region, widened for small ones."""
    sides = []
    for axis in (0, 1):
        found = seen.any(dim=1 - axis).nonzero()[:, 0]
        first, stop = int(found[0]), int(found[-1]) + 1
        n_pixels = seen.shape[axis]
        wanted = min(max(stop - first, _LEAST_SIDE), n_pixels)
        first = min(max(0, (first + stop - wanted) // 2), n_pixels - wanted)
        sides.append(slice(first, first + wanted))
    return sides[0], sides[1]


def planted(
    plant: Planter, images: Tensor, generator: Generator, roi: Inside | None
) -> tuple[Tensor, Tensor]:
    """Draw synthetic anomalies into images; into the box of a region of filled ones.

    Parameters
    ----------
    plant : callable
        Maps images (n, c, h, w) to changed images, and masks (n, 1, h, w).
    images : Tensor of shape (n, c, h, w)
    generator : torch.Generator
    roi : Inside or None

    Returns
    -------
    images : Tensor of shape (n, c, h, w)
    masks : Tensor of shape (n, 1, h, w), bool
        May have pixels outside of the region, and a few may only have such pixels.
    """
    if roi is None:
        return plant(images, generator)
    images, box = roi(images), (..., *roi.box)

    def draw(rows: Tensor | None) -> tuple[tuple[Tensor, ...], Tensor]:
        own = images if rows is None else images.index_select(0, rows)
        part, where = plant(own[box].contiguous(), generator)
        changed = own.clone()
        changed[box] = part
        masks = torch.zeros_like(own[:, :1], dtype=torch.bool)
        masks[box] = where
        return (changed,), masks

    (changed,), masks = hitting(draw, roi.seen)
    return changed, masks


def hitting(
    draw: Callable[[Tensor | None], tuple[tuple[Tensor, ...], Tensor]], seen: Tensor
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Draw anomalies, and those that miss a region again, a few times.

    Parameters
    ----------
    draw : callable
        Returns tensors of all images, or of those at the given rows, and their masks
        (n, 1, h, w).
    seen : Tensor of shape (h, w), bool
        The region.
    """
    parts, masks = draw(None)
    for _ in range(_TRIES):
        missed = ~(masks & seen).flatten(1).any(dim=1)
        rows = missed.nonzero()[:, 0]
        if not len(rows):
            break
        again, where = draw(rows)
        masks = masks.index_copy(0, rows, where)
        pairs = zip(parts, again, strict=True)
        parts = tuple(old.index_copy(0, rows, new.to(old)) for old, new in pairs)
    return parts, masks
