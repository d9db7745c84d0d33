"""What MobileNetV3, EfficientNet and EfficientNet-Lite are made of."""

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
    """A convolution that keeps the position, normalisation, and an activation."""
    convolution = nn.Conv2d(
        n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False
    )
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
    layers = [convolution, norm(n_out)]
    return nn.Sequential(*layers, *([activation()] if activation is not None else []))


def divisible(channels: float) -> int:
    """The nearest multiple of 8 that is not below nine tenths of `channels`."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


class SqueezeExcitation(nn.Module):
    """Gates on the channels, from their means over the image (Hu et al., CVPR 2018)."""

    def __init__(
        self, channels: int, squeezed: int, inner: nn.Module, gate: nn.Module
    ) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation, self.scale_activation = inner, gate

    def forward(self, x: Tensor) -> Tensor:
        """Features times their gates."""
        means = x.mean(dim=(2, 3), keepdim=True)
        gates = self.fc2(self.activation(self.fc1(means)))
        gated: Tensor = x * self.scale_activation(gates)
        return gated


class InvertedResidual(nn.Module):
    """Layers in a row, with a shortcut around them where sizes agree.

    The name under which the layers are stored differs between the architectures.
    """

    def __init__(self, layers: nn.Sequential, *, shortcut: bool) -> None:
        super().__init__()
        self.block = layers
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Features of the layers, plus `x` behind a shortcut."""
        out: Tensor = self.block(x)
        return x + out if self.shortcut else out
