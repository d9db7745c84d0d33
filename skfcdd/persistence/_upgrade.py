"""Conversion of earlier file formats to the current one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from skfcdd._engine.fingerprint import digest
from skfcdd._engine.model import FittedModel, ImageFormat
from skfcdd.backbones import auto_name

__all__ = ["KINDS", "upgraded", "with_former_sigma", "with_whole_reading"]

# Kind of each estimator class that a file may name.
KINDS = {
    "FCDDClassifier": "classifier",
    "FCDDDetector": "detector",
    "FCDDSegmenter": "segmenter",
}


def upgraded(document: dict[str, Any]) -> dict[str, Any]:
    """Convert a document of format 1 to 7 to the current format.

    Those of formats 4 to 6 are returned unchanged; entries they lack are optional.
    """
    if document["format"] == 7:
        return _with_level_fill(document)
    if document["format"] < 3:
        document = _of_format_3(document)
    if document["format"] >= 4:
        return document
    network = dict(document["model"]["network"])
    network["weights"] = "given" if network.pop("pretrained") else None
    changed: dict[str, Any] = {"network": network}
    if network["backbone"] == "auto":  # then always one of the networks of the paper
        h, w, _ = document["model"]["images"]["shape"]["tuple"]
        name = network["backbone"] = auto_name(tuple(network["size"] or (h, w)))
        if "network_digests" in document["model"]:
            known = document["model"]["network_digests"]["dict"]
            changed["network_digests"] = {"dict": known | {"backbone": digest(name)}}
    return document | {"model": document["model"] | changed}


def _with_level_fill(document: dict[str, Any]) -> dict[str, Any]:
    """Convert a document of format 7, whose region was filled with its mean."""
    network = document["model"]["network"]
    if network.get("roi") is None:
        return document
    network = network | {"roi": network["roi"] | {"spread": 0.0}}
    return document | {"model": document["model"] | {"network": network}}


def _of_format_3(document: dict[str, Any]) -> dict[str, Any]:
    """Convert a document of format 1 or 2 to format 3."""
    state, params = dict(document["state"]), document["parameters"]
    name = document["class"]
    threshold = state["threshold_"]
    kind = KINDS.get(name)
    two = {"array": [-1, 1] if kind == "detector" else [0, 1], "dtype": "<i8"}
    form = state.get("_form", {"tuple": ["uint8", False]})["tuple"]
    model = {
        "images": {
            "shape": state["image_shape_"],
            "channels": params.get("channels"),
            "layout": params.get("image_shape"),
            "dtype": form[0],
            "channels_first": form[1],
            "reading": _old_reading(document),
        },
        "judging": {
            "threshold": params.get("threshold", "auto"),
            "contamination": params.get("contamination", 0.05),
            "score_pooling": state["_pooling"],
            "heatmap_sigma": params.get("heatmap_sigma"),
            "min_area": params.get("min_area", 1),
        },
        "convention": {
            "kind": kind,
            "classes": state.get("classes_", {**two, "shape": [2]}),
            "anomaly_sign": state.get("_anomaly_sign", -1 if kind == "detector" else 1),
            "min_area": params.get("min_area", 1),
        },
        "network": {
            **document["network"],
            "loss": params.get("loss", "fcdd"),
            "frozen": params.get("frozen"),
            "stages": params.get("stages"),
            "precision": state["precision_"],
        },
        "receptive_field": state["receptive_field_"],
        "threshold": threshold,
        "calibration_scores": state["calibration_scores_"],
        "heatmap_scale": state.get(
            "heatmap_scale_", {"tuple": [threshold, 5 * threshold]}
        ),
        "split_seed": state["_split_seed"],
        "history": state["history_"],
        "versions": {"dict": document.get("versions", {})},
    }
    kept = {k: state[k] for k in ("n_features_in_", "feature_names_in_") if k in state}
    return document | {"model": model, "state": kept}


def _old_reading(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the options for reading files, which these formats store separately."""
    reading = document.get("reading")
    if not reading:
        return None
    h, w, c = document["state"]["image_shape_"]["tuple"]
    return {
        "dict": {
            "resize": {"tuple": [h, w]},
            "keep_aspect": bool(reading.get("keep_aspect", False)),
            "mode": "grey" if c == 1 else "colour",
            "page": 0,
        }
    }


def with_former_sigma(model: FittedModel) -> FittedModel:
    """Restore the upsampling of heatmaps in a model of format 1 to 3.

    In these formats, Gaussians had a standard deviation of 10 pixels even if receptive
    fields were 64 pixels or larger.
    """
    if model.judging.heatmap_sigma is not None or model.receptive_field is None:
        return model
    seen = model.module.preprocess.size or model.image_size
    extents = [
        extent * n / own
        for extent, n, own in zip(
            model.receptive_field.extent, model.image_size, seen, strict=True
        )
    ]
    if max(extents) < 64 or min(extents) < 32:
        return model
    return replace(model, judging=replace(model.judging, heatmap_sigma=10.0))


def with_whole_reading(images: ImageFormat) -> ImageFormat:
    """Add the options for reading files that the first versions did not store.

    Those versions read each list of files in the bit depth in which it was stored.
    """
    reading = images.reading
    if reading is None or "dtype" in reading:
        return images
    added = {"dtype": images.dtype, "rescale": True, "n_channels": images.shape[2]}
    return replace(images, reading={**reading, **added})
