"""Implementation of ``skfcdd demo``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skfcdd._classifier import FCDDClassifier
from skfcdd.cli._basis import basis
from skfcdd.cli._console import Outcome, duration, many
from skfcdd.cli._writing import check_place, command
from skfcdd.datasets import make_defects
from skfcdd.display import HeatmapDisplay

__all__ = ["run_demo"]

_IMAGE_SIZE = 128
_N_SAMPLES = 600


def run_demo(
    output: Path,
    *,
    texture: str,
    say: Callable[[str], None],
    max_epochs: int | None = None,
    seed: int = 0,
) -> Outcome:
    """Train a classifier on a generated surface, and write a picture of heatmaps.

    Parameters
    ----------
    output : Path
        Picture to write, as PNG.
    texture : str
        Texture, as for :func:`skfcdd.datasets.make_defects`.
    say : callable
        Function that is called with messages about the progress.
    max_epochs : int or None
        Number of epochs; None uses the default of the classifier.
    seed : int
        Random state.

    Returns
    -------
    Outcome
    """
    plt = _pyplot()
    check_place(output)
    data = make_defects(
        _N_SAMPLES,
        image_size=_IMAGE_SIZE,
        texture=texture,
        anomaly_fraction=0.15,
        random_state=seed,
    )
    train, test = _split(data.target, seed)
    say(f"Training on {many(len(train), 'image')} of {texture} without defects ...")
    started = time.perf_counter()
    model = FCDDClassifier(random_state=seed)
    if max_epochs is not None:
        model.set_params(max_epochs=max_epochs)
    model.fit(data.images[train])
    spent = time.perf_counter() - started
    heatmaps = model.explain(data.images[test])
    scores = model.anomaly_score(data.images[test])
    truth = data.target[test]
    figures: dict[str, Any] = {
        "image_auroc": float(roc_auc_score(truth, scores)),
        "pixel_auroc": float(roc_auc_score(data.masks[test].ravel(), heatmaps.ravel())),
    }
    display = _display(model, data, test)
    display.figure_.savefig(output, dpi=110)
    plt.close(display.figure_)
    n_bad = int(truth.sum())
    sentences = [
        f"Trained on {many(len(train), 'image')} of {texture} without defects, in "
        f"{duration(spent)}.",
        *basis(model),
        f"Tested on {len(test) - n_bad} images without and {n_bad} with defects:",
        f"  image AUROC {figures['image_auroc']:.3f}",
        f"  pixel AUROC {figures['pixel_auroc']:.3f}",
        f"Wrote {output} with heatmaps of some test images.",
    ]
    record = {"picture": str(output), "seconds": round(spent, 1), **figures}
    return Outcome(record, sentences, [command("fit", "FOLDER", "-o", "parts.skfcdd")])


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            "The demo draws with matplotlib, which is not installed. Install it with "
            "pip install 'skfcdd[plot]'."
        ) from error
    matplotlib.use("Agg")  # the picture is written to a file; no window is needed
    import matplotlib.pyplot as plt

    return plt


def _split(
    target: npt.NDArray[np.int64], seed: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Split rows into training and test sets.

    The test set contains all defects and as many good images; the training set, the
    other good images.
    """
    good, defects = np.flatnonzero(target == 0), np.flatnonzero(target == 1)
    train, held = train_test_split(good, test_size=len(defects), random_state=seed)
    return train, np.concatenate([held, defects])


def _shown(kinds: npt.NDArray[np.str_]) -> list[int]:
    """Choose rows: two good images and two of each kind of defect, at most eight."""
    names = ["good", *np.unique(kinds[kinds != "good"])]
    rows = {name: np.flatnonzero(kinds == name) for name in names}
    turns = [(name, turn) for turn in (0, 1) for name in names]
    return [int(rows[name][turn]) for name, turn in turns if turn < len(rows[name])][:8]


def _display(
    model: FCDDClassifier,
    data: Any,
    test: npt.NDArray[np.intp],
) -> HeatmapDisplay:
    """Plot heatmaps of some test images, with the outlines of the true defects."""
    rows = test[_shown(data.defect[test])]
    return HeatmapDisplay.from_estimator(
        model,
        data.images[rows],
        data.target[rows],
        masks=data.masks[rows],
        names=data.defect[rows],
        order="given",
    )
