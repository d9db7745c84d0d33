"""Values of the pixels outside of a region of interest.

They fade from the nearest pixel inside to the mean of the pixels inside. A region that
is filled with the mean alone has a sharp border, which normal images share with
defects.
"""

from __future__ import annotations

from itertools import chain

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ["FADE", "Surroundings", "nearest_inside"]

# Distance in pixels over which values fade to the mean.
FADE = 16

Mask = npt.NDArray[np.bool_]
# Offset that stands for "no pixel inside within reach".
_NONE = np.int32(1 << 14)


class Surroundings(nn.Module):
    """Filling of the pixels outside of a region.

    Parameters
    ----------
    inside : Tensor of shape (h, w), bool
        The region.
    fade : int
        Distance in pixels over which values fade to the mean; 0 fills with the mean
        alone.
    """

    inside: Tensor
    index: Tensor
    source: Tensor
    weight: Tensor

    def __init__(self, inside: Tensor, fade: int) -> None:
        super().__init__()
        source, weight = nearest_inside(inside.numpy(), fade)
        # Derived from the region, so files need not store them.
        for name, found in (
            ("inside", inside),
            ("index", inside.flatten().nonzero()[:, 0]),
            ("source", torch.from_numpy(source.ravel())),
            ("weight", torch.from_numpy(weight)),
        ):
            self.register_buffer(name, found, persistent=False)
        self.fade = fade

    def forward(self, images: Tensor, level: Tensor | None = None) -> Tensor:
        """Fill the pixels outside, in images (n, c, h, w).

        `level` broadcasts to (n, c, 1, 1); None is the mean inside of each image.
        """
        if level is None:
            level = self.level(images)
        if not self.fade:
            return torch.where(self.inside, images, level)
        nearest = images.flatten(2).index_select(2, self.source).view_as(images)
        faded = level + self.weight.to(images.dtype) * (nearest - level)
        return torch.where(self.inside, images, faded)

    def level(self, images: Tensor) -> Tensor:
        """Return the mean (n, c, 1, 1) of the pixels inside of each image."""
        pixels = images.flatten(2).index_select(2, self.index)
        first = pixels[:, :, :1]  # makes the mean exact if all pixels are equal
        return (first + (pixels - first).mean(dim=2, keepdim=True))[..., None]


def nearest_inside(
    inside: Mask, fade: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Find the nearest pixel inside of each pixel, and its weight in the fill.

    Parameters
    ----------
    inside : ndarray of shape (h, w), bool
    fade : int
        Largest distance to look for, in pixels.

    Returns
    -------
    source : ndarray of shape (h, w), int
        Row-major number of the nearest pixel; of the pixel itself if it is inside, or
        none is within reach.
    weight : ndarray of shape (h, w), float32
        1 inside, falling smoothly to 0 just beyond `fade`.

    Notes
    -----
    Depends on pixels within `fade` of each other only, also where several are equally
    near, so that windows of a large image are filled as the whole would be.
    """
    places: npt.NDArray[np.int64] = np.arange(inside.size).reshape(inside.shape)
    squares: npt.NDArray[np.int32] = np.where(inside, np.int32(0), _NONE * _NONE)
    if fade and inside.any() and not inside.all():
        down, right, squares = _offsets(inside, fade)
        places += down * np.int64(inside.shape[1]) + right
    left = np.clip((fade + 1 - np.sqrt(squares)) / max(1, fade), 0, 1)
    weight = np.where(squares <= fade * fade, left * left * (3 - 2 * left), 0)
    return places, weight.astype(np.float32)


def _offsets(
    inside: Mask, fade: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the offsets to the nearest pixel inside, and the squared distance.

    First along columns, then along rows. Offsets are 0 if none is within reach.
    """
    steps = list(chain.from_iterable((-k, k) for k in range(1, fade + 1)))
    along = np.where(inside, np.int32(0), _NONE)
    for step in steps:
        here, there = _pair(step, len(inside))
        along[here][(along[here] == _NONE) & inside[there]] = step
    down, right, squares = along.copy(), np.zeros_like(along), along * along
    for step in steps:
        here, there = _pair(step, inside.shape[1])
        square = along[:, there] ** 2 + np.int32(step * step)
        nearer = square < squares[:, here]
        squares[:, here][nearer] = square[nearer]
        right[:, here][nearer] = step
        down[:, here][nearer] = along[:, there][nearer]
    within = squares <= fade * fade
    return np.where(within, down, 0), np.where(within, right, 0), squares


def _pair(step: int, n: int) -> tuple[slice, slice]:
    """Return positions along an axis, and those `step` further, as two slices."""
    size = max(0, n - abs(step))
    first = max(0, -step)
    return slice(first, first + size), slice(first + step, first + step + size)
