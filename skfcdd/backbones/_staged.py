"""Networks that consist of stages, and can be cut or frozen after any of them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["StagedNetwork", "Stages", "join_maps"]


@dataclass(frozen=True)
class Stages:
    """Layers of an architecture and the order in which they run.

    Parameters
    ----------
    layers : mapping of str to torch.nn.Module
        Layers by the names used in weight files of the architecture.
    stages : mapping of str to sequence of str
        Dotted paths of the layers of each stage, by stage name, in execution order.

    Examples
    --------
    >>> from torch import nn
    >>> from skfcdd.backbones import Stages
    >>> features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3))
    >>> stages = {"low": ["features.0", "features.1"], "high": ["features.2"]}
    >>> len(Stages({"features": features}, stages).stages)
    2
    """

    layers: Mapping[str, nn.Module]
    stages: Mapping[str, Sequence[str]]


class StagedNetwork(nn.Module):
    """Network that runs the stages of an architecture up to the last one requested.

    Later layers are dropped. If several stages are requested, their outputs are resized
    to the size of the first and concatenated along the channel axis.

    Parameters
    ----------
    architecture : Stages
        Layers and stages. The layers are modified in place.
    outputs : sequence of int
        Numbers of the stages to return, from 1, in increasing order.
    n_channels : int or None, default=None
        Number of input channels, to which grey images are repeated. None leaves images
        unchanged.

    Attributes
    ----------
    paths : tuple of str
        Paths of the layers that run, in order.
    taken : tuple of int
        Number of layers in `paths` up to each returned output.
    stage_names : tuple of str
        Names of the stages that run.
    stage_ends : tuple of int
        Number of layers in `paths` up to the end of each of these stages.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.backbones import make_backbone
    >>> network = make_backbone("resnet18", (64, 64, 3), stages=[2, 3])
    >>> network.stage_names
    ('layer1', 'layer2', 'layer3')
    >>> network(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 384, 8, 8])
    """

    def __init__(
        self,
        architecture: Stages,
        outputs: Sequence[int],
        n_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.n_channels = n_channels
        for name, layer in architecture.layers.items():
            self.add_module(name, layer)
        run = dict(itertools.islice(architecture.stages.items(), outputs[-1]))
        self.stage_names = tuple(run)
        self.stage_ends = tuple(itertools.accumulate(map(len, run.values())))
        self.paths = tuple(itertools.chain.from_iterable(run.values()))
        self.taken = tuple(self.stage_ends[number - 1] for number in outputs)
        _prune(self, "", self.paths)

    def forward(self, images: Tensor) -> Tensor:
        """Compute features (n, d, u, v) of images (n, c, h, w)."""
        return self.tail(self.head(images, 0), 0)

    def head(self, images: Tensor, split: int) -> tuple[Tensor, ...]:
        """Run the first `split` layers.

        Parameters
        ----------
        images : Tensor of shape (n, c, h, w)
        split : int
            Number of layers to run.

        Returns
        -------
        tuple of Tensor
            Requested outputs of earlier layers, followed by that of the last layer run.
        """
        kept = []
        x = images
        if self.n_channels is not None and x.shape[1] == 1:
            x = x.expand(-1, self.n_channels, -1, -1)
        for i, path in enumerate(self.paths[:split], start=1):
            x = self.get_submodule(path)(x)
            if i in self.taken and i < split:
                kept.append(x)
        return (*kept, x)

    def tail(self, kept: Sequence[Tensor], split: int) -> Tensor:
        """Compute features (n, d, u, v) from the result of `head`.

        Parameters
        ----------
        kept : sequence of Tensor
            Result of `head` for the same `split`.
        split : int
            Number of layers already run.
        """
        return join_maps(self.outputs(kept, split))

    def outputs(self, kept: Sequence[Tensor], split: int) -> list[Tensor]:
        """Return the maps that `tail` concatenates, each at its own size."""
        *maps, x = kept
        if split in self.taken:
            maps.append(x)
        for i, path in enumerate(self.paths[split:], start=split + 1):
            x = self.get_submodule(path)(x)
            if i in self.taken:
                maps.append(x)
        return maps

    def without_head(self, split: int) -> StagedNetwork:
        """Return a copy with only the layers after the first `split`."""
        behind = copy.deepcopy(self)
        _prune(behind, "", self.paths[split:])
        return behind

    def split_behind(self, stage: int) -> int:
        """Return the number of layers up to the end of a stage.

        Layers without parameters that follow the stage, such as pooling, are included
        because they reduce the size of the features, unless the output of the stage
        itself is returned.
        """
        split = self.stage_ends[stage - 1] if stage else 0
        while split < len(self.paths) and split not in self.taken:
            layer = self.get_submodule(self.paths[split])
            if any(True for _ in itertools.chain(layer.parameters(), layer.buffers())):
                break
            split += 1
        return split


def join_maps(maps: Sequence[Tensor]) -> Tensor:
    """Resize maps to the size of the first, and concatenate them along the channels."""
    first, *others = maps
    size = first.shape[2:]
    rest = [F.interpolate(m, size, mode="bilinear") for m in others]
    return torch.cat([first, *rest], dim=1) if rest else first


def _prune(module: nn.Module, prefix: str, paths: Sequence[str]) -> None:
    """Delete all layers that are not on any of the paths."""
    for name, child in list(module.named_children()):
        path = prefix + name
        if path in paths:
            continue
        if any(p.startswith(path + ".") for p in paths):
            _prune(child, path + ".", paths)
        else:
            delattr(module, name)
