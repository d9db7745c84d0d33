"""The main job in one go: train, test, and show on generated surfaces."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skfcdd._classifier import FCDDClassifier
from skfcdd.datasets import make_defects

__all__ = ["run_demo"]

_IMAGE_SIZE = 128
_N_SAMPLES = 600


def run_demo(
    output: Path, *, texture: str, max_epochs: int | None = None, seed: int = 0
) -> dict[str, float]:
    """Train a detector on a generated surface and write a picture of its heatmaps.

    Parameters
    ----------
    output : Path
        The picture, written as PNG.
    texture : str
        As for :func:`skfcdd.datasets.make_defects`.
    max_epochs : int or None
        None takes the default of the classifier.
    seed : int
        Of all that is random.

    Returns
    -------
    dict
        "image_auroc" and "pixel_auroc".
    """
    plt = _pyplot()
    if not output.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {output.parent} to write to.")
    data = make_defects(
        _N_SAMPLES,
        image_size=_IMAGE_SIZE,
        texture=texture,
        anomaly_fraction=0.15,
        random_state=seed,
    )
    train, test = _split(data.target, seed)
    print(f"Training on {len(train)} images of {texture} without a defect ...")
    started = time.perf_counter()
    model = FCDDClassifier(random_state=seed)
    if max_epochs is not None:
        model.set_params(max_epochs=max_epochs)
    model.fit(data.images[train])
    print(f"  took {time.perf_counter() - started:.0f} s")
    heatmaps = model.explain(data.images[test])
    scores = model.anomaly_score(data.images[test])
    figures = {
        "image_auroc": float(roc_auc_score(data.target[test], scores)),
        "pixel_auroc": float(roc_auc_score(data.masks[test].ravel(), heatmaps.ravel())),
    }
    n_defects = int(data.target[test].sum())
    print(
        f"Tested on {len(test) - n_defects} good images and {n_defects} with defects:\n"
        f"  image AUROC {figures['image_auroc']:.3f}\n"
        f"  pixel AUROC {figures['pixel_auroc']:.3f}"
    )
    figure = _draw(plt, data, test, model, heatmaps)
    figure.savefig(output, dpi=110)
    plt.close(figure)
    print(f"Heatmaps written to {output}")
    return figures


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            "The demo draws with matplotlib, which is not installed. Install it with "
            "pip install 'skfcdd[plot]'."
        ) from error
    matplotlib.use("Agg")  # a picture is written, no window is opened
    import matplotlib.pyplot as plt

    return plt


def _split(
    target: npt.NDArray[np.int64], seed: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Good images to train on; as many good ones as defects, and those, to test."""
    good, defects = np.flatnonzero(target == 0), np.flatnonzero(target == 1)
    train, held = train_test_split(good, test_size=len(defects), random_state=seed)
    return train, np.concatenate([held, defects])


def _draw(
    plt: Any,
    data: Any,
    test: npt.NDArray[np.intp],
    model: FCDDClassifier,
    heatmaps: npt.NDArray[np.float32],
) -> Any:
    """Images above, heatmaps with the outline of the true defect below."""
    kinds = data.defect[test]
    names = [name for name in np.unique(kinds) if name != "good"]
    wanted = ["good", *names, "good", *names][:8]
    taken: list[int] = []
    for name in wanted:
        rows = [i for i in np.flatnonzero(kinds == name) if i not in taken]
        taken.append(int(rows[0]))
    shown = data.images[test][taken]
    verdicts = model.predict(shown)
    scores = model.anomaly_score(shown)
    top = float(heatmaps[taken].max())
    figure, axes = plt.subplots(
        2, len(taken), figsize=(1.7 * len(taken), 4), layout="constrained"
    )
    for k, row in enumerate(taken):
        for axis in axes[:, k]:
            axis.imshow(shown[k], cmap="gray", vmin=0, vmax=255)
            axis.set_axis_off()
        verdict = "anomaly" if verdicts[k] else "normal"
        axes[0, k].set_title(kinds[row], fontsize=10)
        axes[1, k].set_title(f"{verdict}, {scores[k]:.2f}", fontsize=10)
        drawn = axes[1, k].imshow(
            heatmaps[row], cmap="inferno", vmin=0, vmax=top, alpha=0.65
        )
        if data.masks[test][row].any():
            axes[1, k].contour(
                data.masks[test][row], levels=[0.5], colors="cyan", linewidths=1
            )
    figure.colorbar(drawn, ax=axes[1, :], label="anomaly", shrink=0.9)
    return figure
