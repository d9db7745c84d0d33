"""Values of the pixels outside of a region of interest.

Close to the region, they are an average of the pixels inside, weighted by a Gaussian of
the distance; further away, they fade to the mean of the whole region. With only the
mean, the region has a sharp border, which raises the heat of normal images of some
textures.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["SPREAD", "Surroundings", "reach_of"]

# Standard deviation of the Gaussian in pixels.
SPREAD = 8.0
# Number of standard deviations after which the Gaussian is cut off.
_CUT = 3
# Values fade to the mean where the pixels inside have less than this share of the
# Gaussian, which they have from 1.3 standard deviations beyond a straight border.
_LEAST_SHARE = 0.1


class Surroundings(nn.Module):
    """Filling of the pixels outside of a region.

    Parameters
    ----------
    inside : Tensor of shape (h, w), bool
        The region.
    spread : float
        Standard deviation of the Gaussian in pixels; 0 fills with the mean only.
    """

    inside: Tensor
    index: Tensor
    rows: Tensor
    columns: Tensor
    share: Tensor

    def __init__(self, inside: Tensor, spread: float) -> None:
        super().__init__()
        self.spread = spread
        # Derived from the region, so files need not store them.
        derived = {"inside": inside, "index": inside.flatten().nonzero()[:, 0]}
        if spread:
            rows, columns = (_gaussians(n, spread) for n in inside.shape)
            share = rows @ inside.double() @ columns.T
            derived |= {
                "rows": rows.float(),
                "columns": columns.float(),
                "share": share.clamp_min(_LEAST_SHARE).float(),
            }
        for name, found in derived.items():
            self.register_buffer(name, found, persistent=False)

    def forward(self, images: Tensor, level: Tensor | None = None) -> Tensor:
        """Fill the pixels outside, in images (n, c, h, w).

        `level` broadcasts to (n, c, 1, 1); None is the mean inside of each image.
        """
        if level is None:
            level = self.level(images)
        if not self.spread:
            return torch.where(self.inside, images, level)
        dtype = images.dtype
        with torch.autocast(images.device.type, enabled=False):
            # Not a product with 0, because there may be any value outside.
            rest = (images - level).masked_fill(~self.inside, 0)
            near = self.rows.to(dtype) @ rest @ self.columns.to(dtype).T
            around = level + near / self.share.to(dtype)
        return torch.where(self.inside, images, around)

    def level(self, images: Tensor) -> Tensor:
        """Return the mean (n, c, 1, 1) of the pixels inside of each image."""
        pixels = images.flatten(2).index_select(2, self.index)
        first = pixels[:, :, :1]  # makes the mean exact if all pixels are equal
        return (first + (pixels - first).mean(dim=2, keepdim=True))[..., None]


def reach_of(spread: float) -> int:
    """Return the distance in pixels up to which a fill depends on pixels inside."""
    return math.floor(_CUT * spread)


def _gaussians(n: int, spread: float) -> Tensor:
    """Return a matrix (n, n) of Gaussians around each pixel, which sum to 1 or less.

    What they lose beyond the border of the image is not in the image either.
    """
    distance = torch.arange(n, dtype=torch.float64)
    distance = (distance[:, None] - distance).abs()
    weights = torch.exp(-0.5 * (distance / spread) ** 2)
    reach = reach_of(spread)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    total = torch.exp(-0.5 * (steps / spread) ** 2).sum()
    return weights.masked_fill(distance > reach, 0) / total
