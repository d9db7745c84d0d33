"""Registry of the baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from skfcdd._detector import FCDDDetector
from skfcdd.baselines._autoencoder import AutoencoderDetector
from skfcdd.baselines._patchcore import PatchCoreDetector
from skfcdd.baselines._pca import PCADetector

__all__ = ["BASELINES"]

BASELINES: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "pca": PCADetector,
        "autoencoder": AutoencoderDetector,
        "deep_svdd": partial(FCDDDetector, loss="dsvdd", weights=None),
        "hsc": partial(FCDDDetector, loss="hsc", weights=None),
        "patchcore": PatchCoreDetector,
    }
)
"""Factories of estimators by name, which accept the parameters of the estimator.

"deep_svdd" and "hsc" create an :class:`~skfcdd.FCDDDetector` with the objective of Deep
SVDD (Ruff et al., ICML 2018) or of the hypersphere classifier (Ruff et al., 2020),
trained from random weights as in these papers, with gradient-based heatmaps.

Examples
--------
>>> from skfcdd.baselines import BASELINES
>>> BASELINES["hsc"](max_epochs=5)
FCDDDetector(loss='hsc', max_epochs=5, weights=None)
"""
