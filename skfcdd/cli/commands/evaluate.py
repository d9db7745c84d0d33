"""Evaluate a model on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import (
    AsJson,
    Broken,
    Device,
    Masks,
    Meaning,
    Normal,
    Quiet,
    Saved,
)
from skfcdd.cli._choices import OnError

__all__ = ["evaluate"]


def evaluate(
    model: Saved,
    folder: Annotated[
        Path,
        typer.Argument(
            help="Labelled images: a folder with a subfolder per kind, or a CSV file."
        ),
    ],
    masks: Masks = None,
    normal: Normal = None,
    label: Meaning = None,
    as_json: AsJson = False,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    quiet: Quiet = False,
) -> None:
    """Evaluate a model on labelled images.

    Prints the proportion of detected defects, in total and by kind, and the rate of
    false alarms on good images, with confidence intervals.
    """
    from skfcdd.cli import _evaluation
    from skfcdd.cli._model import Model
    from skfcdd.cli._reading import Source

    loaded = Model(model, device)
    source = Source(folder, masks, normal, label and label.value, on_error.value)
    with console.progress("scoring", quiet) as progress:
        outcome = _evaluation.evaluate(
            loaded, source, say=console.say(quiet), progress=progress
        )
    console.conclude(outcome, as_json)
