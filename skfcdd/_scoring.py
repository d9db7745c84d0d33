"""Images in, scores and heatmaps out: what all estimators share, however they learn."""

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

# What scikit-learn notes in an estimator while callbacks listen to its ``fit``.
_OF_CALLBACKS = {"_callback_fit_ctx", "_skl_callbacks_to_teardown"}


def of_model(path: str, text: str) -> Any:
    """A learned attribute that the fitted model has."""
    read = attrgetter(path)

    def learned(estimator: Any) -> Any:
        model = vars(estimator).get("_fitted")
        if model is None:  # also an AttributeError, so that hasattr gives False
            raise NotFittedError(
                f"This {type(estimator).__name__} is not fitted yet. Call fit first."
            )
        return read(model)

    return property(learned, doc=text)


class AnomalyScorer(ReprMixin):
    """Scores and heatmaps of a fitted model, and verdicts that rest on held-out images.

    A subclass says in `_read_targets` what y means.
    """

    channels: str | None
    image_shape: tuple[int, ...] | None
    threshold: Any
    contamination: Any
    score_pooling: Any
    heatmap_sigma: float | None
    _fitted: FittedModel

    threshold_ = of_model("threshold", "Greater scores are anomalous.")
    calibration_scores_ = of_model(
        "calibration_scores", "Scores of held-out normal images, in increasing order."
    )
    calibration_ = of_model("calibration", "What the threshold rests on.")
    heatmap_scale_ = of_model(
        "heatmap_scale", "Where colours of heatmaps begin and end."
    )
    pixel_threshold_ = of_model(
        "pixel_threshold", "Pixels of heatmaps above it are outlined in pictures."
    )
    image_shape_ = of_model("images.shape", "Shape (h, w, c) of the images.")
    reading_ = of_model("images.reading", "How files become images; None for arrays.")
    convention_ = of_model("convention", "What verdicts look like.")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    def anomaly_score(self, X: Any) -> npt.NDArray[np.float64]:
        """Anomaly score of each image; greater is more anomalous.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        ndarray of shape (n,), float64
            Mean of the cells of the network's map, or of the greatest of them where
            `score_pooling` says so. Non-negative.

        Raises
        ------
        ImageShapeError
            If the images have another shape than those of ``fit``.
        """
        return self._scored(X)[0]

    def explain(self, X: Any, out: Any = None) -> Any:
        """Heatmap of each image: where it is anomalous, and how much.

        The mean of a heatmap is the mean of the image's cells: with
        ``score_pooling="mean"`` its pixels add up to the anomaly score.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.
        out : array of shape (n, h, w), default=None
            Where to write the heatmaps: an array of NumPy, a file mapped by it, or any
            other array that takes slices, such as one of zarr. None makes an array.

        Returns
        -------
        ndarray of shape (n, h, w), float32
            Heatmaps at the resolution of X; `out` where it is given. Non-negative.

        Raises
        ------
        ImageShapeError
            If the images have another shape than those of ``fit``.
        ValueError
            If `out` has another shape, no floating type, or cannot be written to.
        """
        images = self._check_images(X)
        shape = (len(images), *images.image_shape[:2])
        heatmaps = np.empty(shape, dtype=np.float32) if out is None else out
        check_out(heatmaps, shape)
        for rows, batch in self._fitted.heatmaps(images):
            heatmaps[rows] = batch
        return heatmaps

    def iter_explain(self, X: Any) -> Iterator[npt.NDArray[np.float32]]:
        """Heatmaps batch by batch, so that they need not fit into memory.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``. They are checked at once, before the first batch is
            asked for.

        Returns
        -------
        iterator of ndarray of shape (k, h, w), float32
            The heatmaps of ``explain(X)`` in order.

        Raises
        ------
        ImageShapeError
            If the images have another shape than those of ``fit``.
        """
        images = self._check_images(X)
        return (batch for _, batch in self._fitted.heatmaps(images))

    def calibrate(self, X: Any, y: Any = None, groups: Any = None) -> Self:
        """Set the threshold anew, on other images, and leave the network as it is.

        The parameters `threshold`, `contamination`, `score_pooling`, `heatmap_sigma`
        and `min_area` may be changed before: they take effect here, and the scale of
        colours follows. The scores of the normal images replace those held out in
        ``fit``, and :meth:`p_values` rest on them.

        Parameters
        ----------
        X : array-like
            Images as for ``fit``. Those that were trained on are left out.
        y : array-like, default=None
            Their labels (or masks), as for ``fit``. None means that all are normal.
        groups : array-like of shape (n,), default=None
            Which images belong together, such as photographs of one part. Each group
            of normal images then counts as one.

        Returns
        -------
        self : estimator

        Raises
        ------
        CalibrationError
            If all images are anomalies or were trained on, or they are too few, or of
            the wrong kind, for the rule. The threshold is left as it was.

        Warns
        -----
        UserWarning
            If images were left out because they were trained on.
        ~skfcdd.exceptions.FewImagesWarning
            If the images are too few for the rate of false alarms that is asked for.
        """
        images = self._check_images(X)
        self._validate_params()  # type: ignore[attr-defined]
        targets = self._read_targets(y, images)
        if groups is not None:
            targets = replace(targets, groups=check_groups(groups, len(images)))
        new = self._new_to_the_network(images)
        normal, anomalous = (
            np.flatnonzero(new & (targets.anomalous == k)) for k in (0, 1)
        )
        if len(normal) == 0:
            raise CalibrationError(
                f"Calibration needs normal images that were not trained on. Got "
                f"{int(targets.anomalous.sum())} anomalies and "
                f"{int((~new & ~targets.anomalous).sum())} normal images that were "
                f"trained on."
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
        """Warn if the threshold rests on too few images for the rate asked for."""
        found = self._fitted.calibration
        if found is not None and found.warning is not None:
            warn_caller(found.warning, FewImagesWarning)

    def _new_to_the_network(self, images: ImageArray) -> npt.NDArray[np.bool_]:
        """Which images were not trained on."""
        used = self._fitted.used
        if not len(used.trained):
            return np.ones(len(images), dtype=bool)
        new = ~used.known(images.digests())
        if not new.all():
            warn_caller(
                f"{int((~new).sum())} of {len(new)} images were trained on and are "
                f"left out: their scores tell nothing of new images.",
                UserWarning,
            )
        return new

    def p_values(
        self, X: Any, *, smoothed: bool = False, random_state: Any = None
    ) -> npt.NDArray[np.float64]:
        r"""How surprising each image would be if it were normal.

        Conformal p-values: :math:`(1 + k) / (n + 1)` where :math:`k` of :math:`n`
        normal images that took no part in training have at least this score. For a
        new image of the same kind as those, a p-value of at most :math:`\alpha` has a
        probability of at most :math:`\alpha`, whatever the network has learned. See
        :func:`skfcdd.conformal.conformal_p_values`. If the scores are out of fold, as
        ``calibration_.source`` says, this holds approximately.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.
        smoothed : bool, default=False
            Break ties by chance, which makes p-values of normal images uniform.
        random_state : int, RandomState instance or None, default=None
            Chance of `smoothed`.

        Returns
        -------
        ndarray of shape (n,), float64
            Small means anomalous.
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
        """Anomalies among a batch, with a stated share of false ones among them.

        Benjamini and Hochberg's procedure on :meth:`p_values`. Where ``predict`` asks
        how often a good image is called anomalous, this asks how many of those called
        anomalous are good.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``; they are judged together.
        rate : float, default=0.1
            False discovery rate: greatest expected share of normal images among the
            selected.

        Returns
        -------
        ndarray of shape (n,), bool

        Raises
        ------
        CalibrationError
            If the calibration images are too few for anything to be selected.
        """
        p, groups = self.p_values(X), self._fitted.calibration_groups
        n = len(self._fitted.calibration_scores if groups is None else set(groups))
        return select_discoveries(p, n, rate=rate)

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Where ``fit`` fails, an earlier fit is left as it was."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            # Callbacks of scikit-learn are to hear of the end.
            kept = {n: v for n, v in vars(self).items() if n in _OF_CALLBACKS}
            self.__dict__.clear()
            self.__dict__.update(before | kept)
            raise

    def _check_images(self, X: Any) -> ImageArray:
        """Validate images to be scored."""
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
        """What the images of ``fit`` look like."""
        return ImageFormat(
            shape=images.image_shape,
            channels=self.channels,
            layout=None if self.image_shape is None else tuple(self.image_shape),
            dtype=str(images.data.dtype),
            channels_first=images.channels_first,
            reading=images.reading,
        )

    def _judging(self) -> Judging:
        """The parameters that decide on verdicts, as they are now."""
        return Judging(
            self.threshold,
            self.contamination,
            self.score_pooling,
            self.heatmap_sigma,
            getattr(self, "min_area", 1),
        )

    def _read_targets(self, y: Any, images: ImageArray) -> Targets:
        """What y says about images."""
        raise NotImplementedError

    def _usable(self, targets: Targets) -> npt.NDArray[np.intp]:
        """Anomalies that a rule for the threshold may look at."""
        return np.flatnonzero(targets.anomalous)

    def _held_anomalies(self, split: Split, targets: Targets) -> npt.NDArray[np.intp]:
        """Anomalies that set the threshold.

        Those held out, or where none of them can be used, those trained on: a handful
        is too precious to hold out.
        """
        usable = np.intersect1d(self._usable(targets), np.flatnonzero(targets.kept))
        held = np.intersect1d(split.held_anomalous, usable)
        return held if len(held) else usable

    def _rows(self, split: Split, targets: Targets) -> CalibrationRows:
        """What sets the threshold in ``fit``."""
        every = np.flatnonzero(targets.kept)
        held, normal = self._held_anomalies(split, targets), split.held_normal
        return CalibrationRows(normal, held, every, targets.groups_of(normal))

    def _check_split(self, split: Split, targets: Targets) -> None:
        """Refuse a rule for the threshold that these images cannot support."""
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
        """The model with all that rests on the images at `rows`.

        They are scored by `scorer`, or else by the model itself.
        """
        scorer = model if scorer is None else scorer
        model = with_calibration_scores(model, images, rows, scorer)
        verge = self._choose_threshold(model, images, targets, rows, scorer)
        found = calibration_of(verge, rows, source)
        model = replace(model, threshold=verge.threshold, calibration=found)
        heat = normal_heat(scorer, images, rows.normal)
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
        """Scores of images, and the model that they are of."""
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
