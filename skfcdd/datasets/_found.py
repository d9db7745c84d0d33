"""Contents of a folder or a table: files, their labels, and unused files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["SUFFIXES", "Entry", "Found", "MaskFolder", "first_of", "plural"]

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    *(".npy", ".npz"),
)


@dataclass
class Entry:
    """A file, and what is known about it.

    Parameters
    ----------
    path : Path
    kind : str
        Name of its folder, or its label.
    anomalous : bool
    split : str
        "train", "test" or "val", or the name of the source.
    masks : tuple of Path
        Its mask, or the masks of its parts; empty where none is known.
    place : tuple of str
        Folders from the source down to the file.
    assumed : bool
        Whether it counts as good only by default.
    where : str
        The line of a table that names it.
    group : str
        Name of the group of images that it belongs to; empty if to none.
    """

    path: Path
    kind: str
    anomalous: bool
    split: str = ""
    masks: tuple[Path, ...] = ()
    place: tuple[str, ...] = ()
    assumed: bool = False
    where: str = ""
    group: str = ""


@dataclass(frozen=True)
class MaskFolder:
    """A folder of masks, and the folder to whose images they belong, if not to all."""

    path: Path
    scope: Path | None
    files: tuple[Path, ...]


@dataclass
class Found:
    """Entries of a source, with notes for the user on how they were read.

    Parameters
    ----------
    entries : list of Entry
    skipped : list of Path
        Files that look like images and were not taken.
    warnings : list of str
        Ambiguities.
    masked : bool
        Whether there are masks at all, so that a defect without one stands out.
    labelled : bool
        Whether it is known which images are good.
    left_out : dict of str to int
        Images of other parts, by the name of the part.
    """

    entries: list[Entry]
    skipped: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    masked: bool = False
    labelled: bool = True
    left_out: dict[str, int] = field(default_factory=dict)

    def parts(self) -> set[str]:
        """Names of the parts."""
        return {entry.split for entry in self.entries}

    def only(self, split: str | None) -> Found:
        """The entries of one part; all of them if that is None."""
        if split is None:
            return self
        rest = [entry.split for entry in self.entries if entry.split != split]
        return Found(
            [entry for entry in self.entries if entry.split == split],
            self.skipped,
            self.warnings,
            self.masked,
            self.labelled,
            {name: rest.count(name) for name in sorted(set(rest))},
        )

    def summary(self, known: Sequence[bool] | None = None, n_failed: int = 0) -> str:
        """A line such as "40 good, 12 defects in 3 kinds, 10 with masks, 2 without".

        Parameters
        ----------
        known : sequence of bool, default=None
            Entries whose mask is known. None means those with a file.
        n_failed : int, default=0
            Number of files that could not be read.
        """
        bad = [entry for entry in self.entries if entry.anomalous]
        n_good = len(self.entries) - len(bad)
        text = f"{n_good} good" if self.labelled else plural(n_good, "image")
        if bad:
            kinds = {entry.kind for entry in bad}
            text += f", {plural(len(bad), 'defect')} in {plural(len(kinds), 'kind')}"
            has = [bool(e.masks) for e in self.entries] if known is None else known
            pairs = zip(has, self.entries, strict=True)
            n = sum(mask and entry.anomalous for mask, entry in pairs)
            text += f", {n} with masks, {len(bad) - n} without" if n else ", no masks"
        if (n_skipped := len(self.skipped) + n_failed) > 0:
            text += f"; {plural(n_skipped, 'file')} skipped"
        for name, n in self.left_out.items():
            text += f"; {n} of {name!r} not used"
        return text


def plural(n: int, noun: str) -> str:
    """Such as "1 file" and "3 files"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def first_of(paths: Sequence[Path]) -> str:
    """The first of some files, quoted."""
    return repr(str(paths[0]))
