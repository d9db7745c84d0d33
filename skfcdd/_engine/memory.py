"""A memory of the features of normal images, as a second anomaly map."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skfcdd._engine.coreset import nearest_distance
from skfcdd._engine.whole_image import WholeImage
from skfcdd.backbones import StagedNetwork

__all__ = ["DeepFeatures", "Deepest", "NormalMemory", "average_cells", "places"]


def average_cells(maps: Tensor, size: int) -> Tensor:
    """Means over `size` x `size` cells; at the border, over those that are there."""
    if size == 1:
        return maps
    for kernel in ((size, 1), (1, size)):
        beside = (kernel[0] // 2, kernel[1] // 2)
        maps = F.avg_pool2d(maps, kernel, 1, beside, count_include_pad=False)
    return maps


def places(cells: Tensor) -> Tensor:
    """Positions (u, v, 2) of the cells of a map (n, u, v, d), from 0 to 1 per axis."""
    steps = [
        (torch.arange(n, device=cells.device) + 0.5).to(cells) / n
        for n in cells.shape[1:3]
    ]
    return torch.stack(torch.meshgrid(*steps, indexing="ij"), dim=-1)


class DeepFeatures(nn.Module):
    """Features of pretrained stages, computed from the output of FCDD's frozen stages.

    Parameters
    ----------
    network : StagedNetwork
        Network with pretrained weights, without the layers that FCDD also runs.
    split : int
        Number of layers of the network that FCDD runs.
    image_shape : tuple of int (h, w, c)
        Size of the images that the network sees.
    with_first : bool, default=True
        Whether the first map is used; otherwise it only provides the positions of the
        cells.
    """

    def __init__(
        self,
        network: StagedNetwork,
        split: int,
        image_shape: tuple[int, int, int],
        *,
        with_first: bool = True,
    ) -> None:
        super().__init__()
        self.split, self.with_first = split, with_first
        self.network = network.without_head(split).eval().requires_grad_(False)
        h, w, c = image_shape
        with torch.no_grad():
            *_, x = network.eval().head(torch.zeros(1, c, h, w), split)
            sizes = [maps.shape[2:] for maps in self.maps(x)]
        # By how much the maps of the others are enlarged to the size of the first.
        self.factors = [
            [float(max(1, round(n / k))) for n, k in zip(sizes[0], size, strict=True)]
            for size in sizes
        ]

    def maps(self, x: Tensor) -> list[Tensor]:
        """The outputs of the stages; the first lies where FCDD's map is taken."""
        return self.network.outputs((x,), self.split)

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, d, u, v) from the output of the last layer that FCDD runs.

        Their cells are those of FCDD's map. Coarser maps are enlarged by whole
        factors: unlike resizing to a size, this gives the cells of a window the same
        values as in the whole image.
        """
        return self.join(self.maps(x))

    def join(self, maps: list[Tensor]) -> Tensor:
        """Features (n, d, u, v) of the outputs of the stages."""
        first, *others = maps
        u, v = first.shape[2:]
        joined = [first] if self.with_first else []
        for coarse, factors in zip(others, self.factors[1:], strict=True):
            # One more row and column, for networks that drop the remainder.
            coarse = F.pad(coarse, (0, 1, 0, 1), mode="replicate")
            large = F.interpolate(coarse, scale_factor=factors, mode="bilinear")
            joined.append(large[:, :, :u, :v])
        return torch.cat(joined, dim=1)

    @property
    def finest(self) -> int:
        """Cells of the sharpest map that counts, in cells of FCDD's map."""
        own = self.factors if self.with_first else self.factors[1:]
        return min(round(max(pair)) for pair in own)


