"""skfcdd: its default, its segmenter, its PatchCore, and the paper's settings."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from _contract import Task, main
from skorch.callbacks import Callback, LRScheduler

from skfcdd import FCDDClassifier, FCDDSegmenter
from skfcdd.baselines import PatchCoreDetector
from skfcdd.persistence import save

# Training time in seconds for settings that would take hours, similar to the default's.
SECONDS = 60.0


class Deadline(Callback):
    """Callback that stops training if there is too little time for another epoch."""

    def __init__(self, task: Task, seconds: float) -> None:
        self.task, self.seconds = task, seconds

    def on_train_begin(self, net: Any, **_: Any) -> None:
        self.before = self.task.left(self.seconds)

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        left = self.task.left(self.seconds)
        epoch, self.before = self.before - left, left
        if left < epoch:
            raise KeyboardInterrupt


class Estimator:
    """Wrapper of any estimator of skfcdd."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.notes: dict[str, Any] = {}

    def fit(self, X: np.ndarray) -> None:
        self.estimator.fit(X)
        self.notes["epochs"] = len(getattr(self.estimator, "history_", []))

    def score(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.estimator.anomaly_score(X), self.estimator.explain(X)

    def save(self, path: Path) -> None:
        if isinstance(self.estimator, PatchCoreDetector):
            joblib.dump(self.estimator, path)
        else:
            save(self.estimator, path)


def slower(epoch: int) -> float:
    """Return the factor of the learning rate, as published."""
    return 0.985**epoch


def published(task: Task) -> Estimator:
    """Create FCDD as published, but stop its 200 epochs when the time is up."""
    estimator = FCDDClassifier(
        "fcdd224_wide",
        synthetic="confetti",
        optimizer="sgd",
        lr=1e-3,
        lr_schedule=LRScheduler("LambdaLR", lr_lambda=slower),
        weight_decay=1e-5,
        batch_size=128,
        max_epochs=200,
        heatmap_sigma=12,
        callbacks=[("deadline", Deadline(task, SECONDS))],
        random_state=task.seed,
    )
    return Estimator(estimator)


def within(task: Task) -> dict[str, Any]:
    """Return the parameters that keep a fit within the budget, if there is one."""
    if task.budget_s is None:
        return {}
    return {"callbacks": [("deadline", Deadline(task, task.budget_s))]}


METHODS = {
    "default": lambda task: Estimator(
        FCDDClassifier(random_state=task.seed, **within(task))
    ),
    "segmenter": lambda task: Estimator(
        FCDDSegmenter(random_state=task.seed, **within(task))
    ),
    "paper_network": lambda task: Estimator(
        FCDDClassifier(weights=None, random_state=task.seed, **within(task))
    ),
    "published": published,
    "patchcore": lambda task: Estimator(
        PatchCoreDetector(
            "efficientnet_lite0", weights="imagenet", random_state=task.seed
        )
    ),
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main(METHODS, ["skfcdd", "torch", "scikit-learn", "numpy"])
