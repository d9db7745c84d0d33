"""Which files show the same part, by their names or by a table."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from skfcdd.datasets._found import Entry, Found

__all__ = ["group_names", "grouped"]


def grouped(found: Found, pattern: str, source: str | os.PathLike[str]) -> Found:
    """The same entries with groups that a pattern finds in their paths.

    Parameters
    ----------
    found : Found
    pattern : str
        Regular expression with one pair of parentheses, or more.
    source : path
        The folder, or the table in it, below which paths count.

    Raises
    ------
    ValueError
        If it is no such expression, or fits no path.
    """
    try:
        known = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"Got groups={pattern!r}, which is not a valid regular expression: {error}."
        ) from error
    if known.groups == 0:
        raise ValueError(
            f"Got groups={pattern!r}, but expected parentheses around the part of the "
            "name that images of a group share, such as r'(part\\d+)_'."
        )
    place = Path(source)
    root = place.parent if place.is_file() else place
    entries = [replace(e, group=_matched(known, e.path, root)) for e in found.entries]
    if entries and not any(entry.group for entry in entries):
        raise ValueError(
            f"Got groups={pattern!r}, which matches none of {len(entries)} paths. The "
            f"first is {_below(entries[0].path, root)!r}."
        )
    return replace(found, entries=entries)


def _matched(pattern: re.Pattern[str], path: Path, root: Path) -> str:
    match = pattern.search(_below(path, root))
    return "" if match is None else "\0".join(part or "" for part in match.groups())


def _below(path: Path, root: Path) -> str:
    """A path as seen from the folder, with slashes on every system."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:  # a table may name files elsewhere
        return path.as_posix()


def group_names(entries: list[Entry]) -> npt.NDArray[np.str_] | None:
    """The group of each file, its own for those without one; None if there are none."""
    if not any(entry.group for entry in entries):
        return None
    # No name has a line break in it, so that none is taken twice.
    names = [e.group or f"\n{k}" for k, e in enumerate(entries)]
    return np.array(names)
