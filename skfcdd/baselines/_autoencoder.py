"""A convolutional autoencoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, cast

import numpy as np
import torch
from skorch.callbacks import LRScheduler
from torch import Tensor, nn

from skfcdd._engine.augmentation import resolve_augment
from skfcdd._engine.batches import BatchTarget, TrainingData
from skfcdd._engine.net import FCDDNet
from skfcdd._engine.optimization import resolve_max_epochs
from skfcdd._engine.preprocessing import Preprocess
from skfcdd._scoring import of_model
from skfcdd._utils.sklearn import Interval, StrOptions, store_parameters
from skfcdd.baselines._base import BaselineDetector, ErrorModel, ErrorModule, Lesson

__all__ = ["AutoencoderDetector"]

# Maps are halved along an axis until they are no longer than this.
_LEAST_SIDE = 8
_MOST_LEVELS = 6
# From level to level there are twice as many channels, up to this multiple.
_MOST_CHANNELS = 8
# "auto" takes a code of so many numbers, or fewer where an image has few values.
_CODE, _VALUES_PER_NUMBER = 128, 8


@dataclass(frozen=True)
class _Level:
    """One convolution of the encoder, and the one of the decoder that mirrors it."""

    outer: tuple[int, int]
    inner: tuple[int, int]
    n_outer: int
    n_inner: int

    @property
    def geometry(self) -> dict[str, tuple[int, int]]:
        """Kernel, stride and padding: 4, 2, 1 where an axis is halved, else 3, 1, 1."""
        halved = [o != i for o, i in zip(self.outer, self.inner, strict=True)]
        rows, columns = ((4, 2) if half else (3, 1) for half in halved)
        kernel, stride = zip(rows, columns, strict=True)
        return {"kernel_size": kernel, "stride": stride, "padding": (1, 1)}

    def down(self) -> nn.Module:
        """To the inner map."""
        return nn.Conv2d(self.n_outer, self.n_inner, **self.geometry)  # type: ignore[arg-type]

    def up(self) -> nn.Module:
        """Back to the outer map, also where its size is odd."""
        rest = [
            o - i * (2 if o != i else 1)
            for o, i in zip(self.outer, self.inner, strict=True)
        ]
        return nn.ConvTranspose2d(
            self.n_inner,
            self.n_outer,
            output_padding=(rest[0], rest[1]),
            **self.geometry,  # type: ignore[arg-type]
        )


def _levels(shape: tuple[int, int, int], width: int) -> list[_Level]:
    """From images (h, w, c) to the innermost map."""
    h, w, channels = shape
    outer, levels = (h, w), list[_Level]()
    while not levels or (max(outer) > _LEAST_SIDE and len(levels) < _MOST_LEVELS):
        inner = tuple(n // 2 if n > _LEAST_SIDE else n for n in outer)
        n_inner = width * min(2 ** len(levels), _MOST_CHANNELS)
        levels.append(_Level(outer, (inner[0], inner[1]), channels, n_inner))
        outer, channels = levels[-1].inner, n_inner
    return levels


def _norm(channels: int, size: tuple[int, int]) -> list[nn.Module]:
    """Batch normalisation and activation."""
    # A single value is all that a batch of one image may have.
    norm = nn.BatchNorm2d(channels) if math.prod(size) > 1 else nn.Identity()
    return [norm, nn.LeakyReLU()]


class AutoencoderModule(ErrorModule):
    """Convolutions to a code, and the same in reverse order back.

    Parameters
    ----------
    preprocess : Preprocess
    shape : tuple of int (h, w, c)
        Of the images that the network sees.
    width : int
        Channels behind the first convolution.
    n_latent : int
        Length of the code.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        shape: tuple[int, int, int],
        width: int,
        n_latent: int,
    ) -> None:
        super().__init__(preprocess)
        levels = _levels(shape, width)
        last = levels[-1]
        inside = (last.n_inner, *last.inner)
        encoder: list[nn.Module] = []
        for level in levels:
            encoder += [level.down(), *_norm(level.n_inner, level.inner)]
        self.encoder = nn.Sequential(
            *encoder, nn.Flatten(), nn.Linear(math.prod(inside), n_latent)
        )
        decoder: list[nn.Module] = [
            nn.Linear(n_latent, math.prod(inside)),
            nn.Unflatten(1, inside),
        ]
        for level in reversed(levels):
            decoder += [*_norm(level.n_inner, level.inner), level.up()]
        self.decoder = nn.Sequential(*decoder)

    def reconstruct(self, images: Tensor) -> Tensor:
        """What the code keeps of normalised images (n, c, h, w)."""
        images = images.contiguous(memory_format=torch.channels_last)
        found: Tensor = self.decoder(self.encoder(images))
        return found


