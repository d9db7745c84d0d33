"""Write a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import Broken, Device, Quiet, Saved
from skfcdd.cli._choices import OnError

__all__ = ["card"]


def card(
    model: Saved,
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Labelled images that it was not trained on, to be measured on."
        ),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            help="A file that ends in .html or .md; may be given more than once. "
            "Default: Markdown on standard output.",
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Headline of the card.")] = None,
    intended_use: Annotated[
        str | None, typer.Option(help="What the model is for.")
    ] = None,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    quiet: Quiet = False,
) -> None:
    """Write down what a model is, what it can promise, and where it ends."""
    from skfcdd.cli import _card

    for path in output or []:
        if path.suffix.lower() not in (".html", ".htm", ".md"):
            raise typer.BadParameter(
                f"--output {path}: name a file that ends in .html or .md."
            )
    made = _card.card(
        model,
        folder,
        output or [],
        title=title,
        intended_use=intended_use,
        device=device,
        on_error=on_error.value,
        say=console.say(quiet),
    )
    print("\n".join(map(str, output)) if output else made.to_markdown())
