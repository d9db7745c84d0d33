"""Baseline methods for comparison, with the same interface as FCDD.

They are reconstruction from principal components or by an autoencoder, nearest
neighbours among pretrained features (PatchCore), and the objectives of Deep SVDD and
HSC (by name, in `BASELINES`). Like :class:`~skfcdd.FCDDDetector`, they accept images as
X, hold out normal images for the threshold, and explain scores with heatmaps.
"""

from __future__ import annotations

from skfcdd.baselines._autoencoder import AutoencoderDetector
from skfcdd.baselines._patchcore import PatchCoreDetector
from skfcdd.baselines._pca import PCADetector
from skfcdd.baselines._registry import BASELINES

__all__ = ["BASELINES", "AutoencoderDetector", "PCADetector", "PatchCoreDetector"]
