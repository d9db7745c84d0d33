"""ResNet (He et al., CVPR 2016) and Wide ResNet (Zagoruyko and Komodakis, BMVC 2016).

Layers have the names used in torchvision's weight files. As in torchvision, the stride
of a bottleneck is in its 3x3 convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from skfcdd.backbones._staged import Stages

__all__ = ["resnet18", "resnet34", "resnet50", "wide_resnet50_2"]


class _Residual(nn.Module):
    """Base class of residual blocks: convolutions with a shortcut connection."""

    downsample: nn.Module | None

    def residual(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return (self.residual(x) + shortcut).relu()


class BasicBlock(_Residual):
    """Residual block of two 3x3 convolutions."""

    expansion = 1

    def __init__(self, n_in: int, width: int, stride: int, inner: int) -> None:
        super().__init__()
        self.conv1 = _conv(n_in, inner, 3, stride)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = _conv(inner, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(n_in, width, stride)

    def residual(self, x: Tensor) -> Tensor:
        """Compute the residual branch."""
        out: Tensor = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return out


class Bottleneck(_Residual):
    """Residual block of 1x1, 3x3 and 1x1 convolutions with expansion 4."""

    expansion = 4

    def __init__(self, n_in: int, width: int, stride: int, inner: int) -> None:
        super().__init__()
        self.conv1 = _conv(n_in, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = _conv(inner, inner, 3, stride)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = _conv(inner, width, 1)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(n_in, width, stride)

    def residual(self, x: Tensor) -> Tensor:
        """Compute the residual branch."""
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        out: Tensor = self.bn3(self.conv3(x))
        return out


def _conv(n_in: int, n_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    convolution = nn.Conv2d(
        n_in, n_out, kernel, stride, padding=kernel // 2, bias=False
    )
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
    return convolution


def _shortcut(n_in: int, n_out: int, stride: int) -> nn.Module | None:
    if n_in == n_out and stride == 1:
        return None
    return nn.Sequential(_conv(n_in, n_out, 1, stride), nn.BatchNorm2d(n_out))


def _resnet(
    n_channels: int,
    block: type[BasicBlock | Bottleneck],
    depths: Sequence[int],
    widening: int = 1,
) -> Stages:
    layers: dict[str, nn.Module] = {
        "conv1": _conv(n_channels, 64, 7, 2),
        "bn1": nn.BatchNorm2d(64),
        "relu": nn.ReLU(),
        "maxpool": nn.MaxPool2d(3, 2, padding=1),
    }
    stages = {"layer1": list(layers)}
    n_in = 64
    for number, depth in enumerate(depths, start=1):
        base, name = 32 * 2**number, f"layer{number}"
        blocks = []
        for i in range(depth):
            stride = 2 if number > 1 and i == 0 else 1
            blocks.append(block(n_in, base * block.expansion, stride, base * widening))
            n_in = base * block.expansion
        layers[name] = nn.Sequential(*blocks)
        stages[name] = stages.get(name, []) + [f"{name}.{i}" for i in range(depth)]
    return Stages(layers, stages)


def resnet18(n_channels: int) -> Stages:
    """Create the layers of ResNet-18.

    Parameters
    ----------
    n_channels : int
        Number of image channels.

    Returns
    -------
    Stages

    Examples
    --------
    >>> from skfcdd.backbones._resnet import resnet18
    >>> resnet18(3).stages["layer2"]
    ['layer2.0', 'layer2.1']
    """
    return _resnet(n_channels, BasicBlock, (2, 2, 2, 2))


def resnet34(n_channels: int) -> Stages:
    """Create the layers of ResNet-34.

    Parameters
    ----------
    n_channels : int
        Number of image channels.

    Returns
    -------
    Stages

    Examples
    --------
    >>> from skfcdd.backbones._resnet import resnet34
    >>> len(resnet34(3).stages["layer3"])
    6
    """
    return _resnet(n_channels, BasicBlock, (3, 4, 6, 3))


def resnet50(n_channels: int) -> Stages:
    """Create the layers of ResNet-50.

    Parameters
    ----------
    n_channels : int
        Number of image channels.

    Returns
    -------
    Stages

    Examples
    --------
    >>> from skfcdd.backbones._resnet import resnet50
    >>> resnet50(3).layers["layer1"][0].conv2.out_channels
    64
    """
    return _resnet(n_channels, Bottleneck, (3, 4, 6, 3))


def wide_resnet50_2(n_channels: int) -> Stages:
    """Create the layers of Wide ResNet-50-2 (twice the inner width of ResNet-50).

    Parameters
    ----------
    n_channels : int
        Number of image channels.

    Returns
    -------
    Stages

    Examples
    --------
    >>> from skfcdd.backbones._resnet import wide_resnet50_2
    >>> wide_resnet50_2(3).layers["layer1"][0].conv2.out_channels
    128
    """
    return _resnet(n_channels, Bottleneck, (3, 4, 6, 3), widening=2)
