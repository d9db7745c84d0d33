"""Image anomaly detection and localisation with scikit-learn estimators."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# Imported on first access, so that serving an exported model does not need torch.
_HOMES = {
    "FCDDClassifier": "skfcdd._classifier",
    "FCDDDetector": "skfcdd._detector",
    "FCDDSegmenter": "skfcdd._segmenter",
    "Region": "skfcdd._regions",
}
_MODULES = {
    "anomalies",
    "backbones",
    "baselines",
    "comparison",
    "conformal",
    "datasets",
    "display",
    "exceptions",
    "feature_cache",
    "heatmaps",
    "inspection",
    "memory_bank",
    "metrics",
    "model_selection",
    "monitoring",
    "objectives",
    "receptive_field",
    "report",
    "serving",
    "thresholds",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"skfcdd.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'skfcdd' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
