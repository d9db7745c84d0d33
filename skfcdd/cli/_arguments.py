"""Arguments and options that several commands have."""

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

Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:1.")]
Broken = Annotated[
    OnError, typer.Option(help="What to do with files that cannot be read.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Saved = Annotated[Path, typer.Argument(help="A model: .skfcdd, or .onnx.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, which is the default in a pipe.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]
Masks = Annotated[
    Path | None,
    typer.Option(help="Folder of masks. Default: ground_truth beside the images."),
]
Normal = Annotated[
    str | None,
    typer.Option(help="Name of the folder, or label, of good images. Default: 'good'."),
]
Meaning = Annotated[
    Label | None,
    typer.Option("--label", help="What all images are, if no folder says it."),
]
Seed = Annotated[
    int, typer.Option(help="Random state: the same one gives the same results.")
]
