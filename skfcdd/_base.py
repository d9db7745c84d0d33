"""Base class of the FCDD estimators: parameters and training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import LRScheduler

from skfcdd._callbacks import CallbackBridge
from skfcdd._engine.crossfit import CrossFitted, Fold, cross_fit
from skfcdd._engine.evidence import find_evidence
from skfcdd._engine.light import LIGHTS
from skfcdd._engine.model import FittedModel
from skfcdd._engine.roi import resolve_roi
from skfcdd._engine.settings import Settings
from skfcdd._engine.split import Split
from skfcdd._engine.tiling import explain_large
from skfcdd._engine.training import Trained, train
from skfcdd._inputs.images import ImageArray
from skfcdd._inputs.labels import Targets
from skfcdd._scoring import AnomalyScorer, of_model
from skfcdd._utils.device import PRECISIONS
from skfcdd._utils.optional import library_versions
from skfcdd._utils.sklearn import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    store_parameters,
)
from skfcdd._verdicts import Convention
from skfcdd.exceptions import ImageShapeError
from skfcdd.feature_cache import FeatureCache
from skfcdd.memory_bank import MemoryBank
from skfcdd.objectives import OBJECTIVES, Objective, resolve_objective
from skfcdd.thresholds import THRESHOLDS, Threshold

__all__ = ["BaseFCDD"]


class BaseFCDD(AnomalyScorer, CallbackSupportMixin, BaseEstimator):  # type: ignore[misc]
    """Base class of the FCDD estimators; not for direct use."""

    loss: Any
    pixel_loss: str | float | None
    warm_start: bool

    backbone_ = of_model("network.backbone_name", "Name of the backbone.")
    weights_ = of_model("network.weights", "Initial weights of the backbone.")
    net_ = of_model("runner", "Trained skorch network.")
    receptive_field_ = of_model("receptive_field", "Receptive field of a map cell.")
    precision_ = of_model("runner.precision", "Precision of the backbone.")
    roi_ = of_model("roi", "Region of interest (h, w); None for all pixels.")

    history_ = of_model("epochs", "Loss and duration of each epoch.")

    _parameter_constraints: dict[str, Any] = {
        "backbone": [str, torch.nn.Module, callable],
        "loss": [StrOptions(set(OBJECTIVES)), Objective, type],
        "weights": [str, os.PathLike, Mapping, None],
        "frozen": [Interval(Integral, 0, None, closed="left"), str, None],
        "cut": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
            None,
        ],
        "stages": [tuple, list, None],
        "feature_cache": [StrOptions({"auto"}), FeatureCache, None],
        "memory_bank": [StrOptions({"auto"}), MemoryBank, None],
        "image_shape": [tuple, list, None],
        "channels": [StrOptions({"first", "last"}), None],
        "normalize": [
            StrOptions({"auto", "standard", "contrast", "imagenet", *LIGHTS}),
            tuple,
            None,
        ],
        "resize": [Interval(Integral, 1, None, closed="left"), tuple, None],
        "roi": ["array-like", str, os.PathLike, None],
        "augment": [str, tuple, list, callable, None],
        "synthetic": [str, tuple, list, callable, None],
        "outlier_exposure": ["array-like", None],
        "oe_limit": [Interval(Integral, 1, None, closed="left"), None],
        "anomaly_fraction": [Interval(Real, 0, 1, closed="neither")],
        "pixel_loss": [
            StrOptions({"auto", "anomalous", "all"}),
            Interval(Real, 0, 1, closed="neither"),
            None,
        ],
        "score_pooling": [
            StrOptions({"mean", "max"}),
            Interval(Real, 0, 1, closed="right"),
        ],
        "heatmap_sigma": [Interval(Real, 0, None, closed="neither"), None],
        "threshold": [
            StrOptions(set(THRESHOLDS)),
            Threshold,
            Interval(Real, 0, None, closed="neither"),
        ],
        "contamination": [
            StrOptions({"auto"}),
            Interval(Real, 0, 0.5, closed="right"),
        ],
        "validation_fraction": [
            StrOptions({"auto"}),
            Interval(Real, 0, 1, closed="neither"),
        ],
        "optimizer": [StrOptions({"adam", "adamw", "sgd"}), type],
        "lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "lr_schedule": [StrOptions({"cosine", "onecycle"}), LRScheduler, None],
        "max_epochs": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "early_stopping": ["boolean"],
        "device": [str],
        "precision": [StrOptions(set(PRECISIONS))],
        "compile": ["boolean"],
        "accelerate": ["boolean"],
        "checkpoint": [str, os.PathLike, None],
        "callbacks": [list, tuple, None],
        "skorch_params": [dict, None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        backbone: Any = "auto",
        loss: Any = "fcdd",
        *,
        weights: Any = "auto",
        frozen: int | str | None = "auto",
        cut: int | str | None = None,
        stages: Sequence[int] | None = None,
        feature_cache: Any = "auto",
        memory_bank: Any = "auto",
        image_shape: tuple[int, ...] | None = None,
        channels: str | None = None,
        normalize: Any = "auto",
        resize: Any = None,
        roi: Any = None,
        augment: Any = "auto",
        synthetic: Any = "mixed",
        outlier_exposure: Any = None,
        oe_limit: int | None = None,
        anomaly_fraction: float = 0.5,
        pixel_loss: str | float | None = "auto",
        score_pooling: str | float = "mean",
        heatmap_sigma: float | None = None,
        threshold: str | float = "auto",
        contamination: str | float = "auto",
        validation_fraction: float | str = "auto",
        optimizer: Any = "adamw",
        lr: float | str = "auto",
        weight_decay: float = 1e-4,
        lr_schedule: Any = "onecycle",
        max_epochs: int | str = "auto",
        batch_size: int = 16,
        early_stopping: bool = False,
        device: str = "auto",
        precision: str = "auto",
        compile: bool = False,
        accelerate: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        callbacks: Any = None,
        skorch_params: dict[str, Any] | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        store_parameters(self, locals())

    def _fit_images(
        self,
        images: ImageArray,
        targets: Targets,
        convention: Convention,
        X: Any = None,
        y: Any = None,
    ) -> None:
        """Train on validated images, and set the learned attributes.

        X and y are the arguments of ``fit``, which are passed to callbacks.
        """
        settings = Settings.of(
            self.get_params(deep=False),
            self._parameter_constraints,
            type(self).__name__,
        ).for_images(images.image_shape)
        roi = resolve_roi(settings.roi, images)
        settings, targets = settings.for_region(roi), targets.within(roi)
        n_normal = int((~targets.anomalous & targets.kept).sum())
        settings = settings.for_rows(n_normal)
        if settings.pixel_loss is not None and not convention.judges_pixels:
            _check_pixel_loss(settings.network.loss)
        digests = settings.network.digests()
        previous = self._previous(images, digests, roi)
        blank = FittedModel(
            runner=None,
            images=self._format(images),
            judging=self._judging(),
            convention=convention,
            network=settings.network.without_weights(),
            network_digests=digests,
            versions=library_versions(),
        )

        folds: list[Fold] = []

        def prepare(split: Split, seed: int, digests: Any) -> None:
            self._check_split(split, targets)
            if settings.validation_fraction is None:
                made = lambda trained: trained.model(blank, None, images)  # noqa: E731
                folds.extend(
                    cross_fit(settings, images, targets, split, seed, digests, made)
                )

        def fitted(trained: Trained) -> FittedModel:
            model = trained.model(blank, previous, images)
            rows = self._rows(trained.split, targets)
            if not folds:
                return self._calibrated(model, images, targets, rows)
            scorer = CrossFitted(model, folds, images)
            return self._calibrated(
                model, images, targets, rows, scorer=scorer, source="out-of-fold"
            )

        def listeners(trained: Trained) -> list[Any]:
            if not hasattr(self, "_init_callback_context"):
                return []
            present = lambda: vars(self) | {"_fitted": fitted(trained)}  # noqa: E731
            return [CallbackBridge(self, X, y, present)]

        trained = train(settings, images, targets, previous, prepare, listeners)
        self._fitted = fitted(trained)
        self._warn_of_few_images()
        if settings.checkpoint is not None and not trained.net.interrupted_:
            Path(settings.checkpoint).unlink(missing_ok=True)

    def _previous(
        self,
        images: ImageArray,
        now: Mapping[str, str],
        roi: npt.NDArray[np.bool_] | None,
    ) -> FittedModel | None:
        """Return the model that ``warm_start=True`` continues to train, if any.

        `now` contains digests of the current network settings, and `roi` is the current
        region of interest.

        Raises
        ------
        ValueError
            If parameters that define the network have changed since the last fit.
        """
        if not (self.warm_start and hasattr(self, "_fitted")):
            return None
        if self.image_shape_ != images.image_shape:
            raise ImageShapeError(
                "warm_start=True continues a fit on images of shape "
                f"{self.image_shape_}, but X has images of shape "
                f"{images.image_shape}."
            )
        known = self._fitted.network_digests
        changed = [name for name in known if known[name] != now[name]]
        if not _are_equal(self._fitted.roi, roi):
            changed.append("roi")
        if changed:
            raise ValueError(
                "warm_start=True continues training the network of the last fit, but "
                f"{', '.join(changed)} changed since then. Set warm_start=False to "
                f"train a new network, or restore {changed[0]}."
            )
        return self._fitted

    def explain_parts(self, X: Any, *, heatmaps: bool = True) -> Bunch:
        """Compute heatmaps split into a defect part and a novelty part.

        Images pass through the network only once, so this takes about as long as
        ``explain``, although it also returns the scores.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.
        heatmaps : bool, default=True
            Whether to return heatmaps, in addition to `score` and `novelty_share`.

        Returns
        -------
        :class:`~sklearn.utils.Bunch`
            Dictionary-like object with these attributes:

            - `heatmap` of shape (n, h, w), float32: ``explain(X)``, the sum of `defect`
              and `novelty`.
            - `defect` of shape (n, h, w), float32: the part that the network has
              learned from synthetic or real anomalies.
            - `novelty` of shape (n, h, w), float32: the part that comes from the
              distance to the memory of normal features; 0 without a memory bank.
            - `score` of shape (n,), float64: ``anomaly_score(X)``.
            - `novelty_share` of shape (n,), float64: proportion of the score that comes
              from the memory, from 0 to 1; 0 without a memory bank.

        Raises
        ------
        ImageShapeError
            If the shape of the images differs from that in ``fit``.

        Examples
        --------
        >>> from skfcdd import FCDDClassifier
        >>> from skfcdd.datasets import make_defects
        >>> images = make_defects(20, image_size=32, anomaly_fraction=0).images
        >>> model = FCDDClassifier(max_epochs=1, random_state=0).fit(images)
        >>> parts = model.explain_parts(images[:3])
        >>> parts.defect.shape, float(parts.novelty.max())
        ((3, 32, 32), 0.0)
        """
        images = self._check_images(X)
        n, size = len(images), images.image_shape[:2]
        found = Bunch(score=np.empty(n), novelty_share=np.empty(n))
        if heatmaps:
            for name in ("heatmap", "defect", "novelty"):
                found[name] = np.empty((n, *size), dtype=np.float32)
        for rows, evidence in find_evidence(self._fitted, images, heatmaps):
            for name, values in found.items():
                values[rows] = getattr(evidence, name)
        return found

    def explain_large(
        self, image: Any, *, tile_size: int = 1024, out: Any = None, roi: Any = None
    ) -> Any:
        """Compute the heatmap of one image of any size, tile by tile.

        The network is fully convolutional, so the image may differ in size from those
        of ``fit``. Tiles overlap by the receptive field of a cell, so the result equals
        that for the whole image at once, up to rounding. Only the features of one tile,
        the cells of the whole image and the heatmap are kept in memory.

        Parameters
        ----------
        image : array of shape (h, w) or (h, w, c); (c, h, w) with ``channels="first"``
            One image of the same kind as those of ``fit``. It may be a NumPy memory
            map, or a zarr or dask array.
        tile_size : int, default=1024
            Side of a tile in pixels, without the overlap. Smaller tiles need less
            memory and more time.
        out : array of shape (h, w), default=None
            Array to write the heatmap to, as for ``explain``.
        roi : array-like, path or sequence of points, default=None
            Region of interest in this image, in any form of the parameter `roi`. It
            replaces that of ``fit``. None uses that of ``fit``, if there is one, for an
            image of the same size.

        Returns
        -------
        ndarray of shape (h, w), float32
            Heatmap; its mean equals the mean of the cells. With a region of interest,
            it is 0 outside, and cells are weighted by their pixels inside.

        Raises
        ------
        ValueError
            If the image has the wrong number of channels, contains NaN, or is smaller
            than a receptive field; if `out` has the wrong shape or is not writable; if
            `tile_size` is not a positive integer; if the receptive field covers the
            whole image or depends on the position; if the objective has no map; if
            images are resized; if several stages are used and a side of the image is
            not a multiple of the largest stride; if `roi` is None, ``fit`` had a region
            of interest, and the image differs in size from those of ``fit``; or if
            `roi` does not fit the image.

        Warns
        -----
        ValueRangeWarning
            If the pixel values have a different range than those of ``fit``.
        """
        check_is_fitted(self)
        return explain_large(self._fitted, image, tile_size, out, roi)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _are_equal(one: Any, other: Any) -> bool:
    """Return whether both are None, or both are equal arrays."""
    return (one is None) == (other is None) and np.array_equal(one, other)


def _check_pixel_loss(loss: Any) -> None:
    """Raise if the objective has no pixel-wise loss."""
    objective = resolve_objective(loss)
    if not objective.spatial:
        raise ValueError(
            f"pixel_loss= cannot be used with {type(objective).__name__}, which has no "
            "anomaly map. Set pixel_loss=None, or use an objective with a map."
        )
