"""Write a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import Broken, Device, Masks, Meaning, Normal, Quiet, Saved
from skfcdd.cli._choices import OnError

__all__ = ["card"]


def card(
    model: Saved,
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Labelled images not used for training, for computing metrics."
        ),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write, .html or .md; may be given more than once. "
            "Default: Markdown on standard output.",
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the card.")] = None,
    intended_use: Annotated[
        str | None, typer.Option(help="Intended use of the model.")
    ] = None,
    masks: Masks = None,
    normal: Normal = None,
    label: Meaning = None,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    quiet: Quiet = False,
) -> None:
    """Write a model card, as HTML or Markdown.

    It summarises the model, its guarantees, and its limits.
    """
    from skfcdd.cli import _card
    from skfcdd.cli._model import Model
    from skfcdd.cli._reading import Source

    outputs = output or []
    for path in outputs:
        if path.suffix.lower() not in (".html", ".htm", ".md"):
            raise typer.BadParameter(
                f"--output {path}: expected a file that ends in .html or .md."
            )
    source = None
    if folder is not None:
        meaning = label and label.value
        source = Source(folder, masks, normal, meaning, on_error.value)
    made = _card.card(
        Model(model, device),
        source,
        outputs,
        title=title,
        intended_use=intended_use,
        say=console.say(quiet),
    )
    if not outputs:
        print(made.to_markdown())
        return
    record = {"model": str(model), "written": [str(path) for path in outputs]}
    sentences = [f"Wrote {', '.join(map(str, outputs))}."]
    console.conclude(console.Outcome(record, sentences))
