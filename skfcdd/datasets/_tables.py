"""Read tables of image files: format, columns, and meaning of the cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skfcdd._inputs.words import is_missing, label_text, meaning, same
from skfcdd.datasets._found import SUFFIXES, Entry, Found, plural
from skfcdd.datasets._layout import part_of
from skfcdd.exceptions import ImageFileError

__all__ = ["has_labels", "read_table"]

# Meaning of the names of columns.
_COLUMNS = {
    "path": "path",
    "label": "label",
    "target": "label",
    "kind": "kind",
    "mask": "mask",
    "split": "split",
    "group": "group",
}
_DELIMITERS = (",", ";", "\t", "|")
# Tried in this order; the last one can decode every file.
_ENCODINGS: tuple[str, ...] = ("utf-8-sig", "cp1252", "latin-1")


@dataclass
class _Row:
    """A line of a table: its number, and its cells by the meaning of the column."""

    number: int
    cells: dict[str, str]


@dataclass
class _Table:
    path: Path
    columns: list[str]
    unknown: list[str]
    warnings: list[str]
    rows: list[_Row] = field(default_factory=list)

    def line(self, row: _Row) -> str:
        return f"Line {row.number} of {str(self.path)!r}"


def has_labels(path: Path) -> bool:
    """Whether a table states which images are good."""
    table = _open(path)
    return "label" in table.columns or "kind" in table.columns


def read_table(
    path: Path,
    *,
    normal: str | None = None,
    on_error: str = "raise",
    unlabelled: bool = False,
) -> Found:
    """Read the images of a table, with their labels and masks.

    Parameters
    ----------
    path : Path
    normal, on_error
        As for :func:`load_images`.
    unlabelled : bool, default=False
        Whether to ignore labels; the table may then lack them.

    Raises
    ------
    ValueError
        If the file is not a table, or it is unclear which images are good.
    ImageFileError
        If a file does not exist and `on_error` is "raise".
    """
    table = _open(path, unlabelled=unlabelled)
    labels = None if unlabelled else _labels(table)
    good = _good_labels(table, labels, normal)
    entries = []
    for row in table.rows:
        label = None if labels is None else labels[row.number]
        file = _file(table, row, "path", on_error)
        mask = row.cells.get("mask", "")
        masks = () if is_missing(mask) else (_file(table, row, "mask", on_error),)
        split = row.cells.get("split", "")
        kind = row.cells.get("kind", "")
        group = row.cells.get("group", "")
        anomalous = label is not None and label not in good
        _check_kind(table, row, kind, anomalous)
        entries.append(
            Entry(
                file,
                label_text(kind if not is_missing(kind) else label or "good"),
                anomalous,
                part_of(split) or split,
                masks,
                assumed=label is None,
                where=table.line(row),
                # An image with an empty cell is a group of its own.
                group="" if is_missing(group) else group,
            )
        )
    entries = _without_copies(entries, table)
    # Found.masked stays False: an empty mask cell causes no warning.
    return Found(entries, [], table.warnings, labelled=not unlabelled)


def _open(path: Path, *, unlabelled: bool = False) -> _Table:
    if path.suffix.lower() in SUFFIXES:
        raise ValueError(
            f"{str(path)!r} is an image. Pass a folder or a table of images."
        )
    text, warned = _text(path)
    lines = io.StringIO(text, newline="")
    delimiter = _delimiter(text)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as a table: {error}, in line "
            f"{reader.line_num}."
        ) from error
    filled = [(number, cells) for number, cells in rows if any(cells)]
    header = [cell for _, cells in filled[:1] for cell in cells]
    unknown = [name for name in header if name and name.casefold() not in _COLUMNS]
    if unknown and not unlabelled:
        warned.append(
            f"the columns {unknown} of {str(path)!r} are ignored; known columns are "
            f"{sorted(_COLUMNS)}"
        )
    table = _Table(path, _columns(path, header), unknown, warned)
    for number, cells in filled[1:]:
        # Spreadsheets pad lines with empty cells.
        while len(cells) > len(header) and not cells[-1]:
            cells.pop()
        if len(cells) != len(header):
            raise ValueError(
                f"Line {number} of {str(path)!r} has {plural(len(cells), 'cell')}, "
                f"but the header has {len(header)}. Add the missing cells, and quote "
                f"cells that contain {delimiter!r}."
            )
        row = {name: c for name, c in zip(table.columns, cells, strict=True) if name}
        table.rows.append(_Row(number, row))
    return table


def _columns(path: Path, header: Sequence[str]) -> list[str]:
    """Return the meaning of each column, "" if it is not read."""
    columns = [_COLUMNS.get(name.casefold(), "") for name in header]
    if "path" not in columns:
        raise ValueError(
            f"{str(path)!r} needs a column 'path' (and may have 'label', 'mask', "
            f"'split' and 'group'). Got the columns {list(header)}."
        )
    for name in filter(None, columns):
        if columns.count(name) > 1:
            both = [h for h, c in zip(header, columns, strict=True) if c == name]
            raise ValueError(
                f"{str(path)!r} has several columns for the {name}: {both}. Keep one."
            )
    return columns


def _text(path: Path) -> tuple[str, list[str]]:
    """Return the text of a file, and a warning if it is not UTF-8."""
    data = path.read_bytes()
    encodings = _ENCODINGS
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ("utf-16",)
    elif b"\0" in data[:4]:
        encodings = ("utf-16-be" if data.startswith(b"\0") else "utf-16-le",)
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        warned = f"{str(path)!r} is not UTF-8; it was read as {encoding}"
        return text, [] if encoding == "utf-8-sig" else [warned]
    raise ValueError(
        f"{str(path)!r} is not text in one of the encodings "
        f"{[*_ENCODINGS, 'utf-16']}. Save the table as CSV in UTF-8."
    )


def _delimiter(text: str) -> str:
    """Return the delimiter for which the header has a column "path"."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    for delimiter in _DELIMITERS:
        row = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])
        if len(row) > 1 and "path" in (cell.strip().casefold() for cell in row):
            return delimiter
    return ","


