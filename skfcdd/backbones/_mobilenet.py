"""MobileNetV3-small (Howard et al., ICCV 2019).

Layers have the names used in torchvision's weight files.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from skfcdd.backbones._inverted import (
    InvertedResidual,
    SqueezeExcitation,
    conv_norm,
    divisible,
)
from skfcdd.backbones._staged import Stages

__all__ = ["mobilenet_v3_small"]

# Kernel, expanded and output channels, whether gated, whether hard-swish, stride.
_BLOCKS = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)
_norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


def mobilenet_v3_small(n_channels: int) -> Stages:
    """Create the layers of MobileNetV3-small.

    Its channel gates depend on the whole image from the second stage on, so the
    receptive field of every cell is then infinite.

    Parameters
    ----------
    n_channels : int
        Number of image channels.

    Returns
    -------
    Stages

    Examples
    --------
    >>> from skfcdd.backbones._mobilenet import mobilenet_v3_small
    >>> mobilenet_v3_small(3).stages["stride8"]
    ['features.2', 'features.3']
    """
    features: list[nn.Module] = [
        conv_norm(n_channels, 16, 3, _norm, nn.Hardswish, stride=2)
    ]
    n_in = 16
    for kernel, expanded, n_out, gated, swish, stride in _BLOCKS:
        activation = nn.Hardswish if swish else nn.ReLU
        layers: list[nn.Module] = []
        if expanded != n_in:
            layers.append(conv_norm(n_in, expanded, 1, _norm, activation))
        layers.append(
            conv_norm(
                *(expanded, expanded, kernel, _norm, activation),
                stride=stride,
                groups=expanded,
            )
        )
        if gated:
            squeezed = divisible(expanded // 4)
            layers.append(
                SqueezeExcitation(expanded, squeezed, nn.ReLU(), nn.Hardsigmoid())
            )
        layers.append(conv_norm(expanded, n_out, 1, _norm))
        shortcut = stride == 1 and n_in == n_out
        features.append(InvertedResidual(nn.Sequential(*layers), shortcut=shortcut))
        n_in = n_out
    features.append(conv_norm(n_in, 6 * n_in, 1, _norm, nn.Hardswish))
    ends = {"stride2": 1, "stride4": 2, "stride8": 4, "stride16": 9, "stride32": 13}
    stages, start = {}, 0
    for name, end in ends.items():
        stages[name] = [f"features.{i}" for i in range(start, end)]
        start = end
    return Stages({"features": nn.Sequential(*features)}, stages)
