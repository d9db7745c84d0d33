"""Compare two models on the same images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import AsJson, Broken, Device, Meaning, Normal, Quiet
from skfcdd.cli._choices import OnError

__all__ = ["compare"]

# Exit status, distinct from those of errors (1) and invalid arguments (2).
_NOT_SHOWN = 3


def compare(
    first: Annotated[Path, typer.Argument(help="Current model, .skfcdd or .onnx.")],
    second: Annotated[
        Path, typer.Argument(help="New model, of any kind and image size.")
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            help="Labelled images not used for training: a folder with a subfolder per "
            "kind, or a CSV file."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="HTML file to write, with the images on which the models disagree.",
        ),
    ] = None,
    not_worse_by: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Exit with status 3 unless the new model is shown to be at most this "
            "much worse in AUROC, false alarms and misses, such as 0.02.",
        ),
    ] = None,
    normal: Normal = None,
    label: Meaning = None,
    as_json: AsJson = False,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    quiet: Quiet = False,
) -> None:
    """Test whether one model is better than another.

    Prints the differences in AUROC, and in false alarms and misses at the threshold of
    each model, with confidence intervals.
    """
    from skfcdd.cli import _comparison
    from skfcdd.cli._model import Model
    from skfcdd.cli._reading import Source

    outcome, not_shown = _comparison.compare(
        Model(first, device),
        Model(second, device),
        Source(folder, None, normal, label and label.value, on_error.value),
        output,
        tolerance=not_worse_by,
        say=console.say(quiet),
    )
    console.conclude(outcome, as_json)
    if not_shown:
        print(
            f"skfcdd: the new model may be worse by more than {not_worse_by:g} in: "
            f"{', '.join(not_shown)}",
            file=sys.stderr,
        )
        raise typer.Exit(_NOT_SHOWN)
