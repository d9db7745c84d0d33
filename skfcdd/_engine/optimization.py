"""Construction of the skorch net: optimiser, schedule and callbacks."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.helper import predefined_split
from torch import nn

from skfcdd._engine.batches import TrainingData
from skfcdd._engine.module import FCDDModule
from skfcdd._engine.net import FCDDNet
from skfcdd._engine.settings import Settings

__all__ = ["make_net", "resolve_max_epochs"]

# Number of training steps on a small data set: about a minute for images of
# 128 x 128 pixels on two cores.
_STEPS = 900
# Minimum number of training steps for pretrained networks: on 20 magnetic tiles, twice
# the 125 steps of 50 epochs raised the image AUROC by .03.
_LEAST_STEPS = 250

# skorch's argument for groups of weights that have options of their own.
_GROUPS = "optimizer__param_groups"

_OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


def make_net(
    module: FCDDModule,
    settings: Settings,
    *,
    precision: str,
    n_batches: int,
    has_masks: bool,
    class_weight: tuple[float, float] | None,
    validation: TrainingData | None,
) -> FCDDNet:
    """Create a skorch net with optimiser, schedule and callbacks, uninitialised."""
    least = _LEAST_STEPS if module.split else 0
    max_epochs = resolve_max_epochs(settings.max_epochs, n_batches, least_steps=least)
    optimizer = _optimizer(settings)
    if settings.head_factor != 1 and _GROUPS not in settings.skorch_params:
        head = {"lr": settings.head_factor * settings.lr}
        optimizer[_GROUPS] = [("objective.*", head)]
    params: dict[str, Any] = {
        "criterion": nn.Identity,
        **optimizer,
        "lr": settings.lr,
        "max_epochs": max_epochs,
        "batch_size": settings.batch_size,
        "device": settings.device,
        "precision": precision,
        "class_weight": class_weight,
        "pixel_loss": settings.pixel_loss or ("anomalous" if has_masks else None),
        "train_split": None if validation is None else predefined_split(validation),
        "callbacks": _callbacks(settings, max_epochs, n_batches, optimizer),
        # A listener prints the progress.
        "callbacks__print_log": None,
        "verbose": 0,
        **settings.skorch_params,
    }
    if settings.compile:
        # Compiled in place, because a wrapped module could not be pickled; isolated,
        # because all fits of a process would share torch's limit on recompilations.
        module.compile(isolate_recompiles=True)
    if settings.accelerate:
        from skfcdd._engine.distributed import ParallelFCDDNet

        return ParallelFCDDNet(module, **params)
    return FCDDNet(module, **params)


def _optimizer(settings: Settings) -> dict[str, Any]:
    """Return the optimiser class, and those of the usual options that it accepts."""
    chosen = settings.optimizer
    if isinstance(chosen, str):
        chosen = _OPTIMIZERS[chosen]
    params: dict[str, Any] = {"optimizer": chosen}
    if "weight_decay" in inspect.signature(chosen).parameters:
        params["optimizer__weight_decay"] = settings.weight_decay
    if chosen in _OPTIMIZERS.values():
        # One pass over all weights instead of a dozen small calls for each.
        params["optimizer__fused"] = True
    if chosen is torch.optim.SGD:
        params |= {"optimizer__momentum": 0.9, "optimizer__nesterov": True}
    return params


def resolve_max_epochs(
    max_epochs: int | str, n_batches: int, *, least_steps: int = 0
) -> int:
    """Return the number of epochs; "auto" aims at `_STEPS` steps in 5 to 50 epochs.

    It uses more than 50 epochs if 50 would have fewer than `least_steps` steps.
    """
    if isinstance(max_epochs, str):
        usual = min(50, max(5, -(-_STEPS // n_batches)))
        return max(usual, -(-least_steps // n_batches))
    return int(max_epochs)


def _callbacks(
    settings: Settings, max_epochs: int, n_batches: int, optimizer: dict[str, Any]
) -> list[Any]:
    callbacks: list[Any] = []
    schedule = _schedule(settings, max_epochs * n_batches, optimizer)
    if schedule is not None:
        callbacks.append(("lr_schedule", schedule))
    if settings.early_stopping:
        patience = max(5, max_epochs // 10)
        stopping = EarlyStopping(patience=patience, load_best=True, sink=_silent)
        callbacks.append(("early_stopping", stopping))
    return callbacks + list(settings.callbacks or [])


def _silent(*args: Any) -> None:
    """Discard a message."""


def _schedule(
    settings: Settings, n_steps: int, optimizer: dict[str, Any]
) -> LRScheduler | None:
    if settings.lr_schedule is None:
        return None
    if settings.lr_schedule == "onecycle":
        known = inspect.signature(optimizer["optimizer"]).parameters
        rates = [group["lr"] for _, group in optimizer.get(_GROUPS, [])]
        return LRScheduler(
            torch.optim.lr_scheduler.OneCycleLR,
            step_every="batch",
            max_lr=[*rates, settings.lr] if rates else settings.lr,
            total_steps=n_steps + 1,
            # Momentum, if the optimiser has any, falls while the learning rate rises.
            cycle_momentum="momentum" in known or "betas" in known,
        )
    if settings.lr_schedule == "cosine":
        return LRScheduler(
            torch.optim.lr_scheduler.CosineAnnealingLR,
            step_every="batch",
            T_max=n_steps,
        )
    return copy.deepcopy(settings.lr_schedule)
