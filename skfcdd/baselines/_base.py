"""Base class of the baselines: fitting, scores and heatmaps, based on a module."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from skfcdd._calibration import CalibrationRows, NormalHeat, Scorer, Verge
from skfcdd._engine.light import LIGHTS
from skfcdd._engine.model import FittedModel
from skfcdd._engine.preprocessing import Preprocess, resolve_size
from skfcdd._engine.split import Split, UsedImages
from skfcdd._inputs.images import ImageArray, check_images
from skfcdd._inputs.labels import Targets
from skfcdd._outliers import DETECTOR, OutlierVerdicts
from skfcdd._utils.device import resolve_device, resolve_precision
from skfcdd._utils.optional import library_versions
from skfcdd._utils.random import draw_seeds, seeded
from skfcdd._utils.sklearn import Interval, StrOptions, fit_context
from skfcdd.baselines._upsampling import pixel_upsampler
from skfcdd.thresholds import THRESHOLDS, Threshold

__all__ = [
    "BaselineDetector",
    "ErrorModel",
    "ErrorModule",
    "Heatmaps",
    "Lesson",
    "MapModule",
]


class MapModule(nn.Module):
    """Base class of modules that map images to cells (n, u, v).

    Parameters
    ----------
    preprocess : Preprocess
    """

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self.preprocess = preprocess

    def normalized(self, images: Tensor) -> Tensor:
        """Normalise images in the unit range, in the precision of the module."""
        normalized: Tensor = self.preprocess(images.to(self.preprocess.mean.dtype))
        return normalized


class ErrorModule(MapModule):
    """Base class of modules whose cells are reconstruction errors, one per pixel."""

    def reconstruct(self, images: Tensor) -> Tensor:
        """Reconstruct normalised images (n, c, h, w)."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Compute the error (n, h, w) of images (n, c, h, w), averaged over channels.

        The images are in the unit range; the error is that of the normalised images.
        """
        wanted = self.normalized(images)
        found = self.reconstruct(wanted).to(wanted.dtype)
        return (found - wanted).square().mean(dim=1)


class Heatmaps(nn.Module):
    """Module that computes heatmaps, at the size of the original images.

    Parameters
    ----------
    module : MapModule
        Module that computes cells (n, u, v).
    upsample : torch.nn.Module
        Module that maps cells to heatmaps (n, h, w).
    """

    def __init__(self, module: nn.Module, upsample: nn.Module) -> None:
        super().__init__()
        self.module, self.upsample = module, upsample

    def forward(self, images: Tensor) -> Tensor:
        """Compute heatmaps of images (n, c, h, w) in the unit range."""
        heatmaps: Tensor = self.upsample(self.module(images))
        return heatmaps.float()


@dataclass(frozen=True)
class Lesson:
    """Data and settings that a method is fitted with.

    Parameters
    ----------
    images : ImageArray
        All images passed to ``fit``.
    rows : ndarray of int
        Rows of the normal images to learn from.
    size : tuple of int (h, w) or None
        Size to which the images are resized, if any.
    device : str
    precision : {"float64", "float32", "bfloat16"}
    seed : int
    """

    images: ImageArray
    rows: npt.NDArray[np.intp]
    size: tuple[int, int] | None
    device: str
    precision: str
    seed: int

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images after resizing."""
        h, w, c = self.images.image_shape
        return (*(self.size or (h, w)), c)

    @property
    def dtype(self) -> torch.dtype:
        """Data type of a module."""
        return torch.float64 if self.precision == "float64" else torch.float32


