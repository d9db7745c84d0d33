"""Train on the images of a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from skfcdd.cli import _console as console
from skfcdd.cli import _options as options
from skfcdd.cli._arguments import Broken, Device, Quiet
from skfcdd.cli._choices import Kind, OnError

__all__ = ["fit"]


def fit(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Good images; or a folder for each kind, one of them 'good'; or the "
            "layout of MVTec-AD; or a CSV file with path, label, mask and split."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The model to write.")
    ] = Path("model.skfcdd"),
    kind: Annotated[
        Kind, typer.Option(help="Verdicts on images, or on pixels.")
    ] = Kind.classifier,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of masks. Default: ground_truth beside the images."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Size that images are brought to: 256, or 256x320 (height x width). "
            "Default: their median, with a shorter side of at most 128."
        ),
    ] = None,
    keep_aspect: Annotated[
        bool, typer.Option("--keep-aspect", help="Fill up instead of stretching.")
    ] = False,
    backbone: Annotated[
        str, typer.Option(help="The network; see the documentation for names.")
    ] = "auto",
    weights: Annotated[
        str,
        typer.Option(help="auto, imagenet, a file with weights, or none for random."),
    ] = "auto",
    frozen: Annotated[
        int | None,
        typer.Option(min=0, help="Stages of the network not to train. Default: auto."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the images. Default: auto.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Images in a batch.")] = 16,
    pooling: Annotated[
        str, typer.Option(help="Score of an image: mean, max, or a share such as 0.02.")
    ] = "mean",
    synthetic: Annotated[
        str, typer.Option(help="Anomalies to plant on good images.")
    ] = "mixed",
    normalize: Annotated[
        str,
        typer.Option(help="auto, standard, contrast, imagenet, flat-field or local."),
    ] = "auto",
    contamination: Annotated[
        float, typer.Option(help="Share of good images that may be called anomalous.")
    ] = 0.05,
    false_alarm_rate: Annotated[
        float | None,
        typer.Option(help="Guarantee this rate of false alarms instead."),
    ] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the chance.")] = 0,
    note: Annotated[str | None, typer.Option(help="A note to keep with it.")] = None,
    on_error: Broken = OnError.stop,
    quiet: Quiet = False,
) -> None:
    """Train on the images of a folder, and write the model to one file."""
    from skfcdd.cli import _training
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
    if epochs is not None:
        params["max_epochs"] = epochs
    if false_alarm_rate is not None:
        params["threshold"] = FalseAlarmRate(false_alarm_rate)
    with console.progress("training", quiet) as progress:
        summary = _training.fit(
            folder,
            output,
            kind=kind.value,
            masks=masks,
            size=console.pair(size),
            keep_aspect=keep_aspect,
            on_error=on_error.value,
            note=note,
            params=params,
            say=console.say(quiet),
            progress=progress,
        )
    print(json.dumps(summary))
