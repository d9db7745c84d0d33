"""Implementation of ``skfcdd split``."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skfcdd.cli._console import Outcome, many
from skfcdd.cli._heatmaps import printable
from skfcdd.cli._reading import Source
from skfcdd.cli._tables import rows_writer
from skfcdd.cli._writing import check_model_file, command
from skfcdd.datasets._found import Entry

__all__ = ["split"]

PARTS = ("train", "calibration", "test")


def split(
    source: Source,
    output: Path,
    *,
    shares: tuple[float, float],
    pattern: str | None,
    seed: int,
    force: bool,
) -> Outcome:
    """Write a table that assigns images to training, calibration and test parts.

    Groups are not split; those that contain a defect are in the test part.

    Parameters
    ----------
    source : Source
    output : Path
    shares : tuple of float
        Proportions of good images for training and calibration; the rest is for
        testing.
    pattern : str or None
        Regular expression whose match in a file name names the group of the file.
    seed : int
    force : bool
        Whether the table may overwrite an existing file.
    """
    check_model_file(output, force)
    found = source.find()
    entries = found.entries
    if not entries:
        raise FileNotFoundError(f"There are no images in {str(source.path)!r}.")
    present = {"train", "val", "test"} & found.parts()
    if present:
        raise ValueError(
            f"{str(source.path)!r} already has parts: {sorted(present)}. Pass a "
            "folder without parts."
        )
    named = _groups(entries, source.path, pattern)
    groups, n_copies = _with_copies(entries, named)
    parts = _draw(entries, groups, shares, np.random.RandomState(seed))
    columns = ["path", "label", "kind", "split"]
    if any(entry.masks for entry in entries):
        columns.insert(3, "mask")
    with rows_writer(output, False, columns) as write:
        for entry, part in zip(entries, parts, strict=True):
            row = _row(entry, part, output)
            write({name: row[name] for name in columns})
    return _outcome(source, output, entries, parts, pattern, groups, n_copies)


def _groups(
    entries: Sequence[Entry], source: Path, pattern: str | None
) -> list[str | int]:
    """Return the group of each image; without a pattern, each is its own group."""
    if pattern is None:
        return list(range(len(entries)))
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise ValueError(
            f"--group {pattern!r} is not a valid regular expression: {error}."
        ) from error
    found: list[str | int] = []
    for entry in entries:
        path = entry.path
        name = path.relative_to(source) if path.is_relative_to(source) else path
        match = search(name.as_posix())
        if match is None:
            raise ValueError(
                f"--group {pattern!r} does not match {str(name)!r}, so the group of "
                "this file is unknown."
            )
        found.append(match[1] if match.re.groups else match[0])
    return found


def _with_copies(
    entries: Sequence[Entry], groups: Sequence[str | int]
) -> tuple[list[Any], int]:
    """Merge groups that share identical files; also return the number of copies."""
    owner: dict[Any, Any] = {}

    def first(group: Any) -> Any:
        while owner.setdefault(group, group) != group:
            group = owner[group]
        return group

    seen: dict[bytes, Any] = {}
    n_copies = 0
    for entry, group in zip(entries, groups, strict=True):
        digest = hashlib.sha256(entry.path.read_bytes()).digest()
        if digest in seen:
            n_copies += 1
            owner[first(group)] = first(seen[digest])
        else:
            seen[digest] = group
    return [first(group) for group in groups], n_copies


def _draw(
    entries: Sequence[Entry],
    groups: Sequence[Any],
    shares: tuple[float, float],
    rng: np.random.RandomState,
) -> list[str]:
    """Draw the part of each image at random."""
    rows: dict[Any, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    bad = {g for entry, g in zip(entries, groups, strict=True) if entry.anomalous}
    good = [group for group in rows if group not in bad]
    n_good = sum(len(rows[group]) for group in good)
    missing = np.array([*shares, 1 - sum(shares)]) * n_good
    chosen = dict.fromkeys(bad, PARTS[2])
    for k in rng.permutation(len(good)):
        # Choose the part that lacks the most images.
        emptiest = int(np.argmax(missing))
        missing[emptiest] -= len(rows[good[k]])
        chosen[good[k]] = PARTS[emptiest]
    parts = [chosen[group] for group in groups]
    for part in PARTS:
        if not any(
            p == part and not e.anomalous for p, e in zip(parts, entries, strict=True)
        ):
            raise ValueError(
                f"{many(n_good, 'good image')} in {many(len(good), 'group')} are too "
                f"few for three parts: none is left for {part!r}."
            )
    return parts


def _row(entry: Entry, part: str, output: Path) -> dict[str, str]:
    if len(entry.masks) > 1:
        raise ValueError(
            f"{str(entry.path)!r} has {len(entry.masks)} masks, but a table can hold "
            "only one per image. Merge them into one file."
        )
    return {
        "path": _relative(entry.path, output),
        "label": "defect" if entry.anomalous else "good",
        "kind": entry.kind if entry.anomalous else "good",
        "mask": _relative(entry.masks[0], output) if entry.masks else "",
        "split": part,
    }


def _relative(path: Path, output: Path) -> str:
    """Return a path relative to the folder of the table."""
    folder = os.path.abspath(output.parent)
    try:
        return printable(Path(Path(os.path.relpath(path, folder)).as_posix()))
    except ValueError:  # on another drive
        return printable(Path(os.path.abspath(path)))


def _outcome(
    source: Source,
    output: Path,
    entries: Sequence[Entry],
    parts: Sequence[str],
    pattern: str | None,
    groups: Sequence[Any],
    n_copies: int,
) -> Outcome:
    counts: dict[str, dict[str, int]] = {p: {"good": 0, "defects": 0} for p in PARTS}
    for entry, part in zip(entries, parts, strict=True):
        counts[part]["defects" if entry.anomalous else "good"] += 1
    texts = []
    for part, n in counts.items():
        text = f"{n['good']} good"
        if n["defects"]:
            text += f" and {many(n['defects'], 'defect')}"
        texts.append(f"{part}: {text}")
    sentences = [
        f"Read {many(len(entries), 'image')} from {source.path}. {'; '.join(texts)}."
    ]
    if pattern is not None:
        sentences.append(f"{many(len(set(groups)), 'group')} were kept whole.")
    if n_copies:
        verb = "is a copy of another" if n_copies == 1 else "are copies of others"
        sentences.append(
            f"{many(n_copies, 'file')} {verb}; copies are in the same part."
        )
    sentences.append(f"Wrote {output}.")
    record = {"table": str(output), "n_images": len(entries), "parts": counts}
    record |= {"n_groups": len(set(groups)), "n_copies": n_copies}
    return Outcome(
        record,
        sentences,
        [
            command("fit", output, "-o", "model.skfcdd"),
            command("calibrate", "model.skfcdd", output, "-o", "calibrated.skfcdd"),
            command("evaluate", "calibrated.skfcdd", output),
        ],
    )
