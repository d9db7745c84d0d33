"""Options of the command line: checked early, and named in errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import typer

__all__ = ["check", "pooling", "usage_error"]

# The options by the parameters that they set.
_OPTIONS = {
    "score_pooling": "--pooling",
    "FalseAlarmRate": "--false-alarm-rate",
    **{
        name: f"--{name.replace('_', '-')}"
        for name in (
            "backbone",
            "batch_size",
            "contamination",
            "device",
            "frozen",
            "normalize",
            "synthetic",
            "weights",
        )
    },
    "max_epochs": "--epochs",
}
# How messages about a parameter begin, those of scikit-learn and ours.
_ABOUT = re.compile(r"The '(\w+)' parameter|Got (\w+)[=(]")


def pooling(text: str) -> str | float:
    """A pooling as typed: a word, or a number."""
    try:
        return float(text)
    except ValueError:
        return text


def check(estimator: type[Any], params: Mapping[str, Any]) -> None:
    """Check values before any image is looked at.

    Raises
    ------
    ValueError
        If a parameter of the estimator may not have its value.
    """
    from skfcdd._utils.device import resolve_device
    from skfcdd._utils.sklearn import check_parameters
    from skfcdd.anomalies import resolve_synthetic

    check_parameters(params, estimator._parameter_constraints, estimator.__name__)
    resolve_synthetic(params["synthetic"])
    resolve_device(params["device"])


def usage_error(error: Exception) -> typer.BadParameter | None:
    """The error as one of an option; None if it is about something else."""
    about = _ABOUT.match(str(error))
    option = _OPTIONS.get(about[1] or about[2]) if about else None
    if option is None:
        return None
    return typer.BadParameter(f"{option}: {' '.join(str(error).split())}")
