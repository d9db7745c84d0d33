"""Score the files of a folder as they appear."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import AsJson, Device, Quiet, Saved

__all__ = ["watch"]


def watch(
    model: Saved,
    folder: Annotated[
        Path, typer.Argument(help="Folder to watch, with its subfolders.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="JSON Lines file to append to. Later runs continue it.",
        ),
    ] = Path("verdicts.jsonl"),
    poll: Annotated[
        float, typer.Option(min=0.01, help="Seconds between scans of the folder.")
    ] = 1.0,
    settle: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Seconds without changes after which a file counts as complete.",
        ),
    ] = 1.0,
    patience: Annotated[
        float,
        typer.Option(
            min=0.0, help="Seconds after which an unreadable file counts as damaged."
        ),
    ] = 30.0,
    once: Annotated[
        bool, typer.Option("--once", help="Stop when all files are processed.")
    ] = False,
    usual: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of initial images that serve as the reference for drift; 0 "
            "disables drift monitoring.",
        ),
    ] = 200,
    false_alarm_probability: Annotated[
        float,
        typer.Option(help="Probability of ever raising a drift alarm without drift."),
    ] = 0.01,
    as_json: AsJson = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Score images as they appear in a folder.

    Writes exactly one row for each image, also after restarts. On Ctrl-C or a TERM
    signal, the rows of the current images are written before the command stops.
    """
    from skfcdd.cli._model import Model
    from skfcdd.cli._watching import Pace, stopping
    from skfcdd.cli._watching import watch as run
    from skfcdd.cli._writing import check_place

    if not 0 < false_alarm_probability < 1:
        raise typer.BadParameter("--false-alarm-probability must be between 0 and 1.")
    check_place(output, model)
    loaded = Model(model, device)
    with stopping() as stop:
        outcome = run(
            loaded,
            folder,
            output,
            Pace(poll, settle, patience, once),
            n_usual=usual,
            false_alarm_probability=false_alarm_probability,
            stop=stop,
            say=console.say(quiet),
        )
    console.conclude(outcome, as_json)
