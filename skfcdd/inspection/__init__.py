"""Tests of explanations: whether a heatmap shows what the score depends on.

A heatmap may be plausible and wrong. The functions of this module verify it: they
compare its sum with the score, its peak with the true defect, and the score after
removing, inserting or replacing pixels; and they search for heat in regions that should
not matter. All functions take any fitted model with ``anomaly_score`` and ``explain``:
the estimators, those of :mod:`skfcdd.baselines`, and :class:`~skfcdd.onnx.OnnxFCDD`.
"""

from __future__ import annotations

from skfcdd.inspection._audit import RegionAudit, RegionFinding, audit_regions
from skfcdd.inspection._counterfactual import Counterfactual, counterfactual
from skfcdd.inspection._curves import (
    PerturbationCurve,
    deletion_curve,
    insertion_curve,
)
from skfcdd.inspection._effects import RegionEffect, explain_regions
from skfcdd.inspection._pointing import PointingGame, pointing_game
from skfcdd.inspection._shares import RegionShare, additivity_error, region_share

__all__ = [
    "Counterfactual",
    "PerturbationCurve",
    "PointingGame",
    "RegionAudit",
    "RegionEffect",
    "RegionFinding",
    "RegionShare",
    "additivity_error",
    "audit_regions",
    "counterfactual",
    "deletion_curve",
    "explain_regions",
    "insertion_curve",
    "pointing_game",
    "region_share",
]
