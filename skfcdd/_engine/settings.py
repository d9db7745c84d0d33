"""Frozen settings of a call of ``fit``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._engine.fingerprint import digest
from skfcdd._engine.preprocessing import resolve_size
from skfcdd._engine.split import MANY_IMAGES, resolve_validation
from skfcdd._utils.device import resolve_device
from skfcdd._utils.sklearn import check_parameters
from skfcdd.backbones import choose_backbone
from skfcdd.backbones._choice import choose_recipe
from skfcdd.memory_bank import MemoryBank
from skfcdd.objectives import OBJECTIVES, resolve_objective

__all__ = ["NetworkSettings", "Settings"]

# Arguments of skorch.NeuralNet that are also parameters of the estimators.
_SHARED = (
    "batch_size",
    "callbacks",
    "device",
    "lr",
    "max_epochs",
    "optimizer",
    "precision",
    "pixel_loss",
    "verbose",
)
# Arguments of skorch.NeuralNet that the estimators set themselves.
_OWN = (
    "module",
    "criterion",
    "dataset",
    "iterator_train",
    "iterator_valid",
    "predict_nonlinearity",
    "train_split",
    "warm_start",
)

# Minimum number of epochs for out-of-fold scores. After fewer epochs, networks still
# differ too much between folds, and their scores vary less than those of the final
# network. On generated surfaces of 32 x 32 pixels, with 5 % of false alarms requested,
# 15 epochs led to 17 to 31 %, 25 epochs to 2 to 18 %, and 40 epochs to 3 to 5 %.
LEAST_EPOCHS = 40


@dataclass(frozen=True)
class NetworkSettings:
    """Settings that determine a network, in ``fit`` and when a model is loaded.

    They are parameters of the estimators, with `resize` resolved to (h, w) or None.
    """

    backbone: Any
    loss: Any
    weights: Any
    frozen: int | str | None
    cut: int | str | None
    stages: Any
    resize: tuple[int, int] | None
    normalize: Any

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> NetworkSettings:
        """Select the network settings from the parameters of an estimator."""
        chosen = {field.name: params[field.name] for field in fields(cls)}
        return cls(**chosen | {"resize": resolve_size(params["resize"])})

    def resolved(self, image_shape: tuple[int, int, int]) -> NetworkSettings:
        """Return the settings with "auto" resolved, except for `frozen`.

        `image_shape` (h, w, c) is the shape of images before resizing.
        """
        h, w = self.resize or image_shape[:2]
        shape = (h, w, image_shape[2])
        backbone, weights = choose_backbone(self.backbone, self.weights, shape)
        return replace(self, backbone=backbone, weights=weights)

    @property
    def backbone_name(self) -> str:
        """Name of the backbone; for a custom one, that of its function or class."""
        if isinstance(self.backbone, str):
            return self.backbone
        own = self.backbone
        return getattr(own, "__name__", None) or type(own).__name__

    def without_weights(self) -> NetworkSettings:
        """Return the settings with custom weights replaced by "given"."""
        own = self.weights is not None and self.weights != "imagenet"
        return replace(self, weights="given") if own else self

    def digests(self) -> dict[str, str]:
        """Compute a digest of each setting, to detect changes."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if isinstance(self.loss, str):
            values["loss"] = OBJECTIVES.get(self.loss, self.loss)
        if isinstance(self.stages, list):
            values["stages"] = tuple(self.stages)
        return {name: digest(value) for name, value in values.items()}


