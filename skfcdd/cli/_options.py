"""Options of the command line: checked early, and named in errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import typer

__all__ = ["check", "check_device", "pooling", "usage_error"]

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
    "random_state": "--seed",
}
# Size of images that most networks can take.
_USUAL = (128, 128)
# How messages about a parameter begin, those of scikit-learn and ours.
_ABOUT = re.compile(r"The '(\w+)' parameter|Got (\w+)[=(]")


def pooling(text: str) -> str | float:
    """A pooling as typed: a word, or a number."""
    try:
        return float(text)
    except ValueError:
        return text


def check(
    estimator: type[Any], params: Mapping[str, Any], size: tuple[int, int] | None
) -> None:
    """Check values before any image is looked at.

    Parameters
    ----------
    estimator : type
    params : mapping
        Its parameters.
    size : tuple of int (h, w), or None
        What images are brought to, if that is known.

    Raises
    ------
    ValueError
        If a parameter of the estimator may not have its value.
    """
    from skfcdd._utils.sklearn import check_parameters
    from skfcdd.anomalies._mixture import resolve_kinds

    check_parameters(params, estimator._parameter_constraints, estimator.__name__)
    resolve_kinds(params["synthetic"])
    check_device(params["device"])
    _check_network(params, size)


def check_device(device: str) -> None:
    """Raise a ValueError if this machine has no such device."""
    from skfcdd._utils.device import resolve_device

    resolve_device(device)


def _check_network(params: Mapping[str, Any], size: tuple[int, int] | None) -> None:
    """Check a network as far as that goes without images and weights."""
    from skfcdd._utils.random import seeded
    from skfcdd.backbones import choose_backbone, freeze_backbone, make_backbone

    shape, frozen = (*(size or _USUAL), 1), params["frozen"]
    name, _ = choose_backbone(params["backbone"], params["weights"], shape)
    try:
        with seeded(None, "cpu"):  # chance is left as found
            network = make_backbone(name, shape, weights=None)
            if frozen != "auto":
                freeze_backbone(network, frozen)
    except ValueError as error:
        # That it cannot take images of the usual size says nothing of others.
        if size is not None or usage_error(error) is not None:
            raise


def usage_error(error: Exception) -> typer.BadParameter | None:
    """The error as one of an option; None if it is about something else."""
    about = _ABOUT.match(str(error))
    option = _OPTIONS.get(about[1] or about[2]) if about else None
    if option is None:
        return None
    return typer.BadParameter(f"{option}: {' '.join(str(error).split())}")
