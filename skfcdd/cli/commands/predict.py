"""Score images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import AsJson, Broken, Device, Quiet, Saved
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
    regions: Annotated[
        Path | None,
        typer.Option(
            help="A second table: box, area and peak of each defect of the images that "
            "are called anomalous, in pixels of the files."
        ),
    ] = None,
    heatmaps: Annotated[
        Path | None,
        typer.Option(
            help="Folder for pictures: the heatmap over each image, with an outline "
            "around what is marked, verdict, score and threshold."
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder for masks: white where a defect is marked."),
    ] = None,
    layout: Annotated[
        Layout,
        typer.Option(
            help="Of the heatmaps: overlay, the image side-by-side with it, or the "
            "parts of the heatmap too."
        ),
    ] = Layout.overlay,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score images, and say where their defects are.

    Each has a row with path, score, probability, verdict and threshold. Of models with
    a memory of normal features, a row also says how much of the score comes from what
    was never seen before, from 0 to 1.
    """
    from skfcdd.cli import _scoring
    from skfcdd.cli._model import Model

    if layout is not Layout.overlay and heatmaps is None:
        raise typer.BadParameter(
            f"--layout {layout.value} is about pictures: name their folder, --heatmaps."
        )
    loaded = Model(model, device)
    lines = rows is Rows.jsonl or (as_json and output is None)
    wanted = _scoring.Wanted(output, lines, regions, heatmaps, masks, layout.value)
    with console.progress("scoring", quiet) as progress:
        outcome = _scoring.predict(
            loaded,
            folder,
            wanted,
            on_error=on_error.value,
            say=console.say(quiet),
            progress=progress,
        )
    if output is not None:
        console.conclude(outcome, as_json)
    elif not quiet:  # the rows stand on standard output
        console.conclude(outcome, as_json, file=sys.stderr)
