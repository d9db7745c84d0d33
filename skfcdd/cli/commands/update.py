"""Continue the training of a model with marked images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import AsJson, Broken, Device, Force, Normal, Quiet
from skfcdd.cli._choices import OnError

__all__ = ["update"]


def update(
    model: Annotated[Path, typer.Argument(help="Current model, .skfcdd.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the marked images.")],
    review: Annotated[
        Path, typer.Option(help="Marks exported from a report on this folder.")
    ],
    train: Annotated[
        Path, typer.Option(help="Images the model was trained on, as for fit.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Model file to write.")
    ] = Path("updated.skfcdd"),
    normal: Normal = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Number of additional epochs. Default: as in fit."),
    ] = None,
    note: Annotated[
        str | None, typer.Option(help="Note to store with the model.")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    quiet: Quiet = False,
) -> None:
    """Continue the training of a model with marked images.

    Marked defects are used as anomalies in training, and wrong labels of training
    images are corrected. The threshold is not set on images used for training.
    """
    from skfcdd.cli import _updating
    from skfcdd.cli._model import Model
    from skfcdd.cli._reading import Source

    source = Source(train, normal=normal, on_error=on_error.value)
    with console.progress("training", quiet) as progress:
        outcome = _updating.update(
            Model(model, device),
            folder,
            review,
            source,
            output,
            epochs=epochs,
            note=note,
            force=force,
            say=console.say(quiet),
            progress=progress,
        )
    console.conclude(outcome, as_json)