class Deepest(nn.Module):
    """The coarsest map of a memory's features, of images.

    Parameters
    ----------
    module : FCDDModule
        Module with the frozen stages.
    features : DeepFeatures
    """

    def __init__(self, module: Any, features: Any) -> None:
        super().__init__()
        self.backbone, self.split, self.features = (
            module.backbone,
            module.split,
            features,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Features (n, d, u, v) of normalised images (n, c, h, w)."""
        *_, kept = self.backbone.head(images, self.split)
        deepest: Tensor = self.features.maps(kept)[-1]
        return deepest


class NormalMemory(nn.Module):
    r"""Squared excess of the distance to the nearest normal features, per cell.

    Parameters
    ----------
    features : DeepFeatures
        Maps the output of FCDD's frozen stages to features.
    patch_size : int
        Number of cells per side over which features are averaged.
    mean : Tensor of shape (d,)
    axes : Tensor of shape (d, k)
        Features are projected to these after `mean` is taken away.
    points : Tensor of shape (m, k), or (m, k + 2) with the position
        Stored features.
    position : float
        What moving across the image counts for; 0 leaves the position out.
    block : int
        Number of cells per side that are compared as one, by their mean features.
    stages : tuple of int or None
        Numbers of the stages that the features come from; None for the output of the
        backbone itself.
    whole : WholeImage or None
        Compares the mean features of the image, and adds the same to all cells.
    """

    mean: Tensor
    axes: Tensor
    points: Tensor
    units: Tensor

    def __init__(
        self,
        features: DeepFeatures,
        patch_size: int,
        mean: Tensor,
        axes: Tensor,
        points: Tensor,
        position: float = 0.0,
        block: int = 1,
        stages: tuple[int, ...] | None = None,
        whole: WholeImage | None = None,
    ) -> None:
        super().__init__()
        self.features = features
        self.whole = whole
        self.stages = stages
        self.block = block
        self.patch_size = patch_size
        self.position = position
        self.register_buffer("mean", mean)
        self.register_buffer("axes", axes)
        self.register_buffer("points", points)
        # Level and spread of the distances of normal cells, the factor of the map, and
        # that of the evidence of the whole image, relative to it.
        self.register_buffer("units", torch.tensor([0.0, 1.0, 0.0, 0.0]))

    def forward(self, kept: Tensor, size: Sequence[int]) -> Tensor:
        """Anomaly map (n, u, v), float32, from the output of the frozen stages.

        Parameters
        ----------
        kept : Tensor
            The output of the frozen stages.
        size : (int, int)
            Rows and columns of FCDD's map.
        """
        maps = self.maps(kept)
        local = self.local(maps, size)
        if self.whole is None:
            return local
        return local + self.global_part(self.means(maps))[:, None, None]

    def maps(self, kept: Tensor) -> list[Tensor]:
        """The outputs of the stages, from that of the frozen ones."""
        found: list[Tensor] = self.features.maps(kept.to(self._dtype()))
        return found

    def local(self, maps: list[Tensor], size: Sequence[int]) -> Tensor:
        """Anomaly map (n, u, v) without the evidence of the whole image."""
        with torch.autocast(maps[0].device.type, enabled=False):
            level, spread, factor, _ = self.units
            excess = self.excess(self.distances(maps), level, spread)
            return factor * excess[:, : size[0], : size[1]]

    def means(self, maps: list[Tensor]) -> Tensor:
        """Mean features (n, d) of images."""
        dtype = self.mean.dtype
        return torch.cat([part.to(dtype).mean(dim=(2, 3)) for part in maps], dim=1)

    def global_part(self, means: Tensor) -> Tensor:
        """Evidence of the whole image (n,), added to each cell, from mean features."""
        assert self.whole is not None
        with torch.autocast(means.device.type, enabled=False):
            added: Tensor = self.units[2] * self.units[3] * self.whole(means)
            return added

    def excess(
        self, distances: Tensor, level: Tensor | float, spread: Tensor | float
    ) -> Tensor:
        """Squared excess of the distances of blocks (n, u, v), as wide as features.

        As many rows and columns as the blocks have cells: the last blocks may have more
        than the map.
        """
        squared = ((distances - level) / spread).clamp_min(0).square()[:, None]
        if self.block > 1:
            enlarged = float(self.block)
            squared = F.interpolate(squared, scale_factor=enlarged, mode="nearest")
        return average_cells(squared, self.width)[:, 0]

    @property
    def factor(self) -> float:
        """Factor of the map."""
        return float(self.units[2])

    def with_factor(self, factor: float) -> NormalMemory:
        """The same memory with another factor; it shares all other numbers."""
        level, spread, _, share = self.units
        changed = torch.full_like(level, factor)
        return self.with_units(torch.stack([level, spread, changed, share]))

    def with_units(self, units: Tensor) -> NormalMemory:
        """The same memory with other units; it shares all other numbers."""
        memory = copy.copy(self)
        memory._buffers = memory._buffers | {"units": units}
        return memory

    @property
    def width(self) -> int:
        """Number of cells per side over which the map is averaged.

        Features of a coarser stage lie further apart than the cells of FCDD's map, and
        say no more about where a defect is than the distance between them.
        """
        finest: int = getattr(self.features, "finest", 1)
        # A window of this width has the stride of the features as standard deviation.
        return 1 if finest == 1 else math.isqrt(12 * finest**2 + 1) // 2 * 2 + 1

    @property
    def breadth(self) -> int:
        """Number of cells per side that are averaged, after those of the features."""
        return self.patch_size + self.width + 2 * (self.block - 1)

    @property
    def period(self) -> int:
        """Shift in cells by which a window can be moved and keep the same cells."""
        factors = getattr(self.features, "factors", [])
        return math.lcm(*(round(f) for pair in factors for f in pair))

    def distances(self, maps: list[Tensor]) -> Tensor:
        """Distances (n, u, v) of blocks of cells to the nearest kept features."""
        vectors = self.vectors(maps)
        n, u, v, k = vectors.shape
        return nearest_distance(vectors.reshape(-1, k), self.points).view(n, u, v)

    def vectors(self, maps: list[Tensor]) -> Tensor:
        """Vectors (n, u, v, k) to compare with the memory, at least float32."""
        cells = self.cells(maps)
        with torch.autocast(cells.device.type, enabled=False):
            vectors = (cells - self.mean) @ self.axes
            if not self.position:
                return vectors
            grid = self.position * places(cells)
            return torch.cat([vectors, grid.expand(len(cells), -1, -1, -1)], dim=-1)

    def cells(self, maps: list[Tensor]) -> Tensor:
        """Features (n, u, v, d) of blocks; cells are first averaged with neighbours."""
        joined = self.features.join(maps).to(self.mean.dtype)
        with torch.autocast(joined.device.type, enabled=False):
            joined = average_cells(joined, self.patch_size)
            if self.block > 1:  # the last block may be cut off by the border
                more = self.block - 1
                joined = F.pad(joined, (0, more, 0, more), mode="replicate")
                joined = F.avg_pool2d(joined, self.block)
            return joined.permute(0, 2, 3, 1)

    def _dtype(self) -> Any:
        weight = next(self.features.parameters(), self.mean)
        return weight.dtype
