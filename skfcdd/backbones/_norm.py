"""Batch normalisation of few channels, in the memory layout that is fast on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["NarrowBatchNorm2d", "batch_norm"]

# PyTorch's kernels for the channels_last layout process this many channels at a time,
# and fall back to scalar operations for fewer.
_WIDTH = 16
_LAST, _FIRST = torch.channels_last, torch.contiguous_format


class _Relaid(torch.autograd.Function):
    """Copy to another memory layout; the gradient returns in the original layout."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, layout: torch.memory_format, former: torch.memory_format
    ) -> Tensor:
        ctx.former = former
        return x.contiguous(memory_format=layout)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0].contiguous(memory_format=ctx.former), None, None


def _relaid(
    x: Tensor, layout: torch.memory_format, former: torch.memory_format
) -> Tensor:
    result: Tensor = _Relaid.apply(x, layout, former)  # type: ignore[no-untyped-call]
    return result


class NarrowBatchNorm2d(nn.BatchNorm2d):
    """``torch.nn.BatchNorm2d`` for few channels, fast in the channels_last layout.

    On a CPU, PyTorch trains layers with fewer than 16 channels several times more
    slowly in this layout than in the contiguous one. The layout is therefore changed
    for this operation, which does not affect the result beyond rounding.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.backbones._norm import NarrowBatchNorm2d
    >>> images = torch.rand(2, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    >>> NarrowBatchNorm2d(8)(images).is_contiguous(memory_format=torch.channels_last)
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise features (n, c, h, w)."""
        slow = input.device.type == "cpu" and not input.is_contiguous()
        if not (self.training and slow):
            return super().forward(input)
        return _relaid(super().forward(_relaid(input, _FIRST, _LAST)), _LAST, _FIRST)


def batch_norm(n_channels: int, eps: float) -> nn.BatchNorm2d:
    """Create a batch normalisation layer that is fast for this number of channels."""
    kind = NarrowBatchNorm2d if n_channels < _WIDTH else nn.BatchNorm2d
    return kind(n_channels, eps=eps)
