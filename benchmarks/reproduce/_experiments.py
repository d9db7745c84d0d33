"""What the paper ran, as data, and what it published.

P. Liznerski, L. Ruff, R. A. Vandermeulen, B. J. Franks, M. Kloft, K.-R. Mueller:
Explainable deep one-class classification. ICLR 2021, arXiv:2007.01760. Settings are
those of the paper and of the arguments that the authors' code gives to its runners.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from skfcdd._engine.augmentation import Augmentation

from ._changes import ColorJitter, Either, Noise, PaddedCrop, Zoom
from ._schedules import Decay, Schedule, Steps

SOURCE = "Liznerski et al., Explainable Deep One-Class Classification, ICLR 2021"

_TWICE = (
    "An epoch shows every normal image once, and as many anomalies beside them; in the "
    "authors' code each image is replaced by an anomaly with a chance of 1/2, so an "
    "epoch here is twice as many steps."
)
_HELD_OUT = "1 % of the normal images are held out for the threshold."
_EXPOSED = (
    "Exposed images are cropped, flipped and jittered once before training, not anew "
    "in each epoch."
)
_CONTRAST = (
    "Each image is divided by its standard deviation, not by its mean absolute "
    "deviation, and not brought to a range written down for its class."
)


@dataclass(frozen=True)
class Experiment:
    """One experiment: what to train on what, how long, and what was published.

    Parameters
    ----------
    title : str
    data : str
        Key of `_sources.SOURCES`.
    exposure : str or None
        Key of `_sources.EXPOSURES`.
    params : mapping
        Of the estimator.
    augment : tuple
        As for the estimators.
    schedule : Schedule or None
        None leaves the estimator's.
    epochs : int
        As published, or of our own choice in ablations.
    passes : int
        Passes over the normal images in each of them.
    pixels : bool
        Whether `FCDDSegmenter` is trained; anomalies then come with masks.
    figure : str
        The figure that was published, "image_auroc" or "pixel_auroc".
    published : float or None
        Mean over the classes.
    published_by_class : mapping of str to float
    differs : tuple of str
        In what a complete run differs from the published one.
    classes : tuple of str
        Those that are run unless others are named; empty for all of the data.
    variants : mapping of str to mapping
        Parameters that are changed, each with a training of its own.
    readings : mapping of str to mapping
        Parameters with which a trained model is read.
    n_exposed : mapping of str to int
        How many exposed images a variant takes; all where it is not named.
    images : int or None
        Number of normal images; None for all.
    equal_time : bool
        A budget gives each variant as many epochs as it can do in the same time, not
        the same number of epochs.
    """

    title: str
    data: str
    params: Mapping[str, Any]
    epochs: int
    exposure: str | None = None
    augment: tuple[str | Augmentation, ...] | None = None
    schedule: Schedule | None = None
    passes: int = 1
    pixels: bool = False
    figure: str = "image_auroc"
    published: float | None = None
    published_by_class: Mapping[str, float] = field(default_factory=dict)
    differs: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"": {}})
    readings: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"": {}})
    n_exposed: Mapping[str, int] = field(default_factory=dict)
    images: int | None = None
    equal_time: bool = False


_EXPOSURE = {"synthetic": None, "anomaly_fraction": 0.5, "validation_fraction": 0.01}
_SGD = {"optimizer": "sgd", "weight_decay": 1e-6, "batch_size": 128}
_ADAM = {"optimizer": "adam", "lr": 1e-3, "weight_decay": 1e-6, "batch_size": 200}
_SIX_HUNDRED = {"schedule": Steps(0.1, (400, 500)), "epochs": 600}
_FAINT = ColorJitter(0.01, 0.01, 0.01, 0.01)

_FASHION = Experiment(
    title="Fashion-MNIST, one class against nine, EMNIST letters exposed",
    data="fashion_mnist",
    exposure="emnist",
    params={
        **_EXPOSURE,
        **_SGD,
        "backbone": "fcdd28_wide",
        "lr": 1e-2,
        "normalize": "contrast",
        "heatmap_sigma": 1.2,
    },
    augment=(PaddedCrop(2), "horizontal_flip"),
    schedule=Decay(0.98),
    epochs=400,
    published=0.89,
    differs=(_TWICE, _CONTRAST, _EXPOSED, _HELD_OUT),
)

_CIFAR = Experiment(
    title="CIFAR-10, one class against nine, CIFAR-100 exposed",
    data="cifar10",
    exposure="cifar100",
    params={
        **_EXPOSURE,
        **_ADAM,
        "backbone": "fcdd32_lw3k",
        "normalize": "standard",
        "heatmap_sigma": 1.2,
    },
    augment=(_FAINT, PaddedCrop(4), "horizontal_flip", Noise(0.001)),
    **_SIX_HUNDRED,
    published=0.95,
    published_by_class={
        "airplane": 0.95,
        "automobile": 0.96,
        "bird": 0.91,
        "cat": 0.90,
        "deer": 0.94,
        "dog": 0.93,
        "frog": 0.97,
        "horse": 0.96,
        "ship": 0.97,
        "truck": 0.96,
    },
    differs=(_TWICE, _EXPOSED, _HELD_OUT),
)

_MVTEC = Experiment(
    title="MVTec-AD, good images and confetti",
    data="mvtec_ad",
    params={
        **_SGD,
        "backbone": "vgg11_bn",
        "weights": "imagenet",
        "frozen": 3,
        "lr": 1e-3,
        "weight_decay": 1e-4,
        "synthetic": "confetti",
        "normalize": "contrast",
        "heatmap_sigma": 12,
        "validation_fraction": 0.01,
    },
    augment=(
        Zoom(224 / 240),
        Either(
            ColorJitter(0.04, 0.04, 0.04, 0.04),
            ColorJitter(0.005, 0.0005, 0.0005, 0.0005),
        ),
        Noise(0.1, relative=True),
    ),
    schedule=Decay(0.985),
    epochs=200,
    # There an epoch is ten looks at every image, half of them at an anomaly instead.
    passes=5,
    figure="pixel_auroc",
    published=0.92,
    differs=(
        _CONTRAST,
        "Crops of 224 from 240 pixels are windows of an image of 224 pixels.",
        "Confetti scale with the image, and each shape has its own colour.",
        _HELD_OUT,
    ),
)


@dataclass(frozen=True)
class Dilated:
    """A small network whose last convolutions look `dilation` pixels far.

    Weights and computation are the same for all; a cell sees 16 + 16 `dilation`
    pixels.
    """

    dilation: int

    def __call__(self) -> nn.Module:
        layers: list[nn.Module] = []
        for n_in, n_out, kernel, far in (
            (1, 8, 5, 1),
            (8, 32, 5, 1),
            (32, 64, 3, self.dilation),
            (64, 64, 3, self.dilation),
        ):
            pad = far * (kernel // 2)
            layers += [
                nn.Conv2d(n_in, n_out, kernel, padding=pad, dilation=far, bias=False),
                nn.BatchNorm2d(n_out),
                nn.LeakyReLU(),
            ]
            if kernel == 5:
                layers.append(nn.MaxPool2d(2))
        return nn.Sequential(*layers)


_FIELDS = Experiment(
    title="Magnetic tiles: what a larger receptive field costs",
    data="magnetic_tiles",
    params={},
    epochs=12,
    figure="pixel_auroc",
    variants={
        str(16 + 16 * dilation): {"backbone": Dilated(dilation)}
        for dilation in (1, 2, 4, 8)
    },
    differs=(
        "The paper changes the kernels of a network for MVTec-AD. Here convolutions "
        "are spread, so that weights and computation stay the same.",
    ),
)

_SIGMA = Experiment(
    title="Magnetic tiles: the Gaussian of the heatmap",
    data="magnetic_tiles",
    params={},
    epochs=12,
    figure="pixel_auroc",
    readings={f"{sigma:g}": {"heatmap_sigma": sigma} for sigma in (1, 2, 4, 8, 12, 16)},
    differs=("The paper does so for MVTec-AD.",),
)

_COUNTS = (1, 8, 64, 512)
_OF_EXPOSURE = Experiment(
    title="CIFAR-10 from JPEG files: how many exposed images",
    data="cifar10_jpeg",
    exposure="caltech101",
    params={
        **_EXPOSURE,
        "backbone": "fcdd32_s",
        "normalize": "standard",
        "batch_size": 128,
    },
    augment=_CIFAR.augment,
    epochs=20,
    images=2000,
    classes=("airplane",),
    variants={**{str(n): {} for n in _COUNTS}, "all": {}},
    n_exposed={str(n): n for n in _COUNTS},
    differs=(
        "The paper exposes CIFAR-100 or 80 million tiny images to its network LW3K. "
        "Here the network is smaller, and the exposed images are photographs of "
        "Caltech-101.",
    ),
)

_OBJECTIVES = replace(
    _OF_EXPOSURE,
    title="CIFAR-10 from JPEG files: objectives, each in the same time",
    epochs=100,
    classes=("airplane", "ship", "horse"),
    variants={
        loss: {"loss": loss} for loss in ("fcdd", "hsc", "bce", "focal", "dsvdd")
    },
    n_exposed={},
    equal_time=True,
    differs=(
        *_OF_EXPOSURE.differs,
        "The paper compares FCDD with HSC and others by their published figures, not "
        "in the same time. Deep SVDD learns from normal images alone.",
    ),
)

EXPERIMENTS: dict[str, Experiment] = {
    "fashion_mnist": _FASHION,
    "fashion_mnist_cifar100": replace(
        _FASHION,
        title="Fashion-MNIST, one class against nine, grey CIFAR-100 exposed",
        exposure="cifar100",
    ),
    "cifar10": _CIFAR,
    "cifar10_jpeg": replace(
        _CIFAR,
        title="CIFAR-10 from JPEG files, Caltech-101 exposed",
        data="cifar10_jpeg",
        exposure="caltech101",
        differs=(
            "The images were compressed, and the 6011 exposed ones are photographs of "
            "Caltech-101 instead of the 50,000 images of CIFAR-100.",
            *_CIFAR.differs,
        ),
    ),
    "imagenet30": Experiment(
        title="ImageNet-30, one class against 29, ImageNet-22k exposed",
        data="imagenet30",
        exposure="imagenet22k",
        params={
            **_EXPOSURE,
            **_ADAM,
            "backbone": "vgg11_bn",
            "normalize": "imagenet",
            "heatmap_sigma": 8,
        },
        augment=(
            _FAINT,
            "horizontal_flip",
            PaddedCrop(16, reflect=True),
            Noise(0.001),
        ),
        **_SIX_HUNDRED,
        published=0.94,
        differs=(
            _TWICE,
            "Crops of 224 from 256 pixels are shifts of the middle 224 pixels by up to "
            "16, filled by reflection. Exposed images are not changed.",
            _HELD_OUT,
        ),
    ),
    "mvtec_ad": _MVTEC,
    "mvtec_ad_semi": replace(
        _MVTEC,
        title="MVTec-AD, with one anomaly of each kind of defect and its mask",
        params={**_MVTEC.params, "synthetic": None, "pixel_loss": "all"},
        pixels=True,
        published=0.96,
        differs=(
            _CONTRAST,
            "Crops of 224 from 240 pixels are windows of an image of 224 pixels.",
            "The anomalies that are learnt from are left out of the test.",
            _HELD_OUT,
        ),
    ),
    "receptive_field": _FIELDS,
    "sigma": _SIGMA,
    "exposure": _OF_EXPOSURE,
    "objectives": _OBJECTIVES,
}
