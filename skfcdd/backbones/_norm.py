"""Batch normalisation of few channels, in the layout that suits the processor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["NarrowBatchNorm2d", "batch_norm"]

# PyTorch's kernels for the channels_last layout take so many channels at a time, and
# fall back to single values where there are fewer.
_WIDTH = 16
_LAST, _FIRST = torch.channels_last, torch.contiguous_format


class _Relaid(torch.autograd.Function):
    """A copy in another memory layout, whose gradient comes back in the former."""

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

    On a processor, training with fewer than 16 channels in that layout takes PyTorch
    several times as long as in the other one. Values are brought there and back, which
    changes no number beyond rounding.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.backbones._norm import NarrowBatchNorm2d
    >>> images = torch.rand(2, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    >>> NarrowBatchNorm2d(8)(images).is_contiguous(memory_format=torch.channels_last)
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (n, c, h, w)."""
        slow = input.device.type == "cpu" and not input.is_contiguous()
        if not (self.training and slow):
            return super().forward(input)
        return _relaid(super().forward(_relaid(input, _FIRST, _LAST)), _LAST, _FIRST)


def batch_norm(n_channels: int, eps: float) -> nn.BatchNorm2d:
    """Batch normalisation for so many channels."""
    kind = NarrowBatchNorm2d if n_channels < _WIDTH else nn.BatchNorm2d
    return kind(n_channels, eps=eps)
