"""VGG with batch normalisation (Simonyan and Zisserman, ICLR 2015).

Layers have the names used in torchvision's weight files.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from skfcdd.backbones._staged import Stages

__all__ = ["vgg11_bn", "vgg16_bn"]


def vgg11_bn(n_channels: int) -> Stages:
    """Create the layers of VGG11-BN, the FCDD paper's backbone for large photographs.

    Parameters
    ----------
    n_channels : int
        Number of image channels.

    Returns
    -------
    Stages

    Examples
    --------
    >>> from skfcdd.backbones._vgg import vgg11_bn
    >>> vgg11_bn(3).stages["block2"]
    ['features.3', 'features.4', 'features.5', 'features.6']
    """
    return _vgg(n_channels, ((64,), (128,), (256, 256), (512, 512), (512, 512)))


def vgg16_bn(n_channels: int) -> Stages:
    """Create the layers of VGG16-BN.

    Parameters
    ----------
    n_channels : int
        Number of image channels.

    Returns
    -------
    Stages

    Examples
    --------
    >>> from skfcdd.backbones._vgg import vgg16_bn
    >>> len(vgg16_bn(3).layers["features"])
    43
    """
    return _vgg(n_channels, ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3))


def _vgg(n_channels: int, blocks: Sequence[Sequence[int]]) -> Stages:
    """Create blocks of convolutions, with pooling before each block but the first.

    A network cut after a block therefore returns its features before pooling.
    """
    features: list[nn.Module] = []
    stages: dict[str, list[str]] = {}
    for number, block in enumerate(blocks, start=1):
        start = len(features)
        if number > 1:
            features.append(nn.MaxPool2d(2, 2))
        for width in block:
            convolution = nn.Conv2d(n_channels, width, 3, padding=1)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            features += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
            n_channels = width
        stages[f"block{number}"] = [
            f"features.{i}" for i in range(start, len(features))
        ]
    return Stages({"features": nn.Sequential(*features)}, stages)
