"""scikit-learn's convention of outlier detectors, around an anomaly score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import OutlierMixin
from sklearn.utils.validation import column_or_1d

from skfcdd._calibration import CalibrationRows
from skfcdd._engine.model import FittedModel
from skfcdd._inputs.images import ImageArray
from skfcdd._inputs.labels import Targets
from skfcdd._scoring import AnomalyScorer
from skfcdd._verdicts import Convention, settled

if TYPE_CHECKING:
    from typing import Self

__all__ = ["DETECTOR", "OutlierVerdicts"]

DETECTOR = Convention("detector", np.array([-1, 1]), -1)


class OutlierVerdicts(OutlierMixin, AnomalyScorer):  # type: ignore[misc]
    """1 for inliers, -1 for outliers; greater scores are more normal."""

    if TYPE_CHECKING:

        def fit(self, X: Any, y: Any = None) -> Self: ...

    def fit_predict(self, X: Any, y: Any = None) -> npt.NDArray[np.int_]:
        """Train on images, and say which of them are outliers.

        Parameters
        ----------
        X, y
            As for ``fit``.

        Returns
        -------
        ndarray of shape (n,)
            1 for inliers, -1 for outliers.
        """
        return self.fit(X, y).predict(X)

    def score_samples(self, X: Any) -> npt.NDArray[np.float64]:
        """Score of each image; greater is more normal.

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
        """Score of each image against the threshold; negative for outliers.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        ndarray of shape (n,), float64
            ``score_samples(X) - offset_``; 0 where that is a rounding of 0.
        """
        scores, model = self._scored(X)
        return model.threshold - settled(scores, model.threshold)

    def predict(self, X: Any) -> npt.NDArray[np.int_]:
        """1 for inliers, -1 for outliers.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        ndarray of shape (n,)
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)

    @property
    def offset_(self) -> float:
        """The threshold on the scale of ``score_samples``."""
        return -self.threshold_

    def _read_targets(self, y: Any, images: ImageArray) -> Targets:
        if y is None:
            return Targets(np.zeros(len(images), dtype=bool))
        labels = column_or_1d(y, warn=True)
        if len(labels) != len(images):
            raise ValueError(
                f"X has {len(images)} images, but y has {len(labels)} labels."
            )
        outlying = labels == -1
        if outlying.all():
            raise ValueError(
                "y holds -1 alone, known outliers, but normal images are needed to "
                "learn from."
            )
        return Targets(outlying)

    def _choose_threshold(
        self,
        model: FittedModel,
        images: ImageArray,
        targets: Targets,
        rows: CalibrationRows,
    ) -> float:
        """As many outliers among all given images as `contamination` says."""
        judging = model.judging
        if judging.threshold == "auto" and judging.contamination != "auto":
            share = 1 - float(judging.contamination)
            quantile = np.quantile(model.scores(images, rows.every), share)
            return max(float(quantile), float(np.finfo(np.float32).tiny))
        return super()._choose_threshold(model, images, targets, rows)
