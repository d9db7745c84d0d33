"""Tables written by commands."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from skfcdd._utils.files import written_at_once

__all__ = ["rows_writer"]


@contextlib.contextmanager
def rows_writer(
    output: Path | None, lines: bool, columns: Sequence[str] = ()
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that writes rows as CSV or JSON Lines, to a file or stdout.

    A file appears under its name only when it is complete.

    Parameters
    ----------
    output : Path or None
        None means standard output.
    lines : bool
        Whether to write JSON Lines instead of CSV.
    columns : sequence of str, default=()
        Columns of the CSV header, required if there may be no rows. By default, they
        are those of the first row.
    """
    if output is None:
        yield _row_writer(sys.stdout, lines, columns)
        return
    with (
        written_at_once(output) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        yield _row_writer(file, lines, columns)


def _row_writer(
    file: IO[str], lines: bool, columns: Sequence[str]
) -> Callable[[dict[str, Any]], None]:
    writer: Any = None

    def begin(names: Sequence[str]) -> None:
        nonlocal writer
        # Line-based tools would treat the carriage return of CSV as part of a cell.
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()

    def write(row: dict[str, Any]) -> None:
        if lines:
            file.write(json.dumps(row) + "\n")
            return
        if writer is None:
            begin(list(row))
        writer.writerow(row)

    if columns and not lines:
        begin(columns)
    return write
