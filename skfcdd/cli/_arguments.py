"""Arguments and options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skfcdd.cli._choices import Label, OnError

__all__ = [
    "AsJson",
    "Broken",
    "Device",
    "Force",
    "Masks",
    "Meaning",
    "Normal",
    "Quiet",
    "Saved",
    "Seed",
]

Device = Annotated[str, typer.Option(help="Torch device: auto, cpu, cuda, cuda:1.")]
Broken = Annotated[
    OnError, typer.Option(help="How to handle files that cannot be read.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Do not show progress.")]
Saved = Annotated[Path, typer.Argument(help="Model file: .skfcdd or .onnx.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON (default if the output is piped).")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")]
Masks = Annotated[
    Path | None,
    typer.Option(help="Folder of masks. Default: ground_truth next to the images."),
]
Normal = Annotated[
    str | None,
    typer.Option(help="Folder name or label of good images. Default: 'good'."),
]
Meaning = Annotated[
    Label | None,
    typer.Option("--label", help="Label of all images, unless set by folder names."),
]
Seed = Annotated[
    int, typer.Option(help="Random state; the same value gives the same results.")
]
