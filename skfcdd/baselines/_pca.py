"""Anomaly detection with principal components of the pixels."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from skfcdd._engine.inference import FixedRunner, in_batches
from skfcdd._engine.preprocessing import Preprocess
from skfcdd._utils.sklearn import Interval, store_parameters
from skfcdd.baselines._base import (
    BaselineDetector,
    ErrorModel,
    ErrorModule,
    Lesson,
    MapModule,
)

__all__ = ["PCADetector"]


class PCAModule(ErrorModule):
    """Module for reconstruction from principal components.

    Parameters
    ----------
    preprocess : Preprocess
    mean : ndarray of shape (c * h * w,)
        Mean of the normal images.
    components : ndarray of shape (k, c * h * w)
        Principal components, as orthonormal rows.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        mean: npt.NDArray[np.float64],
        components: npt.NDArray[np.float64],
    ) -> None:
        super().__init__(preprocess)
        # Share memory with scikit-learn's arrays instead of copying them.
        self.center = torch.from_numpy(mean)
        self.components = torch.from_numpy(components)

    def reconstruct(self, images: Tensor) -> Tensor:
        """Project normalised images (n, c, h, w) onto the components and back."""
        flat = images.flatten(1) - self.center
        kept = flat @ self.components.T @ self.components + self.center
        return kept.view(images.shape)


class _Pixels(MapModule):
    def forward(self, images: Tensor) -> Tensor:
        return self.normalized(images).flatten(1)


class PCADetector(BaselineDetector):
    """Detector based on the error of reconstruction from principal components.

    This is the oldest of the baselines: a pixel is anomalous if the principal
    components of normal images cannot reconstruct it. A defect is detected if it
    changes many pixels, or pixels that hardly vary between normal images. The objects
    must be aligned in all images.

    Parameters
    ----------
    n_components : int, float or None, default=0.95
        Number of components, or the fraction of the variance that they must explain, in
        (0, 1). None keeps all components, so that defects are reconstructed too. With
        more components, smaller defects are detected, but larger ones are missed.
    image_shape : tuple of int, default=None
        Shape of an image if X has flat rows: (h, w) or (h, w, c), or (c, h, w) with
        ``channels="first"``. None treats each row as an image with a single row of
        pixels.
    channels : {"first", "last"}, default=None
        Position of the channel axis in a four-dimensional X. Only needed if the shape
        of X is ambiguous.
    normalize : str, (mean, std) or None, default="auto"
        As for :class:`~skfcdd.FCDDDetector`: "auto" means "contrast", or "standard" if
        a side is shorter than 8 pixels. None leaves the brightness of images unchanged.
    resize : int or tuple of int (h, w), default=None
        Size to which images are resized first. Heatmaps have the original size.
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
    batch_size : int, default=16
        Minimum number of images per batch in scoring.
    random_state : int, RandomState instance or None, default=None
        Controls the held-out split, and the randomised solver that is used if only a
        few of many components are requested.

    Attributes
    ----------
    pca_ : sklearn.decomposition.PCA
        PCA fitted to the normalised images, flattened in the order (c, h, w).
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

    See Also
    --------
    AutoencoderDetector : Reconstruction by a neural network.

    Notes
    -----
    All images are loaded into memory at once, as float64.

    Examples
    --------
    >>> from skfcdd.baselines import PCADetector
    >>> from skfcdd.datasets import make_defects
    >>> data = make_defects(n_samples=60, image_size=32, random_state=0)
    >>> normal = data.images[data.target == 0]
    >>> model = PCADetector(n_components=5, random_state=0).fit(normal)
    >>> model.explain(data.images).shape
    (60, 32, 32)
    >>> model.pca_.n_components_
    5
    """

    _parameter_constraints: dict[str, Any] = {
        **BaselineDetector._parameter_constraints,
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
            None,
        ],
    }
    # A single image has no variance.
    _least_images = 2
    pca_: PCA

    def __init__(
        self,
        n_components: float | None = 0.95,
        *,
        image_shape: tuple[int, ...] | None = None,
        channels: str | None = None,
        normalize: Any = "auto",
        resize: Any = None,
        score_pooling: str | float = "mean",
        heatmap_sigma: float | None = None,
        threshold: Any = "auto",
        contamination: str | float = "auto",
        validation_fraction: float = 0.1,
        batch_size: int = 16,
        random_state: Any = None,
    ) -> None:
        store_parameters(self, locals())

    def _learn(self, lesson: Lesson) -> ErrorModel:
        preprocess = Preprocess.learn(
            lesson.images, lesson.rows, self.normalize, lesson.size
        )
        h, w, c = lesson.input_shape
        pixels = np.empty((len(lesson.rows), h * w * c))
        runner = self._wrapped(_Pixels(preprocess))
        for rows, part in in_batches(
            runner, lesson.images, lesson.rows, runner.module_
        ):
            pixels[rows] = part
        # If all images are equal, there are no components and no explained variance.
        n_components = self.n_components if np.ptp(pixels, axis=0).any() else 0
        with np.errstate(invalid="ignore"):
            self.pca_ = PCA(n_components, random_state=lesson.seed).fit(pixels)
        module = PCAModule(preprocess, self.pca_.mean_, self.pca_.components_)
        return ErrorModel(runner=self._wrapped(module), **self._known(lesson))

    def _wrapped(self, module: MapModule) -> FixedRunner:
        # In double precision, scores do not depend on the batch.
        return FixedRunner(module.double(), "cpu", "float64", self.batch_size)