@dataclass(frozen=True)
class Settings:
    """All settings of a training, which does not access the estimator itself.

    Those that are not listed here are parameters of the estimators.

    Parameters
    ----------
    network : NetworkSettings
    skorch_params : dict
        Arguments of `skorch.NeuralNet` for which the estimators have no parameter. The
        others have replaced the parameters of the same name.
    params : dict
        All parameters, to identify the training in a checkpoint.
    memory_bank : MemoryBank, "auto" or None
        "auto" uses one if the network has suitable stages.
    roi : ndarray of shape (h, w), bool, or None
        Mask of the pixels that count. Until :meth:`for_region` is called, it is the
        parameter of the estimator.
    head_factor : float, default=1.0
        Learning rate of the head, relative to that of the stages.
    lr_few : float, default=None
        Learning rate for few normal images. None uses `lr`.
    """

    network: NetworkSettings
    heatmap_sigma: float | None
    feature_cache: Any
    image_shape: tuple[int, ...] | None
    channels: str | None
    augment: Any
    synthetic: Any
    outlier_exposure: Any
    oe_limit: int | None
    anomaly_fraction: float
    pixel_loss: str | float | None
    validation_fraction: float | str | None
    optimizer: Any
    lr: Any
    weight_decay: float
    lr_schedule: Any
    max_epochs: int | str
    batch_size: int
    early_stopping: bool
    device: str
    precision: str
    compile: bool
    accelerate: bool
    checkpoint: str | os.PathLike[str] | None
    callbacks: Any
    random_state: Any
    verbose: int
    skorch_params: Mapping[str, Any]
    params: Mapping[str, Any]
    memory_bank: Any
    roi: Any = None
    head_factor: float = 1.0
    lr_few: float | None = None

    @classmethod
    def of(
        cls, params: Mapping[str, Any], constraints: Mapping[str, Any], owner: str
    ) -> Settings:
        """Freeze the parameters of an estimator.

        Parameters
        ----------
        params : mapping
            Parameters from ``get_params``.
        constraints : mapping
            scikit-learn constraints of the parameters, applied to `skorch_params`.
        owner : str
            Name of the estimator, for messages.

        Raises
        ------
        ValueError
            If `skorch_params` contains arguments that the estimators set themselves, or
            invalid values of their parameters.
        """
        given = dict(params["skorch_params"] or {})
        _refuse_own(given)
        shared = {name: given.pop(name) for name in _SHARED if name in given}
        check_parameters(shared, constraints, owner)
        merged = {**params, **shared}
        own = {
            field.name: merged[field.name]
            for field in fields(cls)
            if field.name in merged and field.name != "skorch_params"
        }
        own["device"] = resolve_device(own["device"])
        return cls(
            network=NetworkSettings.of(merged),
            skorch_params=given,
            params={**merged, "skorch_params": given},
            **own,
        )

    def for_images(self, image_shape: tuple[int, int, int]) -> Settings:
        """Return the settings with "auto" resolved for images (h, w, c)."""
        network = self.network.resolved(image_shape)
        recipe = choose_recipe(network.backbone, network.weights)
        lr, lr_few, pixel_loss = self.lr, self.lr_few, self.pixel_loss
        if lr == "auto":
            lr, lr_few = recipe.lr, recipe.lr_few
        spatial = resolve_objective(network.loss).spatial
        if pixel_loss == "auto":
            pixel_loss = recipe.pixel_loss if spatial else None
        bank = self.memory_bank
        if bank == "auto" and not (spatial and recipe.memory):
            bank = None
        if isinstance(bank, MemoryBank):
            bank.check()
            if not spatial:
                raise ValueError(
                    f"Got memory_bank={bank} with loss={network.loss!r}, which has no "
                    "anomaly map to which the map of a memory bank could be added. Set "
                    "memory_bank=None, or use an objective with a map."
                )
        return replace(
            self,
            network=network,
            lr=lr,
            lr_few=lr_few,
            pixel_loss=pixel_loss,
            memory_bank=bank,
            head_factor=recipe.head_factor,
        )

    def for_rows(self, n_normal: int) -> Settings:
        """Return the settings with "auto" resolved in `validation_fraction`.

        It is None if all normal images are scored out of fold instead.
        """
        asked: Any = self.validation_fraction
        short = not isinstance(self.max_epochs, str) and self.max_epochs < LEAST_EPOCHS
        once = self.early_stopping or self.accelerate or short
        share = resolve_validation(asked, n_normal, once=once)
        return replace(self, validation_fraction=share)

    def for_training(self, n_normal: int) -> Settings:
        """Return the settings with the learning rate for `n_normal` normal images.

        The one for few images suits the length that "auto" chooses; in fewer steps, the
        network can collapse to a constant.
        """
        few = n_normal < MANY_IMAGES and isinstance(self.max_epochs, str)
        if few and self.lr_few is not None:
            return replace(self, lr=self.lr_few)
        return self

    def for_region(self, roi: npt.NDArray[np.bool_] | None) -> Settings:
        """Return the settings with the mask (h, w) of the pixels that count."""
        return replace(self, roi=roi, params={**self.params, "roi": roi})

    def with_device(self, device: str) -> Settings:
        """Return the settings with another device."""
        return replace(self, device=device)


def _refuse_own(given: Mapping[str, Any]) -> None:
    for name in given:
        if name.split("__")[0] in _OWN:
            raise ValueError(
                f"Got skorch_params={{{name!r}: ...}}, but the estimator sets "
                f"{name.split('__')[0]} itself. Omit it."
            )
