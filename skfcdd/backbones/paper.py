"""Networks of the FCDD paper, and the choice between them by image size.

Layers follow the authors' published code (Liznerski et al., ICLR 2021, appendix F):
blocks of convolution, batch normalisation, leaky ReLU and max-pooling, which all
preserve spatial positions. The final 1x1 convolution to a single channel belongs to the
objective in this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from skfcdd.backbones._norm import batch_norm
from skfcdd.backbones._staged import Stages

__all__ = ["PAPER_NETWORKS", "auto_name", "make_paper_network"]


@dataclass(frozen=True)
class _Block:
    """A convolution and the layers that follow it."""

    channels: int
    kernel: int
    normalize: bool = True  # batch normalisation and activation
    pool: int = 0  # kernel size of the max-pooling with stride 2; 0 for none


PAPER_NETWORKS: dict[str, Sequence[_Block]] = {
    "tiny": (_Block(32, 3), _Block(64, 3)),
    "fcdd28": (_Block(8, 5, pool=2), _Block(16, 5, normalize=False, pool=2)),
    "fcdd28_wide": (_Block(128, 5, pool=2), _Block(128, 5, normalize=False, pool=2)),
    "fcdd32": (
        _Block(32, 5, pool=2),
        _Block(64, 5, pool=2),
        _Block(128, 5, normalize=False),
    ),
    "fcdd32_s": (
        _Block(32, 3, pool=2),
        _Block(64, 3, pool=2),
        _Block(128, 3, normalize=False),
    ),
    "fcdd32_lw3k": (
        _Block(128, 3, pool=2),
        _Block(256, 3),
        _Block(256, 3, pool=2),
        _Block(128, 3, normalize=False),
    ),
    "fcdd224": (
        _Block(8, 5, pool=3),
        _Block(32, 5, pool=3),
        _Block(64, 3),
        _Block(128, 3, pool=3),
        _Block(128, 3, normalize=False),
    ),
    "fcdd224_wide": (
        _Block(32, 5, pool=3),
        _Block(128, 5, pool=3),
        _Block(256, 3),
        _Block(256, 3, pool=3),
        _Block(128, 3, normalize=False),
    ),
}


def auto_name(image_shape: tuple[int, int]) -> str:
    """Return the name of the paper's network to use for images of (h, w) pixels.

    The shorter side decides: "tiny" (no pooling) below 8 pixels, "fcdd32_s" below 96
    pixels, otherwise "fcdd224".

    Parameters
    ----------
    image_shape : tuple of int (h, w)
        Size of the images.

    Returns
    -------
    str

    Examples
    --------
    >>> from skfcdd.backbones.paper import auto_name
    >>> auto_name((1, 2)), auto_name((28, 28)), auto_name((224, 160))
    ('tiny', 'fcdd32_s', 'fcdd224')
    """
    side = min(image_shape)
    if side < 8:
        return "tiny"
    return "fcdd32_s" if side < 96 else "fcdd224"


def make_paper_network(name: str, n_channels: int) -> Stages:
    """Create the layers of one of the paper's networks; each block is a stage.

    Parameters
    ----------
    name : str
        A key of `PAPER_NETWORKS`.
    n_channels : int
        Number of image channels.

    Returns
    -------
    Stages

    Examples
    --------
    >>> from skfcdd.backbones.paper import make_paper_network
    >>> list(make_paper_network("fcdd32_lw3k", n_channels=3).stages)
    ['block1', 'block2', 'block3', 'block4']
    """
    layers: dict[str, nn.Module] = {}
    stages: dict[str, list[str]] = {}
    for i, block in enumerate(PAPER_NETWORKS[name], start=1):
        before = len(layers)
        layers[f"conv{i}"] = nn.Conv2d(
            n_channels,
            block.channels,
            block.kernel,
            padding=block.kernel // 2,
            bias=not block.normalize,  # batch normalisation would cancel a bias
        )
        if block.normalize:
            layers[f"norm{i}"] = batch_norm(block.channels, eps=1e-4)
        if block.pool:
            # Windows of 3 extend one pixel beyond the border, windows of 2 do not.
            layers[f"pool{i}"] = nn.MaxPool2d(block.pool, 2, padding=block.pool - 2)
        if block.normalize:
            # Pooling first leaves fewer values to activate. The result is the same,
            # because the activation is monotonic.
            layers[f"act{i}"] = nn.LeakyReLU()
        stages[f"block{i}"] = list(layers)[before:]
        n_channels = block.channels
    return Stages(layers, stages)
