"""Contents of the sections of a model card."""

from __future__ import annotations

import json
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import iter_heatmaps, judge
from skfcdd._repr import facts as usual_facts
from skfcdd._verdicts import convention_of, is_above
from skfcdd.exceptions import CalibrationError
from skfcdd.metrics import bootstrap_interval, pixel_roc_auc_score
from skfcdd.metrics._auroc import fast_auroc
from skfcdd.thresholds import FalseAlarmRate, Quantile
from skfcdd.thresholds._calibration import rate_limits

__all__ = [
    "Facts",
    "calibration_facts",
    "data_facts",
    "figures",
    "limits",
    "network_facts",
    "rate_text",
    "version_facts",
]

Facts = dict[str, str]
_CONFIDENCE = 0.95


def _fitted(estimator: Any) -> Any:
    """Return the fitted model; None for exported models and other estimators."""
    return getattr(estimator, "_fitted", None)


def _kind(estimator: Any) -> str:
    metadata = getattr(estimator, "metadata_", None)
    if metadata is None:
        return type(estimator).__name__
    return f"{metadata.get('estimator', 'model')}, exported to ONNX"


def network_facts(estimator: Any) -> Facts:
    """Describe the model."""
    found, model = {"kind": _kind(estimator)}, _fitted(estimator)
    labels = convention_of(estimator)
    found["labels"] = (
        "pixel masks"
        if labels.judges_pixels
        else f"{', '.join(map(str, labels.classes.tolist()))}; {labels.anomaly_label} "
        f"means anomaly"
    )
    if model is None:
        return found
    told = usual_facts(estimator)
    for name in ("network", "receptive field", "epochs", "computed in"):
        if name in told:
            found[name] = told[name]
    parameters = sum(p.numel() for p in model.module.parameters())
    found["parameters"] = f"{parameters:,}"
    if model.memory is not None:
        found["memory bank"] = "yes, added to the anomaly map of the network"
    return found


def data_facts(estimator: Any) -> Facts:
    """Describe the images that the model expects and was trained on."""
    h, w, c = estimator.image_shape_
    found = {"images": f"{h} x {w} pixels, {c} channel{'s' * (c > 1)}"}
    if getattr(estimator, "roi_", None) is not None:
        found["region of interest"] = f"{estimator.roi_.mean():.1%} of the pixels"
    model = _fitted(estimator)
    if model is None:
        return found
    used = model.used
    found["values"] = model.images.dtype
    if len(used.trained):
        found["trained on"] = f"{len(used.trained)} different images"
    if len(used.selected):
        found["early stopping on"] = f"{len(used.selected)} other images"
    parameters = estimator.get_params(deep=False)
    for name, label in (
        ("synthetic", "synthetic anomalies"),
        ("outlier_exposure", "outlier exposure"),
    ):
        value = parameters.get(name)
        if value is not None:
            found[label] = value if isinstance(value, str) else type(value).__name__
    return found


def calibration_facts(estimator: Any) -> Facts:
    """Describe the threshold, and the guaranteed limits of the false-alarm rate."""
    threshold = float(estimator.threshold_)
    pixels = convention_of(estimator).judges_pixels
    found = {"pixel threshold" if pixels else "threshold": f"{threshold:.4g}"}
    model = _fitted(estimator)
    if model is None:
        return found
    found |= {
        name: text
        for name, text in usual_facts(estimator).items()
        if name in ("calibrated on", "false alarms")
    }
    rule = model.judging.threshold
    found["rule"] = rule if isinstance(rule, str) else repr(rule)
    held = model.calibration_scores
    if not pixels and len(held) and _from_normal_only(model):
        above, n = int(is_above(held, threshold).sum()), len(held)
        mean = (above + 1) / (n + 1)
        # The threshold is one of the calibration scores, as these limits assume.
        most = rate_limits(above, n, _CONFIDENCE)[1]
        found["expected false alarms"] = (
            f"at most {mean:.1%} of normal images on average over calibration sets; "
            f"with {_CONFIDENCE:.0%} confidence at most {most:.1%} with this one"
        )
    return found


