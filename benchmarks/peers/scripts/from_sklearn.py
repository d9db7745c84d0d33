"""scikit-learn: outlier detectors on pooled features, and PCA on pixels."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _contract import Task, main
from sklearn.covariance import EllipticEnvelope
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM


class Features:
    """Wrapper of a detector on standardised features, without heatmaps."""

    inputs = "features"

    def __init__(self, detector: Any) -> None:
        self.model = make_pipeline(StandardScaler(), detector)

    def fit(self, X: np.ndarray) -> None:
        self.model.fit(X)

    def score(self, X: np.ndarray) -> tuple[np.ndarray, None]:
        return -self.model.score_samples(X), None

    def save(self, path: Path) -> None:
        path.write_bytes(pickle.dumps(self.model))


class Reconstruction:
    """Squared error of the reconstruction from 50 principal components of pixels."""

    def __init__(self, task: Task) -> None:
        self.pca = PCA(50, random_state=task.seed)

    def fit(self, X: np.ndarray) -> None:
        self.pca.fit(self._flat(X))

    def score(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flat = self._flat(X)
        error = (self.pca.inverse_transform(self.pca.transform(flat)) - flat) ** 2
        return error.mean(axis=1), error.reshape(X.shape)

    def save(self, path: Path) -> None:
        path.write_bytes(pickle.dumps(self.pca))

    @staticmethod
    def _flat(X: np.ndarray) -> np.ndarray:
        return X.reshape(len(X), -1).astype(np.float32) / 255


def on_features(make: Callable[[int], Any]) -> Callable[[Task], Features]:
    return lambda task: Features(make(task.seed))


METHODS = {
    "one_class_svm": on_features(lambda seed: OneClassSVM(nu=0.1)),
    "isolation_forest": on_features(lambda seed: IsolationForest(random_state=seed)),
    "lof": on_features(lambda seed: LocalOutlierFactor(novelty=True)),
    "gaussian_mixture": on_features(
        lambda seed: GaussianMixture(5, reg_covar=1e-3, random_state=seed)
    ),
    "elliptic_envelope": on_features(
        lambda seed: EllipticEnvelope(random_state=seed, support_fraction=0.9)
    ),
    "pca_pixels": Reconstruction,
}

if __name__ == "__main__":
    main(METHODS, ["scikit-learn", "numpy"])
