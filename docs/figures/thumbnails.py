"""Signs for the examples that are not run: ``python docs/figures/thumbnails.py``."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

IMAGES = Path(__file__).parents[1] / "images"
CODE = {"family": "monospace", "va": "center"}


def serve_over_http(ax: Axes) -> None:
    """A picture goes in, a verdict comes out."""
    box = {"boxstyle": "round,pad=0.5", "facecolor": "#e3f2fd", "edgecolor": "C0"}
    ax.text(0.5, 0.85, "part.png", ha="center", fontsize=15, bbox=box, **CODE)
    ax.annotate("", (0.5, 0.63), (0.5, 0.75), arrowprops={"arrowstyle": "-|>"})
    ax.text(0.5, 0.52, "POST /score", ha="center", fontsize=15, **CODE)
    ax.annotate("", (0.5, 0.3), (0.5, 0.42), arrowprops={"arrowstyle": "-|>"})
    answer = '{"score": ...,\n "anomalous": ...}'
    ax.text(0.5, 0.15, answer, ha="center", fontsize=13, bbox=box, **CODE)


def track_with_tensorboard(ax: Axes) -> None:
    """Two losses by epoch."""
    epochs = np.arange(1, 21)
    ax.plot(epochs, 0.15 + 0.7 * np.exp(-epochs / 6), linewidth=4, label="train_loss")
    ax.plot(epochs, 0.25 + 0.65 * np.exp(-epochs / 5), linewidth=4, label="valid_loss")
    ax.legend(fontsize=14, frameon=False)
    ax.set_axis_on()
    ax.set(xticks=[], yticks=[])
    ax.set_xlabel("epoch", fontsize=14)


def track_with_mlflow(ax: Axes) -> None:
    """Runs beside each other."""
    names = ["run 1", "run 2", "run 3"]
    ax.barh(names, [0.55, 0.8, 0.95], color=["C0", "C1", "C2"])
    ax.set_axis_on()
    ax.invert_yaxis()
    ax.set(xticks=[], xlim=(0, 1))
    ax.tick_params(axis="y", labelsize=16, length=0)
    ax.set_xlabel("auroc", fontsize=14)


if __name__ == "__main__":
    for draw in (serve_over_http, track_with_tensorboard, track_with_mlflow):
        figure, axes = plt.subplots(figsize=(4.8, 3.2), layout="constrained")
        axes.set_axis_off()
        draw(axes)
        figure.savefig(IMAGES / f"{draw.__name__}.png", dpi=100)
