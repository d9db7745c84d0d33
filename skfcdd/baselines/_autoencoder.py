"""Anomaly detection with a convolutional autoencoder."""

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

# Maps are halved along an axis until its length is at most this.
_LEAST_SIDE = 8
_MOST_LEVELS = 6
# The number of channels doubles at each level, up to this multiple.
_MOST_CHANNELS = 8
# "auto" uses a code of this length, or a shorter one if an image has few values.
_CODE, _VALUES_PER_NUMBER = 128, 8


@dataclass(frozen=True)
class _Level:
    """A convolution of the encoder and its counterpart in the decoder."""

    outer: tuple[int, int]
    inner: tuple[int, int]
    n_outer: int
    n_inner: int

    @property
    def geometry(self) -> dict[str, tuple[int, int]]:
        """Kernel, stride and padding: 4, 2, 1 to halve an axis, otherwise 3, 1, 1."""
        halved = [o != i for o, i in zip(self.outer, self.inner, strict=True)]
        rows, columns = ((4, 2) if half else (3, 1) for half in halved)
        kernel, stride = zip(rows, columns, strict=True)
        return {"kernel_size": kernel, "stride": stride, "padding": (1, 1)}

    def down(self) -> nn.Module:
        """Create the convolution of the encoder."""
        return nn.Conv2d(self.n_outer, self.n_inner, **self.geometry)  # type: ignore[arg-type]

    def up(self) -> nn.Module:
        """Create the transposed convolution of the decoder; odd sizes are restored."""
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
    """Return the levels from images (h, w, c) to the innermost map."""
    h, w, channels = shape
    outer, levels = (h, w), list[_Level]()
    while not levels or (max(outer) > _LEAST_SIDE and len(levels) < _MOST_LEVELS):
        inner = tuple(n // 2 if n > _LEAST_SIDE else n for n in outer)
        n_inner = width * min(2 ** len(levels), _MOST_CHANNELS)
        levels.append(_Level(outer, (inner[0], inner[1]), channels, n_inner))
        outer, channels = levels[-1].inner, n_inner
    return levels


def _norm(channels: int, size: tuple[int, int]) -> list[nn.Module]:
    """Create batch normalisation and activation."""
    # A batch of one image may have a single value per channel, which has no variance.
    norm = nn.BatchNorm2d(channels) if math.prod(size) > 1 else nn.Identity()
    return [norm, nn.LeakyReLU()]


class AutoencoderModule(ErrorModule):
    """Convolutional encoder and mirrored decoder.

    Parameters
    ----------
    preprocess : Preprocess
    shape : tuple of int (h, w, c)
        Shape of the network input.
    width : int
        Number of channels after the first convolution.
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
        """Encode and decode normalised images (n, c, h, w)."""
        images = images.contiguous(memory_format=torch.channels_last)
        found: Tensor = self.decoder(self.encoder(images))
        return found


class AutoencoderNet(FCDDNet):
    """Training loop of FCDD with the reconstruction error as the loss."""

    def get_loss(
        self, y_pred: Tensor, y_true: BatchTarget, X: Any = None, training: bool = False
    ) -> Tensor:
        """Return the mean of `y_pred`, the squared error of each pixel in a batch."""
        return y_pred.mean()


class AutoencoderDetector(BaselineDetector):
    """Detector based on the reconstruction error of a convolutional autoencoder.

    The autoencoder is trained on normal images only. Anything that normal images do not
    contain is lost in the bottleneck, and is missing from the reconstruction. The score
    of an image is the mean squared error; its heatmap is the squared error of each
    pixel.

    Parameters
    ----------
    n_latent : int or "auto", default="auto"
        Length of the code in the bottleneck. "auto" uses 128, or an eighth of the
        number of values of an image if that is less. Longer codes reconstruct normal
        images better, but also defects.
    width : int, default=16
        Number of channels after the first convolution, doubled at each level up to a
        factor of 8. Time grows with the square of the width.
    image_shape : tuple of int, default=None
        Shape of an image if X has flat rows: (h, w) or (h, w, c), or (c, h, w) with
        ``channels="first"``. None treats each row as an image with a single row of
        pixels.
    channels : {"first", "last"}, default=None
        Position of the channel axis in a four-dimensional X. Only needed if the shape
        of X is ambiguous.
    normalize : str, (mean, std) or None, default="auto"
        As for :class:`~skfcdd.FCDDDetector`: "auto" means "contrast", or "standard" if
        a side is shorter than 8 pixels. Errors are measured on the normalised images.
    resize : int or tuple of int (h, w), default=None
        Size to which images are resized for the network. Heatmaps have the original
        size.
    augment : str, callable, sequence of these, or None, default=None
        Random augmentations that keep a normal image normal, as for
        :class:`~skfcdd.FCDDDetector`.
    score_pooling : {"mean", "max"} or float, default="mean"
        How the score of an image is computed from the squared errors of its pixels. A
        float is the fraction of the largest errors to average.
    heatmap_sigma : float, default=None
        Standard deviation, in pixels, of a Gaussian that blurs heatmaps, which often
        improves localisation. None means no blurring. A change after ``fit`` takes
        effect when ``calibrate`` is called.
    threshold : str, Threshold or float, default="auto"
        Score above which an image is anomalous, or the rule that determines it on
        held-out images (see :mod:`skfcdd.thresholds`). "auto" means the 0.95 quantile
        of the normal scores, or the threshold implied by `contamination`; "natural" is
        not supported.
    contamination : "auto" or float, default="auto"
        A float in (0, 0.5] is the fraction of outliers in the training data: the
        threshold then labels this fraction of X as outliers. "auto" sets the
        threshold on held-out images, and labels about 5 % of them as outliers.
    validation_fraction : float, default=0.1
        Fraction of the normal images to hold out for the threshold.
    lr : float, default=2e-3
        Maximum learning rate of AdamW, with the one-cycle schedule.
    weight_decay : float, default=1e-4
        Weight decay of AdamW.
    max_epochs : int or "auto", default="auto"
        Number of passes over the normal images. "auto" uses between 5 and 50, so that
        there are about 900 steps.
    batch_size : int, default=16
        Number of images per batch.
    device : str, default="auto"
        Device of the computation, as in torch. "auto" uses CUDA if available.
    precision : {"auto", "float64", "float32", "bfloat16"}, default="auto"
        Floating-point precision of the network, as for :class:`~skfcdd.FCDDDetector`.
    random_state : int, RandomState instance or None, default=None
        Pass an int for reproducible results across multiple calls.
    verbose : int, default=0
        If 1, print a line for each epoch.

    Attributes
    ----------
    offset_ : float
        ``decision_function(X) = score_samples(X) - offset_``.
    threshold_ : float
        The negative of `offset_`. Images with a higher anomaly score are outliers.
    image_shape_ : tuple of int (h, w, c)
        Shape of the images.
    n_features_in_ : int
        Number of values per image, h * w * c.
    feature_names_in_ : ndarray of str
        Names of the columns, if X was a table with column names.
    calibration_scores_ : ndarray of shape (n_calibration,), float64
        Scores of the held-out normal images, in increasing order.
    heatmap_scale_ : tuple of float (low, high)
        Values at which the colour scale of heatmaps begins and ends.
    pixel_threshold_ : float
        Heatmap value above which pixels are outlined in plots. The heatmaps of 95 % of
        the held-out normal images do not exceed it anywhere.
    history_ : list of dict
        Loss and time of each epoch.
    net_ : skorch.NeuralNet
        The trained network.

    See Also
    --------
    PCADetector : Reconstruction from principal components.

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
    net_ = of_model("runner", "The trained skorch net.")
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
            raise KeyboardInterrupt  # skorch stops training early
        if not math.isfinite(net.history[-1]["train_loss"]):
            raise ValueError(
                f"Training diverged: the loss is not finite. Set lr to a value below "
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
        """Create batches of the normal images only, in random order."""
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
