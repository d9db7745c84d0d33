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
        Path, typer.Argument(help="Where images appear, also in folders below.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="JSON Lines that rows are added to. A later run goes on after them.",
        ),
    ] = Path("verdicts.jsonl"),
    poll: Annotated[
        float, typer.Option(min=0.01, help="Seconds between two looks.")
    ] = 1.0,
    settle: Annotated[
        float,
        typer.Option(min=0.0, help="Seconds that a complete file stays unchanged."),
    ] = 1.0,
    patience: Annotated[
        float,
        typer.Option(
            min=0.0, help="Seconds after which an unreadable file counts as broken."
        ),
    ] = 30.0,
    once: Annotated[
        bool, typer.Option("--once", help="Stop when all files are seen to.")
    ] = False,
    usual: Annotated[
        int,
        typer.Option(
            min=0,
            help="Watch for drift from the first so many images; 0 does not watch.",
        ),
    ] = 200,
    false_alarm_probability: Annotated[
        float,
        typer.Option(help="Of an alarm ever being raised without drift."),
    ] = 0.01,
    as_json: AsJson = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Score images as they appear in a folder.

    Each gets one row, also over restarts. Ctrl-C, or a TERM signal, finishes the images
    at hand, writes them, and ends.
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
