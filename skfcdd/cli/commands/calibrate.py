"""Set a new threshold for a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from skfcdd.cli import _console as console
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
from skfcdd.cli._choices import OnError

__all__ = ["calibrate"]


def calibrate(
    model: Annotated[Path, typer.Argument(help="Model file, .skfcdd.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model to write.")],
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Good images not used for training, or a folder or table with a part "
            "named 'calibration' or 'val'."
        ),
    ] = None,
    review: Annotated[
        Path | None,
        typer.Option(
            help="Marks exported from a report. With a folder, its marked images are "
            "used for calibration; without one, the threshold of the report is used."
        ),
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Use this threshold.")] = None,
    false_alarm_rate: Annotated[
        float | None, typer.Option(help="Guarantee this false-alarm rate.")
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(help="Part to calibrate on: val (default) or test."),
    ] = None,
    force: Force = False,
    masks: Masks = None,
    normal: Normal = None,
    label: Meaning = None,
    note: Annotated[
        str | None, typer.Option(help="Note to store with the model.")
    ] = None,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Set a new threshold for a model, without training."""
    from skfcdd.cli import _calibrating
    from skfcdd.cli._model import check_file
    from skfcdd.cli._reading import Source
    from skfcdd.datasets._layout import part_of
    from skfcdd.report import read_review

    check_file(model)
    marks = None if review is None else read_review(review)
    rule = _rule(threshold, false_alarm_rate, folder is not None, marks, model)
    source = None
    if folder is not None:
        meaning = label and label.value
        named = None if part is None else part_of(part) or part
        source = Source(folder, masks, normal, meaning, on_error.value, marks, named)
    outcome = _calibrating.calibrate(
        model,
        source,
        output,
        threshold=rule,
        force=force,
        note=note,
        device=device,
        say=console.say(quiet),
    )
    console.conclude(outcome, as_json)


def _rule(
    threshold: float | None,
    false_alarm_rate: float | None,
    has_images: bool,
    marks: Any,
    model: Path,
) -> Any:
    """Return the requested threshold or rule; None for the rule of the model."""
    from skfcdd.cli._calibrating import threshold_of
    from skfcdd.thresholds import FalseAlarmRate

    if false_alarm_rate is not None and threshold is not None:
        raise typer.BadParameter("Pass --threshold or --false-alarm-rate, not both.")
    if false_alarm_rate is not None and not has_images:
        raise typer.BadParameter("--false-alarm-rate needs a folder of good images.")
    if false_alarm_rate is not None:
        return FalseAlarmRate(false_alarm_rate)
    if threshold is not None or has_images:
        return threshold
    if marks is None:
        raise typer.BadParameter(
            "Pass a folder of good images, --threshold or --review."
        )
    return threshold_of(marks, model)
