"""Plots of models and their predictions, with matplotlib.

Each display holds the values that it draws. ``from_estimator`` asks a fitted model for
them, ``from_predictions`` takes them as they are; ``plot`` draws, and keeps what it has
drawn in attributes that end with ``_``. Curves over image scores are scikit-learn's:
``RocCurveDisplay``, ``PrecisionRecallDisplay``, ``DetCurveDisplay`` and
``ConfusionMatrixDisplay`` take the models as they are.
"""

from __future__ import annotations

from skfcdd.display._audit import RegionAuditDisplay
from skfcdd.display._counterfactual import CounterfactualDisplay
from skfcdd.display._drift import DriftDisplay
from skfcdd.display._heatmap import HeatmapDisplay
from skfcdd.display._history import HistoryDisplay
from skfcdd.display._perturbation import PerturbationCurveDisplay
from skfcdd.display._region_overlap import RegionOverlapDisplay
from skfcdd.display._scores import ScoreDistributionDisplay

__all__ = [
    "CounterfactualDisplay",
    "DriftDisplay",
    "HeatmapDisplay",
    "HistoryDisplay",
    "PerturbationCurveDisplay",
    "RegionAuditDisplay",
    "RegionOverlapDisplay",
    "ScoreDistributionDisplay",
]
