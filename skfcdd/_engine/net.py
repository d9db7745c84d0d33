"""The network that is trained, and the skorch net that trains it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from skorch import NeuralNet
from torch import Tensor, nn

from skfcdd._engine.batches import Target, TrainingData
from skfcdd._engine.preprocessing import Preprocess
from skfcdd._utils.device import lowered
from skfcdd._utils.memory import is_out_of_memory, report_smaller_batches
from skfcdd.exceptions import DivergedTrainingWarning
from skfcdd.heatmaps import GaussianUpsampler
from skfcdd.objectives import Objective, pixel_loss

__all__ = [
    "Batches",
    "FCDDModule",
    "FCDDNet",
]


class FCDDModule(nn.Module):
    """Normalisation, backbone and objective; images in, cells out.

    Parameters
    ----------
    preprocess : Preprocess
    backbone : torch.nn.Module
        Maps (n, c, h, w) to (n, d, u, v).
    objective : Objective
        With its head built.
    upsample : GaussianUpsampler
        Cells to heatmaps at the size that the network sees.
    split : int, default=0
        Number of layers of a :class:`~skfcdd.backbones.StagedNetwork` that are frozen.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        backbone: nn.Module,
        objective: Objective,
        upsample: GaussianUpsampler,
        split: int = 0,
    ) -> None:
        super().__init__()
        self.split = split
        self.preprocess = preprocess
        self.backbone = backbone
        self.objective = objective
        self.upsample = upsample
        # Spread of the scores of some images before any training.
        self.initial_spread: float | None = None

    def train(self, mode: bool = True) -> FCDDModule:
        """Set the mode; frozen layers stay in that of evaluation.

        Otherwise their batch normalisation would go on learning its statistics.
        """
        super().train(mode)
        if self.split:
            for path in self.backbone.paths[: self.split]:  # type: ignore[index]
                self.backbone.get_submodule(path).eval()
        return self

    def features(self, images: Tensor) -> Tensor:
        """Features (n, d, u, v) of images in the unit range."""
        features: Tensor = self.backbone(self._normalized(images))
        return features

    def frozen_features(self, images: Tensor) -> tuple[Tensor, ...]:
        """What the layers that are trained need of images in the unit range."""
        kept: tuple[Tensor, ...] = self.backbone.head(  # type: ignore[operator]
            self._normalized(images), self.split
        )
        return kept

    def _normalized(self, images: Tensor) -> Tensor:
        images = self.preprocess(images.to(self.preprocess.mean.dtype))
        return images.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Cells (n, u, v), float32, of images (n, c, h, w) in the unit range.

        Or of what :meth:`frozen_features` gave for them.
        """
        if isinstance(images, tuple):
            features = self.backbone.tail(images, self.split)  # type: ignore[operator]
        else:
            features = self.features(images)
        cells: Tensor = self.objective(features)
        return cells


@dataclass(frozen=True)
class Batches:
    """The batches of an epoch, as often as one asks for them."""

    data: TrainingData
    batch_size: int
    device: str

    def __iter__(self) -> Iterator[tuple[Tensor, Target]]:
        return self.data.batches(self.batch_size, self.device)


class FCDDNet(NeuralNet):  # type: ignore[misc]
    """skorch's training loop, fed with whole batches from the device.

    Parameters
    ----------
    module : FCDDModule
        Initialised; training goes on from its weights.
    precision : {"float64", "float32", "bfloat16"}, default="float32"
        In which the backbone computes.
    pixel_loss : {"anomalous", "all"} or None, default=None
        Pixel-wise objective where masks are known.
    **kwargs
        As for `skorch.NeuralNet`.
    """

    cuda_dependent_attributes_: list[str]
    # Hears of what callbacks hear of, after them, while ``fit`` lasts.
    reporter: Any = None
    checkpoint: Any = None
    # Weights after the epoch with the lowest loss, and that loss; before, the loss of
    # the first batch.
    best_: dict[str, Tensor] | None = None
    best_loss_ = math.nan
    # Whether the training was broken off within an epoch.
    interrupted_ = False
    # Digest of the weights that it began with, if they were not fresh.
    begun_ = ""
    # Whether this process is the one that prints.
    reports = True

    def __init__(
        self,
        module: FCDDModule,
        *,
        precision: str = "float32",
        pixel_loss: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.precision = precision
        self.pixel_loss = pixel_loss
        super().__init__(module, **kwargs)

    def initialize(self) -> FCDDNet:
        """Initialise, and name what else holds tensors of the device.

        skorch writes the attributes with these prefixes such that they can be read on
        a machine without the device.
        """
        super().initialize()
        self.n_parts_ = 1
        self.best_, self.best_loss_ = None, math.nan
        known = self.cuda_dependent_attributes_
        more = [name for name in ("module", "callbacks") if name not in known]
        self.cuda_dependent_attributes_ = known + more
        return self

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Tell callbacks, then the checkpoint and the reporter."""
        try:
            super().notify(method_name, **cb_kwargs)
            self._tell(self.checkpoint, method_name)
        finally:  # callbacks that end the training do so by an exception
            self._tell(self.reporter, method_name)

    def _tell(self, listener: Any, method_name: str) -> None:
        method = getattr(listener, method_name, None)
        if method is not None:
            method(self)

    def fit_loop(
        self, X: Any, y: Any = None, epochs: int | None = None, **fit_params: Any
    ) -> Any:
        """Train for the epochs that a checkpoint leaves to be done."""
        if epochs is None and self.checkpoint is not None:
            epochs = self.max_epochs - self.checkpoint.n_done
        try:
            return super().fit_loop(X, y, epochs, **fit_params)
        finally:
            self.best_ = None

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """Datasets come ready-made."""
        return X

    def get_iterator(self, dataset: TrainingData, training: bool = False) -> Batches:
        """Batches that are already on the device, anew for every epoch."""
        return Batches(dataset, self.batch_size, self.device)

    def run_single_epoch(
        self,
        iterator: Batches | None,
        training: bool,
        prefix: str,
        step_fn: Callable[..., dict[str, Tensor]],
        **fit_params: Any,
    ) -> None:
        """Work through an epoch, and fetch its losses from the device at the end.

        To fetch each at once would stop the queue of the device at every batch.
        Callbacks find the losses of batches in the history from the end of the epoch
        on, and in ``on_batch_end`` as the argument `loss`.
        """
        if iterator is None:
            return
        losses = []
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            losses.append(step["loss"].detach())
            # Alike in all processes that share a batch, for they decide by it.
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
        """Keep the best weights, to go back to if training diverges."""
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
        """End a training that diverged, with the weights of before.

        Raises
        ------
        ValueError
            If nothing was learned before.
        KeyboardInterrupt
            By which skorch lets a training end.
        """
        told = (
            f"Training diverged in epoch {len(self.history)} of {self.max_epochs}: the "
            f"loss is not finite. Choose a lower lr than {self.lr}, or check what "
            f"augment and synthetic make of the images."
        )
        if self.best_ is None:
            raise ValueError(told)
        self.module_.load_state_dict(self.best_)
        del self.history[-1]
        warnings.warn(
            f"{told} The estimator has the weights of the epoch before with the lowest "
            f"loss, {self.best_loss_:.4g}.",
            DivergedTrainingWarning,
            stacklevel=12,
        )
        raise KeyboardInterrupt

    def train_step_single(
        self, batch: tuple[Any, Target], **fit_params: Any
    ) -> dict[str, Tensor]:
        """Gradients of a batch; in several parts where memory does not hold it.

        Warns
        -----
        OutOfMemoryWarning
            Once in a training run.
        """
        while True:
            try:
                return self._step_in_parts(batch, **fit_params)
            except (RuntimeError, MemoryError) as error:
                size = -(-len(batch[1].anomalous) // self.n_parts_)
                if not is_out_of_memory(error) or size == 1:
                    raise
            # Only now does nothing hold on to what was computed.
            if self.n_parts_ == 1:
                report_smaller_batches((size + 1) // 2, self.device)
            self.n_parts_ *= 2
            self.module_.zero_grad(set_to_none=True)

    def _step_in_parts(
        self, batch: tuple[Any, Target], **fit_params: Any
    ) -> dict[str, Tensor]:
        if self.n_parts_ == 1:
            step: dict[str, Tensor] = super().train_step_single(batch, **fit_params)
            return step
        n = len(batch[1].anomalous)
        losses, cells = [], []
        for k in range(self.n_parts_):  # each with its share of normal images
            index = torch.arange(k, n, self.n_parts_, device=self.device)
            share = len(index) / n
            if not len(index):
                continue
            x, y = take(batch[0], index), batch[1].take(index)
            y_pred = self.infer(x, **fit_params)
            loss = self.get_loss(y_pred, y, X=x, training=True) * share
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            cells.append(y_pred.detach())
        return {"loss": torch.stack(losses).sum(), "y_pred": torch.cat(cells)}

    def single(self) -> FCDDNet:
        """The trained net, where it was one of several processes' by itself."""
        return self

    def _fetch(self, losses: Tensor) -> list[float]:
        """Losses as numbers."""
        return losses.tolist()

    def infer(self, x: Tensor | tuple[Tensor, ...], **fit_params: Any) -> Tensor:
        """Cells of a batch."""
        with lowered(self.precision, self.device):
            cells: Tensor = self.module_(x, **fit_params)
        return cells

    def get_loss(
        self, y_pred: Tensor, y_true: Target, X: Any = None, training: bool = False
    ) -> Tensor:
        """Mean loss of a batch."""
        # Where several processes train, each holds the module in a wrapper.
        module: Any = getattr(self.module_, "module", self.module_)
        losses = module.objective.loss(y_pred.mean(dim=(1, 2)), y_true.anomalous)
        if self.pixel_loss is not None and module.objective.spatial:
            pixelwise = pixel_loss(
                module.upsample(y_pred), y_true.masks[:, 0], over=self.pixel_loss
            )
            losses = torch.where(y_true.has_mask, pixelwise, losses)
        return losses.mean() * y_true.weight


def take(x: Any, index: Tensor) -> Any:
    """Some images of a batch, or of its features."""
    return tuple(part[index] for part in x) if isinstance(x, tuple) else x[index]
