"""Baseline methods with the same interface, for comparison.

Reconstruction from principal components or by an autoencoder, nearest neighbours of
pretrained features (PatchCore), and the objectives of Deep SVDD and HSC by name. Like
:class:`~skfcdd.FCDDDetector`, they take images as input, hold out normal images for the
threshold, and explain scores by heatmaps.
"""

from __future__ import annotations

from skfcdd.baselines._autoencoder import AutoencoderDetector
from skfcdd.baselines._patchcore import PatchCoreDetector
from skfcdd.baselines._pca import PCADetector
from skfcdd.baselines._registry import BASELINES

__all__ = ["BASELINES", "AutoencoderDetector", "PCADetector", "PatchCoreDetector"]
