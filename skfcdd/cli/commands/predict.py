"""Score images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import Broken, Device, Quiet, Saved
from skfcdd.cli._choices import Layout, OnError, Rows

__all__ = ["predict"]


def predict(
    model: Saved,
    folder: Annotated[Path, typer.Argument(help="A folder, a table, or an image.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The table. Default: standard output."),
    ] = None,
    rows: Annotated[Rows, typer.Option("--format", help="Form of it.")] = Rows.csv,
    heatmaps: Annotated[
        Path | None,
        typer.Option(
            help="Folder for pictures: the heatmap over each image, with an outline "
            "around what is marked, verdict, score and threshold."
        ),
    ] = None,
    layout: Annotated[
        Layout,
        typer.Option(
            help="Of these pictures: overlay, the image side-by-side with it, or the "
            "parts of the heatmap too."
        ),
    ] = Layout.overlay,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    quiet: Quiet = False,
) -> None:
    """Score images: a row each with path, score, probability and verdict.

    Of models with a memory of normal features, a row also says how much of the score
    comes from what was never seen before, from 0 to 1.
    """
    from skfcdd.cli._model import Model
    from skfcdd.cli._scoring import predict as score
    from skfcdd.cli._tables import rows_writer

    if layout is not Layout.overlay and heatmaps is None:
        raise typer.BadParameter(
            f"--layout {layout.value} is about pictures: name their folder, --heatmaps."
        )
    loaded = Model(model, device)
    with (
        rows_writer(output, rows is Rows.jsonl) as write,
        console.progress("scoring", quiet) as progress,
    ):
        for row in score(
            loaded,
            folder,
            on_error=on_error.value,
            heatmaps=heatmaps,
            layout=layout.value,
            say=console.say(quiet),
            progress=progress,
        ):
            write(row)
