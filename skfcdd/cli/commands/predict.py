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
    folder: Annotated[Path, typer.Argument(help="Folder, table or image.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Table to write. Default: standard output."
        ),
    ] = None,
    rows: Annotated[Rows, typer.Option("--format", help="Table format.")] = Rows.csv,
    regions: Annotated[
        Path | None,
        typer.Option(
            help="Second table to write: box, area and peak of each defect in "
            "anomalous images, in pixels of the original files."
        ),
    ] = None,
    heatmaps: Annotated[
        Path | None,
        typer.Option(
            help="Folder for pictures: each image overlaid with its heatmap, outlines "
            "of marked regions, prediction, score and threshold."
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder for masks: white at pixels marked as defects."),
    ] = None,
    layout: Annotated[
        Layout,
        typer.Option(
            help="Layout of the pictures: overlay, side by side with the image, or "
            "also with the parts of the heatmap."
        ),
    ] = Layout.overlay,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score images, and localise their defects.

    Writes a row for each image, with path, score, probability, prediction and
    threshold. For models with a memory bank, the row also has the proportion of the
    score that comes from novelty, from 0 to 1.
    """
    from skfcdd.cli import _scoring
    from skfcdd.cli._model import Model

    if layout is not Layout.overlay and heatmaps is None:
        raise typer.BadParameter(
            f"--layout {layout.value} needs --heatmaps, a folder for the pictures."
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
    elif not quiet:  # the rows are on standard output
        console.conclude(outcome, as_json, file=sys.stderr)
