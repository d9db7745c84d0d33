"""Metrics for heatmaps, predicted masks and individual kinds of defects.

For image-level metrics, use scikit-learn with ``anomaly_score``. This module provides
pixel-level metrics that scale from ten pixels to a billion, scorers for
cross-validation, and confidence intervals.
"""

from __future__ import annotations

from skfcdd.metrics._bootstrap import Interval, bootstrap_interval
from skfcdd.metrics._histogram import PixelHistogram
from skfcdd.metrics._pixels import (
    aupro_score,
    f1_max_score,
    intersection_over_union_score,
    pixel_average_precision_score,
    pixel_roc_auc_score,
    region_overlap_curve,
)
from skfcdd.metrics._report import defect_report
from skfcdd.metrics._scorers import PIXEL_SCORERS, PixelScorer

__all__ = [
    "PIXEL_SCORERS",
    "Interval",
    "PixelHistogram",
    "PixelScorer",
    "aupro_score",
    "bootstrap_interval",
    "defect_report",
    "f1_max_score",
    "intersection_over_union_score",
    "pixel_average_precision_score",
    "pixel_roc_auc_score",
    "region_overlap_curve",
]
