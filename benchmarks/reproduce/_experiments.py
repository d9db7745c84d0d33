"""Settings and published results of the paper's experiments.

P. Liznerski, L. Ruff, R. A. Vandermeulen, B. J. Franks, M. Kloft, K.-R. Mueller:
Explainable deep one-class classification. ICLR 2021, arXiv:2007.01760. The settings are
those of the paper and of the arguments in the authors' scripts.
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
    "An epoch contains every normal image once, and as many anomalies; in the authors' "
    "code, each image is replaced by an anomaly with a probability of 1/2, so an epoch "
    "here has twice as many steps."
)
_HELD_OUT = "1 % of the normal images are held out for the threshold."
_EXPOSED = (
    "Exposed images are cropped, flipped and jittered once before training, not again "
    "in each epoch."
)
_WINDOWS = (
    "Instead of crops of 224 from 240 pixels, windows of an image of 224 pixels are "
    "enlarged."
)
_CONTRAST = (
    "Each image is divided by its standard deviation, not by its mean absolute "
    "deviation, and not rescaled to a fixed range for its class."
)


@dataclass(frozen=True)
class Experiment:
    """Settings of an experiment, and the published results.

    Parameters
    ----------
    title : str
        Description in one line.
    data : str
        Key of the images in `_sources.SOURCES`.
    exposure : str or None
        Key of the exposed outliers in `_sources.EXPOSURES`; None for no exposure.
    params : mapping
        Parameters of the estimator.
    augment : tuple or None
        Augmentations, as for the estimators; None for their default.
    schedule : Schedule or None
        Learning-rate schedule; None for the default of the estimator.
    epochs : int
        Number of epochs: published, or chosen here for ablations.
    passes : int
        Number of passes over the normal images in each epoch.
    pixels : bool
        Whether `FCDDSegmenter` is trained; some anomalies with masks are then used in
        training.
    figure : str
        Published metric, "image_auroc" or "pixel_auroc".
    published : float or None
        Published mean over the classes.
    published_by_class : mapping of str to float
        Published results of single classes.
    differs : tuple of str
        Differences between a complete run and the published one.
    classes : tuple of str
        Classes that are run by default; all if empty.
    variants : mapping of str to mapping
        Changed parameters of each variant; each variant is trained separately.
    readings : mapping of str to mapping
        Changed parameters that need no training; each is applied to the same model.
    n_exposed : mapping of str to int
        Number of exposed images by variant; all for variants that are not included.
    images : int or None
        Number of normal images; None for all.
    equal_time : bool
        Whether a time budget allows each variant the same time, instead of the same
        number of epochs.
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
    title="MVTec-AD, normal images and confetti",
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
    # In the authors' code, an epoch uses every image ten times, and replaces it by an
    # anomaly in half of the cases.
    passes=5,
    figure="pixel_auroc",
    published=0.92,
    differs=(
        _CONTRAST,
        _WINDOWS,
        "Confetti scales with the image, and each shape has its own colour.",
        _HELD_OUT,
    ),
)


@dataclass(frozen=True)
class Dilated:
    """Small network whose last convolutions have the given dilation.

    The number of weights and the amount of computation do not depend on it; the
    receptive field of a cell is 16 + 16 * `dilation` pixels wide.
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
    title="Magnetic tiles: effect of the receptive-field size",
    data="magnetic_tiles",
    params={},
    epochs=12,
    figure="pixel_auroc",
    variants={
        str(16 + 16 * dilation): {"backbone": Dilated(dilation)}
        for dilation in (1, 2, 4, 8)
    },
    differs=(
        "The paper changes the kernel sizes of a network for MVTec-AD. Here, "
        "convolutions are dilated, which changes neither the number of weights nor the "
        "amount of computation.",
    ),
)

_SIGMA = Experiment(
    title="Magnetic tiles: width of the Gaussian of the heatmap",
    data="magnetic_tiles",
    params={},
    epochs=12,
    figure="pixel_auroc",
    readings={f"{sigma:g}": {"heatmap_sigma": sigma} for sigma in (1, 2, 4, 8, 12, 16)},
    differs=("The paper uses MVTec-AD.",),
)

_COUNTS = (1, 8, 64, 512)
_OF_EXPOSURE = Experiment(
    title="CIFAR-10 from JPEG files: number of exposed images",
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
        "The paper trains its network LW3K, and exposes CIFAR-100 or 80 Million Tiny "
        "Images. Here, the network is smaller, and the exposed images are photographs "
        "from Caltech-101.",
    ),
)

_OBJECTIVES = replace(
    _OF_EXPOSURE,
    title="CIFAR-10 from JPEG files: objectives with equal training time",
    epochs=100,
    classes=("airplane", "ship", "horse"),
    variants={
        loss: {"loss": loss} for loss in ("fcdd", "hsc", "bce", "focal", "dsvdd")
    },
    n_exposed={},
    equal_time=True,
    differs=(
        *_OF_EXPOSURE.differs,
        "The paper compares FCDD with HSC and others by their published results, not "
        "with equal training time. Deep SVDD learns from normal images only.",
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
            "The images were compressed, and the exposed images are 6011 photographs "
            "from Caltech-101 instead of the 50,000 images of CIFAR-100.",
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
            "Instead of crops of 224 from 256 pixels, the central 224 pixels are "
            "shifted by up to 16, and filled by reflection. Exposed images are not "
            "augmented.",
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
            _WINDOWS,
            "The anomalies used in training are excluded from the test set.",
            _HELD_OUT,
        ),
    ),
    "receptive_field": _FIELDS,
    "sigma": _SIGMA,
    "exposure": _OF_EXPOSURE,
    "objectives": _OBJECTIVES,
}
