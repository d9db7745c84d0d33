"""Region of interest: the pixels that count, the same in all images.

Before anything is computed, pixels outside are filled from those inside, so that no
result depends on them. Heatmaps, scores, losses and synthetic anomalies are confined to
the pixels inside. Each image is filled from its own pixels: with a common value, the
region of a brighter image would stand out from its surroundings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from skfcdd._engine.surroundings import SPREAD, Surroundings

__all__ = ["Inside", "hitting", "planted"]

# Synthetic anomalies are drawn into the bounding box of the region. It is widened to at
# least this many pixels per side, because some kinds of anomalies need space.
_LEAST_SIDE = 32
# Maximum number of times that an anomaly which misses the region is redrawn.
_TRIES = 4

Planter = Callable[[Tensor, Generator], tuple[Tensor, Tensor]]


class Inside(nn.Module):
    """Region of interest of images in the unit range.

    Parameters
    ----------
    inside : ndarray of shape (h, w), bool
        Mask of the pixels of raw images that are inside.
    size : tuple of int (h, w) or None
        Size to which images are resized. A resized pixel is inside if any part of it
        is.
    spread : float, default=SPREAD
        Standard deviation in pixels of the Gaussian that continues the pixels inside
        to the outside; 0 fills with their mean only.
    """

    inside: Tensor

    def __init__(
        self,
        inside: npt.NDArray[np.bool_],
        size: tuple[int, int] | None,
        spread: float = SPREAD,
    ) -> None:
        super().__init__()
        raw = torch.from_numpy(np.array(inside, dtype=bool))
        self.register_buffer("inside", raw)
        self.around = Surroundings(raw, spread)  # of raw images
        self.around_seen = (
            self.around if size is None else Surroundings(_scaled(raw, size), spread)
        )
        self.box = _box(self.seen)

    @property
    def seen(self) -> Tensor:
        """Mask (h, w) of the pixels inside, of images of the network input size."""
        return self.around_seen.inside

    @property
    def spread(self) -> float:
        """Standard deviation in pixels of the Gaussian of the fill."""
        return self.around.spread

    def forward(self, images: Tensor) -> Tensor:
        """Fill the pixels outside, in images (n, c, h, w) of the network input size."""
        filled: Tensor = self.around_seen(images)
        return filled

    def filled(self, images: Tensor) -> Tensor:
        """Fill the pixels outside, in images (n, c, h, w) of the raw size."""
        filled: Tensor = self.around(images)
        return filled

    def pixels(self, maps: Tensor) -> Tensor:
        """Select the pixels of maps (n, h, w) that are inside, as maps (n, 1, m)."""
        return maps.flatten(1).index_select(1, self.around_seen.index)[:, None]

    def cells(self, size: Sequence[int]) -> Tensor:
        """Return which cells (u, v) of a map of this size are inside, even in part."""
        return _scaled(self.seen, size)


def _scaled(inside: Tensor, size: Sequence[int]) -> Tensor:
    rows, columns = size
    maps = F.adaptive_max_pool2d(inside[None, None].float(), (rows, columns))
    return maps[0, 0] > 0


def _box(seen: Tensor) -> tuple[slice, slice]:
    """Return the bounding box of a region, widened if the region is small."""
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
    """Draw synthetic anomalies into images, within the box of a region of interest.

    Parameters
    ----------
    plant : callable
        Maps images (n, c, h, w) to changed images, and masks (n, 1, h, w).
    images : Tensor of shape (n, c, h, w)
        With a region, pixels outside of it are filled first.
    generator : torch.Generator
    roi : Inside or None

    Returns
    -------
    images : Tensor of shape (n, c, h, w)
    masks : Tensor of shape (n, 1, h, w), bool
        May extend beyond the region or, rarely, miss it.
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
    """Draw anomalies, and redraw those that miss a region a limited number of times.

    Parameters
    ----------
    draw : callable
        Takes the rows of the images to change, or None for all images. Returns the
        changed tensors and their masks (n, 1, h, w).
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
