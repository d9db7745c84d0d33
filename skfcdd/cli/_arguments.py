"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli._choices import OnError

__all__ = ["AsJson", "Broken", "Device", "Quiet", "Saved"]

Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:1.")]
Broken = Annotated[
    OnError, typer.Option(help="What to do with files that cannot be read.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Saved = Annotated[Path, typer.Argument(help="A model: .skfcdd, or .onnx.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
