"""Base class of threshold rules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_consistent_length, column_or_1d

from skfcdd.exceptions import CalibrationError

__all__ = ["Scores", "Threshold", "check_share", "just_above"]

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """Base class for threshold rules; subclass it to define your own.

    Subclasses implement `choose`, which returns the threshold.

    Attributes
    ----------
    needs_anomalies : bool
        Whether the rule needs scores of anomalies.

    Examples
    --------
    >>> import numpy as np
    >>> from skfcdd.thresholds import Threshold
    >>> class ThreeSigma(Threshold):
    ...     def choose(self, normal, anomalous, weights):
    ...         return normal.mean() + 3 * normal.std()
    >>> ThreeSigma()([0, 0, 0, 0], [0.1, 0.1, 0.3, 0.3])
    0.5
    """

    needs_anomalies = False

    def __call__(
        self,
        y_true: npt.ArrayLike,
        y_score: npt.ArrayLike,
        *,
        sample_weight: npt.ArrayLike | None = None,
        groups: npt.ArrayLike | None = None,
    ) -> float:
        """Choose the threshold.

        Parameters
        ----------
        y_true : array-like of shape (n,)
            True labels: 1 or True for anomalous images, and 0 for normal ones.
        y_score : array-like of shape (n,)
            Anomaly scores, non-negative.
        sample_weight : array-like of shape (n,), default=None
            Sample weights, supported only by rules that need anomalies.
        groups : array-like of shape (n,), default=None
            Group of each image. Rules that limit the rate of false alarms count each
            group of normal images as one image; other rules ignore groups.

        Returns
        -------
        float
            Threshold, greater than 0. Scores above it are anomalous.

        Raises
        ------
        CalibrationError
            If there are too few normal images for the rule, or no anomalies although
            the rule needs some.
        """
        truth = column_or_1d(y_true).astype(bool)
        score = column_or_1d(y_score).astype(np.float64)
        check_consistent_length(truth, score)
        names = None
        if groups is not None and not self.needs_anomalies:
            names = column_or_1d(groups)[~truth]
        n_normal = int((~truth).sum()) if names is None else len(np.unique(names))
        self.check(n_normal, int(truth.sum()))
        weights = None
        if sample_weight is not None:
            if not self.needs_anomalies:
                raise ValueError(
                    f"{type(self).__name__} does not support sample_weight."
                )
            weight = column_or_1d(sample_weight).astype(np.float64)
            weights = weight[~truth], weight[truth]
        if names is None:
            threshold = float(self.choose(score[~truth], score[truth], weights))
        else:
            threshold = float(self.choose_by_group(score[~truth], score[truth], names))
        if not math.isfinite(threshold):
            raise CalibrationError(
                f"{self} gives {threshold} for these scores, but a threshold must be "
                "finite."
            )
        return max(threshold, float(np.finfo(np.float32).tiny))

    def check(self, n_normal: int, n_anomalous: int) -> None:
        """Raise if there are too few images for the rule.

        Parameters
        ----------
        n_normal, n_anomalous : int
            Numbers of normal and anomalous calibration images. With groups, `n_normal`
            is the number of groups of normal images.

        Raises
        ------
        CalibrationError
            If there are too few images.
        """
        if n_normal == 0:
            raise CalibrationError(
                f"A threshold cannot be set on anomalies only: got {n_anomalous} "
                "anomalous and 0 normal images to calibrate on."
            )
        if self.needs_anomalies and n_anomalous == 0:
            raise CalibrationError(
                f"threshold={self} needs labelled anomalies, but got only normal "
                "images. Label some anomalies in y, or use 'quantile' or "
                "FalseAlarmRate."
            )

    def choose(
        self, normal: Scores, anomalous: Scores, weights: tuple[Scores, Scores] | None
    ) -> float:
        """Choose the threshold from validated scores.

        Parameters
        ----------
        normal, anomalous : ndarray of shape (n_normal,), (n_anomalous,), float64
            Scores.
        weights : tuple of ndarray or None
            Weights of the normal and the anomalous scores.

        Returns
        -------
        float
            Threshold.
        """
        raise NotImplementedError

    def choose_by_group(
        self, normal: Scores, anomalous: Scores, groups: npt.NDArray[Any]
    ) -> float:
        """Choose the threshold from validated scores of grouped normal images.

        Parameters
        ----------
        normal, anomalous : ndarray of shape (n_normal,), (n_anomalous,), float64
            Scores.
        groups : ndarray of shape (n_normal,)
            Group of each normal image.

        Returns
        -------
        float
            Threshold; by default that of :meth:`choose`, which ignores groups.
        """
        return self.choose(normal, anomalous, None)

    def asked_rate(self, n_anomalous: int) -> float | None:
        """Return the limit on the rate of false alarms, if the rule has one.

        Parameters
        ----------
        n_anomalous : int
            Number of anomalous calibration images.

        Returns
        -------
        float or None
            Proportion of normal images that may be predicted as anomalous.
        """
        return None


def check_share(
    rule: Threshold, name: str, *, closed: str = "both", optional: bool = False
) -> None:
    """Raise if a field of a rule is not a proportion.

    Parameters
    ----------
    rule : Threshold
    name : str
        Name of the field.
    closed : {"both", "left", "neither"}, default="both"
        Which limits of [0, 1] are allowed.
    optional : bool, default=False
        Whether None is also allowed.

    Raises
    ------
    ValueError
        If the value is not within these limits.
    """
    value = getattr(rule, name)
    if value is None and optional:
        return
    ends = {"both": "[0, 1]", "left": "[0, 1)", "neither": "(0, 1)"}[closed]
    number = isinstance(value, Real) and 0 <= float(value) <= 1
    low, high = closed == "neither", closed != "both"
    if not number or (low and value == 0) or (high and value == 1):
        raise ValueError(
            f"Got {type(rule).__name__}({name}={value!r}), but expected a number in "
            f"{ends}."
        )


def just_above(score: float) -> float:
    """Return the next float above a score, as a threshold that it does not exceed."""
    return max(float(np.nextafter(score, np.inf)), float(np.finfo(np.float32).tiny))
