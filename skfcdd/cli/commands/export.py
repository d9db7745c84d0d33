"""Write a model as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["export"]


def export(
    model: Annotated[Path, typer.Argument(help="A model: .skfcdd.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The ONNX file.")],
) -> None:
    """Write a model as ONNX, and measure that it answers alike."""
    from skfcdd.export import to_onnx
    from skfcdd.persistence import load

    print(to_onnx(load(model, device="cpu"), output))
