"""Building blocks of MobileNetV3, EfficientNet and EfficientNet-Lite."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["InvertedResidual", "SqueezeExcitation", "conv_norm", "divisible"]

Norm = Callable[[int], nn.Module]


def conv_norm(
    n_in: int,
    n_out: int,
    kernel: int,
    norm: Norm,
    activation: Callable[[], nn.Module] | None = None,
    *,
    stride: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    """Create a centred convolution, followed by normalisation and activation."""
    convolution = nn.Conv2d(
        n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False
    )
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
    layers = [convolution, norm(n_out)]
    return nn.Sequential(*layers, *([activation()] if activation is not None else []))


def divisible(channels: float) -> int:
    """Return the nearest multiple of 8 that is at least 90 % of `channels`."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


class SqueezeExcitation(nn.Module):
    """Channel gates computed from channel means (Hu et al., CVPR 2018)."""

    def __init__(
        self, channels: int, squeezed: int, inner: nn.Module, gate: nn.Module
    ) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation, self.scale_activation = inner, gate

    def forward(self, x: Tensor) -> Tensor:
        """Multiply features by their gates."""
        means = x.mean(dim=(2, 3), keepdim=True)
        gates = self.fc2(self.activation(self.fc1(means)))
        gated: Tensor = x * self.scale_activation(gates)
        return gated


class InvertedResidual(nn.Module):
    """Sequence of layers with an optional shortcut connection."""

    def __init__(self, layers: nn.Sequential, *, shortcut: bool) -> None:
        super().__init__()
        self.block = layers
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers, and add `x` if there is a shortcut."""
        out: Tensor = self.block(x)
        return x + out if self.shortcut else out
