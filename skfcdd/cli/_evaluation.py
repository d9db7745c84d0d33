"""Implementation of ``skfcdd evaluate``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd.cli._basis import basis
from skfcdd.cli._console import Outcome, duration, many, share_text, wilson
from skfcdd.cli._model import AT_ONCE, Model
from skfcdd.cli._reading import Source, leave_outside, load_part
from skfcdd.cli._writing import command

__all__ = ["evaluate"]

Flags = npt.NDArray[np.bool_]


def evaluate(
    model: Model,
    source: Source,
    *,
    say: Callable[[str], None],
    progress: Callable[[int], Any],
) -> Outcome:
    """Compute metrics on labelled images, in total and by kind of defect."""
    data = load_part(source, "test", said=True, **model.options)
    say(data.summary)
    n_outside = leave_outside(data, model.estimator)
    step = progress(len(data.images))
    scores, heatmaps, anomalous = [], [], []
    started = time.perf_counter()
    for start in range(0, len(data.images), AT_ONCE):
        batch = data.images[start : start + AT_ONCE]
        found = model.judge(batch, data.masks is not None)
        scores.append(found.scores)
        anomalous.append(found.anomalous)
        if data.masks is not None:
            heatmaps.append(found.heatmaps)
        for _ in batch:
            step()
    pace = (time.perf_counter() - started) / len(data.images)
    figures = {
        "n_images": len(data.images),
        "data": data.summary,
        **({"n_outside": n_outside} if n_outside else {}),
        "threshold": float(model.estimator.threshold_),
        "seconds_per_image": pace,
        **_image_figures(data, np.concatenate(scores), np.concatenate(anomalous)),
        **_pixel_figures(data.masks, heatmaps, model.estimator),
    }
    return Outcome(
        figures,
        _sentences(model, source.path, data, figures),
        [command("report", model.path, source.path)],
    )


def _image_figures(
    data: Any, score: npt.NDArray[np.float64], found: Flags
) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    bad = data.target == 1
    figures: dict[str, Any] = {"n_anomalous": int(bad.sum())}
    for name, counted, rows in (
        ("false_alarm", "n_false_alarms", ~bad),
        ("detection", "n_found", bad),
    ):
        if rows.any():
            figures[counted] = int(found[rows].sum())
            figures[f"{name}_rate"] = float(found[rows].mean())
            interval = wilson(figures[counted], int(rows.sum()))
            figures[f"{name}_interval"] = list(interval)
    if bad.any() and (~bad).any():
        figures["image_auroc"] = float(roc_auc_score(bad, score))
        figures["average_precision"] = float(average_precision_score(bad, score))
        figures["image_auroc_by_kind"] = {
            str(kind): float(roc_auc_score(bad[rows], score[rows]))
            for kind in np.unique(data.kind[bad])
            for rows in [~bad | (data.kind == kind)]
        }
    figures["by_kind"] = {
        str(kind): _kind_figures(found[bad & (data.kind == kind)])
        for kind in np.unique(data.kind[bad])
    }
    return figures


def _kind_figures(found: Flags) -> dict[str, Any]:
    """Compute the detection rate of one kind of defect."""
    n = int(found.sum())
    return {
        "n_images": len(found),
        "n_found": n,
        "detection_rate": n / len(found),
        "detection_interval": list(wilson(n, len(found))),
    }


def _pixel_figures(masks: Any, heatmaps: list[Any], estimator: Any) -> dict[str, float]:
    """Compute pixel metrics, if there are masks."""
    if masks is None:
        return {}
    from skfcdd.metrics import aupro_score, pixel_roc_auc_score

    maps, roi = np.concatenate(heatmaps), getattr(estimator, "roi_", None)
    return {
        "pixel_auroc": float(pixel_roc_auc_score(masks, maps, roi=roi)),
        "aupro": float(aupro_score(masks, maps, roi=roi)),
    }


def _sentences(
    model: Model, path: Path, data: Any, figures: dict[str, Any]
) -> list[str]:
    n, n_bad = figures["n_images"], figures["n_anomalous"]
    lines = [
        f"Read {many(n, 'image')} from {path}: {data.summary}. Time per image: "
        f"{duration(figures['seconds_per_image'])}.",
        *basis(model.estimator),
    ]
    if "n_outside" in figures:
        lines.append(
            f"{many(figures['n_outside'], 'image')} with defects only outside the "
            "region of interest, counted as good."
        )
    if n_bad:
        lines.append(f"Defects detected: {share_text(figures['n_found'], n_bad)}.")
    by_kind = figures["by_kind"]
    width = max(map(len, by_kind), default=0)
    auroc = figures.get("image_auroc_by_kind", {})
    for kind, own in by_kind.items():
        text = f"  {kind:{width}s}  {share_text(own['n_found'], own['n_images'])}"
        lines.append(text + (f", ROC AUC {auroc[kind]:.3f}" if kind in auroc else ""))
    if n_bad < n:
        lines.append(
            f"False alarms: {share_text(figures['n_false_alarms'], n - n_bad)}."
        )
    if "image_auroc" in figures:
        lines.append(
            "Ranking by score, independent of the threshold: ROC AUC "
            f"{figures['image_auroc']:.3f}, average precision "
            f"{figures['average_precision']:.3f}."
        )
    if "pixel_auroc" in figures:
        lines.append(
            f"Heatmaps against masks: pixel ROC AUC {figures['pixel_auroc']:.3f}, "
            f"AUPRO {figures['aupro']:.3f}."
        )
    return lines
