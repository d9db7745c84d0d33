"""Conversion of a fitted model to a JSON description and arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skfcdd._engine.inference import is_pooling
from skfcdd._engine.inside import Inside
from skfcdd._engine.light import Light, darkness, restore_light
from skfcdd._engine.model import MEMORY, FittedModel, ImageFormat, Judging
from skfcdd._engine.module import FCDDModule, Network, make_module, numbers_of
from skfcdd._engine.net import FCDDNet
from skfcdd._engine.preprocessing import Preprocess
from skfcdd._engine.settings import NetworkSettings
from skfcdd._engine.split import UsedImages
from skfcdd._utils.random import seeded
from skfcdd._verdicts import Convention
from skfcdd.exceptions import ModelFileError
from skfcdd.persistence._calibration import describe_calibration, read_calibration
from skfcdd.persistence._encoding import Decoder, Encoder
from skfcdd.persistence._memory import describe_memory, is_number, read_memory
from skfcdd.persistence._upgrade import with_whole_reading
from skfcdd.receptive_field import ReceptiveField

__all__ = ["describe", "rebuild"]

# Fields of the model that are stored unchanged.
_PLAIN = (
    "receptive_field",
    "threshold",
    "calibration_scores",
    "calibration_groups",
    "heatmap_scale",
    "normal_peak",
    "network_digests",
    "split_seed",
    "history",
    "n_earlier",
    "versions",
)
# Largest standard deviation of the fill around a region of interest, in pixels.
_MOST_SPREAD = 1024
_PARTS = {"images": ImageFormat, "judging": Judging, "convention": Convention}


def describe(model: FittedModel, encoder: Encoder) -> dict[str, Any]:
    """Convert a model to JSON, except for the arrays of its network.

    Raises
    ------
    TypeError
        If the model contains custom code other than its backbone.
    """
    described = {
        name: encoder.encode(_plain(getattr(model, name)), name) for name in _PLAIN
    }
    for name in _PARTS:
        part = getattr(model, name)
        described[name] = {
            f.name: encoder.encode(_plain(getattr(part, f.name)), f.name)
            for f in fields(part)
        }
    described["used"] = {
        f.name: encoder.encode(getattr(model.used, f.name), f.name)
        for f in fields(model.used)
    }
    described["calibration"] = describe_calibration(model.calibration)
    described["network"] = _describe_network(model, encoder)
    return described


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _describe_network(model: FittedModel, encoder: Encoder) -> dict[str, Any]:
    """Convert a network to JSON, except for its arrays."""
    settings, module, net = model.network, model.module, model.runner
    assert settings is not None
    preprocess, size = module.preprocess, module.preprocess.size
    name = settings.backbone if isinstance(settings.backbone, str) else None
    stages = getattr(module.backbone, "stage_names", None)
    measured = stages is not None and not str(name).startswith("timm:")
    return {
        "backbone": name,
        "loss": encoder.encode(settings.loss, "loss"),
        # The last frozen layer, because the meaning of "auto" may change.
        "frozen": module.backbone.paths[module.split - 1] if module.split else None,
        # The number of stages, so that "auto" need not measure them again.
        "cut": len(stages)
        if measured and stages is not None
        else encoder.encode(settings.cut, "cut"),
        "stages": encoder.encode(settings.stages, "stages"),
        "weights": settings.weights,
        "low": float(preprocess.low),
        "high": float(preprocess.high),
        "contrast": bool(preprocess.contrast),
        "light": None if preprocess.light is None else preprocess.light.describe(),
        "size": None if size is None else list(size),
        "precision": net.precision,
        "batch_size": int(net.batch_size),
        "initial_spread": module.initial_spread,
        "memory": describe_memory(model),
        "roi": _describe_roi(preprocess.roi),
    }


def _describe_roi(roi: Inside | None) -> dict[str, float] | None:
    if roi is None:
        return None
    return {"n_pixels": int(roi.inside.sum()), "spread": roi.spread}


def rebuild(
    described: Mapping[str, Any],
    numbers: Mapping[str, Tensor],
    kind: str,
    backbone: Any,
    device: str,
) -> FittedModel:
    """Rebuild a fitted model from its description and the arrays of its network.

    Raises
    ------
    ModelFileError
        If the model cannot be the result of ``fit``.
    """
    decode = Decoder().decode
    parts: dict[str, Any] = {
        name: cls(**{k: decode(v) for k, v in described[name].items()})
        for name, cls in _PARTS.items()
    }
    plain = {name: decode(described[name]) for name in _PLAIN if name in described}
    used = {k: decode(v) for k, v in described.get("used", {}).items()}
    model = FittedModel(runner=None, used=UsedImages(**used), **parts, **plain)
    model = replace(model, calibration=read_calibration(model, described))
    images = with_whole_reading(model.images)
    model = replace(model, images=images, history=tuple(model.history))
    _check(model, kind)
    network = described["network"]
    settings = NetworkSettings(
        backbone=network["backbone"] if backbone is None else backbone,
        loss=decode(network["loss"]),
        weights=network["weights"],
        frozen=network["frozen"],
        cut=network["cut"],
        stages=decode(network["stages"]),
        resize=None if network["size"] is None else tuple(network["size"]),
        normalize=None,
    )
    own = {k: v for k, v in numbers.items() if not k.startswith(MEMORY + ".")}
    with seeded(None, "cpu"):  # random initial weights, which are then replaced
        module = _module(model, settings, network, own)
        memory = read_memory(model, settings, network, numbers, module)
    runner = _net(module, network, device)
    return replace(model, network=settings, runner=runner, memory=memory)


def _check(model: FittedModel, kind: str) -> None:
    """Raise an error for a model that cannot be the result of ``fit``."""
    shape, scale = model.images.shape, model.heatmap_scale
    scores, classes = model.calibration_scores, model.convention.classes
    pooling = model.judging.score_pooling
    whole = isinstance(shape, tuple) and all(type(n) is int for n in shape)
    area = model.convention.min_area
    for name, value, holds in (
        (
            "image shape",
            shape,
            whole and len(shape) == 3 and all(0 < n <= 1 << 16 for n in shape),
        ),
        ("threshold", model.threshold, is_number(model.threshold, 0)),
        ("pooling", pooling, is_pooling(pooling)),
        (
            "heatmap scale",
            scale,
            isinstance(scale, tuple)
            and len(scale) == 2
            and all(is_number(end) for end in scale)
            and scale[0] < scale[1],
        ),
        (
            "maximum of normal heatmaps",
            model.normal_peak,
            model.normal_peak is None or is_number(model.normal_peak, -1e-9),
        ),
        (
            "array of calibration scores",
            scores,
            isinstance(scores, np.ndarray)
            and scores.dtype == np.float64
            and scores.ndim == 1
            and bool(np.isfinite(scores).all() and (scores >= 0).all())
            and bool((np.diff(scores) >= 0).all()),
        ),
        ("kind", model.convention.kind, model.convention.kind == kind),
        ("pair of classes", classes, _are_classes(classes)),
        ("anomaly sign", model.convention.anomaly_sign, _is_sign(model.convention)),
        ("min_area", area, type(area) is int and area >= 1),
        ("image format", model.images, _is_format(model.images)),
        ("history", model.history, all(isinstance(e, dict) for e in model.history)),
        ("seed", model.split_seed, type(model.split_seed) is int),
        (
            "list of images",
            model.used,
            all(
                isinstance(part, np.ndarray) and part.dtype == np.uint64
                for part in (model.used.trained, model.used.selected)
            ),
        ),
        (
            "receptive field",
            model.receptive_field,
            isinstance(model.receptive_field, ReceptiveField),
        ),
    ):
        if not holds:
            raise ModelFileError(f"The file has an invalid {name}: {value!r}.")


def _is_format(images: ImageFormat) -> bool:
    layout, reading = images.layout, images.reading
    return (
        images.channels in (None, "first", "last")
        and images.channels_first in (True, False)
        and isinstance(images.dtype, str)
        and (layout is None or all(type(n) is int for n in layout))
        and (reading is None or _is_reading(reading, images.shape[2]))
    )


def _is_reading(reading: Mapping[str, Any], n_channels: int) -> bool:
    try:
        known = reading["dtype"] is None or np.dtype(reading["dtype"]).kind in "uif"
    except (KeyError, TypeError):
        return False
    names = {"resize", "keep_aspect", "mode", "page", "rescale", "n_channels", "dtype"}
    return known and set(reading) == names and reading["n_channels"] == n_channels


def _is_sign(convention: Convention) -> bool:
    sign = convention.anomaly_sign
    return type(sign) is int and sign in (-1, 1)


def _are_classes(classes: Any) -> bool:
    if not isinstance(classes, np.ndarray) or classes.shape != (2,):
        return False
    first, second = classes.tolist()
    return bool(first < second)


def _module(
    model: FittedModel,
    settings: NetworkSettings,
    network: Mapping[str, Any],
    numbers: Mapping[str, Tensor],
) -> FCDDModule:
    h, w = settings.resize or model.image_size
    _check_numbers(numbers, (h, w))
    _check_backbone(settings.backbone)
    named = isinstance(settings.backbone, str)
    if not named or settings.stages is not None:
        settings = replace(settings, cut=None)
    if not named:
        settings = replace(settings, stages=None)
    weights: Any = None
    if network["weights"] not in (None, "imagenet", "given"):
        raise ModelFileError(f"The file has invalid weights {network['weights']!r}.")
    if named and network["weights"] is not None:
        # {} keeps timm from downloading weights; those of the file are loaded below.
        timm = settings.backbone.startswith("timm:")
        weights = {} if timm else _with_biases(numbers_of("backbone", numbers))
    settings = replace(settings, weights=weights)
    preprocess = Preprocess(
        float(network["low"]),
        float(network["high"]),
        numbers["preprocess.mean"].flatten(),
        numbers["preprocess.std"].flatten(),
        contrast=bool(network["contrast"]),
        light=_light(network, numbers, (model.images.shape[2], h, w)),
        size=settings.resize,
        roi=_roi(network, numbers, model.images.shape, settings.resize),
    )
    made = Network(settings, (h, w, model.images.shape[2]))
    field = model.receptive_field
    assert field is not None
    sigma = model.judging.heatmap_sigma
    module = make_module(made, preprocess, field, sigma, model.images.shape)
    module.initial_spread = network["initial_spread"]
    double = network["precision"] == "float64"
    module.to(torch.float64 if double else torch.float32)
    module.load_state_dict(dict(numbers))
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _light(
    network: Mapping[str, Any],
    numbers: Mapping[str, Tensor],
    shape: tuple[int, int, int],
) -> Light | None:
    """Build the illumination correction, if the model has one; old files have none."""
    described = network.get("light")
    if described is None:
        return None
    own = numbers_of("preprocess.light", numbers)
    dark = darkness(float(network["low"]), float(network["high"]))
    try:
        return restore_light(described, own, dark, shape)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"The file has an invalid illumination correction: {described!r}."
        ) from error


def _roi(
    network: Mapping[str, Any],
    numbers: Mapping[str, Tensor],
    image_shape: tuple[int, int, int],
    size: tuple[int, int] | None,
) -> Inside | None:
    """Build the region of interest, if the model has one."""
    own = numbers_of("preprocess.roi", numbers)
    if not own:
        return None
    inside = own["inside"]
    fits = inside.dtype == torch.bool and inside.shape == image_shape[:2]
    if not fits or not inside.any():
        raise ModelFileError(
            "The file has an invalid region of interest: "
            f"{tuple(inside.shape)} pixels, {int(inside.sum())} of them inside, for "
            f"images of shape {image_shape}."
        )
    spread = network["roi"]["spread"]
    if type(spread) not in (int, float) or not 0 <= spread <= _MOST_SPREAD:
        raise ModelFileError(
            f"The file has a region of interest with spread={spread!r}, but expected a "
            f"number from 0 to {_MOST_SPREAD}."
        )
    return Inside(inside.numpy(), size, float(spread))


def _with_biases(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add zero biases to weights, so that they fit a newly built network.

    Objectives that use no biases removed them from all layers, and will do so again.
    """
    biases = {
        key.removesuffix("weight") + "bias": torch.zeros(len(value))
        for key, value in weights.items()
        if key.endswith("weight") and value.ndim
    }
    return biases | weights


