"""Find anomalies in images and show where they are, as scikit-learn estimators."""

from __future__ import annotations

from skfcdd._classifier import FCDDClassifier
from skfcdd._detector import FCDDDetector
from skfcdd._regions import Region
from skfcdd._segmenter import FCDDSegmenter

__version__ = "0.1.0"

__all__ = [
    "FCDDClassifier",
    "FCDDDetector",
    "FCDDSegmenter",
    "Region",
    "__version__",
]
