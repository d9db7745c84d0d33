"""EfficientNet-Lite (Liu, "Higher accuracy on vision models", TensorFlow blog, 2020).

EfficientNet (Tan and Le, ICML 2019) without channel gates and with ReLU6, so that the
receptive field is finite. Layers have the names used in the weight files ported from
TensorFlow, and the padding used in their training.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skfcdd.backbones._efficientnet import GROUPS
from skfcdd.backbones._inverted import divisible
from skfcdd.backbones._staged import Stages

__all__ = ["SameConv2d", "efficientnet_lite"]

# Groups of each stage, counted from 0.
_STAGES = {
    "stride2": (0,),
    "stride4": (1,),
    "stride8": (2,),
    "stride16": (3, 4),
    "stride32": (5, 6),
}
_STEM, _HEAD = 32, 1280


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding.

    It maps n pixels to ceil(n / stride) cells. The number of padding pixels depends on
    n; if it is odd, the end gets one pixel more than the start. The kernel size must be
    odd, and not smaller than the stride.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.backbones._efficientnet_lite import SameConv2d
    >>> convolution = SameConv2d(1, 1, 3, stride=2)
    >>> [convolution(torch.zeros(1, 1, n, n)).shape[-1] for n in (7, 8, 9)]
    [4, 4, 5]
    """

    def forward(self, input: Tensor) -> Tensor:
        """Compute features (n, d, ceil(h / stride), ceil(w / stride))."""
        if self.stride == (1, 1):  # the padding does not depend on the size
            half = [kernel // 2 for kernel in self.kernel_size]
            return self._convolved(input, half[0], half[1])
        rows, columns = (
            _same_padding(n, kernel, stride)
            for n, kernel, stride in zip(
                input.shape[2:], self.kernel_size, self.stride, strict=True
            )
        )
        # Padding within the convolution is faster, but an exported graph for all sizes
        # cannot test whether both ends need the same padding.
        even = not torch.compiler.is_exporting() and all(
            start == end for start, end in (rows, columns)
        )
        if even:
            return self._convolved(input, rows[0], columns[0])
        return self._convolved(F.pad(input, (*columns, *rows)), 0, 0)

    def _convolved(self, input: Tensor, rows: int, columns: int) -> Tensor:
        padding = (rows, columns)
        return F.conv2d(
            input, self.weight, self.bias, self.stride, padding, groups=self.groups
        )


def _same_padding(n_pixels: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the padding at the start and the end of an axis; kernel >= stride."""
    # Avoid dividing negative numbers, as runtimes round them differently from Python.
    n_cells = (n_pixels + stride - 1) // stride
    missing = (n_cells - 1) * stride + kernel - n_pixels
    return missing // 2, missing - missing // 2


class _Block(nn.Module):
    """Inverted residual block, with a shortcut if the sizes match."""

    def __init__(
        self, n_in: int, n_out: int, expansion: int, kernel: int, stride: int
    ) -> None:
        super().__init__()
        inner = n_in * expansion
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = _convolution(n_in, inner, 1)
            self._bn0 = _norm(inner)
        self._depthwise_conv = _convolution(inner, inner, kernel, stride, inner)
        self._bn1 = _norm(inner)
        self._project_conv = _convolution(inner, n_out, 1)
        self._bn2 = _norm(n_out)
        self._relu6 = nn.ReLU6()
        self.shortcut = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        out = x
        if self.expands:
            out = self._relu6(self._bn0(self._expand_conv(out)))
        out = self._relu6(self._bn1(self._depthwise_conv(out)))
        out = self._bn2(self._project_conv(out))
        return x + out if self.shortcut else out


def _convolution(
    n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1
) -> SameConv2d:
    convolution = SameConv2d(n_in, n_out, kernel, stride, groups=groups, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
    return convolution


def _norm(n_channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(n_channels, eps=1e-3, momentum=0.01)


def efficientnet_lite(n_channels: int, *, width: float, depth: float) -> Stages:
    """Create the layers of an EfficientNet-Lite.

    Parameters
    ----------
    n_channels : int
        Number of image channels.
    width, depth : float
        Multipliers for the numbers of channels and blocks of EfficientNet-Lite0. The
        first and the last layer, and the depth of the first and the last group, are not
        scaled.

    Returns
    -------
    Stages

    Examples
    --------
    >>> from skfcdd.backbones._efficientnet_lite import efficientnet_lite
    >>> efficientnet_lite(3, width=1.0, depth=1.0).stages["stride8"]
    ['_blocks.3', '_blocks.4']
    """
    blocks: list[nn.Module] = []
    paths: list[list[str]] = []
    n_in = _STEM
    for i, (expansion, kernel, stride, channels, repeats) in enumerate(GROUPS):
        n_out = divisible(channels * width)
        if 0 < i < len(GROUPS) - 1:
            repeats = math.ceil(repeats * depth)
        paths.append([f"_blocks.{len(blocks) + k}" for k in range(repeats)])
        for k in range(repeats):
            first = stride if k == 0 else 1
            blocks.append(_Block(n_in, n_out, expansion, kernel, first))
            n_in = n_out
    layers: dict[str, nn.Module] = {
        "_conv_stem": _convolution(n_channels, _STEM, 3, 2),
        "_bn0": _norm(_STEM),
        "_relu6": nn.ReLU6(),
        "_blocks": nn.Sequential(*blocks),
        "_conv_head": _convolution(n_in, _HEAD, 1),
        "_bn1": _norm(_HEAD),
        "_relu6_head": nn.ReLU6(),
    }
    stages = {
        name: [p for g in groups for p in paths[g]] for name, groups in _STAGES.items()
    }
    stages["stride2"] = ["_conv_stem", "_bn0", "_relu6", *stages["stride2"]]
    stages["stride32"] += ["_conv_head", "_bn1", "_relu6_head"]
    return Stages(layers, stages)
