"""Metrics of two models on the same images, and their differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import column_or_1d

from skfcdd._answers import check_model, count, take
from skfcdd._inputs.containers import is_paths
from skfcdd._inputs.files import files_for
from skfcdd._verdicts import convention_of, decisive_scores, is_above
from skfcdd.comparison._intervals import paired_difference
from skfcdd.exceptions import ImageShapeError
from skfcdd.metrics import Interval, bootstrap_interval
from skfcdd.metrics._auroc import fast_auroc

__all__ = ["FIGURES", "Comparison", "Contrast", "Side", "compare_models"]

Flags = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]
# Number of images per batch.
_AT_ONCE = 64
FIGURES = {
    "image_auroc": "image AUROC",
    "false_alarm_rate": "false alarms",
    "miss_rate": "misses",
}


@dataclass(frozen=True)
class Contrast:
    """Difference of one metric between two models.

    Parameters
    ----------
    first, second : float
        Value of each model.
    difference : Interval
        Second minus first, with its confidence interval.
    greater_is_better : bool
        Whether higher values of the metric are better.

    Examples
    --------
    >>> from skfcdd.comparison import Contrast
    >>> from skfcdd.metrics import Interval
    >>> contrast = Contrast(0.90, 0.93, Interval(0.03, -0.01, 0.07), True)
    >>> contrast.not_worse_by(0.02), contrast.not_worse_by(0.005)
    (True, False)
    """

    first: float
    second: float
    difference: Interval
    greater_is_better: bool

    def not_worse_by(self, tolerance: float) -> bool:
        """Return whether the interval rules out a loss of more than `tolerance`."""
        _, low, high = self.difference
        return low >= -tolerance if self.greater_is_better else high <= tolerance

    @property
    def verdict(self) -> str:
        """Conclusion about the second model: "better", "worse" or "undecided"."""
        _, low, high = self.difference
        if not self.greater_is_better:
            low, high = -high, -low
        return "better" if low > 0 else "worse" if high < 0 else "undecided"


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two models, with its predictions."""

    estimator: Any
    X: Any
    scores: Scores
    decisive: Scores
    flagged: Flags


