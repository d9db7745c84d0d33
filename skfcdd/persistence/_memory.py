"""Conversion of the memory of normal features to JSON and arrays, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from skfcdd._engine.memory import NormalMemory
from skfcdd._engine.memory_stages import deep_features
from skfcdd._engine.model import MEMORY, FittedModel
from skfcdd._engine.module import FCDDModule, numbers_of
from skfcdd._engine.settings import NetworkSettings
from skfcdd._engine.whole_image import WholeImage
from skfcdd.exceptions import ModelFileError

__all__ = ["describe_memory", "is_number", "read_memory"]


def describe_memory(model: FittedModel) -> dict[str, Any] | None:
    """Convert the memory of a model to JSON, except for its arrays."""
    memory = model.memory
    if memory is None:
        return None
    return {
        "stages": None if memory.stages is None else list(memory.stages),
        "patch_size": int(memory.patch_size),
        "position": float(memory.position),
        "block": int(memory.block),
    }


def read_memory(
    model: FittedModel,
    settings: NetworkSettings,
    network: Mapping[str, Any],
    numbers: Mapping[str, Tensor],
    module: FCDDModule,
) -> NormalMemory | None:
    """Rebuild the memory from its description and arrays; None if there is none."""
    described = network.get("memory")
    own = numbers_of(MEMORY, numbers)
    if described is None:
        if own:
            raise ModelFileError(
                "The file contains arrays of a memory bank, but does not describe it."
            )
        return None
    if tuple(own["units"].shape) == (3,):  # saved before whole images were compared
        own["units"] = F.pad(own["units"], (0, 1))
    _check_memory(described, own)
    h, w = settings.resize or model.image_size
    stages = described["stages"]
    features = deep_features(
        None if stages is None else tuple(stages),
        replace(settings, weights=None),
        module.backbone,
        module.split,
        (h, w, model.images.shape[2]),
    )
    memory = NormalMemory(
        features,
        described["patch_size"],
        own["mean"],
        own["axes"],
        own["points"],
        position=described["position"],
        block=described.get("block", 1),  # missing in format 5
        stages=None if stages is None else tuple(stages),
        whole=_whole_image(own),
    )
    memory.to(own["points"].dtype).load_state_dict(own)
    return memory


def _whole_image(own: Mapping[str, Tensor]) -> WholeImage | None:
    """Rebuild the comparison of whole images, if the memory has one."""
    numbers = numbers_of("whole", own)
    if not numbers:
        return None
    shapes = {name: tuple(value.shape) for name, value in numbers.items()}
    m, d = shapes["support"] if len(shapes.get("support", ())) == 2 else (0, 0)
    expected = {
        "center": (d,),
        "scale": (d,),
        "support": (m, d),
        "dual": (m,),
        "top": (),
    }
    if not m or shapes != expected:
        raise ModelFileError(
            f"The file has a comparison of whole images with invalid shapes {shapes}."
        )
    return WholeImage(**numbers)


def _check_memory(described: Mapping[str, Any], own: Mapping[str, Tensor]) -> None:
    """Raise an error for a memory that cannot be the result of ``fit``."""
    size, position = described["patch_size"], described["position"]
    block = described.get("block", 1)
    shapes = [tuple(own[name].shape) for name in ("mean", "axes", "points", "units")]
    mean, axes, points, units = shapes
    agree = (
        len(axes) == len(points) == 2
        and mean == axes[:1]
        and points[1] == axes[1] + 2 * (position > 0)
        and points[0] > 0
        and units == (4,)
    )
    if not (type(size) is int and size % 2 == 1 and 0 < size < 100):
        raise ModelFileError(
            f"The file has a memory bank with an invalid patch_size={size!r}."
        )
    if not (type(block) is int and 0 < block < 100):
        raise ModelFileError(
            f"The file has a memory bank with an invalid block={block!r}."
        )
    if not (is_number(position, -1e-9) and agree):
        raise ModelFileError(
            f"The file has a memory bank with invalid shapes {shapes}."
        )


def is_number(value: Any, above: float = -math.inf) -> bool:
    """Whether a value is a finite number greater than `above`."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return known and math.isfinite(value) and value > above
