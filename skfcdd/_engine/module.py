"""From parameters to the network and the skorch net that trains it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.helper import predefined_split
from torch import nn

from skfcdd._engine.batches import TrainingData
from skfcdd._engine.net import FCDDModule, FCDDNet
from skfcdd._engine.preprocessing import Preprocess
from skfcdd.backbones import freeze_backbone, make_backbone, measure_backbone
from skfcdd.heatmaps import GaussianUpsampler
from skfcdd.objectives import resolve_objective
from skfcdd.receptive_field import ReceptiveField

__all__ = ["build_module", "build_net", "build_network"]

# Steps of training that a small data set gets: about a minute for images of
# 128 x 128 pixels on two cores.
_STEPS = 900

_OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


def build_network(
    estimator: Any, seen_shape: tuple[int, int, int]
) -> tuple[nn.Module, int, int]:
    """Make the backbone for images (h, w, c) as the network sees them.

    Returns
    -------
    network : torch.nn.Module
    n_inputs : int
        Number of channels that it takes.
    split : int
        Number of its layers that are frozen.
    """
    network = make_backbone(
        estimator.backbone,
        seen_shape,
        weights=estimator.weights,
        cut=estimator.cut,
        stages=estimator.stages,
    )
    n_inputs = getattr(network, "n_channels", None) or seen_shape[2]
    network, split = freeze_backbone(network, estimator.frozen)
    return network, n_inputs, split


def build_module(
    preprocess: Preprocess,
    network: nn.Module,
    split: int,
    seen_shape: tuple[int, int, int],
    estimator: Any,
) -> tuple[FCDDModule, ReceptiveField]:
    """Make the whole network, and measure its receptive field."""
    h, w, n_channels = seen_shape
    objective = resolve_objective(estimator.loss)
    with torch.no_grad():
        features = network.eval()(torch.zeros(1, n_channels, h, w))
    network.train()
    objective.build(features.shape[1])
    if not objective.uses_bias:
        remove_biases(network)
    field = measure_backbone(network, (h, w), n_channels)
    upsample = GaussianUpsampler(
        (h, w),
        (features.shape[2], features.shape[3]),
        field,
        estimator.heatmap_sigma,
    )
    module = FCDDModule(preprocess, network, objective, upsample, split)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module, field


def remove_biases(module: nn.Module) -> None:
    """Take the bias terms out of all layers that are trained, in place."""
    for layer in module.modules():
        bias = getattr(layer, "bias", None)
        if isinstance(bias, nn.Parameter) and bias.requires_grad:
            layer.register_parameter("bias", None)


def build_net(
    module: FCDDModule,
    estimator: Any,
    *,
    device: str,
    precision: str,
    n_batches: int,
    has_masks: bool,
    validation: TrainingData | None,
) -> FCDDNet:
    """The skorch net with optimiser, schedule and callbacks, not yet initialised."""
    optimizer = estimator.optimizer
    if isinstance(optimizer, str):
        optimizer = _OPTIMIZERS[optimizer]
    max_epochs = resolve_max_epochs(estimator.max_epochs, n_batches)
    params: dict[str, Any] = {
        "criterion": nn.Identity,
        "optimizer": optimizer,
        "optimizer__weight_decay": estimator.weight_decay,
        "lr": estimator.lr,
        "max_epochs": max_epochs,
        "batch_size": estimator.batch_size,
        "device": device,
        "precision": precision,
        "pixel_loss": estimator.pixel_loss or ("anomalous" if has_masks else None),
        "train_split": None if validation is None else predefined_split(validation),
        "callbacks": _callbacks(estimator, max_epochs, n_batches),
        # Lines are printed by the reporter.
        "callbacks__print_log": None,
        "verbose": 0,
    }
    if optimizer in _OPTIMIZERS.values():
        # One pass over all weights instead of a dozen small calls for each.
        params["optimizer__fused"] = True
    if optimizer is torch.optim.SGD:
        params |= {"optimizer__momentum": 0.9, "optimizer__nesterov": True}
    params |= estimator.skorch_params or {}
    if estimator.compile:
        # In place: a wrapped module could not be pickled. By itself: all fits of a
        # process would share what torch allows for one network.
        module.compile(isolate_recompiles=True)
    if estimator.accelerate:
        from skfcdd._engine.distributed import ParallelFCDDNet

        return ParallelFCDDNet(module, **params)
    return FCDDNet(module, **params)


def resolve_max_epochs(max_epochs: int | str, n_batches: int) -> int:
    """Number of epochs; "auto" aims at `_STEPS` steps with 5 to 50 epochs."""
    if isinstance(max_epochs, str):
        return min(50, max(5, -(-_STEPS // n_batches)))
    return int(max_epochs)


def _callbacks(estimator: Any, max_epochs: int, n_batches: int) -> list[Any]:
    callbacks: list[Any] = []
    schedule = _schedule(estimator, max_epochs * n_batches)
    if schedule is not None:
        callbacks.append(("lr_schedule", schedule))
    if estimator.early_stopping:
        patience = max(5, max_epochs // 10)
        stopping = EarlyStopping(patience=patience, load_best=True, sink=_silent)
        callbacks.append(("early_stopping", stopping))
    return callbacks + list(estimator.callbacks or [])


def _silent(*args: Any) -> None:
    """Take a message and drop it."""


def _schedule(estimator: Any, n_steps: int) -> LRScheduler | None:
    if estimator.lr_schedule is None:
        return None
    if estimator.lr_schedule == "onecycle":
        return LRScheduler(
            torch.optim.lr_scheduler.OneCycleLR,
            step_every="batch",
            max_lr=estimator.lr,
            total_steps=n_steps + 1,
        )
    if estimator.lr_schedule == "cosine":
        return LRScheduler(
            torch.optim.lr_scheduler.CosineAnnealingLR,
            step_every="batch",
            T_max=n_steps,
        )
    return copy.deepcopy(estimator.lr_schedule)
