"""What ``skfcdd evaluate`` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd.cli._model import AT_ONCE, Model
from skfcdd.cli._reading import load_part

__all__ = ["evaluate"]


def evaluate(
    model: Model,
    folder: Path,
    *,
    masks: Path | None,
    on_error: str,
    say: Callable[[str], None],
    progress: Callable[[int], Any],
) -> dict[str, Any]:
    """Figures of merit on labelled images, over all and by kind of defect."""
    data = load_part(folder, "test", masks=masks, on_error=on_error, **model.options)
    say(data.summary)
    step = progress(len(data.images))
    scores, heatmaps, anomalous = [], [], []
    for start in range(0, len(data.images), AT_ONCE):
        batch = data.images[start : start + AT_ONCE]
        found = model.judge(batch, data.masks is not None)
        scores.append(found.scores)
        anomalous.append(found.anomalous)
        if data.masks is not None:
            heatmaps.append(found.heatmaps)
        for _ in batch:
            step()
    return {
        "n_images": len(data.images),
        "data": data.summary,
        "threshold": float(model.estimator.threshold_),
        **_image_figures(data, np.concatenate(scores), np.concatenate(anomalous)),
        **_pixel_figures(data.masks, heatmaps),
    }


def _image_figures(
    data: Any, score: npt.NDArray[np.float64], found: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    bad = data.target == 1
    figures: dict[str, Any] = {"n_anomalous": int(bad.sum())}
    if (~bad).any():
        figures["false_alarm_rate"] = float(found[~bad].mean())
    if bad.any():
        figures["detection_rate"] = float(found[bad].mean())
    if bad.any() and (~bad).any():
        figures["image_auroc"] = float(roc_auc_score(bad, score))
        figures["average_precision"] = float(average_precision_score(bad, score))
        figures["image_auroc_by_kind"] = {
            str(kind): float(roc_auc_score(bad[rows], score[rows]))
            for kind in np.unique(data.kind[bad])
            for rows in [~bad | (data.kind == kind)]
        }
    return figures


def _pixel_figures(masks: Any, heatmaps: list[Any]) -> dict[str, float]:
    """Of the images whose masks are known."""
    if masks is None:
        return {}
    from skfcdd.metrics import aupro_score, pixel_roc_auc_score

    maps = np.concatenate(heatmaps)
    return {
        "pixel_auroc": float(pixel_roc_auc_score(masks, maps)),
        "aupro": float(aupro_score(masks, maps)),
    }
