"""Creation of a network from any value of the parameter `backbone`."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skfcdd._utils.device import is_out_of_memory
from skfcdd._utils.random import undisturbed
from skfcdd.backbones._choice import choose_backbone
from skfcdd.backbones._external import make_timm, torchvision_architecture
from skfcdd.backbones._registry import COLOURS, Architecture, list_backbones, lookup
from skfcdd.backbones._staged import StagedNetwork, Stages
from skfcdd.backbones.weights import fit_weights, load_weights
from skfcdd.exceptions import BackboneError
from skfcdd.receptive_field import measure_receptive_field

__all__ = ["count_stages", "freeze_backbone", "make_backbone"]

# cut="auto" uses the deepest stage whose receptive field covers at most this fraction
# of each side of the image.
_FIELD_SHARE = 0.5


def make_backbone(
    backbone: str | nn.Module | Callable[..., nn.Module],
    image_shape: tuple[int, int, int],
    *,
    weights: Any = "auto",
    cut: int | str | None = None,
    stages: Sequence[int] | None = None,
) -> nn.Module:
    """Create the network that `backbone` refers to, and check its output.

    Parameters
    ----------
    backbone : str, torch.nn.Module, or callable
        A name in :func:`list_backbones`, "auto" (see :func:`choose_backbone`),
        "torchvision:NAME" or "timm:NAME" if these libraries are installed, a module
        (which is copied), or a callable without arguments that returns a module.
    image_shape : tuple of int (h, w, c)
        Size and channels of the images.
    weights : str, path, mapping or None, default="auto"
        Pretrained weights (see :func:`load_weights`), "auto" (see
        :func:`choose_backbone`), or None for random weights. With pretrained weights,
        images must be grey or have the number of channels of the training images; the
        channel of grey images is repeated.
    cut : int, "auto" or None, default=None
        Number of the stage (from 1) after which an architecture is cut. "auto" uses the
        deepest stage whose receptive field covers at most half of each side of the
        image. None uses the default stage.
    stages : sequence of int, default=None
        Numbers of several stages whose features are resized to the size of the first
        and concatenated. Not allowed together with `cut`.

    Returns
    -------
    torch.nn.Module
        Network that maps (n, c, h, w) to (n, d, u, v).

    Raises
    ------
    BackboneError
        If the name is unknown, a stage does not exist, the weights do not match, the
        network does not support such images, or its output has no spatial axes.
    ImportError
        If the weights are in a package that is not installed.
    TypeError
        If `backbone` has another type, or the callable does not return a module.

    Examples
    --------
    >>> from skfcdd.backbones import make_backbone
    >>> make_backbone("auto", (28, 28, 1)).conv1
    Conv2d(1, 32, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
    >>> make_backbone("resnet18", (64, 64, 1), cut="auto").stage_names
    ('layer1',)
    """
    name, weights = choose_backbone(backbone, weights, image_shape)
    if isinstance(name, str) and name.startswith("timm:"):
        module = make_timm(name, image_shape[2], weights, cut, stages)
    elif isinstance(name, str):
        module = _from_architecture(name, image_shape, weights, cut, stages)
    else:
        module = _from_user(backbone, weights, cut, stages)
    # The module is tested in float32 on the CPU; training moves it to its device.
    module = module.cpu().float()
    _check_output(module, image_shape)
    return module


def count_stages(backbone: Any) -> int | None:
    """Return the number of stages; None for modules, callables and timm networks."""
    if not isinstance(backbone, str) or backbone.startswith("timm:"):
        return None
    with torch.device("meta"):
        return len(_architecture(backbone).build(COLOURS).stages)


def _from_user(
    backbone: Any, weights: Any, cut: int | str | None, stages: Sequence[int] | None
) -> nn.Module:
    """Copy the user's module, or call the user's callable."""
    if isinstance(backbone, nn.Module):
        module = copy.deepcopy(backbone)
    elif callable(backbone):
        module = backbone()
        if not isinstance(module, nn.Module):
            raise TypeError(
                "The callable passed as backbone must return a torch.nn.Module. Got "
                f"{type(module).__name__}."
            )
    else:
        raise TypeError(
            f"Got backbone={backbone!r}, but expected a name, a torch.nn.Module or a "
            f"callable that returns one."
        )
    if cut is not None or stages is not None:
        raise BackboneError(
            "cut= and stages= apply only to architectures passed by name. Got "
            f"cut={cut!r}, stages={stages!r} with a module. Omit them, and cut the "
            "module beforehand."
        )
    if weights is not None:
        name = type(module).__name__
        fit_weights(module, load_weights(weights, name=name), name=name)
    return module


def _from_architecture(
    name: str,
    image_shape: tuple[int, int, int],
    weights: Any,
    cut: int | str | None,
    stages: Sequence[int] | None,
) -> StagedNetwork:
    architecture = _architecture(name)
    state = None
    if isinstance(weights, str) and weights == "imagenet" and architecture.package:
        state = architecture.package.load()
    elif weights is not None:
        state = load_weights(weights, url=architecture.url, name=name)
    n_channels = _n_channels(architecture, state, image_shape[2])
    layers = architecture.build(n_channels)
    usual = architecture.usual_cut(min(image_shape[:2]))
    outputs = _outputs(name, layers, usual, cut, stages, image_shape)
    network = StagedNetwork(layers, outputs, n_channels)
    if state is not None:
        fit_weights(network, state, name=name)
    return network


def _architecture(name: str) -> Architecture:
    if name.startswith("torchvision:"):
        return torchvision_architecture(name)
    architecture = lookup(name)
    if architecture is None:
        near = difflib.get_close_matches(name, list_backbones(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise BackboneError(
            f"Got backbone={name!r}, but expected 'auto', one of "
            f"{list_backbones()}, 'torchvision:NAME', 'timm:NAME', a torch.nn.Module "
            f"or a callable that returns one.{hint}"
        )
    return architecture


def _n_channels(
    architecture: Architecture, state: Mapping[str, Tensor] | None, n_given: int
) -> int:
    """Return the number of input channels: that of the weights, or of the images."""
    if state is None:
        return architecture.n_channels or n_given
    first = next(iter(state_keys(architecture)), "")
    taken = state[first].shape[1] if first in state else COLOURS
    if n_given not in (1, taken):
        raise BackboneError(
            f"The weights were trained on images with {taken} channels, but X has "
            f"{n_given}. Pass images with {taken} channels or grey images, or set "
            "weights=None."
        )
    return int(taken)


def state_keys(architecture: Architecture) -> list[str]:
    """Return the keys of an architecture's weights, in order."""
    with torch.device("meta"):
        layers = architecture.build(COLOURS).layers
    return [f"{n}.{key}" for n, layer in layers.items() for key in layer.state_dict()]


def _outputs(
    name: str,
    layers: Stages,
    default: int | None,
    cut: int | str | None,
    stages: Sequence[int] | None,
    image_shape: tuple[int, int, int],
) -> list[int]:
    """Return the numbers of the stages whose outputs are used."""
    names = list(layers.stages)
    known = dict(enumerate(names, start=1))
    if stages is not None:
        if cut is not None:
            raise BackboneError(
                f"Got cut={cut!r} and stages={stages!r}; pass only one of them."
            )
        chosen = list(stages)
        if not chosen or any(stage not in known for stage in chosen):
            raise BackboneError(
                f"stages must contain one or more of the numbers in {known}, the "
                f"stages of {name!r}. Got {stages!r}."
            )
        return sorted({int(stage) for stage in chosen})
    if cut == "auto":
        return [_deepest_within(layers, default or len(names), image_shape)]
    if cut is None:
        return [default or len(names)]
    if cut not in known:
        raise BackboneError(f"Got cut={cut!r}, but {name!r} has the stages {known}.")
    return [int(cut)]


def _deepest_within(
    layers: Stages, default: int, image_shape: tuple[int, int, int]
) -> int:
    """Return the deepest stage whose field covers a small enough part of the image."""
    best = None
    n_channels = next(iter(_first_layer(layers).parameters())).shape[1]
    for number in range(1, len(layers.stages) + 1):
        network = StagedNetwork(copy.deepcopy(layers), [number])
        try:
            field = measure_receptive_field(network, image_shape[:2], n_channels)
        except (RuntimeError, ValueError):  # the map has no cells
            break
        if max(field.extent) == float("inf"):
            # After a gate that depends on the whole image, fields are infinite.
            return default if best is None else best
        if max(field.share(image_shape[:2])) > _FIELD_SHARE:
            break
        best = number
    return best or 1


def _first_layer(layers: Stages) -> nn.Module:
    """Return the first layer with parameters."""
    return next(m for m in layers.layers.values() if any(True for _ in m.parameters()))


def freeze_backbone(
    module: nn.Module, frozen: int | str | None
) -> tuple[nn.Module, int]:
    """Exclude the first stages of a network from training.

    Their parameters receive no gradient. The caller must keep the statistics of their
    normalisation layers fixed.

    Parameters
    ----------
    module : torch.nn.Module
        A :class:`StagedNetwork`; a `torch.nn.Sequential`, each of whose layers is a
        stage; or any other module, which is a single stage.
    frozen : int, str or None
        Number of stages to freeze; name of the last stage or layer to freeze; or "all".
        None and 0 freeze nothing.

    Returns
    -------
    network : torch.nn.Module
        `module` itself if nothing is frozen; otherwise a :class:`StagedNetwork` with
        the same layers.
    split : int
        Number of frozen layers in ``network.paths``.

    Raises
    ------
    BackboneError
        If the stage or layer does not exist.

    Examples
    --------
    >>> from skfcdd.backbones import freeze_backbone, make_backbone
    >>> network = make_backbone("vgg11_bn", (64, 64, 3))
    >>> network, split = freeze_backbone(network, 3)
    >>> network.paths[split - 1], network.features[11].weight.requires_grad
    ('features.14', False)
    """
    if frozen is None or frozen == 0:
        return module, 0
    network = _as_staged(module)
    split = _split_of(network, frozen)
    for path in network.paths[:split]:
        network.get_submodule(path).requires_grad_(False)
    return network, split


def _as_staged(module: nn.Module) -> StagedNetwork:
    if isinstance(module, StagedNetwork):
        return module
    layers = {"module": module}
    if isinstance(module, nn.Sequential) and len(module):
        layers = dict(module.named_children())
    return StagedNetwork(Stages(layers, {n: [n] for n in layers}), [len(layers)])


def _split_of(network: StagedNetwork, frozen: int | str) -> int:
    names = network.stage_names
    if frozen == "all":
        return len(network.paths)
    if isinstance(frozen, str):
        if frozen in names:
            return network.split_behind(names.index(frozen) + 1)
        if frozen in network.paths:
            return network.paths.index(frozen) + 1
        near = difflib.get_close_matches(frozen, [*names, *network.paths], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise BackboneError(
            f"Got frozen={frozen!r}, but expected 'all', a number, or one of the "
            f"stages {list(names)} or layers {list(network.paths)}.{hint}"
        )
    if frozen > len(names):
        raise BackboneError(
            f"Got frozen={frozen}, but the backbone has {len(names)} stage(s): "
            f"{list(names)}."
        )
    return network.split_behind(int(frozen))


def _check_output(module: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Raise an error if a module does not return a map for images of this shape."""
    h, w, c = image_shape
    was_training = module.training
    try:
        with torch.no_grad(), undisturbed(module, "cpu"):
            output = module.eval()(torch.zeros(1, c, h, w))
    except (RuntimeError, ValueError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        raise BackboneError(
            f"The backbone cannot process images of {h}x{w} pixels with {c} "
            f"channel(s): {error}. Use larger images (resize=), a backbone with less "
            f"pooling, or one that accepts {c} channel(s)."
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
