"""Patch features, averaged over neighbourhoods, and their distance to normal ones."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from skfcdd._engine.coreset import nearest
from skfcdd._engine.memory import average_cells
from skfcdd._engine.preprocessing import Preprocess
from skfcdd.backbones import StagedNetwork, measure_backbone
from skfcdd.backbones._staged import join_maps
from skfcdd.baselines._base import MapModule
from skfcdd.receptive_field import ReceptiveField
from skfcdd.receptive_field._check import check_places

__all__ = ["PatchModule"]


class PatchModule(MapModule):
    """Module whose cells are distances of patch features to the nearest normal ones.

    Parameters
    ----------
    preprocess : Preprocess
    network : torch.nn.Module
        Frozen network that maps (n, c, h, w) to (n, d, u, v).
    patch_size : int
        Side length, in cells, of the neighbourhood over which features are averaged.
    """

    memory: Tensor

    def __init__(
        self, preprocess: Preprocess, network: nn.Module, patch_size: int
    ) -> None:
        super().__init__(preprocess)
        self.network = network
        self.patch_size = patch_size
        self.register_buffer("memory", torch.empty(0, 0))

    def patches(self, images: Tensor) -> Tensor:
        """Compute features (n, d, u, v) of images (n, c, h, w) in the unit range."""
        images = self.normalized(images)
        images = images.contiguous(memory_format=torch.channels_last)
        maps = [m.to(images.dtype) for m in self._stages(images)]
        with torch.autocast(images.device.type, enabled=False):
            return join_maps([average_cells(m, self.patch_size) for m in maps])

    def _stages(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the maps to concatenate, each at its own size."""
        if isinstance(self.network, StagedNetwork):
            return self.network.head(images, len(self.network.paths))
        return (self.network(images),)

    def forward(self, images: Tensor) -> Tensor:
        """Compute distances (n, u, v) of images (n, c, h, w) in the unit range."""
        patches = self.patches(images)
        distance, _ = self._compared(patches)
        return distance.view(len(patches), *patches.shape[2:])

    def scores(self, images: Tensor, n_neighbors: int) -> Tensor:
        r"""Compute scores (n,): the largest distance, weighted as in the paper.

        .. math:: s = \Bigl(1 - \frac{e^{d(x, m^*)}}
                  {\sum_{m \in N(m^*)} e^{d(x, m)}}\Bigr) \, d(x, m^*)

        Here, x is the patch of the image that is farthest from its nearest neighbour m*
        in the memory bank, and N(m*) are the `n_neighbors` patches of the memory bank
        that are nearest to m*, including m* itself (equation 7 of the paper).
        """
        patches = self.patches(images).flatten(2)
        distance, index = self._compared(patches)
        top, place = distance.max(dim=1)
        image = torch.arange(len(top), device=top.device)
        farthest, star = patches[image, :, place], index[image, place]
        with torch.autocast(top.device.type, enabled=False):
            apart = torch.cdist(self.memory[star], self.memory)
            neighbors = apart.topk(n_neighbors, largest=False).indices
            beside = self.memory[neighbors] - farthest[:, None]
            lengths = torch.linalg.vector_norm(beside, dim=2)
            return -torch.expm1(top - lengths.logsumexp(dim=1)) * top

    def _compared(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return distance and index (n, u * v) of the nearest patch in the bank."""
        n, d = patches.shape[:2]
        rows = patches.flatten(2).transpose(1, 2).reshape(-1, d)
        with torch.autocast(rows.device.type, enabled=False):
            distance, index = nearest(rows, self.memory)
        return distance.view(n, -1), index.view(n, -1)

    @torch.no_grad()
    def measure(
        self, shape: tuple[int, int, int]
    ) -> tuple[ReceptiveField, tuple[int, int]]:
        """Measure the receptive field of a patch, and the size of the feature map."""
        h, w, c = shape
        field = measure_backbone(self.network, (h, w), c)
        check_places(self.network, field, c, (h, w))
        maps = self._stages(torch.zeros(1, c, h, w))
        first, last = maps[0].shape[2:], maps[-1].shape[2:]
        # The neighbourhood is largest in the coarsest map.
        reach = [
            (self.patch_size - 1) * stride * max(1, round(u / k))
            for stride, u, k in zip(field.stride, first, last, strict=True)
        ]
        extent = (field.extent[0] + reach[0], field.extent[1] + reach[1])
        return replace(field, extent=extent), (int(first[0]), int(first[1]))
