"""Checks of output paths before any work is done, and formatting."""

from __future__ import annotations

import os
from pathlib import Path

from skfcdd._utils.files import check_writable

__all__ = ["check_model_file", "check_place", "command", "size_of"]


def check_place(output: Path, *inputs: Path) -> None:
    """Raise an error if a file cannot be written, or is one of the inputs.

    Raises
    ------
    OSError
        If `output` cannot be written.
    ValueError
        If `output` is one of `inputs`.
    """
    if not output.parent.is_dir():
        raise FileNotFoundError(
            f"Cannot write {output.name!r}: there is no folder {str(output.parent)!r}."
        )
    if output.is_dir():
        raise IsADirectoryError(
            f"{str(output)!r} is a folder. Pass the path of a file."
        )
    for path in inputs:
        if path.exists() and output.exists() and os.path.samefile(path, output):
            raise ValueError(
                f"The output would overwrite {str(path)!r}, which is an input. Choose "
                "another file with -o."
            )
    check_writable(output)


def check_model_file(output: Path, force: bool) -> None:
    """Raise an error if a file cannot be written, or exists and `force` is false.

    Raises
    ------
    FileExistsError
        If the file exists and `force` is false.
    OSError
        If the file cannot be written.
    """
    if output.is_file() and not force:
        raise FileExistsError(
            f"The file {str(output)!r} already exists. Choose another file with -o, "
            "or overwrite it with --force."
        )
    check_place(output)


def size_of(path: Path) -> str:
    """Format the size of a file with its unit."""
    n = path.stat().st_size
    return f"{n / 1e6:.1f} MB" if n >= 1e5 else f"{n / 1e3:.1f} kB"


def command(*words: object) -> str:
    """Return a command line, quoted for the shell."""
    import shlex

    return shlex.join(["skfcdd", *map(str, words)])
