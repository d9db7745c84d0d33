"""Select images to mark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import AsJson, Broken, Device, Quiet, Saved
from skfcdd.cli._choices import OnError

__all__ = ["select"]


def select(
    model: Saved,
    folder: Annotated[Path, typer.Argument(help="Unlabelled images.")],
    number: Annotated[
        int, typer.Option("--number", "-n", min=1, help="Number of images to select.")
    ] = 25,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="HTML page to write, for marking images."),
    ] = Path("to_mark.html"),
    review: Annotated[
        Path | None, typer.Option(help="Previous marks; marked images are skipped.")
    ] = None,
    as_json: AsJson = False,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    quiet: Quiet = False,
) -> None:
    """Select the images that are most useful to mark before skfcdd update."""
    from skfcdd.cli import _selecting
    from skfcdd.cli._model import Model

    outcome = _selecting.select(
        Model(model, device),
        folder,
        number,
        output,
        review=review,
        on_error=on_error.value,
        say=console.say(quiet),
    )
    console.conclude(outcome, as_json)
