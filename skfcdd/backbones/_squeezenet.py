"""SqueezeNet 1.0 and 1.1 (Iandola et al., 2016).

Layers have the names used in torchvision's weight files.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skfcdd.backbones._staged import Stages

__all__ = ["squeezenet1_0", "squeezenet1_1"]


class Fire(nn.Module):
    """Fire module: a 1x1 convolution, then parallel 1x1 and 3x3 convolutions."""

    def __init__(self, n_in: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = _conv(n_in, squeezed, 1)
        self.expand1x1 = _conv(squeezed, expanded, 1)
        self.expand3x3 = _conv(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute features with ``2 * expanded`` channels."""
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1).relu()


def _conv(
    n_in: int, n_out: int, kernel: int, stride: int = 1, padding: int = 0
) -> nn.Conv2d:
    convolution = nn.Conv2d(n_in, n_out, kernel, stride, padding)
    nn.init.kaiming_uniform_(convolution.weight)
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution


def _pool() -> nn.Module:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def _stages(features: list[nn.Module], ends: tuple[int, ...]) -> Stages:
    """Split layers into stages that end before these layers; each halves the map."""
    starts = (0, *ends[:-1])
    names = {
        f"stride{2**number}": [f"features.{i}" for i in range(start, end)]
        for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1)
    }
    return Stages({"features": nn.Sequential(*features)}, names)


def squeezenet1_0(n_channels: int) -> Stages:
    """Create the layers of SqueezeNet 1.0.

    Parameters
    ----------
    n_channels : int
        Number of image channels.

    Returns
    -------
    Stages

    Examples
    --------
    >>> from skfcdd.backbones._squeezenet import squeezenet1_0
    >>> squeezenet1_0(3).stages["stride16"]
    ['features.11', 'features.12']
    """
    features = [
        *(_conv(n_channels, 96, 7, 2), nn.ReLU()),
        *(_pool(), Fire(96, 16, 64), Fire(128, 16, 64), Fire(128, 32, 128)),
        *(_pool(), Fire(256, 32, 128), Fire(256, 48, 192)),
        *(Fire(384, 48, 192), Fire(384, 64, 256)),
        *(_pool(), Fire(512, 64, 256)),
    ]
    return _stages(features, (2, 6, 11, 13))


def squeezenet1_1(n_channels: int) -> Stages:
    """Create the layers of SqueezeNet 1.1, which is twice as fast as 1.0.

    Parameters
    ----------
    n_channels : int
        Number of image channels.

    Returns
    -------
    Stages

    Examples
    --------
    >>> from skfcdd.backbones._squeezenet import squeezenet1_1
    >>> squeezenet1_1(3).stages["stride4"]
    ['features.2', 'features.3', 'features.4']
    """
    features = [
        *(_conv(n_channels, 64, 3, 2), nn.ReLU()),
        *(_pool(), Fire(64, 16, 64), Fire(128, 16, 64)),
        *(_pool(), Fire(128, 32, 128), Fire(256, 32, 128)),
        *(_pool(), Fire(256, 48, 192), Fire(384, 48, 192)),
        *(Fire(384, 64, 256), Fire(512, 64, 256)),
    ]
    return _stages(features, (2, 5, 8, 13))