@dataclass(frozen=True, eq=False)
class Comparison:
    """Result of :func:`compare_models`.

    Parameters
    ----------
    contrasts : dict of str to Contrast
        "image_auroc", "false_alarm_rate" (if there are normal images) and "miss_rate"
        (if there are anomalies). The first needs both.
    truth : ndarray of shape (n,), bool
        True for anomalies.
    flagged : ndarray of shape (2, n), bool
        True for images that each model predicts as anomalous.
    scores : ndarray of shape (2, n), float64
        Scores of each model. The scale differs between models.
    confidence_level : float
        Confidence level of the intervals.
    names : list of str
        Names of the images.
    """

    contrasts: dict[str, Contrast]
    truth: Flags
    flagged: Flags
    scores: Scores
    confidence_level: float
    names: list[str]
    _sides: tuple[Side, Side] = field(repr=False)

    @property
    def differing(self) -> npt.NDArray[np.intp]:
        """Rows of the images for which the predictions of the models differ."""
        return np.flatnonzero(self.flagged[0] != self.flagged[1])

    def worse(self, tolerance: float) -> list[str]:
        """List the metrics for which the second model may be worse.

        Parameters
        ----------
        tolerance : float
            Maximum loss that is acceptable, at least 0. A metric is listed if its
            interval does not rule out a larger loss.

        Returns
        -------
        list of str
            Keys of `contrasts`. The list is empty if the second model is shown to be as
            good as the first, within the tolerance, in all metrics.

        Raises
        ------
        ValueError
            If `tolerance` is negative, or NaN.
        """
        if not tolerance >= 0:
            raise ValueError(
                f"Got tolerance={tolerance!r}, but expected a number of at least 0."
            )
        return [
            name
            for name, contrast in self.contrasts.items()
            if not contrast.not_worse_by(tolerance)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics and the images with different predictions, for JSON."""
        return {
            "n_images": len(self.truth),
            "n_anomalous": int(self.truth.sum()),
            "confidence_level": self.confidence_level,
            "figures": {
                name: {
                    "first": contrast.first,
                    "second": contrast.second,
                    "difference": contrast.difference.value,
                    "low": contrast.difference.low,
                    "high": contrast.difference.high,
                    "verdict": contrast.verdict,
                }
                for name, contrast in self.contrasts.items()
            },
            "differing": [self.names[row] for row in self.differing],
        }

    def __str__(self) -> str:
        n_bad = int(self.truth.sum())
        lines = [
            f"{len(self.truth)} images, {n_bad} of them anomalies",
            f"{'':14s}   first  second  difference ({self.confidence_level:.0%} "
            f"interval)",
        ]
        for name, contrast in self.contrasts.items():
            value, low, high = contrast.difference
            lines.append(
                f"{FIGURES[name]:14s} {contrast.first:7.4f} {contrast.second:7.4f}  "
                f"{value:+.4f} ({low:+.4f} to {high:+.4f}): {contrast.verdict}"
            )
        lines.append(f"predictions differ on {len(self.differing)} images")
        return "\n".join(lines)


def compare_models(
    first: Any,
    second: Any,
    X: Any,
    y: Any,
    *,
    X_second: Any = None,
    names: Sequence[Any] | None = None,
    n_resamples: int = 999,
    confidence_level: float = 0.95,
    random_state: Any = None,
) -> Comparison:
    """Compare two models on the same images, each at its own threshold.

    Parameters
    ----------
    first, second : estimator
        Fitted estimators of this package, or :class:`~skfcdd.onnx.OnnxFCDD`, of any
        kind. Their labels may differ.
    X : array-like
        Images that neither model was trained on, as for ``first.anomaly_score``.
    y : array-like of shape (n,)
        1 (or True) for anomalies, 0 for normal images.
    X_second : array-like, default=None
        The same images for `second`, if it needs them in another form, such as another
        size. None uses X.
    names : sequence of str or path, default=None
        Names of the images. None uses their numbers.
    n_resamples : int, default=999
        Number of bootstrap resamples for AUROC.
    confidence_level : float, default=0.95
        Confidence level of the intervals, in (0, 1).
    random_state : int, RandomState instance or None, default=None
        Random state of the bootstrap.

    Returns
    -------
    Comparison
        Differences, `second` minus `first`, with confidence intervals. Those of AUROC
        are from a paired bootstrap, and those of rates are the intervals of Agresti and
        Min for matched pairs.

    Raises
    ------
    TypeError
        If a model is of any other type.
    NotFittedError
        If a model is not fitted.
    ImageShapeError
        If the models require images of different shapes and `X_second` is None.
    ValueError
        If y contains other values or has the wrong length, or there is only one image
        of a class, or no image at all.

    Examples
    --------
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.comparison import compare_models
    >>> from skfcdd.datasets import make_defects
    >>> data = make_defects(80, image_size=32, random_state=0)
    >>> normal = data.images[:40][data.target[:40] == 0]
    >>> first, second = (
    ...     FCDDClassifier(max_epochs=1, random_state=seed).fit(normal)
    ...     for seed in (0, 1)
    ... )
    >>> found = compare_models(
    ...     first, second, data.images[40:], data.target[40:], random_state=0
    ... )
    >>> sorted(found.contrasts)
    ['false_alarm_rate', 'image_auroc', 'miss_rate']
    """
    for model in (first, second):
        check_model(model, "anomaly_score", "explain")
    if not 0 < confidence_level < 1:
        raise ValueError(
            f"Got confidence_level={confidence_level!r}, but expected a number in "
            "(0, 1)."
        )
    if X_second is None:
        _check_shapes(first, second)
    others = X if X_second is None else X_second
    n = count(X)
    truth = _truth(y, n)
    if count(others) != n:
        raise ValueError(f"X has {n} images, but X_second has {count(others)}.")
    if names is not None and len(names) != n:
        raise ValueError(f"There are {n} images, but {len(names)} names.")
    sides = (_side(first, X), _side(second, others))
    return Comparison(
        _contrasts(truth, sides, n_resamples, confidence_level, random_state),
        truth,
        np.stack([side.flagged for side in sides]),
        np.stack([side.scores for side in sides]),
        confidence_level,
        [f"image {k}" for k in range(n)] if names is None else [str(k) for k in names],
        sides,
    )


def _check_shapes(first: Any, second: Any) -> None:
    one, other = (tuple(model.image_shape_) for model in (first, second))
    if one != other:
        raise ImageShapeError(
            f"The models expect images of different shapes, (h, w, c) = {one} and "
            f"{other}. Pass the same images in the shape of the second model as "
            "X_second=."
        )


def _truth(y: Any, n: int) -> Flags:
    labels = column_or_1d(y)
    if len(labels) != n:
        raise ValueError(f"X has {n} images, but y has {len(labels)} labels.")
    if labels.dtype != bool and not np.isin(labels, (0, 1)).all():
        raise ValueError(
            "y must be 1 for anomalies and 0 for normal images, whatever labels the "
            f"models were fitted with. Got {np.unique(labels)[:10].tolist()}."
        )
    truth = labels.astype(bool)
    few = [int((truth == kind).sum()) for kind in (False, True)]
    if 1 in few or few == [0, 0]:
        raise ValueError(
            "The comparison needs at least 2 images of each class in y. Got "
            f"{few[0]} normal and {few[1]} anomalous."
        )
    return truth


def _side(estimator: Any, X: Any) -> Side:
    if is_paths(X):
        reading = getattr(estimator, "reading_", None)
        X = files_for(X, reading, estimator.image_shape_)
    scores, decisive = [], []
    pixels = convention_of(estimator).judges_pixels
    for start in range(0, count(X), _AT_ONCE):
        rows = np.arange(start, min(count(X), start + _AT_ONCE))
        batch = take(X, rows)
        scores.append(np.asarray(estimator.anomaly_score(batch), dtype=np.float64))
        decisive.append(decisive_scores(estimator, batch) if pixels else scores[-1])
    every = np.concatenate(decisive)
    flagged = is_above(every, float(estimator.threshold_))
    return Side(estimator, X, np.concatenate(scores), every, flagged)


def _contrasts(
    truth: Flags,
    sides: tuple[Side, Side],
    n_resamples: int,
    confidence_level: float,
    random_state: Any,
) -> dict[str, Contrast]:
    first, second = sides
    found = {}
    if truth.any() and not truth.all():
        difference = bootstrap_interval(
            fast_auroc,
            truth.astype(int),
            second.scores,
            other=first.scores,
            n_resamples=n_resamples,
            confidence_level=confidence_level,
            random_state=random_state,
        )
        areas = [float(fast_auroc(truth, side.scores)) for side in sides]
        found["image_auroc"] = Contrast(areas[0], areas[1], difference, True)
    for name, rows, wrong in (
        ("false_alarm_rate", ~truth, True),
        ("miss_rate", truth, False),
    ):
        if rows.any():
            errors = [side.flagged[rows] == wrong for side in sides]
            difference = paired_difference(errors[0], errors[1], confidence_level)
            rates = [float(error.mean()) for error in errors]
            found[name] = Contrast(rates[0], rates[1], difference, False)
    return found