class BaselineDetector(OutlierVerdicts, BaseEstimator):  # type: ignore[misc]
    """Base class of the baselines; not for direct use.

    Subclasses implement `_learn`.
    """

    _parameter_constraints: dict[str, Any] = {
        "image_shape": [tuple, list, None],
        "channels": [StrOptions({"first", "last"}), None],
        "normalize": [
            StrOptions({"auto", "standard", "contrast", "imagenet", *LIGHTS}),
            tuple,
            None,
        ],
        "resize": [Interval(Integral, 1, None, closed="left"), tuple, None],
        "score_pooling": [
            StrOptions({"mean", "max"}),
            Interval(Real, 0, 1, closed="right"),
        ],
        "heatmap_sigma": [Interval(Real, 0, None, closed="neither"), None],
        "threshold": [
            StrOptions(set(THRESHOLDS) - {"natural"}),  # scores are not likelihoods
            Threshold,
            Interval(Real, 0, None, closed="neither"),
        ],
        "contamination": [
            StrOptions({"auto"}),
            Interval(Real, 0, 0.5, closed="right"),
        ],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }
    # Minimum number of images to learn from, in addition to those held out.
    _least_images = 1

    resize: Any
    score_pooling: str | float
    heatmap_sigma: float | None
    validation_fraction: float
    random_state: Any

    def _learn(self, lesson: Lesson) -> FittedModel:
        """Fit a model to normal images."""
        raise NotImplementedError

    @fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any = None) -> Any:
        """Fit the model to images that are mostly normal.

        Parameters
        ----------
        X : array-like
            Images of shape (n, h, w), (n, h, w, c) or (n, c, h, w), or flattened rows,
            of any real dtype: a NumPy array, a tensor, or a list of images of equal
            shape.
        y : array-like of shape (n,), default=None
            Labels: -1 for known outliers, which are not used for training, and any
            other value for normal images.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If X, y or a parameter is invalid.
        """
        with self._all_or_nothing():
            images = check_images(
                self, X, channels=self.channels, image_shape=self.image_shape
            )
            self._fit_images(images, self._read_targets(y, images))
        return self

    def _fit_images(self, images: ImageArray, targets: Targets) -> None:
        """Fit a model to validated images, and calibrate it on those held out."""
        seeds = draw_seeds(self.random_state)
        rng = np.random.RandomState(seeds[0])
        digests = images.digests()
        split = Split.draw(
            targets.anomalous, self.validation_fraction, rng, digests=digests
        )
        missing = self._least_images - len(split.normal)
        if missing > 0:
            raise ValueError(
                f"{type(self).__name__} needs {self._least_images} normal images in "
                "addition to those held out for the threshold. Got n_samples = "
                f"{len(images)}, {len(split.held_normal)} of them held out, so "
                f"{missing} more normal image(s) are needed."
            )
        self._check_split(split, targets)
        device = resolve_device(getattr(self, "device", "cpu"))
        size = resolve_size(self.resize)
        h, w = size or images.image_shape[:2]
        precision = getattr(self, "precision", "float64")
        precision = resolve_precision(precision, device, h * w)
        lesson = Lesson(images, split.normal, size, device, precision, seeds[2])
        with seeded(seeds[1], device):
            model = self._learn(lesson)
        model = replace(
            model,
            used=UsedImages().joined(split, digests),
            versions=library_versions(),
        )
        rows = self._rows(split, targets)
        self._fitted = self._calibrated(model, images, targets, rows)

    def _known(self, lesson: Lesson) -> dict[str, Any]:
        """Collect the fields of the fitted model that all methods share."""
        return {
            "images": self._format(lesson.images),
            "judging": self._judging(),
            "convention": DETECTOR,
        }

    def _choose_threshold(
        self,
        model: FittedModel,
        images: ImageArray,
        targets: Targets,
        rows: CalibrationRows,
        scorer: Scorer,
    ) -> Verge:
        """Choose the threshold of image scores; "auto" uses only normal images."""
        if model.judging.threshold == "auto":
            rows = replace(rows, anomalous=rows.anomalous[:0])
        return super()._choose_threshold(model, images, targets, rows, scorer)

    def _choose_scale(
        self,
        model: FittedModel,
        images: ImageArray,
        normal: npt.NDArray[np.intp],
        heat: NormalHeat,
    ) -> tuple[float, float]:
        """Choose the colour scale of heatmaps relative to the median normal pixel.

        FCDD uses 0 instead of the median, but errors and distances are far from 0
        everywhere.
        """
        middle, low = (float(q) for q in np.quantile(heat.pixels, [0.5, 0.99]))
        if not low > middle:  # nearly all normal pixels are equal
            low = max(model.threshold, float(np.nextafter(np.float32(middle), 1e30)))
        return low, low + 4 * (low - middle)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


@dataclass(frozen=True, kw_only=True)
class ErrorModel(FittedModel):
    """Fitted model of a reconstruction method, whose cells are pixels."""

    def heatmap_maker(self) -> Heatmaps:
        """Return a module that computes heatmaps of images in the unit range."""
        size = self.module.preprocess.size or self.image_size
        sigma = self.judging.heatmap_sigma
        return Heatmaps(self.module, pixel_upsampler(self.image_size, size, sigma))
