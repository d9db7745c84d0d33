"""Journal of rows that are written exactly once, despite interruptions."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["Journal"]

# Every row begins like this, which distinguishes a truncated row from other content.
_BEGIN = b'{"path": '


class Journal:
    """Append-only JSON Lines file, which is locked while it is open.

    Rows are safely on disk when `append` returns. If the process was killed or the disk
    was full, the last row may be incomplete. It is removed when the file is opened
    again, because the work that it records was not completed.

    Parameters
    ----------
    path : Path
        Path of the file, which is created if it does not exist.

    Raises
    ------
    OSError
        If the file cannot be opened, or another process has it open.
    ValueError
        If the file was not written by this class; it is not changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a+b", buffering=0)
        try:
            _lock(self._file.fileno(), path)
            self._remove_cut_off()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *args: object) -> None:
        self._file.close()

    def rows(self) -> Iterator[dict[str, Any]]:
        """Iterate over all rows.

        Raises
        ------
        ValueError
            If a line is not a valid row.
        """
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    row = json.loads(line)
                except ValueError:
                    row = None
                if not (isinstance(row, dict) and isinstance(row.get("path"), str)):
                    raise ValueError(
                        f"{str(self.path)!r}, line {number}, was not written by this "
                        "command. Choose another file."
                    )
                yield row

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write rows to the disk.

        Raises
        ------
        OSError
            If the rows cannot be written.
        """
        left = "".join(json.dumps(row) + "\n" for row in rows).encode()
        while left:
            left = left[self._file.write(left) or 0 :]
        os.fsync(self._file.fileno())

    def _remove_cut_off(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        end, tail = size, b""
        while end and b"\n" not in tail:
            start = max(0, end - 65536)
            self._file.seek(start)
            tail = self._file.read(end - start) + tail
            end = start
        cut = tail.rpartition(b"\n")[2]
        if not cut:
            return
        if not (cut.startswith(_BEGIN) or _BEGIN.startswith(cut)):
            raise ValueError(
                f"{str(self.path)!r} was not written by this command. Choose another "
                "file."
            )
        os.ftruncate(self._file.fileno(), size - len(cut))


def _lock(descriptor: int, path: Path) -> None:
    """Lock the file against other processes, if the system supports it."""
    with contextlib.suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OSError(
                f"{str(path)!r} is being written by another process. Each process "
                "needs its own file."
            ) from error
