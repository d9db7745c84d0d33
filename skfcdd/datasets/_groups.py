"""Groups of images that belong together, from their paths or from a table."""

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
    """Assign images to groups by matching a pattern to their paths.

    Parameters
    ----------
    found : Found
    pattern : str
        Regular expression with at least one capturing group, which identifies the group
        of an image.
    source : path
        Folder or table. Paths are matched relative to this folder, or to the folder of
        the table.

    Returns
    -------
    Found
        A copy, whose entries have groups.

    Raises
    ------
    ValueError
        If the pattern is not a valid regular expression, has no capturing group, or
        matches no path.
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
    """Return a path relative to a folder, with forward slashes on all systems."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:  # a table may list files in other folders
        return path.as_posix()


def group_names(entries: list[Entry]) -> npt.NDArray[np.str_] | None:
    """Return the group of each image; None if no image has one.

    Images without a group get a unique name.
    """
    if not any(entry.group for entry in entries):
        return None
    # Names contain no line breaks, so these cannot coincide with the name of a group.
    names = [e.group or f"\n{k}" for k, e in enumerate(entries)]
    return np.array(names)
