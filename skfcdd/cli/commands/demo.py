"""Demonstration on generated images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import AsJson, Quiet
from skfcdd.cli._choices import Texture

__all__ = ["demo"]


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Picture to write.")
    ] = Path("skfcdd_demo.png"),
    texture: Annotated[
        Texture, typer.Option(help="Texture of the generated surfaces.")
    ] = Texture.fabric,
    epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs.")] = None,
    seed: Annotated[
        int, typer.Option(help="Random state; the same value gives the same model.")
    ] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train on generated surfaces, and draw heatmaps.

    Also prints how well defects are detected.
    """
    from skfcdd.cli._demo import run_demo

    outcome = run_demo(
        output,
        texture=texture.value,
        say=console.say(quiet),
        max_epochs=epochs,
        seed=seed,
    )
    console.conclude(outcome, as_json)
