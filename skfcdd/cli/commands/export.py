"""Export a model to ONNX."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli import _console as console
from skfcdd.cli._arguments import AsJson

__all__ = ["export"]


def export(
    model: Annotated[Path, typer.Argument(help="Model file, .skfcdd.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
    as_json: AsJson = False,
) -> None:
    """Export a model to ONNX, and compare its results with the original."""
    from skfcdd.cli._model import check_file
    from skfcdd.cli._writing import check_place, command, size_of
    from skfcdd.export import to_onnx
    from skfcdd.persistence import load

    check_file(model)
    check_place(output, model)
    parity = to_onnx(load(model, device="cpu"), output)
    outcome = console.Outcome(
        {"model": str(model), "onnx": str(output), **asdict(parity)},
        [
            f"Wrote {output} ({size_of(output)}). Results compared with {model}:",
            *(f"  {line}" for line in str(parity).splitlines()),
        ],
        [command("predict", output, "IMAGES", "-o", "scores.csv")],
    )
    console.conclude(outcome, as_json)
