"""Layer that maps features to a single channel."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skfcdd.objectives._functions import full_precision

__all__ = ["MapHead"]


class _Map(torch.autograd.Function):
    """1x1 convolution in full precision, with gradients in that of the features.

    On a CPU, PyTorch's gradients of a convolution to one channel are several times
    slower, in single precision, than the equivalent outer product and sum.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(features, weight)
        cells = full_precision(features.permute(0, 2, 3, 1))
        return F.linear(cells, weight.view(1, -1), bias).permute(0, 3, 1, 2)

    @staticmethod
    def backward(
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        features, weight = ctx.saved_tensors
        (grad,) = gradients
        low = grad.to(features.dtype)
        of_features = None
        if ctx.needs_input_grad[0]:
            each = low.permute(0, 2, 3, 1) * weight.view(-1).to(low.dtype)
            of_features = each.permute(0, 3, 1, 2)
        columns = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
        of_weight = (low.reshape(1, -1) @ columns).to(weight.dtype).view_as(weight)
        of_bias = grad.sum().view(1) if ctx.needs_input_grad[2] else None
        return of_features, of_weight, of_bias


class MapHead(nn.Conv2d):
    """1x1 convolution to one channel, in float32 even if the features are bfloat16.

    Float32 costs little here, and in bfloat16 many cells would have the same value.

    Parameters
    ----------
    channels : int
        Number of channels of the features.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.objectives._head import MapHead
    >>> MapHead(8)(torch.zeros(2, 8, 4, 4, dtype=torch.bfloat16)).dtype
    torch.float32
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1, kernel_size=1)

    def forward(self, input: Tensor) -> Tensor:
        """Map features (n, d, u, v) to (n, 1, u, v)."""
        low = input.dtype == torch.bfloat16 and input.device.type == "cpu"
        if low and torch.is_grad_enabled():
            result: Tensor = _Map.apply(  # type: ignore[no-untyped-call]
                input, self.weight, self.bias
            )
            return result
        return super().forward(full_precision(input))
