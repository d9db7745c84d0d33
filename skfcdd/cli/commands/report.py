"""Write an HTML report for reviewing images."""

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

__all__ = ["report"]


def report(
    model: Saved,
    folder: Annotated[
        Path,
        typer.Argument(
            help="Images: a folder with a subfolder per kind, including 'good'; the "
            "layout of MVTec-AD; a CSV file; or a folder of unlabelled images."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="HTML file to write.")
    ] = Path("report.html"),
    masks: Masks = None,
    normal: Normal = None,
    label: Meaning = None,
    title: Annotated[str | None, typer.Option(help="Title of the report.")] = None,
    review: Annotated[
        Path | None, typer.Option(help="Initial marks, as exported from a report.")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of images; errors come first."),
    ] = None,
    max_side: Annotated[
        int | None,
        typer.Option(
            min=1, help="Longer side of the pictures, in pixels. Default: as in files."
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, help="Quality of compressed pictures, from 1 to 100."
        ),
    ] = None,
    max_megabytes: Annotated[
        float,
        typer.Option(
            min=1, help="Maximum size of the file; pictures are reduced to fit."
        ),
    ] = 60.0,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write an HTML report for reviewing images.

    A reviewer can move the threshold, and mark images as defects or as good.
    """
    from skfcdd.cli import _report
    from skfcdd.cli._model import Model
    from skfcdd.cli._reading import Source

    loaded = Model(model, device)
    with console.progress("explaining", quiet) as progress:
        outcome = _report.report(
            loaded,
            Source(folder, masks, normal, label and label.value, on_error.value),
            output,
            title=title,
            review=review,
            n_images=images,
            max_side=max_side,
            quality=quality,
            max_bytes=round(1e6 * max_megabytes),
            say=console.say(quiet),
            progress=progress,
        )
    console.conclude(outcome, as_json)
