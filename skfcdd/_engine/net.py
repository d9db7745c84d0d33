"""The skorch net that trains a module."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor

from skfcdd._engine.batches import BatchTarget, TrainingData
from skfcdd._engine.module import FCDDModule
from skfcdd._utils.device import is_out_of_memory, lowered, report_smaller_batches
from skfcdd._utils.warnings import warn_caller
from skfcdd.exceptions import DivergedTrainingWarning

__all__ = ["Batches", "FCDDNet", "Listener", "take", "unwrapped"]


@dataclass(frozen=True)
class Batches:
    """Iterable over training batches; each iteration is a new epoch."""

    data: TrainingData
    batch_size: int
    device: str

    def __iter__(self) -> Iterator[tuple[Tensor, BatchTarget]]:
        return self.data.batches(self.batch_size, self.device)


class FCDDNet(NeuralNet):  # type: ignore[misc]
    """skorch net that is trained on batches made on the device.

    Parameters
    ----------
    module : FCDDModule
        Initialised network; training continues from its weights.
    precision : {"float64", "float32", "bfloat16", "mixed"}, default="float32"
        Floating-point precision of the backbone.
    pixel_loss : {"anomalous", "all"}, float or None, default=None
        Pixel-wise objective for images with known masks. A float is its weight; the
        image-level objective has the remaining weight.
    class_weight : (float, float) or None, default=None
        Factors of the losses of normal and anomalous images; None means (1, 1).
    **kwargs
        Arguments of `skorch.NeuralNet`.
    """

    cuda_dependent_attributes_: list[str]
    # Weights after the epoch with the lowest loss, and that loss. Initially the loss is
    # that of the first batch.
    best_: dict[str, Tensor] | None = None
    best_loss_ = math.nan
    # Whether the training was interrupted within an epoch.
    interrupted_ = False
    # Number of epochs restored from the checkpoint of an interrupted training.
    n_done_ = 0
    # Digest of the initial weights, if training continues an earlier one.
    begun_ = ""
    # Whether this process prints the progress.
    reports = True

    def __init__(
        self,
        module: FCDDModule,
        *,
        precision: str = "float32",
        pixel_loss: str | float | None = None,
        class_weight: tuple[float, float] | None = None,
        **kwargs: Any,
    ) -> None:
        self.precision = precision
        self.pixel_loss = pixel_loss
        self.class_weight = class_weight
        super().__init__(module, **kwargs)

    def initialize(self) -> FCDDNet:
        """Initialise, and register further attributes with tensors on the device.

        skorch saves attributes with these prefixes such that they can be loaded on a
        machine without the device.
        """
        super().initialize()
        self.n_parts_ = 1
        self.best_, self.best_loss_ = None, math.nan
        known = self.cuda_dependent_attributes_
        more = [name for name in ("module", "callbacks") if name not in known]
        self.cuda_dependent_attributes_ = known + more
        return self

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call a method of all callbacks.

        If a callback ends the training with an exception, the callbacks after it are
        notified only if their attribute `reports` is True.
        """
        getattr(self, method_name)(self, **cb_kwargs)
        stop: BaseException | None = None
        for _, callback in self.callbacks_:
            if stop is None or getattr(callback, "reports", False):
                try:
                    getattr(callback, method_name)(self, **cb_kwargs)
                except BaseException as error:
                    if stop is None or isinstance(stop, KeyboardInterrupt):
                        stop = error
        if stop is not None:
            raise stop

    def fit_loop(
        self, X: Any, y: Any = None, epochs: int | None = None, **fit_params: Any
    ) -> Any:
        """Train for the epochs that were not restored from a checkpoint."""
        if epochs is None:
            epochs = self.max_epochs - self.n_done_
        try:
            return super().fit_loop(X, y, epochs, **fit_params)
        finally:
            self.best_ = None

    def without_data(self) -> FCDDNet:
        """Remove everything that may refer to the caller's data; return the net."""
        self.train_split = None
        for name in ("callbacks", "callbacks_"):
            kept = [pair for pair in getattr(self, name) if not _listens(pair)]
            setattr(self, name, kept)
        return self

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """Return `X`, which is a dataset already."""
        return X

    def get_iterator(self, dataset: TrainingData, training: bool = False) -> Batches:
        """Return an iterable over batches that are already on the device."""
        return Batches(dataset, self.batch_size, self.device)

    def run_single_epoch(
        self,
        iterator: Batches | None,
        training: bool,
        prefix: str,
        step_fn: Callable[..., dict[str, Tensor]],
        **fit_params: Any,
    ) -> None:
        """Run an epoch, and fetch its losses from the device at the end.

        Fetching each loss immediately would stall the device at every batch. Callbacks
        get the loss of a batch as the argument `loss` of ``on_batch_end``; the history
        contains it only after the epoch.
        """
        if iterator is None:
            return
        losses = []
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            losses.append(step["loss"].detach())
            # Equal in all processes that share a batch, so that they decide alike.
            n_images = round(len(batch[1].anomalous) / batch[1].weight)
            self.history.record_batch(f"{prefix}_batch_size", n_images)
            self.notify("on_batch_end", batch=batch, training=training, **step)
        rows = self.history[-1]["batches"][-len(losses) :]
        fetched = self._fetch(torch.stack(losses))
        if training:
            if not all(map(math.isfinite, fetched)):
                self._go_back()
            if math.isnan(self.best_loss_):
                self.best_loss_ = fetched[0]
        for row, loss in zip(rows, fetched, strict=True):
            row[f"{prefix}_loss"] = loss
        self.history.record(f"{prefix}_batch_count", len(losses))

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Store the best weights, which are restored if training diverges."""
        super().on_epoch_end(net, **kwargs)
        rows = self.history[-1]["batches"]
        losses = [row["train_loss"] for row in rows if "train_loss" in row]
        loss = sum(losses) / len(losses)
        state = self.module_.state_dict()
        if loss < self.best_loss_ and all(
            bool(v.isfinite().all()) for v in state.values()
        ):
            self.best_loss_ = loss
            self.best_ = {name: value.clone() for name, value in state.items()}

    def _go_back(self) -> None:
        """End a diverged training, and restore the best weights.

        Raises
        ------
        ValueError
            If there are no earlier weights to restore.
        KeyboardInterrupt
            Otherwise; skorch ends the training on this exception.
        """
        told = (
            f"Training diverged in epoch {len(self.history)} of {self.max_epochs}: "
            f"the loss is not finite. Choose a lower lr than {self.lr}, or check the "
            "images that augment and synthetic produce."
        )
        if self.best_ is None:
            raise ValueError(told)
        self.module_.load_state_dict(self.best_)
        del self.history[-1]
        warn_caller(
            f"{told} The estimator keeps the weights of the earlier epoch with the "
            f"lowest loss, {self.best_loss_:.4g}.",
            DivergedTrainingWarning,
        )
        raise KeyboardInterrupt

    def train_step_single(
        self, batch: tuple[Any, BatchTarget], **fit_params: Any
    ) -> dict[str, Tensor]:
        """Compute the gradients of a batch, in several parts if memory runs out.

        Warns
        -----
        OutOfMemoryWarning
            Once per training.
        """
        while True:
            try:
                return self._step_in_parts(batch, **fit_params)
            except (RuntimeError, MemoryError) as error:
                size = -(-len(batch[1].anomalous) // self.n_parts_)
                if not is_out_of_memory(error) or size == 1:
                    raise
            # Outside of the handler, results of the failed step are no longer
            # referenced.
            if self.n_parts_ == 1:
                report_smaller_batches((size + 1) // 2, self.device)
            self.n_parts_ *= 2
            self.module_.zero_grad(set_to_none=True)

    def _step_in_parts(
        self, batch: tuple[Any, BatchTarget], **fit_params: Any
    ) -> dict[str, Tensor]:
        if self.n_parts_ == 1:
            step: dict[str, Tensor] = super().train_step_single(batch, **fit_params)
            return step
        n = len(batch[1].anomalous)
        losses, anomaly_maps = [], []
        for k in range(self.n_parts_):  # each part has its share of normal images
            index = torch.arange(k, n, self.n_parts_, device=self.device)
            share = len(index) / n
            if not len(index):
                continue
            x, y = take(batch[0], index), batch[1].take(index)
            y_pred = self.infer(x, **fit_params)
            loss = self.get_loss(y_pred, y, X=x, training=True) * share
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            anomaly_maps.append(y_pred.detach())
        return {"loss": torch.stack(losses).sum(), "y_pred": torch.cat(anomaly_maps)}

    def single(self) -> FCDDNet:
        """Return the net without its data, after training."""
        return self.without_data()

    def _fetch(self, losses: Tensor) -> list[float]:
        """Return losses as numbers."""
        return losses.tolist()

    def infer(self, x: Tensor | tuple[Tensor, ...], **fit_params: Any) -> Tensor:
        """Compute the anomaly maps of a batch."""
        with lowered(self.precision, self.device):
            anomaly_maps: Tensor = self.module_(x, **fit_params)
        return anomaly_maps

    def get_loss(
        self, y_pred: Tensor, y_true: BatchTarget, X: Any = None, training: bool = False
    ) -> Tensor:
        """Compute the mean loss of a batch."""
        losses = self._losses(y_pred, y_true)
        if self.class_weight is not None:
            normal, anomalous = self.class_weight
            losses = losses * (normal + (anomalous - normal) * y_true.anomalous)
        return losses.mean() * y_true.weight

    def _losses(self, y_pred: Tensor, y_true: BatchTarget) -> Tensor:
        """Compute the loss of each image of a batch."""
        module = unwrapped(self)
        objective, scores = module.objective, module.mean_of(y_pred)
        if self.pixel_loss is None or not objective.spatial:
            losses: Tensor = objective.loss(scores, y_true.anomalous)
            return losses
        share, over = 1.0, self.pixel_loss
        if not isinstance(over, str):
            share, over = over, "anomalous"
        # Each of the two losses gets harmless inputs for images that use the other one,
        # so that neither can pass NaN to the gradient of the other.
        known = y_true.has_mask
        alone = known if share == 1 else torch.zeros_like(known)
        by_label = objective.loss(
            torch.where(alone, torch.ones_like(scores), scores), y_true.anomalous
        )
        maps = torch.where(known[:, None, None], y_pred, torch.ones_like(y_pred))
        heatmaps, masks = module.upsample(maps), y_true.masks[:, 0]
        roi = module.preprocess.roi
        if roi is not None:  # the pixels that count, as images of a single row
            heatmaps, masks = roi.pixels(heatmaps), roi.pixels(masks)
        by_mask = objective.pixel_loss(heatmaps, masks, over=over)
        if share < 1:
            by_mask = share * by_mask + (1 - share) * by_label
        return torch.where(known, by_mask, by_label)


def take(x: Any, index: Tensor) -> Any:
    """Select images of a batch, or their features."""
    return tuple(part[index] for part in x) if isinstance(x, tuple) else x[index]


def unwrapped(net: FCDDNet) -> Any:
    """Return the module of a net without the wrapper of distributed training."""
    return getattr(net.module_, "module", net.module_)


class Listener(Callback):  # type: ignore[misc]
    """Callback of the package, which is removed from the net after training."""

    # Whether it is still notified after another callback has ended the training.
    reports = False


def _listens(pair: Any) -> bool:
    callback = pair[1] if isinstance(pair, tuple) else pair
    return isinstance(callback, Listener)
