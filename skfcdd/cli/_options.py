"""Checks of command-line options, and their names in error messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

__all__ = [
    "check",
    "check_device",
    "check_value",
    "pooling",
    "region",
    "spoken",
    "usage_error",
]

# Options by the parameter of the estimator that they set.
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
            "roi",
            "synthetic",
            "threshold",
            "validation_fraction",
            "weights",
        )
    },
    "max_epochs": "--epochs",
    "random_state": "--seed",
}
# Options by the function argument that they set.
_ARGUMENTS = {
    **{name: option for name, option in _OPTIONS.items() if name[0].islower()},
    "label": "--label",
    "masks": "--masks",
    "mode": "--mode",
    "normal": "--normal",
    "on_error": "--on-error",
    "page": "--page",
    "rate": "--false-alarm-rate",
    "review": "--review",
    "size": "--size",
    "resize": "--size",
}
# Python arguments in messages, with or without a value; and function calls.
_ARGUMENT = re.compile(
    r"(?<![^\s(])([a-z]\w*)=(?!=)('[^']*'|\"[^\"]*\"|\([^()]*\)|[\w.+-]*\w)?"
)
_CALL = re.compile(r"(?:ImageFiles|load_images)\((?:paths|\.\.\.|source), ([^()]*)\)")
_TWICE = re.compile(r"(--[\w-]+ \S+) (?:or|and) \1\b")
_ASIDE = re.compile(r"(--on-error skip) of load_images, \1 of the command line")
# Corners of polygons: "1,2 3,4 5,6; ...".
_POINT = re.compile(r"(-?\d+(?:\.\d*)?)\s*,\s*(-?\d+(?:\.\d*)?)")
_POINTS = re.compile(rf"\s*{_POINT.pattern}(?:[\s;]+{_POINT.pattern})*[\s;]*")
# Image size that most networks accept.
_USUAL = (128, 128)
# Beginning of messages about a parameter, from scikit-learn and from this package.
_ABOUT = re.compile(r"The '(\w+)' parameter|Got (\w+)[=(]")


def pooling(text: str) -> str | float:
    """Parse a score pooling: a name or a number."""
    try:
        return float(text)
    except ValueError:
        return text


def region(text: str) -> Path | list[list[tuple[float, float]]]:
    """Parse a region of interest: a path, or the corners of polygons."""
    if _POINTS.fullmatch(text) is None or Path(text).exists():
        return Path(text)
    return [
        [(float(x), float(y)) for x, y in _POINT.findall(polygon)]
        for polygon in text.split(";")
        if polygon.strip()
    ]


def spoken(text: str) -> str:
    """Reword a message for the command line: replace Python arguments by options.

    An argument without a matching option is described as one of the Python interface.
    """

    def option(found: re.Match[str]) -> str:
        name, value = found[1], found[2] or ""
        known = _ARGUMENTS.get(name)
        bare = value[1:-1] if value[:1] in ("'", '"') else value
        if known is None:
            return f"{name} of the Python interface" + (bare and f" ({bare})")
        return f"{known} {bare}".rstrip()

    said = _ARGUMENT.sub(option, _CALL.sub(r"\1", text))
    return _TWICE.sub(r"\1", _ASIDE.sub(r"\1", said))


def check(
    estimator: type[Any], params: Mapping[str, Any], size: tuple[int, int] | None
) -> None:
    """Check parameters before any image is read.

    Parameters
    ----------
    estimator : type
    params : mapping
        Parameters of the estimator.
    size : tuple of int (h, w), or None
        Size to which images are resized, if known.

    Raises
    ------
    ValueError
        If the value of a parameter is invalid.
    """
    from skfcdd._utils.sklearn import check_parameters
    from skfcdd.anomalies._mixture import resolve_kinds

    check_parameters(params, estimator._parameter_constraints, estimator.__name__)
    resolve_kinds(params["synthetic"])
    check_device(params["device"])
    _check_network(params, size)


def check_value(estimator: Any, name: str, value: Any) -> None:
    """Raise a ValueError if a value is invalid for a parameter of an estimator."""
    from skfcdd._utils.sklearn import check_parameters

    known = {name: estimator._parameter_constraints[name]}
    check_parameters({name: value}, known, type(estimator).__name__)


def check_device(device: str) -> None:
    """Raise a ValueError if this machine has no such device."""
    from skfcdd._utils.device import resolve_device

    resolve_device(device)


def _check_network(params: Mapping[str, Any], size: tuple[int, int] | None) -> None:
    """Check a network as far as possible without images and weights."""
    from skfcdd._utils.random import seeded
    from skfcdd.backbones import choose_backbone, freeze_backbone, make_backbone

    shape, frozen = (*(size or _USUAL), 1), params["frozen"]
    name, _ = choose_backbone(params["backbone"], params["weights"], shape)
    try:
        with seeded(None, "cpu"):  # the random state is left unchanged
            network = make_backbone(name, shape, weights=None)
            if frozen != "auto":
                freeze_backbone(network, frozen)
    except ValueError as error:
        # If the size is unknown, an error about the usual size may not apply.
        if size is not None or usage_error(error) is not None:
            raise


def usage_error(error: Exception) -> typer.BadParameter | None:
    """Return the usage error of an option; None if the error is not about an option."""
    about = _ABOUT.match(str(error))
    option = _OPTIONS.get(about[1] or about[2]) if about else None
    if option is None:
        return None
    words = spoken(" ".join(str(error).split()))
    return typer.BadParameter(f"{option}: {words}")
