"""Scorers for cross-validation with masks as y."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from skfcdd.metrics._pixels import (
    aupro_score,
    f1_max_score,
    intersection_over_union_score,
    pixel_average_precision_score,
    pixel_roc_auc_score,
)

__all__ = ["PIXEL_SCORERS", "PixelScorer"]


@dataclass(frozen=True)
class PixelScorer:
    """Scorer that compares heatmaps or predicted masks with masks passed as y.

    Pass it as ``scoring=`` to GridSearchCV or cross_val_score. If the estimator has a
    region of interest (``roi_``), it is passed to the metric as `roi`.

    Parameters
    ----------
    metric : callable (masks, maps, ...) -> float
        Metric for which higher is better, called with `options` as keyword arguments.
    response_method : {"explain", "predict"}, default="explain"
        Method of the estimator that returns heatmaps or masks.
    options : dict, default={}
        Keyword arguments of `metric`.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from skfcdd import FCDDSegmenter
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.metrics import PixelScorer, aupro_score
    >>> data = make_defects(n_samples=40, image_size=32, random_state=0)
    >>> scorer = PixelScorer(aupro_score, options={"max_fpr": 0.1})
    >>> model = FCDDSegmenter(max_epochs=1, random_state=0)
    >>> cross_val_score(model, data.images, data.masks, scoring=scorer, cv=2).shape
    (2,)
    """

    metric: Callable[..., float]
    response_method: str = "explain"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        """Score a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator with the method `response_method`.
        X : array-like
            Images.
        y : array-like of shape (n, h, w)
            Masks.

        Returns
        -------
        float
        """
        maps = getattr(estimator, self.response_method)(X)
        options = dict(self.options)
        if (roi := getattr(estimator, "roi_", None)) is not None:
            options.setdefault("roi", roi)
        return float(self.metric(y, maps, **options))


def _f1(masks: Any, heatmaps: Any, roi: Any = None) -> float:
    return f1_max_score(masks, heatmaps, roi=roi)[0]


PIXEL_SCORERS: Mapping[str, PixelScorer] = MappingProxyType(
    {
        "pixel_roc_auc": PixelScorer(pixel_roc_auc_score),
        "pixel_average_precision": PixelScorer(pixel_average_precision_score),
        "aupro": PixelScorer(aupro_score),
        "f1_max": PixelScorer(_f1),
        "intersection_over_union": PixelScorer(
            intersection_over_union_score, response_method="predict"
        ),
    }
)
"""Scorers by name: ``scoring=PIXEL_SCORERS["aupro"]``."""
