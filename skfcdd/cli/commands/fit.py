"""Train on the images of a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from skfcdd.cli import _console as console
from skfcdd.cli import _options as options
from skfcdd.cli._arguments import (
    AsJson,
    Broken,
    Device,
    Force,
    Masks,
    Meaning,
    Normal,
    Quiet,
)
from skfcdd.cli._choices import Kind, Mode, OnError

__all__ = ["fit"]


def fit(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Good images; a folder with a subfolder per kind, including 'good'; "
            "the layout of MVTec-AD; or a CSV file with columns path, label, mask and "
            "split."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Model file to write.")
    ] = Path("model.skfcdd"),
    kind: Annotated[
        Kind, typer.Option(help="Classify images, or segment defects.")
    ] = Kind.classifier,
    force: Force = False,
    masks: Masks = None,
    normal: Normal = None,
    label: Meaning = None,
    review: Annotated[
        Path | None,
        typer.Option(
            help="Marks exported from a report. They replace labels, and all marked "
            "images are used for training, whatever their part."
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Size to resize images to: 256, or 256x320 (height x width). Default: "
            "their median size, with a shorter side of at most 128."
        ),
    ] = None,
    keep_aspect: Annotated[
        bool,
        typer.Option("--keep-aspect", help="Pad images instead of stretching them."),
    ] = False,
    roi: Annotated[
        str | None,
        typer.Option(
            help="Region of interest; pixels outside it are ignored. Either a mask "
            "image, 0 outside, or the corners of a polygon in pixels of the files, "
            "'x1,y1 x2,y2 x3,y3'. Separate several polygons by ';'."
        ),
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="Backbone; see the documentation for names.")
    ] = "auto",
    weights: Annotated[
        str,
        typer.Option(
            help="Initial weights: auto, imagenet, a file, or none for random weights."
        ),
    ] = "auto",
    frozen: Annotated[
        int | None,
        typer.Option(min=0, help="Number of frozen stages. Default: auto."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Number of epochs. Default: auto.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Batch size.")] = 16,
    pooling: Annotated[
        str,
        typer.Option(help="Score pooling: mean, max, or a proportion such as 0.02."),
    ] = "mean",
    synthetic: Annotated[
        str, typer.Option(help="Synthetic anomalies drawn on good images.")
    ] = "mixed",
    normalize: Annotated[
        str,
        typer.Option(
            help="Normalisation: auto, standard, contrast, imagenet, flat-field or "
            "local."
        ),
    ] = "auto",
    contamination: Annotated[
        float, typer.Option(help="Proportion of good images that may be flagged.")
    ] = 0.05,
    false_alarm_rate: Annotated[
        float | None,
        typer.Option(
            help="Guarantee this false-alarm rate, instead of using --contamination."
        ),
    ] = None,
    validation_fraction: Annotated[
        float | None,
        typer.Option(help="Proportion of good images held out for the threshold."),
    ] = None,
    page: Annotated[
        int | None,
        typer.Option(
            min=0, help="Index of the image to read from files that contain several."
        ),
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="Colour mode in which files are read.")
    ] = Mode.auto,
    device: Device = "auto",
    seed: Annotated[
        int, typer.Option(help="Random state; the same value gives the same model.")
    ] = 0,
    note: Annotated[
        str | None, typer.Option(help="Note to store with the model.")
    ] = None,
    on_error: Broken = OnError.stop,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train on the images of a folder, and write the model.

    Ctrl-C stops the training, and the model trained so far is written.
    """
    from skfcdd.cli import _training
    from skfcdd.cli._reading import Source
    from skfcdd.report import read_review
    from skfcdd.thresholds import FalseAlarmRate

    params: dict[str, Any] = {
        "backbone": backbone,
        "weights": None if weights == "none" else weights,
        "frozen": "auto" if frozen is None else frozen,
        "batch_size": batch_size,
        "score_pooling": options.pooling(pooling),
        "synthetic": synthetic,
        "normalize": normalize,
        "contamination": contamination,
        "device": device,
        "random_state": seed,
    }
    given = {"max_epochs": epochs, "validation_fraction": validation_fraction}
    params |= {name: value for name, value in given.items() if value is not None}
    if roi is not None:
        params["roi"] = options.region(roi)
    if false_alarm_rate is not None:
        params["threshold"] = FalseAlarmRate(false_alarm_rate)
    marks = None if review is None else read_review(review)
    meaning = label and label.value
    source = Source(folder, masks, normal, meaning, on_error.value, marks)
    with console.progress("training", quiet) as progress:
        outcome = _training.fit(
            source,
            output,
            kind=kind.value,
            size=console.pair(size),
            keep_aspect=keep_aspect,
            note=note,
            force=force,
            params=params,
            reading={"page": page, "mode": mode.value},
            say=console.say(quiet),
            progress=progress,
        )
    console.conclude(outcome, as_json)
    _end(outcome.record["interrupted"])


def _end(interrupted: bool) -> None:
    """Exit with status 130 if the user interrupted the training."""
    if interrupted:
        print("Interrupted; the model was written.", file=sys.stderr)
        raise typer.Exit(130)
