"""Say what a model is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import AsJson

__all__ = ["info"]


def info(
    model: Annotated[Path, typer.Argument(help="A model: .skfcdd.")],
    as_json: AsJson = False,
) -> None:
    """Say what a model is, with what it was made, and how it decides."""
    from skfcdd.persistence import read_info

    found = read_info(model)
    if as_json:
        print(json.dumps(found))
        return
    fitted = found["model"]
    shown = {
        "class": found["class"],
        "backbone": fitted["network"]["backbone"] or "of your own",
        "first weights": fitted["network"]["weights"] or "random",
        "image shape (h, w, c)": fitted["images"]["shape"]["tuple"],
        "threshold": fitted["threshold"],
        "numbers": found["n_numbers"],
        "note": found["note"],
        "metrics": found["metrics"],
        "versions": found["versions"],
        "parameters": {k: v for k, v in found["parameters"].items() if v is not None},
    }
    console.print_figures(shown, as_json=False)
