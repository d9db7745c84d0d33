"""Base class of all estimators: scores, heatmaps and calibration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skfcdd._calibration import (
    CalibrationRows,
    NormalHeat,
    Scorer,
    Verge,
    calibration_of,
    check_rule,
    heatmap_scale,
    image_threshold,
    normal_heat,
    with_calibration_scores,
)
from skfcdd._engine.model import FittedModel, ImageFormat, Judging
from skfcdd._engine.split import Split
from skfcdd._inputs.groups import check_groups
from skfcdd._inputs.images import ImageArray, check_images
from skfcdd._inputs.labels import Targets
from skfcdd._inputs.lazy_arrays import check_out
from skfcdd._repr import ReprMixin
from skfcdd._utils.warnings import warn_caller
from skfcdd.conformal import conformal_p_values, select_discoveries
from skfcdd.exceptions import CalibrationError, FewImagesWarning

if TYPE_CHECKING:
    from typing import Self

__all__ = ["AnomalyScorer", "of_model"]

# Attributes that scikit-learn sets while callbacks are active in ``fit``.
_OF_CALLBACKS = {"_callback_fit_ctx", "_skl_callbacks_to_teardown"}


def of_model(path: str, text: str) -> Any:
    """Make a property that reads an attribute of the fitted model."""
    read = attrgetter(path)

    def learned(estimator: Any) -> Any:
        model = vars(estimator).get("_fitted")
        if model is None:  # also an AttributeError, so that hasattr works
            raise NotFittedError(
                f"This {type(estimator).__name__} is not fitted yet. Call fit first."
            )
        return read(model)

    return property(learned, doc=text)


class AnomalyScorer(ReprMixin):
    """Base class of estimators that score images and calibrate a threshold.

    Subclasses implement `_read_targets`, which interprets y.
    """

    channels: str | None
    image_shape: tuple[int, ...] | None
    threshold: Any
    contamination: Any
    score_pooling: Any
    heatmap_sigma: float | None
    _fitted: FittedModel

    threshold_ = of_model(
        "threshold", "Value above which images or pixels are anomalous."
    )
    calibration_scores_ = of_model(
        "calibration_scores", "Scores of held-out normal images, in increasing order."
    )
    calibration_ = of_model("calibration", "Summary of the calibration images.")
    heatmap_scale_ = of_model(
        "heatmap_scale", "Limits of the colour scale of heatmaps."
    )
    pixel_threshold_ = of_model(
        "pixel_threshold", "Heatmap value above which pixels are outlined in plots."
    )
    image_shape_ = of_model("images.shape", "Shape (h, w, c) of the images.")
    reading_ = of_model("images.reading", "Settings for reading files, or None.")
    convention_ = of_model("convention", "Labels and signs of predictions.")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    def anomaly_score(self, X: Any) -> npt.NDArray[np.float64]:
        """Compute the anomaly score of each image; higher is more anomalous.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        ndarray of shape (n,), float64
            Non-negative scores: the cells of the network's map, aggregated according to
            `score_pooling`.

        Raises
        ------
        ImageShapeError
            If the shape of the images differs from that in ``fit``.
        """
        return self._scored(X)[0]

    def explain(self, X: Any, out: Any = None) -> Any:
        """Compute a heatmap of the anomalous regions of each image.

        The mean of a heatmap equals the mean of the image's cells, which is the anomaly
        score with ``score_pooling="mean"``. With a region of interest, this applies to
        the mean of the pixels inside; all other pixels are 0.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.
        out : array of shape (n, h, w), default=None
            Array to write the heatmaps to: a NumPy array, a memory map, or any other
            array that supports assignment to slices, such as a zarr array. None
            allocates a new array.

        Returns
        -------
        ndarray of shape (n, h, w), float32
            Non-negative heatmaps at the resolution of X; `out` if it is not None.

        Raises
        ------
        ImageShapeError
            If the shape of the images differs from that in ``fit``.
        ValueError
            If `out` has the wrong shape, has no floating-point dtype, or is not
            writable.
        """
        images = self._check_images(X)
        shape = (len(images), *images.image_shape[:2])
        heatmaps = np.empty(shape, dtype=np.float32) if out is None else out
        check_out(heatmaps, shape)
        for rows, batch in self._fitted.heatmaps(images):
            heatmaps[rows] = batch
        return heatmaps

    def iter_explain(self, X: Any) -> Iterator[npt.NDArray[np.float32]]:
        """Compute heatmaps batch by batch, without keeping all of them in memory.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``. They are validated immediately, before the first
            batch is requested.

        Returns
        -------
        iterator of ndarray of shape (k, h, w), float32
            The heatmaps of ``explain(X)`` in order.

        Raises
        ------
        ImageShapeError
            If the shape of the images differs from that in ``fit``.
        """
        images = self._check_images(X)
        return (batch for _, batch in self._fitted.heatmaps(images))

    def calibrate(self, X: Any, y: Any = None, groups: Any = None) -> Self:
        """Set the threshold again on other images, without training the network.

        Changes to the parameters `threshold`, `contamination`, `score_pooling`,
        `heatmap_sigma` and `min_area` take effect, and the colour scale is set again.
        The scores of the normal images replace ``calibration_scores_``, from which
        :meth:`p_values` are computed.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``. Those used for training are skipped.
        y : array-like, default=None
            Labels (or masks), as for ``fit``. None means that all images are normal.
        groups : array-like of shape (n,), default=None
            Group of each image, such as the part that it shows. Each group of normal
            images then counts as one.

        Returns
        -------
        self : estimator

        Raises
        ------
        CalibrationError
            If there are no normal images that were not used for training, or too few
            images for the threshold rule. The model is then unchanged.

        Warns
        -----
        UserWarning
            If images were skipped because they were used for training.
        FewImagesWarning
            If there are too few images for the requested rate of false alarms.
        """
        images = self._check_images(X)
        self._validate_params()  # type: ignore[attr-defined]
        targets = self._read_targets(y, images).within(self._fitted.roi)
        if groups is not None:
            targets = replace(targets, groups=check_groups(groups, len(images)))
        new = self._new_to_the_network(images)
        normal, anomalous = (
            np.flatnonzero(new & (targets.anomalous == k)) for k in (0, 1)
        )
        if len(normal) == 0:
            raise CalibrationError(
                "Calibration needs normal images that were not used for training. Got "
                f"{int(targets.anomalous.sum())} anomalies and "
                f"{int((~new & ~targets.anomalous).sum())} normal images that were "
                "used for training. Pass other normal images."
            )
        judging = self._judging()
        convention = replace(self._fitted.convention, min_area=judging.min_area)
        model = replace(self._fitted, judging=judging, convention=convention)
        rows = CalibrationRows(
            normal,
            np.intersect1d(anomalous, self._usable(targets)),
            np.flatnonzero(new),
            targets.groups_of(normal),
        )
        self._fitted = self._calibrated(model, images, targets, rows, source="given")
        self._warn_of_few_images()
        return self

    def _warn_of_few_images(self) -> None:
        """Warn if there are too few calibration images for the requested rate."""
        found = self._fitted.calibration
        if found is not None and found.warning is not None:
            warn_caller(found.warning, FewImagesWarning)

    def _new_to_the_network(self, images: ImageArray) -> npt.NDArray[np.bool_]:
        """Return which images were not used for training."""
        used = self._fitted.used
        if not len(used.trained):
            return np.ones(len(images), dtype=bool)
        new = ~used.known(images.digests())
        if not new.all():
            warn_caller(
                f"{int((~new).sum())} of {len(new)} images were used for training and "
                "are ignored, because their scores are not representative of new "
                "images.",
                UserWarning,
            )
        return new

    def p_values(
        self, X: Any, *, smoothed: bool = False, random_state: Any = None
    ) -> npt.NDArray[np.float64]:
        r"""Compute the conformal p-value of each image.

        The p-value is :math:`(1 + k) / (n + 1)` if :math:`k` of the :math:`n` normal
        calibration images, which were not used for training, have at least the score of
        the image. For a new normal image that is exchangeable with them, the p-value is
        at most :math:`\alpha` with a probability of at most :math:`\alpha`, no matter
        how well the network was trained. If the calibration scores are out of fold (see
        ``calibration_.source``), this holds only approximately. See
        :func:`skfcdd.conformal.conformal_p_values`.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.
        smoothed : bool, default=False
            Whether to break ties at random, so that the p-values of normal images are
            exactly uniform.
        random_state : int, RandomState instance or None, default=None
            Random state for breaking ties if `smoothed` is True.

        Returns
        -------
        ndarray of shape (n,), float64
            Conformal p-values; small values indicate anomalies.
        """
        scores = self.anomaly_score(X)
        return conformal_p_values(
            self._fitted.calibration_scores,
            scores,
            groups=self._fitted.calibration_groups,
            smoothed=smoothed,
            random_state=random_state,
        )

    def select_anomalies(self, X: Any, *, rate: float = 0.1) -> npt.NDArray[np.bool_]:
        """Select anomalies in a batch while controlling the false discovery rate.

        The procedure of Benjamini and Hochberg is applied to :meth:`p_values`. The
        threshold of ``predict`` limits the proportion of normal images that are
        flagged; this method limits the proportion of flagged images that are normal.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``. The selection depends on all of them.
        rate : float, default=0.1
            False discovery rate: maximum expected proportion of normal images among the
            selected ones.

        Returns
        -------
        ndarray of shape (n,), bool
            True for selected images.

        Raises
        ------
        CalibrationError
            If there are too few calibration images for any image to be selected.
        """
        p, groups = self.p_values(X), self._fitted.calibration_groups
        n = len(self._fitted.calibration_scores if groups is None else set(groups))
        return select_discoveries(p, n, rate=rate)

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Restore the previous state if ``fit`` fails."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            # scikit-learn needs these to notify its callbacks of the end of the fit.
            kept = {n: v for n, v in vars(self).items() if n in _OF_CALLBACKS}
            self.__dict__.clear()
            self.__dict__.update(before | kept)
            raise

    def _check_images(self, X: Any) -> ImageArray:
        """Validate images to score."""
        check_is_fitted(self)
        known = self._fitted.images
        images = check_images(
            self,
            X,
            channels=known.channels,
            image_shape=known.layout,
            fitted_shape=known.shape,
            reading=known.reading,
            fitted_dtype=known.dtype,
        )
        self._fitted.warn_about_range(images)
        return images

    def _format(self, images: ImageArray) -> ImageFormat:
        """Describe the images of ``fit``."""
        return ImageFormat(
            shape=images.image_shape,
            channels=self.channels,
            layout=None if self.image_shape is None else tuple(self.image_shape),
            dtype=str(images.data.dtype),
            channels_first=images.channels_first,
            reading=images.reading,
        )

    def _judging(self) -> Judging:
        """Collect the current parameters that predictions depend on."""
        return Judging(
            self.threshold,
            self.contamination,
            self.score_pooling,
            self.heatmap_sigma,
            getattr(self, "min_area", 1),
        )

    def _read_targets(self, y: Any, images: ImageArray) -> Targets:
        """Convert y to targets."""
        raise NotImplementedError

    def _usable(self, targets: Targets) -> npt.NDArray[np.intp]:
        """Select the anomalies that a threshold rule may use."""
        return np.flatnonzero(targets.anomalous)

    def _held_anomalies(self, split: Split, targets: Targets) -> npt.NDArray[np.intp]:
        """Select the anomalies from which the threshold is chosen.

        These are the held-out anomalies. If none of these can be used, those used for
        training are returned, because a handful of anomalies is too few to hold any
        out.
        """
        usable = np.intersect1d(self._usable(targets), np.flatnonzero(targets.kept))
        held = np.intersect1d(split.held_anomalous, usable)
        return held if len(held) else usable

    def _rows(self, split: Split, targets: Targets) -> CalibrationRows:
        """Select the images from which the threshold is chosen in ``fit``."""
        every = np.flatnonzero(targets.kept)
        held, normal = self._held_anomalies(split, targets), split.held_normal
        return CalibrationRows(normal, held, every, targets.groups_of(normal))

    def _check_split(self, split: Split, targets: Targets) -> None:
        """Raise if there are too few images for the threshold rule."""
        rows = self._rows(split, targets)
        check_rule(self._judging(), rows.n_units, len(rows.anomalous))

    def _calibrated(
        self,
        model: FittedModel,
        images: ImageArray,
        targets: Targets,
        rows: CalibrationRows,
        *,
        scorer: Scorer | None = None,
        source: str = "held-out",
    ) -> FittedModel:
        """Return the model with its threshold and colour scale calibrated.

        The calibration images at `rows` are scored by `scorer`, or by the model itself
        if it is None.
        """
        scorer = model if scorer is None else scorer
        model = with_calibration_scores(model, images, rows, scorer)
        verge = self._choose_threshold(model, images, targets, rows, scorer)
        found = calibration_of(verge, rows, source)
        model = replace(model, threshold=verge.threshold, calibration=found)
        heat = normal_heat(scorer, images, rows.normal, model.roi)
        scale = self._choose_scale(model, images, rows.normal, heat)
        return replace(model, heatmap_scale=scale, normal_peak=heat.calm)

    def _choose_threshold(
        self,
        model: FittedModel,
        images: ImageArray,
        targets: Targets,
        rows: CalibrationRows,
        scorer: Scorer,
    ) -> Verge:
        return image_threshold(model, images, rows, scorer)

    def _scored(self, X: Any) -> tuple[npt.NDArray[np.float64], FittedModel]:
        """Return the scores of X, and the model that computed them."""
        images, model = self._check_images(X), self._fitted
        return model.scores(images), model

    def _choose_scale(
        self,
        model: FittedModel,
        images: ImageArray,
        normal: npt.NDArray[np.intp],
        heat: NormalHeat,
    ) -> tuple[float, float]:
        return heatmap_scale(model, images, normal, heat)
