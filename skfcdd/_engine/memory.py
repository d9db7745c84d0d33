"""Memory bank of the features of normal images, which yields a second anomaly map."""

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
    """Average maps over `size` x `size` cells, ignoring padding at the border."""
    if size == 1:
        return maps
    for kernel in ((size, 1), (1, size)):
        beside = (kernel[0] // 2, kernel[1] // 2)
        maps = F.avg_pool2d(maps, kernel, 1, beside, count_include_pad=False)
    return maps


def places(cells: Tensor) -> Tensor:
    """Return the positions (u, v, 2) of the cells of maps (n, u, v, d), in (0, 1)."""
    steps = [
        (torch.arange(n, device=cells.device) + 0.5).to(cells) / n
        for n in cells.shape[1:3]
    ]
    return torch.stack(torch.meshgrid(*steps, indexing="ij"), dim=-1)


class DeepFeatures(nn.Module):
    """Pretrained stages that continue from the output of FCDD's frozen stages.

    Parameters
    ----------
    network : StagedNetwork
        Complete pretrained network; only a copy without its first `split` layers is
        kept.
    split : int
        Number of frozen layers, which are shared with FCDD.
    image_shape : tuple of int (h, w, c)
        Shape of the network input.
    with_first : bool, default=True
        Whether the features include the first map. If False, it only defines the grid
        of cells.
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
        # Factors per axis by which each map is upsampled to the size of the first.
        self.factors = [
            [float(max(1, round(n / k))) for n, k in zip(sizes[0], size, strict=True)]
            for size in sizes
        ]

    def maps(self, x: Tensor) -> list[Tensor]:
        """Compute the stage outputs; the first is on the grid of the FCDD map."""
        return self.network.outputs((x,), self.split)

    def forward(self, x: Tensor) -> Tensor:
        """Compute features (n, d, u, v) from the output of the last frozen layer.

        They have the cells of the FCDD map. Coarser maps are upsampled by integer
        factors rather than to a given size, so that the cells of a window have the same
        values as in the whole image.
        """
        return self.join(self.maps(x))

    def join(self, maps: list[Tensor]) -> Tensor:
        """Upsample stage outputs and concatenate them to features (n, d, u, v)."""
        first, *others = maps
        u, v = first.shape[2:]
        joined = [first] if self.with_first else []
        for coarse, factors in zip(others, self.factors[1:], strict=True):
            # One extra row and column, in case strides leave the map too short.
            coarse = F.pad(coarse, (0, 1, 0, 1), mode="replicate")
            large = F.interpolate(coarse, scale_factor=factors, mode="bilinear")
            joined.append(large[:, :, :u, :v])
        return torch.cat(joined, dim=1)

    @property
    def finest(self) -> int:
        """Width of a cell of the finest map in use, in cells of the FCDD map."""
        own = self.factors if self.with_first else self.factors[1:]
        return min(round(max(pair)) for pair in own)


class Deepest(nn.Module):
    """Network that maps images to the deepest feature map of a memory bank.

    Parameters
    ----------
    module : FCDDModule
        Module with the frozen stages.
    features : DeepFeatures
        Stages that continue from them.
    """

    def __init__(self, module: Any, features: Any) -> None:
        super().__init__()
        self.backbone, self.split, self.features = (
            module.backbone,
            module.split,
            features,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Compute features (n, d, u, v) of normalised images (n, c, h, w)."""
        *_, kept = self.backbone.head(images, self.split)
        deepest: Tensor = self.features.maps(kept)[-1]
        return deepest


class NormalMemory(nn.Module):
    r"""Anomaly map of the distances to the nearest stored features of normal images.

    The value of a cell is the squared excess of its distance over the mean distance of
    normal cells, in units of their standard deviation.

    Parameters
    ----------
    features : DeepFeatures
        Maps the output of FCDD's frozen stages to features.
    patch_size : int
        Number of cells per side over which features are averaged.
    mean : Tensor of shape (d,)
        Mean of the features, which is subtracted from them.
    axes : Tensor of shape (d, k)
        Principal axes onto which the centred features are projected.
    points : Tensor of shape (m, k) or (m, k + 2)
        Stored features, followed by the position of their cell if `position` is not 0.
    position : float
        Factor of the positions that are appended to features; 0 ignores positions.
    block : int
        Number of cells per side of the blocks whose mean features are compared.
    stages : tuple of int or None
        Numbers of the stages that provide the features; None for the output of the
        backbone.
    whole : WholeImage or None
        Dissimilarity of the image as a whole, which is added to all cells.
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
        # Mean and standard deviation of the distances of normal cells, factor of the
        # map, and factor of the image-level evidence relative to that of the map.
        self.register_buffer("units", torch.tensor([0.0, 1.0, 0.0, 0.0]))

    def forward(self, kept: Tensor, size: Sequence[int]) -> Tensor:
        """Compute the anomaly map (n, u, v), float32, from the frozen stages.

        Parameters
        ----------
        kept : Tensor of shape (n, d, u', v')
            Output of the last frozen layer.
        size : (int, int)
            Rows and columns of the FCDD map.
        """
        maps = self.maps(kept)
        local = self.local(maps, size)
        if self.whole is None:
            return local
        return local + self.global_part(self.means(maps))[:, None, None]

    def maps(self, kept: Tensor) -> list[Tensor]:
        """Compute the stage outputs from the output of the last frozen layer."""
        found: list[Tensor] = self.features.maps(kept.to(self._dtype()))
        return found

    def local(self, maps: list[Tensor], size: Sequence[int]) -> Tensor:
        """Compute the anomaly map (n, u, v) without the image-level evidence."""
        with torch.autocast(maps[0].device.type, enabled=False):
            level, spread, factor, _ = self.units
            excess = self.excess(self.distances(maps), level, spread)
            return factor * excess[:, : size[0], : size[1]]

    def means(self, maps: list[Tensor]) -> Tensor:
        """Compute the mean features (n, d) of images from the stage outputs."""
        dtype = self.mean.dtype
        return torch.cat([part.to(dtype).mean(dim=(2, 3)) for part in maps], dim=1)

    def global_part(self, means: Tensor) -> Tensor:
        """Compute the image-level evidence (n,), added to all cells, from `means`."""
        assert self.whole is not None
        with torch.autocast(means.device.type, enabled=False):
            added: Tensor = self.units[2] * self.units[3] * self.whole(means)
            return added

    def excess(
        self, distances: Tensor, level: Tensor | float, spread: Tensor | float
    ) -> Tensor:
        """Compute the squared excess (n, u, v) of block distances, for each cell.

        It is averaged over `width` cells. If the last blocks extend beyond the FCDD
        map, the result has more rows and columns than that map.
        """
        squared = ((distances - level) / spread).clamp_min(0).square()[:, None]
        if self.block > 1:
            enlarged = float(self.block)
            squared = F.interpolate(squared, scale_factor=enlarged, mode="nearest")
        return average_cells(squared, self.width)[:, 0]

    @property
    def factor(self) -> float:
        """Factor by which the map is multiplied."""
        return float(self.units[2])

    def with_factor(self, factor: float) -> NormalMemory:
        """Return a copy with another factor; it shares all other tensors."""
        level, spread, _, share = self.units
        changed = torch.full_like(level, factor)
        return self.with_units(torch.stack([level, spread, changed, share]))

    def with_units(self, units: Tensor) -> NormalMemory:
        """Return a copy with other `units`; it shares all other tensors."""
        memory = copy.copy(self)
        memory._buffers = memory._buffers | {"units": units}
        return memory

    @property
    def width(self) -> int:
        """Number of cells per side over which the map is averaged.

        Features of a coarser stage are further apart than the cells of the FCDD map,
        and cannot localise a defect more precisely than that distance.
        """
        finest: int = getattr(self.features, "finest", 1)
        # The standard deviation of a uniform window of this width is that distance.
        return 1 if finest == 1 else math.isqrt(12 * finest**2 + 1) // 2 * 2 + 1

    @property
    def breadth(self) -> int:
        """Number of cells per side that all averaging steps together combine."""
        return self.patch_size + self.width + 2 * (self.block - 1)

    @property
    def period(self) -> int:
        """Smallest shift of a window, in cells, after which all stages align again."""
        factors = getattr(self.features, "factors", [])
        return math.lcm(*(round(f) for pair in factors for f in pair))

    def distances(self, maps: list[Tensor]) -> Tensor:
        """Compute the distances (n, u, v) of blocks to the nearest stored features."""
        vectors = self.vectors(maps)
        n, u, v, k = vectors.shape
        return nearest_distance(vectors.reshape(-1, k), self.points).view(n, u, v)

    def vectors(self, maps: list[Tensor]) -> Tensor:
        """Compute the vectors (n, u, v, k) of blocks that are compared with `points`.

        They are float32 or float64, even if the features are computed in bfloat16.
        """
        cells = self.cells(maps)
        with torch.autocast(cells.device.type, enabled=False):
            vectors = (cells - self.mean) @ self.axes
            if not self.position:
                return vectors
            grid = self.position * places(cells)
            return torch.cat([vectors, grid.expand(len(cells), -1, -1, -1)], dim=-1)

    def cells(self, maps: list[Tensor]) -> Tensor:
        """Compute the mean features (n, u, v, d) of blocks, averaged over patches."""
        joined = self.features.join(maps).to(self.mean.dtype)
        with torch.autocast(joined.device.type, enabled=False):
            joined = average_cells(joined, self.patch_size)
            if self.block > 1:  # the border may cut the last block
                more = self.block - 1
                joined = F.pad(joined, (0, more, 0, more), mode="replicate")
                joined = F.avg_pool2d(joined, self.block)
            return joined.permute(0, 2, 3, 1)

    def _dtype(self) -> Any:
        weight = next(self.features.parameters(), self.mean)
        return weight.dtype
