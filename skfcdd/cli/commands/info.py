"""Describe a model."""

from __future__ import annotations

from typing import Any

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import AsJson, Saved

__all__ = ["info"]


def info(model: Saved, as_json: AsJson = False) -> None:
    """Describe a model and its threshold."""
    from skfcdd.cli._basis import basis
    from skfcdd.cli._model import Model, check_file

    check_file(model)
    record, shown = _exported(model) if _is_onnx(model) else _saved(model)
    lines = []
    if console.is_terminal() and not as_json:
        width = max(map(len, shown))
        lines = [f"{name:{width}s} {value}" for name, value in shown.items()]
        lines += basis(Model(model, "auto" if _is_onnx(model) else "cpu").estimator)
    console.conclude(console.Outcome(record, lines), as_json)


def _is_onnx(path: Any) -> bool:
    return str(path).lower().endswith(".onnx")


def _saved(path: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    from skfcdd.persistence import read_info

    found = read_info(path)
    fitted = found["model"]
    shown = {
        "class": found["class"],
        "backbone": fitted["network"]["backbone"] or "custom",
        "initial weights": fitted["network"]["weights"] or "random",
        "image shape (h, w, c)": fitted["images"]["shape"]["tuple"],
        "region of interest": _region(fitted),
        "stored values": found["n_numbers"],
        "note": found["note"],
        "metrics": found["metrics"],
        "versions": found["versions"],
        "parameters": {k: v for k, v in found["parameters"].items() if v is not None},
    }
    return found, {k: v for k, v in shown.items() if v not in (None, {})}


def _region(fitted: dict[str, Any]) -> str | None:
    roi = fitted["network"].get("roi")
    if roi is None:
        return None
    h, w, _ = fitted["images"]["shape"]["tuple"]
    return f"{roi['n_pixels'] / (h * w):.1%} of the pixels"


def _exported(path: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    from skfcdd.onnx import OnnxFCDD

    model = OnnxFCDD(path)
    shown = {
        "class": model.metadata_.get("estimator", model.convention_.kind),
        "format": "ONNX",
        "image shape (h, w, c)": list(model.image_shape_),
        "axis order": f"channels {model.channels}",
        "region of interest": None
        if model.roi_ is None
        else f"{model.roi_.mean():.1%} of the pixels",
        "minimum defect area": f"{model.convention_.min_area} pixels",
    }
    if not model.convention_.judges_pixels:
        del shown["minimum defect area"]
    known = {name: value for name, value in shown.items() if value is not None}
    return {"onnx": str(path), "metadata": model.metadata_}, known
