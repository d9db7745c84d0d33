"""Let a model learn from marks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import AsJson, Broken, Device, Force, Normal, Quiet
from skfcdd.cli._choices import OnError

__all__ = ["update"]


def update(
    model: Annotated[Path, typer.Argument(help="The model so far: .skfcdd.")],
    folder: Annotated[Path, typer.Argument(help="The images that were marked.")],
    review: Annotated[
        Path, typer.Option(help="Marks, as a report on this folder exports them.")
    ],
    train: Annotated[
        Path, typer.Option(help="What the model was trained on, as for fit.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The model to write.")
    ] = Path("updated.skfcdd"),
    normal: Normal = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Further passes. Default: as in fit.")
    ] = None,
    note: Annotated[str | None, typer.Option(help="A note to keep with it.")] = None,
    force: Force = False,
    as_json: AsJson = False,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    quiet: Quiet = False,
) -> None:
    """Let a model learn from images that were marked.

    Training goes on. Defects among them are the anomalies to learn from, and what was
    called good by mistake is put right. Images that were trained on do not set the
    threshold.
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
