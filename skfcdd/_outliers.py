"""Mixin with the interface of scikit-learn's outlier detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import OutlierMixin
from sklearn.utils.validation import column_or_1d

from skfcdd._calibration import CalibrationRows, Scorer, Verge
from skfcdd._engine.model import FittedModel
from skfcdd._inputs.images import ImageArray
from skfcdd._inputs.labels import Targets
from skfcdd._inputs.words import anomaly_of_pair
from skfcdd._scoring import AnomalyScorer
from skfcdd._utils.warnings import warn_caller
from skfcdd._verdicts import Convention, settled
from skfcdd.exceptions import AnomalyLabelWarning

if TYPE_CHECKING:
    from typing import Self

__all__ = ["DETECTOR", "OutlierVerdicts"]

DETECTOR = Convention("detector", np.array([-1, 1]), -1)


class OutlierVerdicts(OutlierMixin, AnomalyScorer):  # type: ignore[misc]
    """Mixin for outlier detectors, in which higher scores are more normal."""

    if TYPE_CHECKING:

        def fit(self, X: Any, y: Any = None) -> Self: ...

    def fit_predict(
        self, X: Any, y: Any = None, **fit_params: Any
    ) -> npt.NDArray[np.int_]:
        """Fit the model to images, and predict which of them are outliers.

        Parameters
        ----------
        X, y
            As for ``fit``.
        **fit_params
            Further arguments of ``fit``, such as `sample_weight`.

        Returns
        -------
        ndarray of shape (n,)
            1 for inliers, -1 for outliers.
        """
        return self.fit(X, y, **fit_params).predict(X)

    def score_samples(self, X: Any) -> npt.NDArray[np.float64]:
        """Compute the score of each image; higher is more normal.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        ndarray of shape (n,), float64
            ``-anomaly_score(X)``.
        """
        return -self.anomaly_score(X)

    def decision_function(self, X: Any) -> npt.NDArray[np.float64]:
        """Compute the signed distance to the threshold; negative for outliers.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        ndarray of shape (n,), float64
            ``score_samples(X) - offset_``; exactly 0 for images at the threshold.
        """
        scores, model = self._scored(X)
        return model.threshold - settled(scores, model.threshold)

    def predict(self, X: Any) -> npt.NDArray[np.int_]:
        """Predict 1 for inliers and -1 for outliers.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        ndarray of shape (n,)
            1 for inliers, -1 for outliers.
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)

    @property
    def offset_(self) -> float:
        """Threshold on the scale of ``score_samples``."""
        return -self.threshold_

    def _read_targets(self, y: Any, images: ImageArray) -> Targets:
        if y is None:
            return Targets(np.zeros(len(images), dtype=bool))
        labels = column_or_1d(y, warn=True)
        if len(labels) != len(images):
            raise ValueError(
                f"X has {len(images)} images, but y has {len(labels)} labels."
            )
        outlying = _known_outliers(labels, is_image=images.image_shape[0] > 1)
        if outlying.all():
            raise ValueError(
                "y contains only -1, for known outliers, but training needs normal "
                "images."
            )
        return Targets(outlying)

    def _choose_threshold(
        self,
        model: FittedModel,
        images: ImageArray,
        targets: Targets,
        rows: CalibrationRows,
        scorer: Scorer,
    ) -> Verge:
        """Choose the threshold, on all images of ``fit`` if `contamination` is set."""
        judging = model.judging
        if judging.threshold == "auto" and judging.contamination != "auto":
            share = 1 - float(judging.contamination)
            quantile = np.quantile(model.scores(images, rows.every), share)
            threshold = max(float(quantile), float(np.finfo(np.float32).tiny))
            return Verge(threshold, model.calibration_scores, model.calibration_groups)
        return super()._choose_threshold(model, images, targets, rows, scorer)


def _known_outliers(
    labels: npt.NDArray[Any], *, is_image: bool
) -> npt.NDArray[np.bool_]:
    """Find known outliers: labels of -1, or of the string that means a defect.

    Raises
    ------
    ValueError
        If labels are strings and it is unclear which of them means a defect.

    Warns
    -----
    AnomalyLabelWarning
        If images have several labels, but -1 is not among them.
    """
    if labels.dtype.kind in "OUS" and any(isinstance(x, (str, bytes)) for x in labels):
        found = np.unique(labels.astype(str)).tolist()
        index, sure = (anomaly_of_pair(found) if len(found) == 2 else None) or (
            0,
            False,
        )
        if not sure:
            raise ValueError(
                f"y has the labels {found[:10]}, and it is unknown which of them "
                "means outlier. Use -1 for known outliers, and 1 for all others."
            )
        named: npt.NDArray[np.bool_] = labels.astype(str) == found[index]
        return named
    outlying: npt.NDArray[np.bool_] = labels == -1
    if is_image and not outlying.any() and len(np.unique(labels)) > 1:
        warn_caller(
            f"y has the labels {np.unique(labels)[:10].tolist()}, but none of them is "
            "-1, so all images count as normal. Use -1 for known outliers, as in "
            "numpy.where(y == 1, -1, 1), or omit y.",
            AnomalyLabelWarning,
        )
    return outlying
