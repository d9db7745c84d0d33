"""Labels and heatmaps of the images in a display."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import has_memory
from skfcdd._verdicts import convention_of, is_above, outline_level, silent_at
from skfcdd.exceptions import ImageShapeError

__all__ = ["check_parts", "findings", "given_parts"]


def check_parts(estimator: Any) -> None:
    """Raise a ValueError if the heatmaps of a model have no parts."""
    if not has_memory(estimator):
        raise ValueError(
            f"Got parts=True, but this {type(estimator).__name__} has no memory bank, "
            "so its heatmaps have no parts. Fit an estimator with memory_bank=, or "
            "omit parts."
        )


def findings(
    estimator: Any, X: Any, scores: npt.NDArray[np.float64] | None, parts: bool
) -> dict[str, Any]:
    """Compute labels, heatmaps and their parts, with one or two forward passes."""
    found: dict[str, Any] = {}
    if parts:
        split = estimator.explain_parts(X)
        found["parts"] = split.defect, split.novelty
        found["novelty_share"] = split.novelty_share
        heatmaps, scores = split.heatmap, split.score
    else:
        heatmaps = np.asarray(estimator.explain(X))
    convention = convention_of(estimator)
    if convention.judges_pixels:
        scores = silent_at(heatmaps, convention.min_area)
    elif scores is None:
        scores = estimator.anomaly_score(X)
    return found | {
        "heatmaps": heatmaps,
        "scores": scores,
        "anomalous": is_above(scores, estimator.threshold_),
        "predicted_masks": convention.masks(heatmaps, outline_level(estimator)),
    }


def given_parts(
    parts: Any, shape: tuple[int, ...]
) -> tuple[Any, npt.NDArray[np.float64] | None]:
    """Validate the two parts of heatmaps, and return the share of the second one."""
    if parts is None:
        return None, None
    halves = np.asarray(parts, dtype=np.float32)
    if halves.shape != (2, *shape) or not np.isfinite(halves).all():
        raise ImageShapeError(
            "parts must be two arrays of finite numbers with the shape of the "
            f"heatmaps, {shape}. Got {halves.shape}."
        )
    means = halves.mean(axis=(2, 3), dtype=np.float64)
    total = np.maximum(means.sum(axis=0), np.finfo(np.float64).tiny)
    return (halves[0], halves[1]), means[1] / total
