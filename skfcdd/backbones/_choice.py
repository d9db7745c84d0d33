"""Resolution of "auto": the network, its weights, and the training recipe."""

from __future__ import annotations

from typing import Any

from skfcdd.backbones._registry import Recipe, lookup
from skfcdd.backbones.paper import auto_name

__all__ = ["choose_backbone", "choose_recipe"]

# The network that "auto" chooses for images of sufficient size.
_PRETRAINED = "efficientnet_lite0"
_LEAST_SIDE = 64
_CHANNELS = (1, 3)


def choose_backbone(
    backbone: Any, weights: Any, image_shape: tuple[int, int, int]
) -> tuple[Any, Any]:
    """Resolve "auto" to a network and weights.

    For grey and colour images whose shorter side has at least 64 pixels, this is
    "efficientnet_lite0" with the weights of its package; for all others, a network of
    the paper with random weights. The choice depends on nothing else.

    Parameters
    ----------
    backbone : str, torch.nn.Module or callable
        "auto" chooses by the size and channels of the images if `weights` is "auto", a
        network of the paper (:func:`auto_name`) if it is None, and the pretrained
        network otherwise.
    weights : str, path, mapping or None
        "auto" means "imagenet" if these weights are available as a package, as for
        efficientnet_lite0, 1 and 2; otherwise None.
    image_shape : tuple of int (h, w, c)
        Size and channels of the network input.

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
    """Return the training recipe of an architecture and its weights.

    Parameters
    ----------
    backbone : str, torch.nn.Module or callable
    weights : str, path, mapping or None
        None means random weights, for which the default recipe is used.

    Returns
    -------
    Recipe
    """
    known = lookup(backbone) if isinstance(backbone, str) else None
    return Recipe() if known is None or weights is None else known.recipe
