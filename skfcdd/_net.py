"""The network that is trained, and the skorch net that trains it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from skorch import NeuralNet
from torch import Tensor, nn

from skfcdd._batches import InferenceData, Target, TrainingData
from skfcdd._preprocess import Preprocess
from skfcdd.heatmaps import GaussianUpsampler
from skfcdd.objectives import Objective, pixel_loss

__all__ = ["FCDDModule", "FCDDNet", "resolve_device", "resolve_precision", "seeded"]

# Images of fewer pixels are tiny.
_TINY = 24 * 24


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
class _Batches:
    """The batches of an epoch, as often as one asks for them."""

    data: InferenceData | TrainingData
    batch_size: int
    device: str

    def __iter__(self) -> Iterator[tuple[Tensor, Target | None]]:
        return self.data.batches(self.batch_size, self.device)


class FCDDNet(NeuralNet):  # type: ignore[misc]
    """skorch's training loop, fed with whole batches from the device.

    Parameters
    ----------
    module : FCDDModule
        Initialised; training goes on from its weights.
    precision : {"float64", "float32", "bfloat16"}, default="float32"
        In which the backbone is trained.
    pixel_loss : {"anomalous", "all"} or None, default=None
        Pixel-wise objective where masks are known.
    **kwargs
        As for `skorch.NeuralNet`.
    """

    cuda_dependent_attributes_: list[str]

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
        known = self.cuda_dependent_attributes_
        more = [name for name in ("module", "callbacks") if name not in known]
        self.cuda_dependent_attributes_ = known + more
        return self

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """Datasets come ready-made."""
        return X

    def get_iterator(
        self, dataset: InferenceData | TrainingData, training: bool = False
    ) -> _Batches:
        """Batches that are already on the device, anew for every epoch."""
        return _Batches(dataset, self.batch_size, self.device)

    def infer(self, x: Tensor | tuple[Tensor, ...], **fit_params: Any) -> Tensor:
        """Cells of a batch; in lower precision only while training.

        Scores stay in float32, so that a model answers alike on every machine.
        """
        lower = self.module_.training and self.precision == "bfloat16"
        with torch.autocast(
            torch.device(self.device).type, dtype=torch.bfloat16, enabled=lower
        ):
            cells: Tensor = self.module_(x, **fit_params)
        return cells

    def get_loss(
        self, y_pred: Tensor, y_true: Target, X: Any = None, training: bool = False
    ) -> Tensor:
        """Mean loss of a batch."""
        module: FCDDModule = self.module_
        losses = module.objective.loss(y_pred.mean(dim=(1, 2)), y_true.anomalous)
        if self.pixel_loss is not None and module.objective.spatial:
            pixelwise = pixel_loss(
                module.upsample(y_pred), y_true.masks[:, 0], over=self.pixel_loss
            )
            losses = torch.where(y_true.has_mask, pixelwise, losses)
        return losses.mean()


def resolve_device(device: str) -> str:
    """The device that `device` names, after a look whether it is there.

    Raises
    ------
    ValueError
        If it is not.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=torch.device(device))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"Got device={device!r}, which this machine or this build of torch does "
            f"not have ({str(error).splitlines()[0]}). Use 'cpu' or 'auto'."
        ) from error
    return device


def resolve_precision(precision: str, device: str, n_pixels: int) -> str:
    """The precision for training on `device` with images of `n_pixels` pixels.

    "auto" takes float64 for tiny images (rows of a table, say), where it costs
    nothing and makes scores independent of the batch they are computed in; else
    bfloat16 where the hardware has units for it, else float32.
    """
    if precision != "auto":
        return precision
    if n_pixels < _TINY:
        return "float64"
    if torch.device(device).type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        native = any(getattr(torch.cpu, name, bool)() for name in probes)
    return "bfloat16" if native else "float32"


@contextmanager
def seeded(seed: int | None, device: str) -> Iterator[None]:
    """Run with torch's global generators seeded, and leave them as they were.

    With None the generators are restored, but not seeded.
    """
    kind = torch.device(device).type
    devices = [torch.device(device)] if kind == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        if seed is not None:
            torch.manual_seed(seed)
        yield
