"""A trained net from its description and its numbers, without training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skfcdd._engine.module import remove_biases
from skfcdd._engine.net import FCDDModule, FCDDNet
from skfcdd._engine.preprocessing import Preprocess
from skfcdd._utils.device import resolve_device
from skfcdd.backbones import freeze_backbone, make_backbone
from skfcdd.exceptions import ModelFileError
from skfcdd.heatmaps import GaussianUpsampler
from skfcdd.objectives import resolve_objective

__all__ = ["describe_network", "rebuild_net"]


def describe_network(estimator: Any) -> dict[str, Any]:
    """What numbers alone do not tell of a network."""
    module = estimator.net_.module_
    preprocess, backbone = module.preprocess, module.backbone
    stages = getattr(backbone, "stage_names", None)
    size = preprocess.size
    return {
        "backbone": estimator.backbone if isinstance(estimator.backbone, str) else None,
        # What "auto" has chosen need not be measured again.
        "cut": estimator.cut if stages is None else len(stages),
        "pretrained": estimator.weights is not None,
        "low": float(preprocess.low),
        "high": float(preprocess.high),
        "contrast": bool(preprocess.contrast),
        "size": None if size is None else list(size),
        "batch_size": int(estimator.net_.batch_size),
        "initial_spread": module.initial_spread,
    }


def rebuild_net(
    estimator: Any,
    description: Mapping[str, Any],
    numbers: Mapping[str, Tensor],
    backbone: Any,
    device: str,
) -> FCDDNet:
    """The net of a loaded estimator, ready to score."""
    size = description["size"]
    seen = tuple(size or estimator.image_shape_[:2])
    _check_numbers(numbers, seen)
    preprocess = Preprocess(
        float(description["low"]),
        float(description["high"]),
        numbers["preprocess.mean"].flatten(),
        numbers["preprocess.std"].flatten(),
        contrast=bool(description["contrast"]),
        size=None if size is None else (int(size[0]), int(size[1])),
    )
    network, split = _network(estimator, description, numbers, backbone, seen)
    objective = resolve_objective(estimator.loss)
    objective.build(_n_channels(network, (*seen, estimator.image_shape_[2])))
    if not objective.uses_bias:
        remove_biases(network)
    cells = (
        numbers["upsample.rows"].shape[1],
        numbers["upsample.columns"].shape[1],
    )
    upsample = GaussianUpsampler(
        (seen[0], seen[1]), cells, estimator.receptive_field_, estimator.heatmap_sigma
    )
    module = FCDDModule(preprocess, network, objective, upsample, split)
    module.initial_spread = description["initial_spread"]
    module.to(torch.float64 if estimator.precision_ == "float64" else torch.float32)
    module.load_state_dict(dict(numbers))
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net = FCDDNet(
        module,
        criterion=nn.Identity,
        precision=estimator.precision_,
        batch_size=int(description["batch_size"]),
        device=resolve_device(device),
        callbacks=[],
        train_split=None,
        verbose=0,
    )
    net.initialize()
    return net


def _check_numbers(numbers: Mapping[str, Tensor], seen: tuple[int, ...]) -> None:
    """Sizes that are said must be those of the numbers, before memory is taken."""
    for axis, name in enumerate(("upsample.rows", "upsample.columns")):
        shape = tuple(numbers[name].shape) if name in numbers else ()
        if len(shape) != 2 or shape[0] != seen[axis]:
            raise ModelFileError(
                f"The file says that images have {seen} pixels, but {name} has the "
                f"shape {shape}."
            )
    for name, value in numbers.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ModelFileError(f"The file holds NaN or infinity in {name}.")


def _network(
    estimator: Any,
    description: Mapping[str, Any],
    numbers: Mapping[str, Tensor],
    backbone: Any,
    seen: tuple[int, ...],
) -> tuple[nn.Module, int]:
    name = description["backbone"] if backbone is None else backbone
    if name is None:
        raise ModelFileError(
            "The model was fitted with a module or a callable as backbone, whose code "
            "is not in the file. Give it: load(path, backbone=...)."
        )
    by_name = isinstance(name, str)
    state = {
        key.removeprefix("backbone."): value
        for key, value in numbers.items()
        if key.startswith("backbone.")
    }
    network = make_backbone(
        name,
        (seen[0], seen[1], estimator.image_shape_[2]),
        weights=state if description["pretrained"] and by_name else None,
        cut=description["cut"] if by_name and estimator.stages is None else None,
        stages=estimator.stages,
    )
    return freeze_backbone(network, estimator.frozen)


def _n_channels(network: nn.Module, shape: tuple[int, ...]) -> int:
    h, w, c = shape
    with torch.no_grad():
        features: Tensor = network.eval()(torch.zeros(1, c, h, w))
    return int(features.shape[1])
