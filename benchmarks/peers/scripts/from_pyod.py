"""pyod: detectors on pooled features and on pixels.

No detector of pyod returns heatmaps. Its `EmbeddingOD`, which accepts images, downloads
a network, and applies detectors like these to its features.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _contract import Task, main
from pyod.models.auto_encoder import AutoEncoder
from pyod.models.ecod import ECOD
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from pyod.models.pca import PCA
from sklearn.preprocessing import StandardScaler


class Detector:
    """Wrapper of any detector, with standardised columns."""

    def __init__(self, detector: Any, inputs: str) -> None:
        self.detector, self.inputs = detector, inputs
        self.scaler = StandardScaler()

    def fit(self, X: np.ndarray) -> None:
        self.detector.fit(self.scaler.fit_transform(self._flat(X)))

    def score(self, X: np.ndarray) -> tuple[np.ndarray, None]:
        columns = self.scaler.transform(self._flat(X))
        return self.detector.decision_function(columns), None

    def save(self, path: Path) -> None:
        path.write_bytes(pickle.dumps((self.scaler, self.detector)))

    @staticmethod
    def _flat(X: np.ndarray) -> np.ndarray:
        return X.reshape(len(X), -1).astype(np.float32)


def on(inputs: str, make: Callable[[int], Any]) -> Callable[[Task], Detector]:
    return lambda task: Detector(make(task.seed), inputs)


METHODS = {
    "knn": on("features", lambda seed: KNN()),
    "ecod": on("features", lambda seed: ECOD()),
    "pca": on("features", lambda seed: PCA(random_state=seed)),
    "iforest": on("features", lambda seed: IForest(random_state=seed)),
    "auto_encoder": on("features", lambda seed: AutoEncoder(random_state=seed)),
    "pca_pixels": on("X", lambda seed: PCA(random_state=seed)),
    "iforest_pixels": on("X", lambda seed: IForest(random_state=seed)),
    "auto_encoder_pixels": on("X", lambda seed: AutoEncoder(random_state=seed)),
}

if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    main(METHODS, ["pyod", "torch", "scikit-learn", "numpy"])
