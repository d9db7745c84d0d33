"""Compare two models on the same images."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import AsJson, Broken, Device, Quiet
from skfcdd.cli._choices import OnError

__all__ = ["compare"]

# Neither an error (1) nor wrong arguments (2).
_NOT_SHOWN = 3


def compare(
    first: Annotated[Path, typer.Argument(help="The model so far: .skfcdd, or .onnx.")],
    second: Annotated[Path, typer.Argument(help="The new one, of any kind and size.")],
    folder: Annotated[
        Path,
        typer.Argument(
            help="Labelled images that neither was trained on: a folder for each kind, "
            "or CSV."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="An HTML file, with the images they disagree on."
        ),
    ] = None,
    not_worse_by: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Exit with 3 unless the new model is shown not to be worse by more "
            "than this in AUROC, false alarms and misses, such as 0.02.",
        ),
    ] = None,
    as_json: AsJson = False,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    quiet: Quiet = False,
) -> None:
    """Say whether a model is better than another, with intervals of the difference.

    AUROC, and false alarms and misses at the threshold of each model, image by image.
    """
    from skfcdd.cli import _comparison

    found = _comparison.compare(
        first,
        second,
        folder,
        output,
        tolerance=not_worse_by,
        device=device,
        on_error=on_error.value,
        say=console.say(quiet),
    )
    comparison = found.comparison
    print(json.dumps(comparison.to_dict()) if as_json else comparison)
    if found.open_figures:
        print(
            f"skfcdd: not shown to be no worse by more than {not_worse_by:g}: "
            f"{', '.join(found.open_figures)}",
            file=sys.stderr,
        )
        raise typer.Exit(_NOT_SHOWN)
