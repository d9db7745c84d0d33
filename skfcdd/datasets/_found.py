"""Image files found in a folder or table, with their labels, and unused files."""

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
    """An image file, with its label, split, masks and group.

    Parameters
    ----------
    path : Path
    kind : str
        Name of the folder of the image, or its label.
    anomalous : bool
        Whether the image shows a defect.
    split : str
        "train", "test" or "val", or the name of the source if it has no such parts.
    masks : tuple of Path
        Mask of the image, or several masks to be combined; empty if there is none.
    place : tuple of str
        Names of the folders from the source down to the file.
    assumed : bool
        Whether the image is treated as good only because no name or label says so.
    where : str
        Line of the table that lists the image; empty for folders.
    group : str
        Name of the image's group; empty if it belongs to no group.
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
    """A folder of masks.

    Parameters
    ----------
    path : Path
    scope : Path or None
        Folder of the images that the masks may belong to; None for all images.
    files : tuple of Path
        The masks.
    """

    path: Path
    scope: Path | None
    files: tuple[Path, ...]


@dataclass
class Found:
    """Images found in a folder or table, with warnings about their interpretation.

    Parameters
    ----------
    entries : list of Entry
    skipped : list of Path
        Files that look like images but are not used.
    warnings : list of str
        Messages about ambiguous or unexpected contents.
    masked : bool
        Whether there are any masks; defects without one then cause a warning.
    labelled : bool
        Whether it is known which images are good.
    left_out : dict of str to int
        Numbers of images in the parts that were not selected, by name of the part.
    """

    entries: list[Entry]
    skipped: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    masked: bool = False
    labelled: bool = True
    left_out: dict[str, int] = field(default_factory=dict)

    def parts(self) -> set[str]:
        """Return the names of the parts."""
        return {entry.split for entry in self.entries}

    def only(self, split: str | None) -> Found:
        """Return the entries of one part, or all of them if `split` is None."""
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
        """Return a line such as "40 good, 12 defects in 3 kinds, 10 with masks".

        Parameters
        ----------
        known : sequence of bool, default=None
            Whether the mask of each entry is known. None means that it is known if
            there is a file.
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
    """Return a number with its noun, such as "1 file" or "3 files"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def first_of(paths: Sequence[Path]) -> str:
    """Return the first of several paths, quoted."""
    return repr(str(paths[0]))