class AutoencoderNet(FCDDNet):
    """The training loop of FCDD, with the error of the reconstruction as the loss."""

    def get_loss(
        self, y_pred: Tensor, y_true: BatchTarget, X: Any = None, training: bool = False
    ) -> Tensor:
        """Mean squared error of a batch, whose errors at the pixels are the cells."""
        return y_pred.mean()


class AutoencoderDetector(BaselineDetector):
    """Reconstruct images by a convolutional autoencoder trained on normal ones.

    What normal images do not show does not fit through the narrow middle of the
    network, and is missing from the reconstruction. The score of an image is the mean
    squared error, and its heatmap the squared error of each pixel.

    Parameters
    ----------
    n_latent : int or "auto", default="auto"
        Length of the code in the middle. "auto" takes 128, or an eighth of the number
        of values of an image where that is less. Longer codes show more of normal
        images, and of defects.
    width : int, default=16
        Channels behind the first convolution; from level to level there are twice as
        many, up to 8 times. Time grows with its square.
    image_shape : tuple of int, default=None
        Layout of an image, where X has flat rows: (h, w) or (h, w, c); (c, h, w) with
        ``channels="first"``. None takes flat rows for images of one row.
    channels : {"first", "last"}, default=None
        Order of the axes of a four-dimensional X. Needed only where both readings are
        possible.
    normalize : str, (mean, std) or None, default="auto"
        As for :class:`~skfcdd.FCDDDetector`: "auto" takes "contrast", or "standard"
        where a side is shorter than 8 pixels. Errors are measured behind it.
    resize : int or tuple of int (h, w), default=None
        Size to which images are brought for the network. Heatmaps come back at the
        original size.
    augment : str, callable, sequence of these, or None, default=None
        Random changes that keep a normal image normal, as for
        :class:`~skfcdd.FCDDDetector`.
    score_pooling : {"mean", "max"} or float, default="mean"
        How the squared errors of the pixels make the score of an image. A float is the
        share of greatest ones to average.
    heatmap_sigma : float, default=None
        Standard deviation in pixels of a Gaussian with which heatmaps are blurred,
        which often shows better where a defect is. None does not blur. A change
        after ``fit`` takes effect in ``calibrate``.
    threshold : str, Threshold or float, default="auto"
        The score above which an image is anomalous, or the rule that finds it on
        images held out of training, see :mod:`skfcdd.thresholds`. "auto" takes the
        quantile 0.95 of normal scores, or what `contamination` says; all but "natural"
        are possible.
    contamination : "auto" or float, default="auto"
        A float is the share of outliers in the X of ``fit``, in (0, 0.5]: the
        threshold then calls as many of X outliers. "auto" sets it on held-out images,
        of which it may call 0.05 outliers.
    validation_fraction : float, default=0.1
        Share of the normal images to hold out for the threshold.
    lr : float, default=2e-3
        Greatest learning rate of AdamW; it rises and falls once ("onecycle").
    weight_decay : float, default=1e-4
        Weight decay.
    max_epochs : int or "auto", default="auto"
        Number of passes over the normal images. "auto" takes between 5 and 50, as
        many as give about 900 steps.
    batch_size : int, default=16
        Images in a batch.
    device : str, default="auto"
        Where to compute, as torch names it. "auto" takes CUDA where there is one.
    precision : {"auto", "float64", "float32", "bfloat16"}, default="auto"
        In which the network computes, as for :class:`~skfcdd.FCDDDetector`.
    random_state : int, RandomState instance or None, default=None
        Same data, parameters and int give the same model. None draws fresh entropy.
    verbose : int, default=0
        1 prints a line for each epoch.

    Attributes
    ----------
    offset_ : float
        ``decision_function(X) = score_samples(X) - offset_``.
    threshold_ : float
        Its negative: an image with a greater anomaly score is an outlier.
    image_shape_ : tuple of int (h, w, c)
        Shape of the images.
    n_features_in_ : int
        h * w * c.
    feature_names_in_ : ndarray of str
        Names of the columns, where X was a table with names.
    calibration_scores_ : ndarray of shape (n_calibration,), float64
        Scores of the normal images that were held out, in increasing order.
    heatmap_scale_ : tuple of float (low, high)
        Where the colours of heatmaps begin and end.
    pixel_threshold_ : float
        Pixels of heatmaps above it are outlined in pictures. The heatmaps of 95 % of
        the held-out normal images nowhere exceed it.
    history_ : list of dict
        Loss and time of each epoch.
    net_ : skorch.NeuralNet
        The trained net.

    See Also
    --------
    PCADetector : Reconstruct from principal components.

    Examples
    --------
    >>> from skfcdd.baselines import AutoencoderDetector
    >>> from skfcdd.datasets import make_defects
    >>> data = make_defects(n_samples=40, image_size=32, random_state=0)
    >>> normal = data.images[data.target == 0]
    >>> model = AutoencoderDetector(max_epochs=2, random_state=0).fit(normal)
    >>> model.explain(data.images).shape
    (40, 32, 32)
    """

    _parameter_constraints: dict[str, Any] = {
        **BaselineDetector._parameter_constraints,
        "n_latent": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "width": [Interval(Integral, 1, None, closed="left")],
        "augment": [str, tuple, list, callable, None],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "max_epochs": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "device": [str],
        "precision": [StrOptions({"auto", "float64", "float32", "bfloat16"})],
        "verbose": ["verbose"],
    }
    net_ = of_model("runner", "The trained net of skorch.")
    history_ = of_model("epochs", "Loss and time of each epoch.")

    def __init__(
        self,
        n_latent: int | str = "auto",
        *,
        width: int = 16,
        image_shape: tuple[int, ...] | None = None,
        channels: str | None = None,
        normalize: Any = "auto",
        resize: Any = None,
        augment: str | Sequence[Any] | Any = None,
        score_pooling: str | float = "mean",
        heatmap_sigma: float | None = None,
        threshold: Any = "auto",
        contamination: str | float = "auto",
        validation_fraction: float = 0.1,
        lr: float = 2e-3,
        weight_decay: float = 1e-4,
        max_epochs: int | str = "auto",
        batch_size: int = 16,
        device: str = "auto",
        precision: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        store_parameters(self, locals())

    def _learn(self, lesson: Lesson) -> ErrorModel:
        module = self._module(lesson)
        data = self._batches(lesson, module.preprocess)
        net = self._net(module, data.n_batches(self.batch_size), lesson)
        net.fit(data, None)
        if "train_loss" not in net.history[-1]:
            raise KeyboardInterrupt  # which skorch takes for an early end
        if not math.isfinite(net.history[-1]["train_loss"]):
            raise ValueError(
                f"Training diverged: the loss is not finite. Choose a lower lr than "
                f"{self.lr}."
            )
        history = tuple(net.history)
        return ErrorModel(runner=net, history=history, **self._known(lesson))

    def _module(self, lesson: Lesson) -> AutoencoderModule:
        preprocess = Preprocess.learn(
            lesson.images, lesson.rows, self.normalize, lesson.size
        )
        shape = lesson.input_shape
        n_latent = self.n_latent
        if isinstance(n_latent, str):
            n_latent = min(_CODE, max(1, math.prod(shape) // _VALUES_PER_NUMBER))
        module = AutoencoderModule(preprocess, shape, self.width, n_latent)
        return module.to(lesson.dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _batches(self, lesson: Lesson, preprocess: Preprocess) -> TrainingData:
        """The normal images alone, in random order."""
        images, device = lesson.images, lesson.device
        if torch.device(device).type == "cuda":
            images = images.resident(device, torch.cuda.mem_get_info(device)[0])
        return TrainingData(
            images,
            lesson.rows,
            np.empty(0, dtype=np.intp),
            preprocess,
            torch.Generator(device).manual_seed(lesson.seed),
            augment=resolve_augment(self.augment),
            anomaly_fraction=0.0,
        )

    def _net(
        self, module: AutoencoderModule, n_batches: int, lesson: Lesson
    ) -> AutoencoderNet:
        max_epochs = resolve_max_epochs(self.max_epochs, n_batches)
        schedule = LRScheduler(
            torch.optim.lr_scheduler.OneCycleLR,
            step_every="batch",
            max_lr=self.lr,
            total_steps=max_epochs * n_batches + 1,
        )
        return AutoencoderNet(
            cast(Any, module),
            criterion=nn.Identity,
            optimizer=torch.optim.AdamW,
            optimizer__weight_decay=self.weight_decay,
            lr=self.lr,
            max_epochs=max_epochs,
            batch_size=self.batch_size,
            device=lesson.device,
            precision=lesson.precision,
            train_split=None,
            callbacks=[("lr_schedule", schedule)],
            verbose=self.verbose,
        )