def _from_normal_only(model: Any) -> bool:
    """Whether the threshold was set only on scores of normal images.

    Otherwise, it guarantees nothing: defects may have influenced the choice.
    """
    rule, held = model.judging.threshold, model.calibration_scores
    if isinstance(rule, Real):  # it is unknown how the user chose this number
        return False
    found = model.calibration
    if found is not None and (
        found.source == "out-of-fold" or found.grouped or not found.supported
    ):  # the limits for independent held-out images do not apply
        return False
    share = model.judging.contamination
    if not isinstance(rule, (FalseAlarmRate, Quantile)):
        rule = Quantile(0.05 if isinstance(share, str) else share)
    try:
        return bool(rule(np.zeros(len(held)), held) == model.threshold)
    except CalibrationError:
        return False


def figures(
    estimator: Any,
    X: Any,
    truth: npt.NDArray[np.bool_],
    masks: Any,
    random_state: Any,
) -> Facts:
    """Compute metrics with confidence intervals on labelled images."""
    n = len(truth)
    scores = np.asarray(estimator.anomaly_score(X), dtype=np.float64)
    flagged = judge(estimator, X, scores)
    found = {"images": f"{n}, {int(truth.sum())} of them anomalies"}
    if 1 < truth.sum() < n - 1:
        interval = bootstrap_interval(
            fast_auroc, truth.astype(int), scores, random_state=random_state
        )
        found["image AUROC"] = _interval_text(*interval)
    if (~truth).any():
        found["false alarms"] = rate_text(flagged[~truth])
    if truth.any():
        found["misses"] = rate_text(~flagged[truth])
    if masks is not None:
        heatmaps = np.concatenate(list(iter_heatmaps(estimator, X)))
        roi = getattr(estimator, "roi_", None)
        found["pixel AUROC"] = f"{pixel_roc_auc_score(masks, heatmaps, roi=roi):.3f}"
    return found


def rate_text(events: npt.NDArray[np.bool_]) -> str:
    """Format the rate of events with its Clopper-Pearson interval."""
    k, n, tail = int(events.sum()), len(events), (1 - _CONFIDENCE) / 2
    low, high = rate_limits(k, n, 1 - tail)
    return f"{_interval_text(k / n, low, high)}, {k} of {n}"


def _interval_text(value: float, low: float, high: float) -> str:
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def version_facts(estimator: Any) -> Facts:
    """Return the versions of the libraries that created the model."""
    metadata = getattr(estimator, "metadata_", None)
    if metadata is not None:
        versions = json.loads(metadata.get("versions", "{}"))
        versions = {"skfcdd": metadata.get("skfcdd_version", "?"), **versions}
    else:
        versions = dict(getattr(_fitted(estimator), "versions", {}))
    return {str(name): str(version) for name, version in versions.items()}


def limits(estimator: Any) -> list[str]:
    """Return the limits of use that follow from the model."""
    h, w, c = estimator.image_shape_
    said = [
        f"It expects images of {h} x {w} pixels with {c} channel{'s' * (c > 1)}, "
        "taken like the training images. Its threshold is not valid for other "
        "lighting, another camera, or another product.",
        "It cannot detect differences from normal images that are not visible at this "
        "resolution.",
    ]
    model = _fitted(estimator)
    if model is None:
        return said
    n = len(model.calibration_scores)
    said.append(
        f"With {n} calibration images, a false alarm rate below {1 / (n + 1):.2%} "
        "cannot be guaranteed."
        if n
        else "It has no calibration images, so no false alarm rate is guaranteed."
    )
    field = model.receptive_field
    if field is not None:
        rows, columns = model.reach
        if rows >= h and columns >= w:
            said.append(
                "A cell of its anomaly map can depend on the whole image, so high "
                "values may appear away from the defect that causes them."
            )
        else:
            said.append(
                f"A cell of its anomaly map depends on {rows:g} x {columns:g} pixels. "
                "Defects that are visible only in relation to the rest of the image, "
                "such as a missing part, may not be detected."
            )
    return said
