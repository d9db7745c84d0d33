"""EfficientNet-B0 (Tan and Le, ICML 2019).

Layers have the names used in torchvision's weight files. Stochastic depth, which has no
parameters and no effect in evaluation mode, is omitted.
"""

from __future__ import annotations

from torch import nn

from skfcdd.backbones._inverted import InvertedResidual, SqueezeExcitation, conv_norm
from skfcdd.backbones._staged import Stages

__all__ = ["GROUPS", "efficientnet_b0"]

# Expansion, kernel, stride of the first block, output channels, number of blocks.
GROUPS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


def _block(
    n_in: int, n_out: int, expansion: int, kernel: int, stride: int
) -> InvertedResidual:
    expanded = n_in * expansion
    layers: list[nn.Module] = []
    if expansion != 1:
        layers.append(conv_norm(n_in, expanded, 1, nn.BatchNorm2d, nn.SiLU))
    layers += [
        conv_norm(
            *(expanded, expanded, kernel, nn.BatchNorm2d, nn.SiLU),
            stride=stride,
            groups=expanded,
        ),
        SqueezeExcitation(expanded, max(1, n_in // 4), nn.SiLU(), nn.Sigmoid()),
        conv_norm(expanded, n_out, 1, nn.BatchNorm2d),
    ]
    shortcut = stride == 1 and n_in == n_out
    return InvertedResidual(nn.Sequential(*layers), shortcut=shortcut)


def efficientnet_b0(n_channels: int) -> Stages:
    """Create the layers of EfficientNet-B0.

    Its channel gates depend on the whole image from the first stage on, so the
    receptive field of every cell is infinite.

    Parameters
    ----------
    n_channels : int
        Number of image channels.

    Returns
    -------
    Stages

    Examples
    --------
    >>> from skfcdd.backbones._efficientnet import efficientnet_b0
    >>> efficientnet_b0(3).stages["stride8"]
    ['features.3.0', 'features.3.1']
    """
    features: list[nn.Module] = [
        conv_norm(n_channels, 32, 3, nn.BatchNorm2d, nn.SiLU, stride=2)
    ]
    n_in = 32
    for expansion, kernel, stride, n_out, depth in GROUPS:
        blocks = []
        for i in range(depth):
            first = stride if i == 0 else 1
            blocks.append(_block(n_in, n_out, expansion, kernel, first))
            n_in = n_out
        features.append(nn.Sequential(*blocks))
    features.append(conv_norm(n_in, 1280, 1, nn.BatchNorm2d, nn.SiLU))
    groups = {"stride2": (0, 1), "stride4": (2,), "stride8": (3,), "stride16": (4, 5)}
    stages = {
        name: [path for group in chosen for path in _paths(group)]
        for name, chosen in (groups | {"stride32": (6, 7, 8)}).items()
    }
    return Stages({"features": nn.Sequential(*features)}, stages)


def _paths(group: int) -> list[str]:
    """Return the paths of the blocks of a group, or of the layer with this index."""
    if not 1 <= group <= len(GROUPS):
        return [f"features.{group}"]
    return [f"features.{group}.{i}" for i in range(GROUPS[group - 1][4])]
