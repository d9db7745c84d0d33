"""Choice of the stages whose features a memory bank stores."""

from __future__ import annotations

import copy
from typing import Any

from skfcdd._engine.memory import DeepFeatures
from skfcdd._engine.settings import NetworkSettings
from skfcdd.backbones import make_backbone
from skfcdd.backbones._make import count_stages
from skfcdd.memory_bank import MemoryBank

__all__ = ["deep_features", "memory_stages", "own_stage"]


def memory_stages(
    bank: MemoryBank, settings: NetworkSettings, backbone: Any, split: int
) -> tuple[int, ...] | None:
    """Return the numbers of the stages to store; None for the backbone's output.

    Raises
    ------
    ValueError
        If no stage is frozen, or a requested stage does not exist or comes too early.
    """
    if not split:
        raise ValueError(
            f"Got memory_bank={bank} with frozen={settings.frozen!r}, but a memory "
            "bank stores features of frozen stages. Freeze at least one stage "
            "(frozen=1), or set memory_bank=None."
        )
    n_stages = count_stages(settings.backbone)
    if n_stages is None:
        if bank.stages is not None:
            raise ValueError(
                f"Got MemoryBank(stages={bank.stages!r}), but only backbones given by "
                "name have numbered stages. Omit stages=: the memory bank then stores "
                "the features from which the FCDD map is computed, as they are before "
                "training."
            )
        return None
    own, stages = own_stage(backbone), bank.stages
    if stages is None:
        stages = [min(own + 1, n_stages)]
    numbers = tuple(sorted({int(stage) for stage in stages}))
    if numbers[0] < own or numbers[-1] > n_stages or backbone.taken[0] < split:
        raise ValueError(
            f"Got MemoryBank(stages={bank.stages!r}), but {settings.backbone!r} has "
            f"stages 1 to {n_stages}; no stage may come before stage {own}, from "
            "which the FCDD map is computed, or before the last frozen one."
        )
    return numbers


def own_stage(backbone: Any) -> int:
    """Return the number of the stage from which the FCDD map is computed."""
    number: int = backbone.stage_ends.index(backbone.taken[0]) + 1
    return number


def deep_features(
    stages: tuple[int, ...] | None,
    settings: NetworkSettings,
    backbone: Any,
    split: int,
    input_shape: tuple[int, int, int],
) -> DeepFeatures:
    """Create the network of a memory bank, with the weights named in `settings`.

    Parameters
    ----------
    stages : tuple of int or None
        As returned by :func:`memory_stages`.
    settings : NetworkSettings
    backbone : StagedNetwork
        Backbone of FCDD, before any training.
    split : int
        Number of its layers that are frozen.
    input_shape : tuple of int (h, w, c)
        Shape of the network input.
    """
    if stages is None:  # a copy, so that FCDD keeps its device and precision
        copied: Any = copy.deepcopy(backbone).cpu().float()
        return DeepFeatures(copied, split, input_shape)
    own = own_stage(backbone)
    network: Any = make_backbone(
        settings.backbone,
        input_shape,
        weights=settings.weights,
        stages=sorted({own, *stages}),
    )
    return DeepFeatures(network, split, input_shape, with_first=own in stages)
