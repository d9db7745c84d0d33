"""Sentences that explain the threshold of a model."""

from __future__ import annotations

from numbers import Real
from typing import Any

from skfcdd._verdicts import convention_of, is_above
from skfcdd.cli._console import many, percent, wilson

__all__ = ["FEW", "basis"]

# A threshold set on fewer good images than this is uncertain.
FEW = 50


def basis(estimator: Any) -> list[str]:
    """Describe what is flagged as anomalous, and how reliable the threshold is."""
    threshold = float(estimator.threshold_)
    pixels = convention_of(estimator).judges_pixels
    if pixels:
        what = f"Pixels whose heat is above {threshold:.4g} are marked as defects"
    else:
        what = (
            f"Images whose score is above {threshold:.4g} are classified as anomalous"
        )
    held = getattr(estimator, "calibration_scores_", None)
    if held is None:  # exported models do not store calibration scores
        return [f"{what}."]
    given = isinstance(getattr(estimator, "threshold", None), Real)
    if given:
        what += ", as requested"
    if not len(held):
        return [f"{what}."]
    good, found = many(len(held), "good image"), estimator.calibration_
    if found is not None and found.source == "out-of-fold":
        good += ", each scored by a network that was not trained on it"
    else:
        good += " that were not used for training"
    if pixels:
        lines = [f"{what}." if given else f"{what}. This threshold was set on {good}."]
    else:
        above = int(is_above(held, threshold).sum())
        low, high = wilson(above, len(held))
        rests = (
            f"Of {good}," if given else f"This threshold was set on {good}. Of these,"
        )
        verb = "is" if above == 1 else "are"
        lines = [
            f"{what}. {rests} {above} {verb} above it: expect {100 * low:.1f} to "
            f"{percent(high)} false alarms (95 % interval)."
        ]
    if found is not None and found.warning is not None:
        lines.append(found.warning.partition(" Add normal images")[0])
    if len(held) < FEW:
        lines.append(
            "These are few images, so the threshold is uncertain: calibrate on more "
            "good images with skfcdd calibrate."
        )
    return lines
