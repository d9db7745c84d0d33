"""Predictions and description of a model for a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import has_memory
from skfcdd._verdicts import convention_of, decisive_scores, outline_level
from skfcdd.display._look import OPACITY, PARTS

__all__ = ["Findings", "describe", "examine"]


@dataclass
class Findings:
    """Predictions for a batch of images.

    Parameters
    ----------
    heatmaps : ndarray of shape (n, h, w)
    scores : ndarray of shape (n,), float64
        An image is classified as anomalous if its score is above the threshold.
    peaks : list of tuple (value, row, column)
        Maximum of each heatmap, and its position.
    parts : tuple of ndarray of shape (n, h, w)
        Parts that sum to the heatmaps; empty for a model without a memory bank.
    novelty_share : ndarray of shape (n,), or None
        Proportion of each score that comes from novelty, the second part.
    """

    heatmaps: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float64]
    peaks: list[tuple[float, int, int]]
    parts: tuple[npt.NDArray[np.float32], ...] = ()
    novelty_share: npt.NDArray[np.float64] | None = None


def examine(
    estimator: Any, X: Any, scores: npt.NDArray[np.float64] | None = None
) -> Findings:
    """Compute heatmaps and their parts for a batch, and scores unless they are given.

    Raises
    ------
    ValueError
        If scores or heatmaps are not finite.
    """
    parts: tuple[npt.NDArray[np.float32], ...] = ()
    share = None
    if has_memory(estimator):
        found = estimator.explain_parts(X)
        heatmaps, share = found.heatmap, found.novelty_share
        parts = found.defect, found.novelty
        if not convention_of(estimator).judges_pixels:
            scores = found.score
    else:
        heatmaps = np.asarray(estimator.explain(X))
    if scores is None:
        scores = decisive_scores(estimator, X, heatmaps)
    if not (np.isfinite(heatmaps).all() and np.isfinite(scores).all()):
        raise ValueError("The scores or heatmaps of the model contain NaN or infinity.")
    places = heatmaps.reshape(len(heatmaps), -1).argmax(axis=1)
    rows, columns = np.unravel_index(places, heatmaps.shape[1:])
    peaks = [
        (float(heatmap[row, column]), int(row), int(column))
        for heatmap, row, column in zip(heatmaps, rows, columns, strict=True)
    ]
    return Findings(heatmaps, scores, peaks, parts, share)


def describe(estimator: Any) -> dict[str, Any]:
    """Describe the model for the page."""
    pixels = convention_of(estimator).judges_pixels
    name = type(estimator).__name__
    if hasattr(estimator, "metadata_"):
        name = f"{estimator.metadata_.get('estimator', 'model')}, exported to ONNX"
    low, high = estimator.heatmap_scale_
    held = getattr(estimator, "calibration_scores_", None)
    return {
        "name": name,
        "threshold": float(estimator.threshold_),
        "n_calibration": None if held is None else len(held),
        "pixels": pixels,
        "min_area": convention_of(estimator).min_area,
        "scale": [float(low), float(high)],
        "level": outline_level(estimator),
        "opacity": OPACITY,
        "parts": list(PARTS) if has_memory(estimator) else None,
        "facts": list(_facts(estimator).items()),
    }


def _facts(estimator: Any) -> dict[str, str]:
    if hasattr(estimator, "calibration_scores_"):
        from skfcdd._repr import facts

        return facts(estimator)
    h, w, c = estimator.image_shape_
    low, high = estimator.heatmap_scale_
    return {
        "threshold": f"{estimator.threshold_:.4g}",
        "images": f"{h} x {w} pixels, {c} channel{'s' * (c > 1)}",
        "heatmap colours": f"{low:.3g} to {high:.3g}",
    }
