"""Rules that choose a threshold from the scores of calibration images.

A rule is called with the true labels (1 is anomalous) and the scores of images that the
network was not trained on, and returns the value above which a score is anomalous. Pass
it as ``threshold=`` to an estimator, by name or as an object, or call it directly.
Some rules use only normal images; the others need labelled anomalies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from skfcdd.thresholds._base import Threshold
from skfcdd.thresholds._calibration import Calibration
from skfcdd.thresholds._labelled import Auto, Closest, MaxF1, MaxFNR, MaxFPR, Youden
from skfcdd.thresholds._normal import FalseAlarmRate, Natural, Quantile

__all__ = [
    "THRESHOLDS",
    "Auto",
    "Calibration",
    "Closest",
    "FalseAlarmRate",
    "MaxF1",
    "MaxFNR",
    "MaxFPR",
    "Natural",
    "Quantile",
    "Threshold",
    "Youden",
    "resolve_threshold",
]

THRESHOLDS: Mapping[str, Callable[[], Threshold]] = MappingProxyType(
    {
        "auto": Auto,
        "quantile": Quantile,
        "natural": Natural,
        "youden": Youden,
        "f1": MaxF1,
        "closest": Closest,
    }
)
"""Threshold rules by the names that ``threshold=`` accepts."""


def resolve_threshold(threshold: Any, contamination: float = 0.05) -> Threshold:
    """Return the threshold rule with the given name; a rule is returned unchanged.

    Parameters
    ----------
    threshold : str or Threshold
        A name of :data:`THRESHOLDS`, or a rule.
    contamination : float, default=0.05
        Parameter `contamination` of the rules "auto" and "quantile".

    Returns
    -------
    Threshold

    Raises
    ------
    ValueError
        If the name is unknown.

    Examples
    --------
    >>> from skfcdd.thresholds import resolve_threshold
    >>> resolve_threshold("quantile", 0.1)
    Quantile(contamination=0.1)
    """
    if isinstance(threshold, Threshold):
        return threshold
    if threshold not in THRESHOLDS:
        raise ValueError(
            f"Got threshold={threshold!r}, but expected a number, a rule of "
            f"skfcdd.thresholds, or one of {sorted(THRESHOLDS)}."
        )
    if threshold in ("auto", "quantile"):
        return THRESHOLDS[threshold](contamination)  # type: ignore[call-arg]
    return THRESHOLDS[threshold]()
