"""Tables that commands write."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from skfcdd._utils.files import written_at_once
from skfcdd.cli._reading import check_folder

__all__ = ["rows_writer"]


@contextlib.contextmanager
def rows_writer(
    output: Path | None, lines: bool
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What writes rows, as CSV or as JSON Lines, to a file or to standard output.

    A file takes its place when it is complete.
    """
    if output is None:
        yield _row_writer(sys.stdout, lines)
        return
    check_folder(output)
    with (
        written_at_once(output) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        yield _row_writer(file, lines)


def _row_writer(file: IO[str], lines: bool) -> Callable[[dict[str, Any]], None]:
    writer: Any = None

    def write(row: dict[str, Any]) -> None:
        nonlocal writer
        if lines:
            file.write(json.dumps(row) + "\n")
            return
        if writer is None:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
        writer.writerow(row)

    return write
