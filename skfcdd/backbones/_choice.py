"""What "auto" stands for: the network, its weights, and how it is trained."""

from __future__ import annotations

from typing import Any

from skfcdd.backbones._registry import Recipe, lookup
from skfcdd.backbones.paper import auto_name

__all__ = ["choose_backbone", "choose_recipe"]

# The network that "auto" takes for photographs and other images of some size.
_PRETRAINED = "efficientnet_lite0"
_LEAST_SIDE = 64
_CHANNELS = (1, 3)


def choose_backbone(
    backbone: Any, weights: Any, image_shape: tuple[int, int, int]
) -> tuple[Any, Any]:
    """The network and weights that "auto" stands for.

    Grey and colour images whose shorter side has at least 64 pixels take
    "efficientnet_lite0" with the weights of its package, all others a network of the
    paper with random weights. The choice depends on nothing else.

    Parameters
    ----------
    backbone : str, torch.nn.Module or callable
        "auto" chooses by the images; with ``weights=None`` among the networks of the
        paper alone (:func:`auto_name`), with other weights always the pretrained
        network.
    weights : str, path, mapping or None
        "auto" stands for "imagenet" where these weights come in a package, for the
        networks efficientnet_lite0, 1 and 2, and else for None.
    image_shape : tuple of int (h, w, c)
        Size and channels of the images that the network sees.

    Returns
    -------
    backbone : str, torch.nn.Module or callable
    weights : str, path, mapping or None

    Examples
    --------
    >>> from skfcdd.backbones import choose_backbone
    >>> choose_backbone("auto", "auto", (128, 128, 1))
    ('efficientnet_lite0', 'imagenet')
    >>> choose_backbone("auto", "auto", (63, 128, 1))
    ('fcdd32_s', None)
    """
    unsaid = isinstance(weights, str) and weights == "auto"
    if isinstance(backbone, str) and backbone == "auto":
        h, w, c = image_shape
        suits = min(h, w) >= _LEAST_SIDE and c in _CHANNELS
        pretrained = suits if unsaid else weights is not None
        backbone = _PRETRAINED if pretrained else auto_name((h, w))
    if unsaid:
        known = lookup(backbone) if isinstance(backbone, str) else None
        weights = "imagenet" if known is not None and known.package else None
    return backbone, weights


def choose_recipe(backbone: Any, weights: Any) -> Recipe:
    """How a network is trained: as its architecture asks for, with given weights.

    Parameters
    ----------
    backbone : str, torch.nn.Module or callable
    weights : str, path, mapping or None
        None has nothing worth to be kept.

    Returns
    -------
    Recipe
    """
    known = lookup(backbone) if isinstance(backbone, str) else None
    return Recipe() if known is None or weights is None else known.recipe
