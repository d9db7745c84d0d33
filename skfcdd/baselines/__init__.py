"""Other methods behind the same interface, to compare with.

Reconstruction from principal components or by an autoencoder, nearest neighbours of
pretrained features (PatchCore), and by name the objectives of Deep SVDD and HSC. They
take images as :class:`~skfcdd.FCDDDetector` does, hold normal images out for the
threshold as it does, and explain by heatmaps of the same kind.
"""

from __future__ import annotations

from skfcdd.baselines._autoencoder import AutoencoderDetector
from skfcdd.baselines._patchcore import PatchCoreDetector
from skfcdd.baselines._pca import PCADetector
from skfcdd.baselines._registry import BASELINES

__all__ = ["BASELINES", "AutoencoderDetector", "PCADetector", "PatchCoreDetector"]
