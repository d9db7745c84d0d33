"""Say which images train, calibrate and test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import AsJson, Force, Masks, Meaning, Normal, Seed

__all__ = ["split"]


def split(
    folder: Annotated[
        Path,
        typer.Argument(help="A folder for each kind, one of them 'good', or a table."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The table to write.")
    ] = Path("parts.csv"),
    train: Annotated[
        float, typer.Option(help="Share of the good images to train on.")
    ] = 0.6,
    calibration: Annotated[
        float, typer.Option(help="Share of the good images to calibrate on.")
    ] = 0.2,
    group: Annotated[
        str | None,
        typer.Option(
            help="Regular expression: what it finds in the name of a file, or its "
            "first bracket, is the group, such as '^part[0-9]+'. Groups stay whole."
        ),
    ] = None,
    seed: Seed = 0,
    force: Force = False,
    masks: Masks = None,
    normal: Normal = None,
    label: Meaning = None,
    as_json: AsJson = False,
) -> None:
    """Divide images into training, calibration and test.

    Writes a table that the other commands take for a folder. All defects are for
    testing. Copies of a file are in the same part.
    """
    from skfcdd.cli import _splitting
    from skfcdd.cli._reading import Source

    if not (train > 0 and calibration > 0 and train + calibration < 1):
        raise typer.BadParameter(
            f"--train {train:g} and --calibration {calibration:g} must be above 0, and "
            f"below 1 together: the rest is for testing."
        )
    outcome = _splitting.split(
        Source(folder, masks, normal, label and label.value),
        output,
        shares=(train, calibration),
        pattern=group,
        seed=seed,
        force=force,
    )
    console.conclude(outcome, as_json)
