"""Conversion of the calibration of a threshold to JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from skfcdd._engine.model import FittedModel
from skfcdd.exceptions import ModelFileError
from skfcdd.thresholds import Calibration

__all__ = ["describe_calibration", "read_calibration"]


def describe_calibration(calibration: Calibration | None) -> dict[str, Any] | None:
    """Convert a calibration to JSON."""
    return None if calibration is None else asdict(calibration)


def read_calibration(
    model: FittedModel, described: Mapping[str, Any]
) -> Calibration | None:
    """Read the calibration of a model; None if the file is in an older format.

    Raises
    ------
    ModelFileError
        If the calibration contradicts the scores of the model, or cannot be the result
        of ``fit``.
    """
    groups, n = model.calibration_groups, len(model.calibration_scores)
    if groups is not None and not (
        isinstance(groups, np.ndarray)
        and groups.dtype == np.int64
        and groups.shape == (n,)
        and np.array_equal(np.unique(groups), np.arange(groups.max(initial=-1) + 1))
    ):
        raise ModelFileError(f"The file has invalid groups: {groups!r}.")
    known = described.get("calibration")
    if known is None:
        return None
    found = Calibration(**known)
    n_groups = n if groups is None else len(np.unique(groups))
    rate, above = found.rate, found.n_above
    if not (
        found.source in ("held-out", "out-of-fold", "given")
        and (found.n_images, found.n_groups) == (n, n_groups)
        and (rate is None or (type(rate) is float and 0 < rate < 1))
        and (above is None or (type(above) is float and 0 <= above <= n_groups))
    ):
        raise ModelFileError(f"The file has an invalid calibration: {known!r}.")
    return found
