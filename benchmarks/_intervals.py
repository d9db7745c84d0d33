"""Image-level and pixel-level metrics with bootstrap intervals over tiles."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from skfcdd.metrics import _curves as curves
from skfcdd.metrics import (
    aupro_score,
    bootstrap_interval,
    pixel_average_precision_score,
    pixel_roc_auc_score,
)

# Number of histogram bins of pixel values, for the intervals.
N_BINS = 1024


def image_figure(scores: np.ndarray, tiles: dict[str, np.ndarray]) -> list[float]:
    """Compute the image AUROC and the ends of its interval."""
    found = bootstrap_interval(
        roc_auc_score,
        tiles["kind_test"] != "free",
        scores,
        groups=tiles["tile_test"],
        random_state=0,
    )
    return [round(value, 4) for value in found]


def mean_figure(
    scores: list[np.ndarray],
    tiles: dict[str, np.ndarray],
    other: list[np.ndarray] | None = None,
) -> list[float]:
    """Compute the mean image AUROC of several fits, or its difference from others."""

    def mean_auroc(truth: np.ndarray, columns: np.ndarray) -> float:
        return float(np.mean([roc_auc_score(truth, c) for c in columns.T]))

    found = bootstrap_interval(
        mean_auroc,
        tiles["kind_test"] != "free",
        np.stack(scores, axis=1),
        other=None if other is None else np.stack(other, axis=1),
        groups=tiles["tile_test"],
        random_state=0,
    )
    return [round(value, 4) for value in found]


def pixel_figures(
    heatmaps: np.ndarray, tiles: dict[str, np.ndarray]
) -> dict[str, object]:
    """Compute exact pixel-level metrics, with intervals from histograms by tile."""
    masks = tiles["mask_test"]
    defective, counts = count_by_tile(heatmaps, masks, tiles["tile_test"])
    figures: dict[str, object] = {
        "pixel_ap": round(pixel_average_precision_score(masks, heatmaps), 4)
    }
    for name, exact, counted in (
        ("pixel_auroc", pixel_roc_auc_score, counted_auroc),
        ("aupro", aupro_score, counted_aupro),
    ):
        value = exact(masks, heatmaps)
        found = bootstrap_interval(counted, defective, counts, random_state=0)
        assert abs(value - found.value) < 0.003, (name, value, found)
        figures[name] = [round(x, 4) for x in (value, found.low, found.high)]
    return figures


def count_by_tile(
    heatmaps: np.ndarray, masks: np.ndarray, tile: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each tile has a defect, and histograms (n_tiles, 3, N_BINS).

    The histograms count, by heatmap value, the normal pixels, the anomalous pixels, and
    the anomalous pixels weighted as shares of their regions. All bins contain about the
    same number of pixels.
    """
    truth = masks > 0
    weights = curves.overlap_weights(truth)[truth]
    edges = np.quantile(heatmaps, np.linspace(0, 1, N_BINS + 1)[1:-1])
    keys = np.searchsorted(edges, heatmaps, side="right")
    names, number = np.unique(tile, return_inverse=True)
    cells = number[:, None, None] * N_BINS + keys
    size = len(names) * N_BINS
    counts = [
        np.bincount(cells[~truth], minlength=size),
        np.bincount(cells[truth], minlength=size),
        np.bincount(cells[truth], weights, minlength=size),
    ]
    by_tile = np.stack([c.reshape(-1, N_BINS).astype(float) for c in counts], axis=1)
    return by_tile[:, 1].any(axis=1), by_tile


def counted_sample(counts: np.ndarray) -> curves.PixelSample:
    normal, anomalous, overlap = counts.sum(axis=0)
    return curves.PixelSample(
        np.repeat([False, True], N_BINS),
        np.tile(np.arange(N_BINS, dtype=float), 2),
        np.concatenate([normal, anomalous]),
        np.concatenate([normal, overlap]),
    )


def counted_auroc(_: np.ndarray, counts: np.ndarray) -> float:
    return curves.roc_auc(counted_sample(counts))


def counted_aupro(_: np.ndarray, counts: np.ndarray) -> float:
    return curves.aupro(counted_sample(counts), 0.3)
