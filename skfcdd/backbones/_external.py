"""Architectures from torchvision and timm, if installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skfcdd.backbones._registry import COLOURS, Architecture
from skfcdd.backbones._staged import Stages, join_maps
from skfcdd.exceptions import BackboneError, DownloadError

__all__ = ["make_timm", "torchvision_architecture"]


def torchvision_architecture(name: str) -> Architecture:
    """Return the architecture for "torchvision:NAME".

    Its stages are the layers of ``features``, or ``layer1`` to ``layer4`` of a ResNet.
    Like the built-in architectures, it is cut by default after the last stage whose map
    has at least an eighth of the image size.
    """
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:  # RuntimeError if torch does not match
        raise BackboneError(
            f"Got backbone={name!r}, but torchvision cannot be imported ({error}). "
            "Install the torchvision version that matches the installed torch, or use "
            "a built-in architecture."
        ) from error
    model_name = name.removeprefix("torchvision:")
    try:
        weights = models.get_model_weights(model_name)
        model = models.get_model(model_name, weights=None)
    except ValueError as error:
        raise BackboneError(
            f"Got backbone={name!r}, but torchvision raised an error: {error}"
        ) from error
    parts = _torchvision_stages(name, model)

    def build(n_channels: int) -> Stages:
        if n_channels not in (1, COLOURS):
            raise BackboneError(
                f"backbone={name!r} accepts images with 1 or 3 channels, but X has "
                f"{n_channels}."
            )
        fresh = models.get_model(model_name, weights=None)
        layers = {n: m for n, m in fresh.named_children() if _is_used(n, parts)}
        return Stages(layers, parts)

    url = getattr(getattr(weights, "DEFAULT", None), "url", None)
    cut = _third_halving(model, parts)
    return Architecture(build, cut, url=url, n_channels=COLOURS)


def _torchvision_stages(name: str, model: nn.Module) -> dict[str, list[str]]:
    features = getattr(model, "features", None)
    if isinstance(features, nn.Sequential):
        children = [n for n, _ in features.named_children()]
        return {f"features.{n}": [f"features.{n}"] for n in children}
    if hasattr(model, "layer1"):
        stem = ["conv1", "bn1", "relu", "maxpool"]
        return {
            "layer1": [*stem, "layer1"],
            **{f"layer{i}": [f"layer{i}"] for i in (2, 3, 4)},
        }
    raise BackboneError(
        f"Got backbone={name!r}, which is not a sequence of layers that can be cut. "
        "Pass a torch.nn.Module that returns its features instead."
    )


def _is_used(name: str, parts: dict[str, list[str]]) -> bool:
    return any(p.split(".")[0] == name for paths in parts.values() for p in paths)


@torch.no_grad()
def _third_halving(model: nn.Module, parts: dict[str, list[str]]) -> int:
    """Return the last stage whose map has at least an eighth of the image side."""
    side, best = 128, 1
    x = torch.zeros(1, COLOURS, side, side)
    model.eval()
    for number, paths in enumerate(parts.values(), start=1):
        for path in paths:
            x = model.get_submodule(path)(x)
        if x.shape[2] * 8 >= side:
            best = number
    return best


class _TimmFeatures(nn.Module):
    """timm feature extractor whose maps are concatenated."""

    def __init__(self, model: nn.Module, n_channels: int) -> None:
        super().__init__()
        self.model = model
        self.n_channels = n_channels

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] == 1:
            images = images.expand(-1, self.n_channels, -1, -1)
        return join_maps(self.model(images))


def make_timm(
    name: str,
    n_channels: int,
    weights: Any,
    cut: int | str | None,
    stages: Sequence[int] | None,
) -> nn.Module:
    """Create the network for "timm:NAME", which returns the maps of some stages.

    With ``weights={}``, it has the same structure as with ``weights="imagenet"``, but
    its weights are random, and the caller replaces them.
    """
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        raise BackboneError(
            f"Got backbone={name!r}, but timm cannot be imported ({error}). Install "
            "timm, and the torchvision version that matches the installed torch."
        ) from error
    if weights not in (None, "imagenet", {}):
        raise BackboneError(
            f"backbone={name!r} accepts weights=None or 'imagenet'. Got {weights!r}. "
            "To use other weights, load them into a module and pass it as backbone."
        )
    if cut == "auto":
        raise BackboneError(f"backbone={name!r} needs an integer cut. Got cut='auto'.")
    if weights is not None:
        n_channels = COLOURS
    numbers = list(stages) if stages is not None else [3 if cut is None else cut]
    try:
        model = timm.create_model(
            name.removeprefix("timm:"),
            pretrained=weights == "imagenet",
            features_only=True,
            in_chans=n_channels,
            out_indices=tuple(int(n) - 1 for n in sorted(numbers)),
        )
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        raise BackboneError(
            f"Got backbone={name!r} with stages {numbers}, but timm raised an error: "
            f"{error}"
        ) from error
    except OSError as error:
        raise DownloadError(
            f"The weights of backbone={name!r} could not be downloaded ({error}). Copy "
            "them to the cache of timm, or use weights=None."
        ) from error
    return _TimmFeatures(model, n_channels)
