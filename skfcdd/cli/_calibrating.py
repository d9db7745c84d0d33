"""Implementation of ``skfcdd calibrate``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from skfcdd._verdicts import convention_of
from skfcdd.cli._basis import basis
from skfcdd.cli._console import Outcome, many
from skfcdd.cli._model import check_file, reading_options
from skfcdd.cli._options import check_value
from skfcdd.cli._reading import Source, load_marked, load_part
from skfcdd.cli._writing import check_model_file, command, size_of
from skfcdd.report import Review

__all__ = ["calibrate"]


def calibrate(
    path: Path,
    source: Source | None,
    output: Path,
    *,
    threshold: Any,
    force: bool,
    note: str | None,
    device: str,
    say: Callable[[str], None],
) -> Outcome:
    """Set the threshold of a saved model, and save the result.

    Parameters
    ----------
    path : Path
        File of the model.
    source : Source or None
        Images to calibrate on; with None, only the threshold is set.
    output : Path
        Model file to write.
    threshold : float, Threshold or None
        New threshold, or rule to choose it; None keeps the rule of the model.
    """
    from skfcdd.persistence import load, save

    check_file(path)
    if path.suffix.lower() == ".onnx":
        raise ValueError(
            f"{str(path)!r} is an exported model, which cannot be calibrated. "
            "Calibrate the model it was exported from, and export that again."
        )
    check_model_file(output, force)
    estimator = load(path, device=device)
    before = float(estimator.threshold_)
    if threshold is not None:
        check_value(estimator, "threshold", threshold)
        estimator.set_params(threshold=threshold)
    summary, n_images = None, 0
    if source is None:
        _only_set(estimator)
    else:
        data = _load(estimator, source)
        summary, n_images = data.summary, len(data.images)
        say(summary)
        labels = _labels(estimator, data)
        estimator.calibrate(data.images, labels, groups=data.groups)
    save(estimator, output, note=note)
    record = {
        "model": str(output),
        "threshold": float(estimator.threshold_),
        "threshold_before": before,
        "n_images": n_images,
        "n_calibration": len(estimator.calibration_scores_),
        "data": summary,
    }
    sentences = [
        f"The threshold was {before:.4g} and is now {estimator.threshold_:.4g}.",
        *basis(estimator),
        f"Wrote {output} ({size_of(output)}).",
    ]
    if source is not None:
        text = f"Read {many(n_images, 'image')} from {source.path}: {summary}."
        sentences.insert(0, text)
    return Outcome(record, sentences, [command("report", output, "IMAGES")])


def threshold_of(review: Review, path: Path) -> float:
    """Return the threshold chosen in a report on the model at `path`.

    Raises
    ------
    ValueError
        If the report was on another model: scores of two models cannot be compared.
    """
    from skfcdd.persistence import read_info

    known = float(read_info(path)["model"]["threshold"])
    if not math.isclose(known, review.model_threshold, rel_tol=1e-6):
        raise ValueError(
            "The marks were made in a report on another model: its threshold was "
            f"{review.model_threshold:.4g}, but that of {str(path)!r} is {known:.4g}. "
            "Create a report with this model, or also pass the folder of the images."
        )
    return review.threshold


def _only_set(estimator: Any) -> None:
    """Set the requested threshold without scoring any images."""
    fitted, value = estimator._fitted, float(estimator.threshold)
    judging = replace(fitted.judging, threshold=value)
    estimator._fitted = replace(fitted, judging=judging, threshold=value)


def _load(estimator: Any, source: Source) -> Any:
    options = reading_options(estimator)
    if source.review is not None:
        return load_marked(source, **options)
    found = source.find().parts()
    if "val" not in found and {"train", "test"} & found and source.part is None:
        raise ValueError(
            f"{str(source.path)!r} has the parts {sorted(found)}, but no part for "
            "calibration ('val' or 'calibration'). Choose another part, such as --part "
            "test, or pass a folder of good images. skfcdd split creates three parts."
        )
    return load_part(source, source.part or "val", **options)


def _labels(estimator: Any, data: Any) -> Any:
    """Return labels for ``calibrate``, in the convention of the model."""
    bad = data.target == 1
    if not bad.any():
        return None
    convention = convention_of(estimator)
    if convention.judges_pixels:
        if data.masks is None:
            raise ValueError(
                "This model has a pixel threshold: provide masks of the defects, or "
                "pass only good images."
            )
        return data.masks
    known = convention.classes.tolist()
    anomaly = convention.anomaly_label
    normal = next(label for label in known if label != anomaly)
    return np.where(bad, anomaly, normal)
