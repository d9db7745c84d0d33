"""Which images a command is about, and where its results may go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from skfcdd._utils.files import check_writable
from skfcdd.cli._heatmaps import outside
from skfcdd.cli._model import Model
from skfcdd.datasets._folders import SUFFIXES, find_images, read_found
from skfcdd.datasets._found import Entry, Found

__all__ = ["check_folder", "common_size", "load_part", "load_unlabelled"]

# Longest shorter side of images where no size is asked for.
_LARGEST = 128


def load_part(
    source: Path, part: str, *, masks: Path | None, on_error: str, **options: Any
) -> Any:
    """A part of a folder or a table, or all of it if it has no such part."""
    found = find_images(source, masks=masks, on_error=on_error)
    split = part if part in found.parts() else None
    return read_found(
        found.only(split), source, split=split, on_error=on_error, **options
    )


def load_unlabelled(
    model: Model, source: Path, on_error: str, pictures: Path | None = None
) -> Any:
    """All images of a folder and the folders in it, of a table, or the file itself.

    Pictures that an earlier run has left in `pictures` do not count.
    """
    if source.suffix.lower() in SUFFIXES and source.is_file():
        found = Found([Entry(source, "", False)], labelled=False)
    else:
        found = find_images(source, on_error=on_error, unlabelled=True)
        found = replace(found, entries=outside(found.entries, pictures, source))
    return read_found(found, source, on_error=on_error, **model.options)


def common_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """Size to bring images to: the median, with a shorter side of at most 128."""
    h, w = np.median(np.array(sizes), axis=0)
    scale = min(1.0, _LARGEST / min(h, w))
    return max(1, round(h * scale)), max(1, round(w * scale))


def check_folder(output: Path) -> None:
    """Say at once that a result could not be written, before any work is done."""
    if not output.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(output.parent)!r} to write {output.name!r} to."
        )
    if output.is_dir():
        raise IsADirectoryError(f"{str(output)!r} is a folder; name a file in it.")
    check_writable(output)