def _check_numbers(numbers: Mapping[str, Tensor], size: tuple[int, int]) -> None:
    """Check that stated sizes match the arrays, before memory is allocated."""
    for axis, name in enumerate(("upsample.rows", "upsample.columns")):
        shape = tuple(numbers[name].shape) if name in numbers else ()
        if len(shape) != 2 or shape[0] != size[axis]:
            raise ModelFileError(
                f"The file states that images have {size} pixels, but {name} has the "
                f"shape {shape}."
            )
    for name, value in numbers.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ModelFileError(f"The file contains NaN or infinity in {name}.")


def _check_backbone(backbone: Any) -> None:
    """Raise an error if the backbone lacks code, or its name might cause a download."""
    if backbone is None:
        raise ModelFileError(
            "The model was fitted with a module or a callable as backbone, whose code "
            "is not in the file. Pass the same backbone: load(path, backbone=...)."
        )
    if isinstance(backbone, str) and backbone.startswith("timm:"):
        name = backbone.removeprefix("timm:")
        if not name.replace("_", "").replace(".", "").isalnum() or ".." in name:
            raise ModelFileError(
                f"The file names the backbone {backbone!r}, which is not the plain "
                "name of a timm model, so it is not downloaded."
            )


def _net(module: FCDDModule, network: Mapping[str, Any], device: str) -> FCDDNet:
    """Return the net of a loaded model, ready to score."""
    if network["precision"] not in ("float64", "float32", "bfloat16", "mixed"):
        raise ModelFileError(
            f"The file has an invalid precision: {network['precision']!r}."
        )
    net = FCDDNet(
        module,
        criterion=nn.Identity,
        precision=network["precision"],
        batch_size=int(network["batch_size"]),
        device=device,
        callbacks=[],
        train_split=None,
        verbose=0,
    )
    net.initialize()
    return net
