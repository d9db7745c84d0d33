"""Backbones: networks that map images (n, c, h, w) to features (n, d, u, v)."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from skfcdd.backbones.paper import PAPER_NETWORKS, auto_name, make_paper_network
from skfcdd.exceptions import BackboneError

__all__ = ["auto_name", "list_backbones", "make_backbone"]


def list_backbones() -> list[str]:
    """Names that ``backbone=`` takes, beside "auto".

    Returns
    -------
    list of str

    Examples
    --------
    >>> from skfcdd.backbones import list_backbones
    >>> "fcdd32_lw3k" in list_backbones()
    True
    """
    return sorted(PAPER_NETWORKS)


def make_backbone(
    backbone: str | nn.Module | Callable[..., nn.Module],
    image_shape: tuple[int, int, int],
) -> nn.Module:
    """Make the network that `backbone` names, and check that it serves.

    Parameters
    ----------
    backbone : str, torch.nn.Module, or callable
        A name of :func:`list_backbones`, "auto" (chosen by image size), a module (it
        is copied), or a callable without arguments that returns one.
    image_shape : tuple of int (h, w, c)
        Size and channels of the images.

    Returns
    -------
    torch.nn.Module
        Maps (n, c, h, w) to (n, d, u, v).

    Raises
    ------
    BackboneError
        If the name is unknown, or the network cannot take such images, or its output
        has no spatial axes.
    TypeError
        If `backbone` is of another type, or the callable returns no module.

    Examples
    --------
    >>> from skfcdd.backbones import make_backbone
    >>> make_backbone("auto", (28, 28, 1)).conv1
    Conv2d(1, 32, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
    """
    # Wherever and however precise it was, it is tried out here and moved in training.
    module = _as_module(backbone, image_shape).cpu().float()
    _feature_shape(module, image_shape)
    return module


def _as_module(backbone: Any, image_shape: tuple[int, int, int]) -> nn.Module:
    if isinstance(backbone, str):
        name = auto_name(image_shape[:2]) if backbone == "auto" else backbone
        if name not in PAPER_NETWORKS:
            near = difflib.get_close_matches(name, PAPER_NETWORKS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise BackboneError(
                f"Got backbone={backbone!r}, but expected 'auto', one of "
                f"{list_backbones()}, a torch.nn.Module or a callable that returns "
                f"one.{hint}"
            )
        return make_paper_network(name, image_shape[2])
    if isinstance(backbone, nn.Module):
        return copy.deepcopy(backbone)
    if callable(backbone):
        module = backbone()
        if isinstance(module, nn.Module):
            return module
        raise TypeError(
            f"The callable given as backbone returned {type(module).__name__}, but "
            f"expected a torch.nn.Module."
        )
    raise TypeError(
        f"Got backbone={backbone!r}, but expected a name, a torch.nn.Module or a "
        f"callable that returns one."
    )


def _feature_shape(module: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Refuse a module that cannot make a map of such images."""
    h, w, c = image_shape
    was_training = module.training
    try:
        with torch.no_grad():
            output = module.eval()(torch.zeros(1, c, h, w))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise BackboneError(
            f"The backbone cannot take images of {h}x{w} pixels with {c} channel(s): "
            f"{error}. Larger images (resize=), or a backbone with less pooling or "
            f"made for {c} channel(s), are needed."
        ) from error
    finally:
        module.train(was_training)
    if not isinstance(output, torch.Tensor) or output.ndim != 4 or 0 in output.shape:
        got = getattr(output, "shape", type(output).__name__)
        raise BackboneError(
            f"The backbone's output must be a map (n, d, u, v) with at least one "
            f"cell. Got {tuple(got) if isinstance(got, torch.Size) else got} for "
            f"an image of {h}x{w} pixels."
        )
