"""Marks made in a report, matched with image files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from skfcdd.datasets._found import Entry
from skfcdd.report import Review
from skfcdd.report._review import plain_name

__all__ = ["apply_marks", "marked_entries"]


def marked_entries(
    entries: Sequence[Entry], review: Review, source: Path
) -> dict[int, Entry]:
    """Return the marked entries, with the labels of their marks, by row.

    The names in a report are relative to its folder. `source` may be another folder, so
    a name is matched with the end of each path.

    Raises
    ------
    ValueError
        If a name matches no file or several, or if no image is labelled by its mark.
    """
    made = [
        (name, mark == "defect")
        for name, mark in zip(review.names, review.marks, strict=True)
        if mark in ("good", "defect")
    ]
    if not made:
        raise ValueError("The marks label no image as good or as a defect.")
    places = _by_ending(entries)
    lost = [name for name, _ in made if name not in places]
    if lost:
        raise ValueError(
            f"{len(lost)} of {len(made)} marked images are not in {str(source)!r}, "
            f"for example {lost[0]!r}: the marks belong to other images, or the images "
            "were moved. Pass the folder from which the report was created."
        )
    found: dict[int, Entry] = {}
    for name, bad in made:
        rows = places[name]
        if len(rows) > 1:
            raise ValueError(
                f"{name!r} could be {str(entries[rows[0]].path)!r} or "
                f"{str(entries[rows[1]].path)!r}. Pass the folder from which the "
                "report was created."
            )
        found[rows[0]] = _as_marked(entries[rows[0]], bad)
    return found


def apply_marks(
    entries: Sequence[Entry], review: Review, source: Path, split: str | None
) -> list[Entry]:
    """Return all entries; set the label and, if given, the part of marked ones."""
    found = marked_entries(entries, review, source)
    if split is not None:
        found = {row: replace(entry, split=split) for row, entry in found.items()}
    return [found.get(row, entry) for row, entry in enumerate(entries)]


def _by_ending(entries: Sequence[Entry]) -> dict[str, list[int]]:
    """Map each ending of a path to the rows of the entries that have it."""
    places: dict[str, list[int]] = {}
    for row, entry in enumerate(entries):
        parts = entry.path.parts
        for k in range(len(parts)):
            ending = plain_name(Path(*parts[k:]).as_posix())
            places.setdefault(ending, []).append(row)
    return places


def _as_marked(entry: Entry, bad: bool) -> Entry:
    if not bad:
        return replace(entry, anomalous=False, kind="good", masks=(), assumed=False)
    kind = entry.kind if entry.anomalous else "defect"
    return replace(entry, anomalous=True, kind=kind, assumed=False)
