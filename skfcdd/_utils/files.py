"""Files that are complete or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["check_writable", "written_at_once"]


@contextmanager
def written_at_once(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place in the end.

    Raises
    ------
    OSError
        If there is no writing at `path`; before anything else is done.
    """
    with _folder_beside(path) as name:
        temporary = Path(name) / path.name
        yield temporary
        with temporary.open("r+b") as file:  # on the disk, before it takes the place
            os.fsync(file.fileno())
        os.replace(temporary, path)


def check_writable(path: Path) -> None:
    """Find out whether a file could be put at `path`, before any work is done.

    Raises
    ------
    OSError
        If not.
    """
    with _folder_beside(path):
        pass


def _folder_beside(path: Path) -> tempfile.TemporaryDirectory[str]:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder. Give the path of a file in it.")
    try:
        return tempfile.TemporaryDirectory(dir=path.parent, prefix=".skfcdd-")
    except OSError as error:
        raise type(error)(
            error.errno, f"Cannot write {path}: {error.strerror}"
        ) from error
