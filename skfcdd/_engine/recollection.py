"""Scaling of a memory bank to the units of the FCDD map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from skfcdd._engine.inference import pool_maps
from skfcdd._engine.memory import NormalMemory
from skfcdd._engine.model import FittedModel
from skfcdd._inputs.images import ImageArray
from skfcdd.heatmaps import GaussianUpsampler
from skfcdd.memory_bank import MemoryBank

__all__ = ["Recollection", "cells_inside"]

Rows = npt.NDArray[np.intp]

# Distances that vary by less than this fraction of the spread of the features differ
# only by rounding.
_LEAST_SPREAD = 1e-3


class Recollection:
    """Memory bank that has yet to be scaled to the units of the FCDD map.

    Parameters
    ----------
    memory : NormalMemory
    rows : ndarray of int
        Rows of some images in the memory bank, on which spreads are measured.
    distances : ndarray of shape (n, u, v)
        Distances of the cells of these images to the stored features of other images.
    bank : MemoryBank
        Settings with the weights of the parts of the score.
    upsample : GaussianUpsampler
        Upsampler with the weights of the cells in the region of interest.
    """

    def __init__(
        self,
        memory: NormalMemory,
        rows: Rows,
        distances: npt.NDArray[np.float64],
        bank: MemoryBank,
        upsample: GaussianUpsampler,
    ) -> None:
        self.memory, self.rows, self.bank = memory, rows, bank
        inside = cells_inside(memory, upsample)
        known = distances if inside is None else distances[:, inside.numpy()]
        least = _LEAST_SPREAD * float(memory.points.std(dim=0).norm())
        self.level = float(known.mean())
        self.spread = max(float(known.std()), least, 1e-12)
        excess = memory.excess(torch.from_numpy(distances), self.level, self.spread)
        if inside is not None:  # the last blocks may have more cells than the map
            u, v = upsample.shares.shape
            excess = excess[:, :u, :v]
        self.unit = float(upsample.mean(excess).std(correction=0))

    def joined(self, model: FittedModel, images: ImageArray) -> FittedModel:
        """Return the model with this memory bank, in units of the model's own map.

        Both maps are measured on training images, so that the held-out images remain
        unseen.
        """
        weights = model.cell_weights
        alone = [
            pool_maps(maps, "mean", weights)
            for _, maps in model.maps(images, self.rows)
        ]
        own = float(np.concatenate(alone).std())
        # The spread is 0 if all normal images are equal.
        factor = self.bank.weight * (own or 1.0) / (self.unit or 1.0)
        share = self.bank.global_weight / self.bank.weight * (self.unit or 1.0)
        units = torch.tensor([self.level, self.spread, factor, share])
        return replace(model, memory=self.memory.with_units(units))


def cells_inside(memory: NormalMemory, upsample: GaussianUpsampler) -> Tensor | None:
    """Find the blocks of cells that affect a region of interest; None if all do.

    These contain the cells of the region and those that are averaged with them.
    """
    if upsample.weights is None:
        return None
    maps = torch.from_numpy(upsample.weights > 0)[None, None].float()
    maps = F.max_pool2d(maps, memory.width, 1, memory.width // 2)
    more = memory.block - 1
    maps = F.max_pool2d(F.pad(maps, (0, more, 0, more)), memory.block)
    return maps[0, 0] > 0
