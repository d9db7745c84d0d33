"""Measure a model on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import AsJson, Broken, Device, Quiet, Saved
from skfcdd.cli._choices import OnError

__all__ = ["evaluate"]


def evaluate(
    model: Saved,
    folder: Annotated[
        Path, typer.Argument(help="Labelled images: a folder for each kind, or CSV.")
    ],
    masks: Annotated[Path | None, typer.Option(help="Folder of masks.")] = None,
    as_json: AsJson = False,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    quiet: Quiet = False,
) -> None:
    """Measure a model on labelled images, over all and by kind of defect."""
    from skfcdd.cli import _evaluation
    from skfcdd.cli._model import Model

    loaded = Model(model, device)
    with console.progress("scoring", quiet) as progress:
        figures = _evaluation.evaluate(
            loaded,
            folder,
            masks=masks,
            on_error=on_error.value,
            say=console.say(quiet),
            progress=progress,
        )
    console.print_figures(figures, as_json)
