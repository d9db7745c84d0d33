"""Atomic writing of files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["check_writable", "written_at_once"]


@contextmanager
def written_at_once(path: Path) -> Iterator[Path]:
    """Yield a temporary path, whose file replaces `path` when the block succeeds.

    Raises
    ------
    OSError
        If `path` is not writable; raised before the body runs.
    """
    with _folder_beside(path) as name:
        temporary = Path(name) / path.name
        yield temporary
        with temporary.open("r+b") as file:  # flush before replacing
            os.fsync(file.fileno())
        os.replace(temporary, path)


def check_writable(path: Path) -> None:
    """Check early that a file can be written to `path`.

    Raises
    ------
    OSError
        If it cannot.
    """
    with _folder_beside(path):
        pass


def _folder_beside(path: Path) -> tempfile.TemporaryDirectory[str]:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder. Pass the path of a file.")
    try:
        return tempfile.TemporaryDirectory(dir=path.parent, prefix=".skfcdd-")
    except OSError as error:
        raise type(error)(
            error.errno, f"Cannot write {path}: {error.strerror}"
        ) from error
