"""Principal components of the pixels."""

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
    """Reconstruction from principal components.

    Parameters
    ----------
    preprocess : Preprocess
    mean : ndarray of shape (c * h * w,)
    components : ndarray of shape (k, c * h * w)
        Orthonormal rows.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        mean: npt.NDArray[np.float64],
        components: npt.NDArray[np.float64],
    ) -> None:
        super().__init__(preprocess)
        # Where scikit-learn has them: no second copy.
        self.center = torch.from_numpy(mean)
        self.components = torch.from_numpy(components)

    def reconstruct(self, images: Tensor) -> Tensor:
        """What the components keep of normalised images (n, c, h, w)."""
        flat = images.flatten(1) - self.center
        kept = flat @ self.components.T @ self.components + self.center
        return kept.view(images.shape)


class _Pixels(MapModule):
    def forward(self, images: Tensor) -> Tensor:
        return self.normalized(images).flatten(1)


class PCADetector(BaselineDetector):
    """Reconstruct images from the principal components of normal ones.

    The oldest of the baselines: an image that the components of normal images cannot
    compose is anomalous where the reconstruction differs. A defect is found if it
    changes many pixels, or pixels that hardly vary; parts must lie alike in all images.

    Parameters
    ----------
    n_components : int, float or None, default=0.95
        Number of components; or the share of the variance that they must explain, in
        (0, 1). None keeps as many as there are images or pixels, which reconstructs
        too well. More components find smaller defects, and miss larger ones.
    image_shape : tuple of int, default=None
        Layout of an image, where X has flat rows: (h, w) or (h, w, c); (c, h, w) with
        ``channels="first"``. None takes flat rows for images of one row.
    channels : {"first", "last"}, default=None
        Order of the axes of a four-dimensional X. Needed only where both readings are
        possible.
    normalize : str, (mean, std) or None, default="auto"
        As for :class:`~skfcdd.FCDDDetector`: "auto" takes "contrast", or "standard"
        where a side is shorter than 8 pixels. None leaves the brightness of images as
        it is.
    resize : int or tuple of int (h, w), default=None
        Size to which images are brought before. Heatmaps come back at the original
        size.
    score_pooling : {"mean", "max"} or float, default="mean"
        How the squared errors of the pixels make the score of an image. A float is the
        share of greatest ones to average.
    heatmap_sigma : float, default=None
        Standard deviation in pixels of a Gaussian with which heatmaps are blurred,
        which often shows better where a defect is. None does not blur. A change
        after ``fit`` takes effect in ``calibrate``.
    threshold : str, Threshold or float, default="auto"
        The score above which an image is anomalous, or the rule that finds it on
        images held out, see :mod:`skfcdd.thresholds`. "auto" takes the quantile 0.95
        of normal scores, or what `contamination` says; all but "natural" are possible.
    contamination : "auto" or float, default="auto"
        A float is the share of outliers in the X of ``fit``, in (0, 0.5]: the
        threshold then calls as many of X outliers. "auto" sets it on held-out images,
        of which it may call 0.05 outliers.
    validation_fraction : float, default=0.1
        Share of the normal images to hold out for the threshold.
    batch_size : int, default=16
        Least number of images that are scored together.
    random_state : int, RandomState instance or None, default=None
        Chance of what is held out, and of the approximation that is used where few of
        many components are asked for.

    Attributes
    ----------
    pca_ : sklearn.decomposition.PCA
        Of the normalised pixels, channel by channel.
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

    See Also
    --------
    AutoencoderDetector : Reconstruct with a network.

    Notes
    -----
    All images are brought into memory at once as numbers of eight bytes.

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
    # One image has no variance.
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
        # Where all images are the same there are no components, and no shares.
        n_components = self.n_components if np.ptp(pixels, axis=0).any() else 0
        with np.errstate(invalid="ignore"):
            self.pca_ = PCA(n_components, random_state=lesson.seed).fit(pixels)
        module = PCAModule(preprocess, self.pca_.mean_, self.pca_.components_)
        return ErrorModel(runner=self._wrapped(module), **self._known(lesson))

    def _wrapped(self, module: MapModule) -> FixedRunner:
        # In double precision scores do not depend on the batch.
        return FixedRunner(module.double(), "cpu", "float64", self.batch_size)
