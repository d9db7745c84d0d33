"""Convolutions fused with the activation that follows them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skfcdd.backbones._efficientnet_lite import SameConv2d

__all__ = ["can_fuse", "fuse"]

# oneDNN names and arguments of the activations.
_ACTIVATIONS: dict[type, tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}
_DTYPES = (torch.float32, torch.bfloat16)


def can_fuse(convolution: nn.Module, activation: nn.Module) -> bool:
    """Whether both layers can be fused on this machine.

    Parameters
    ----------
    convolution, activation : torch.nn.Module
        The input of `activation` is the output of `convolution`.
    """
    if type(convolution) not in _FUSED or type(activation) not in _ACTIVATIONS:
        return False
    layer: Any = convolution
    return (
        layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and layer.weight.dtype in _DTYPES
        and layer.weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    )


def fuse(convolution: nn.Module, activation: nn.Module) -> None:
    """Fuse an activation into a convolution; requires :func:`can_fuse`.

    Parameters
    ----------
    convolution : torch.nn.Module
        Modified in place.
    activation : torch.nn.Module
        Must not be run separately afterwards.
    """
    layer: Any = convolution
    layer.activation = activation
    layer.__class__ = _FUSED[type(convolution)]


def _in_one(layer: Any, input: Tensor, padding: tuple[int, ...]) -> Tensor:
    """Convolve and activate in one step, or in two if oneDNN cannot fuse them here."""
    weight, bias = layer.weight, layer.bias
    rest = layer.stride, padding, layer.dilation, layer.groups
    if (
        input.device.type == "cpu"
        and input.dtype == weight.dtype
        and input.dtype in _DTYPES
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    ):
        stride, padding, dilation, groups = rest
        name, numbers = _ACTIVATIONS[type(layer.activation)]
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            input, weight, bias, padding, stride, dilation, groups, name, numbers, ""
        )
        return found
    activated: Tensor = layer.activation(F.conv2d(input, weight, bias, *rest))
    return activated


class _FusedConv2d(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return _in_one(self, input, self.padding)  # type: ignore[arg-type]


class _FusedSameConv2d(SameConv2d):
    def _convolved(self, input: Tensor, rows: int, columns: int) -> Tensor:
        return _in_one(self, input, (rows, columns))


_FUSED: dict[type, Any] = {nn.Conv2d: _FusedConv2d, SameConv2d: _FusedSameConv2d}
