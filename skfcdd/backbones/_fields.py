"""Receptive fields of backbones, including those with several maps."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import nn

from skfcdd.backbones._staged import StagedNetwork
from skfcdd.receptive_field import ReceptiveField, measure_receptive_field

__all__ = ["measure_backbone"]


def measure_backbone(
    network: nn.Module, image_shape: tuple[int, int], n_channels: int
) -> ReceptiveField:
    """Measure the receptive field of the cells of a backbone.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (n, c, h, w) to (n, d, u, v).
    image_shape : tuple of int (h, w)
        Size of the images.
    n_channels : int
        Number of image channels.

    Returns
    -------
    ReceptiveField
        Field measured on the network. If the maps of several stages are concatenated,
        the stride and offset are those of the first map. The extent is that of the last
        map plus its stride, because this map is interpolated between neighbouring
        cells.

    Examples
    --------
    >>> from skfcdd.backbones import make_backbone, measure_backbone
    >>> network = make_backbone("fcdd224", (96, 96, 1))
    >>> measure_backbone(network, (96, 96), 1).extent
    (59.0, 59.0)
    """
    if not isinstance(network, StagedNetwork) or len(network.taken) == 1:
        return measure_receptive_field(network, image_shape, n_channels)
    first, last = (
        measure_receptive_field(_only(network, end), image_shape, n_channels)
        for end in (network.taken[0], network.taken[-1])
    )
    rows, columns = (r + j for r, j in zip(last.extent, last.stride, strict=True))
    return replace(first, extent=(rows, columns))


def _only(network: StagedNetwork, end: int) -> StagedNetwork:
    """Return a network with shared layers that outputs only the map after `end`."""
    shorter = copy.copy(network)
    shorter.paths, shorter.taken = network.paths[:end], (end,)
    return shorter