def _labels(table: _Table) -> dict[int, str] | None:
    """Return the label of each line, by its number; None if the table has no labels.

    Raises
    ------
    ValueError
        If a label is missing, or there are only unknown columns instead of labels.
    """
    name = next((c for c in ("label", "kind") if c in table.columns), None)
    if name is None:
        if table.unknown:
            raise ValueError(
                f"{str(table.path)!r} has no column 'label', but unknown columns "
                f"{table.unknown}, so it is unclear which images are good. Rename the "
                "column of labels to 'label', or remove these columns if all images "
                "are good."
            )
        return None
    for row in table.rows:
        if is_missing(row.cells[name]):
            raise ValueError(
                f"{table.line(row)} has no {name} ({row.cells[name]!r}), so it is "
                "unclear whether the image is good. Fill it in, or remove the line."
            )
    return {row.number: label_text(row.cells[name]) for row in table.rows}


def _good_labels(
    table: _Table, labels: dict[int, str] | None, normal: str | None
) -> set[str]:
    """Return the labels that mean "good"."""
    if labels is None or not labels:
        return set()
    found = set(labels.values())
    if normal is not None:
        good = {label for label in found if same(label, normal)}
    elif {"-1", "1"} <= found:
        if "0" in found:
            raise ValueError(
                f"{str(table.path)!r} has the labels -1, 0 and 1, and it is unclear "
                "which of them means good. Pass it as normal=."
            )
        good = {"1"} | {label for label in found if meaning(label)}
    else:
        good = {label for label in found if meaning(label)}
    if not good:
        named = "" if normal is None else f", and none is normal={normal!r}"
        raise ValueError(
            f"No label of {str(table.path)!r} is known to mean good: it has "
            f"{sorted(found)[:10]}{named}. Pass the label of good images as normal=."
        )
    return good


def _check_kind(table: _Table, row: _Row, kind: str, anomalous: bool) -> None:
    """Raise if a kind contradicts the label."""
    if "label" in row.cells and meaning(kind, clearly=True) is anomalous:
        raise ValueError(
            f"{table.line(row)} has the label {row.cells.get('label')!r} and the kind "
            f"{kind!r}, which contradict each other. Correct one of them."
        )


def _file(table: _Table, row: _Row, column: str, on_error: str) -> Path:
    """Return the path in a cell, relative to the folder of the table."""
    cell = row.cells[column]
    if is_missing(cell):
        raise ValueError(f"{table.line(row)} has no {column}. Fill it in.")
    for name in (cell, cell.replace("\\", "/")):
        path = table.path.parent / name
        if path.is_file():
            return path
    if path.is_dir():
        raise ValueError(
            f"{table.line(row)} lists {cell!r}, which is a folder. List its files "
            "instead."
        )
    if on_error == "raise":
        raise ImageFileError(
            f"{table.line(row)} lists {cell!r}, but there is no such file. Paths are "
            f"relative to the table; skip such files with on_error='skip' of "
            f"load_images, --on-error skip of the command line."
        )
    return path


def _without_copies(entries: list[Entry], table: _Table) -> list[Entry]:
    """Remove repeated files; raise if a file is listed with different meanings."""
    kept: dict[Path, Entry] = {}
    again = 0
    for entry in entries:
        path = entry.path.resolve()
        first = kept.setdefault(path, entry)
        if first is entry:
            continue
        again += 1
        for name, one, two in (
            ("labels", first.anomalous, entry.anomalous),
            ("kinds", first.kind, entry.kind),
            ("parts", first.split, entry.split),
            ("masks", first.masks, entry.masks),
            ("groups", first.group, entry.group),
        ):
            if one != two:
                raise ValueError(
                    f"{str(entry.path)!r} has two {name}: one in "
                    f"{first.where.replace('Line', 'line', 1)}, the other in "
                    f"{entry.where.replace('Line', 'line', 1)}. Remove one of these "
                    "lines."
                )
    if again:
        table.warnings.append(
            f"{plural(again, 'line')} of {str(table.path)!r} ignored, because earlier "
            "lines list the same images"
        )
    return list(kept.values())
