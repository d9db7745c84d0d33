"""Anomaly detection in images, with heatmaps, as scikit-learn estimators."""

from __future__ import annotations

from skfcdd._classifier import FCDDClassifier

__version__ = "0.1.0"

__all__ = ["FCDDClassifier", "__version__"]
