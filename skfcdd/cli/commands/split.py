"""Split images into training, calibration and test sets."""

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
        typer.Argument(
            help="Folder with a subfolder per kind, including 'good'; or a table."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Table to write.")
    ] = Path("parts.csv"),
    train: Annotated[
        float, typer.Option(help="Proportion of good images for training.")
    ] = 0.6,
    calibration: Annotated[
        float, typer.Option(help="Proportion of good images for calibration.")
    ] = 0.2,
    group: Annotated[
        str | None,
        typer.Option(
            help="Regular expression, such as '^part[0-9]+'. Its match in the file "
            "name, or its first parenthesised part, names the group of the image. "
            "Groups are not split."
        ),
    ] = None,
    seed: Seed = 0,
    force: Force = False,
    masks: Masks = None,
    normal: Normal = None,
    label: Meaning = None,
    as_json: AsJson = False,
) -> None:
    """Split images into training, calibration and test sets.

    Writes a table that the other commands accept instead of a folder. All defects are
    in the test set. Copies of a file are in the same set.
    """
    from skfcdd.cli import _splitting
    from skfcdd.cli._reading import Source

    if not (train > 0 and calibration > 0 and train + calibration < 1):
        raise typer.BadParameter(
            f"--train {train:g} and --calibration {calibration:g} must be above 0 and "
            "sum to less than 1: the rest is for testing."
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
