"""Images passed to a command, with their labels and masks."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._inputs.words import meaning
from skfcdd.cli._heatmaps import outside
from skfcdd.cli._marks import apply_marks, marked_entries
from skfcdd.cli._model import Model
from skfcdd.datasets._folders import SUFFIXES, find_images, read_found
from skfcdd.datasets._found import Entry, Found
from skfcdd.report import Review

__all__ = [
    "Source",
    "common_size",
    "defects_outside",
    "leave_outside",
    "load_marked",
    "load_part",
    "load_unlabelled",
]

# Maximum length of the shorter side of images if no size is requested.
_LARGEST = 128


@dataclass(frozen=True)
class Source:
    """Images passed to a command, and the options that describe them.

    Parameters
    ----------
    path : Path
        A folder, or a table.
    masks : Path or None
        Folder of masks.
    normal : str or None
        Name of the folder, or the label, of good images.
    label : {"good", "defect"} or None
        Label of all images, unless the folder or table states it.
    on_error : {"raise", "skip"}
    review : Review or None
        Marks, which take precedence over labels from folders and tables.
    part : str or None
        Part to use instead of the default of the command.
    """

    path: Path
    masks: Path | None = None
    normal: str | None = None
    label: str | None = None
    on_error: str = "raise"
    review: Review | None = None
    part: str | None = None

    def find(self) -> Found:
        """Find the image files, with their labels, masks and parts."""
        whole = None if self.label is None else self.label == "defect"
        return find_images(
            self.path,
            masks=self.masks,
            normal=self.normal,
            on_error=self.on_error,
            whole=whole,
        )


def load_part(source: Source, part: str, *, said: bool = False, **options: Any) -> Any:
    """Load a part of a folder or a table, or all of it if it has no such part.

    Parameters
    ----------
    source : Source
    part : {"train", "val", "test"}
    said : bool, default=False
        Whether labels are required. Otherwise, images without a label count as good,
        unless there is evidence against it.
    **options
        Options of :class:`~skfcdd.datasets.ImageFiles`.

    Returns
    -------
    Bunch
        Result of :func:`~skfcdd.datasets.load_images`; `parts` names all parts.

    Raises
    ------
    ValueError
        If labels are required but missing, or there is evidence against them.
    """
    found = source.find()
    split = part if part in found.parts() else None
    if source.part is not None and split is None:
        raise ValueError(
            f"{str(source.path)!r} has no part {source.part!r}. Its parts: "
            f"{sorted(found.parts())}."
        )
    if source.review is not None:
        entries = apply_marks(found.entries, source.review, source.path, split)
        found = replace(found, entries=entries)
    chosen = found.only(split)
    if source.label is None:
        _check_meaning(chosen, source.path, said)
    data = read_found(
        chosen, source.path, split=split, on_error=source.on_error, **options
    )
    data.parts = sorted(found.parts())
    return data


def load_marked(source: Source, **options: Any) -> Any:
    """Load the images marked as good or as defects, regardless of their folders."""
    assert source.review is not None
    found = find_images(source.path, on_error=source.on_error, unlabelled=True)
    marked = marked_entries(found.entries, source.review, source.path)
    chosen = replace(found, entries=list(marked.values()), labelled=True, warnings=[])
    return read_found(chosen, source.path, on_error=source.on_error, **options)


def _check_meaning(found: Found, path: Path, said: bool) -> None:
    """Raise an error if the labels of images are unknown or doubtful."""
    silent = [entry for entry in found.entries if entry.assumed and not entry.masks]
    if path.is_dir():  # whose name may state the label
        silent = [e for e in silent if meaning(e.kind, clearly=True) is not True]
    if not silent:
        return
    where = repr(str(path))
    doubt = None if path.is_file() else _doubt(path)
    if said:
        raise ValueError(
            f"It is unknown whether the images of {where} are "
            f"good{'' if doubt is None else f'; {doubt}'}. Pass the parent folder, "
            "with a subfolder such as 'good' and one for each kind of defect, or "
            "label all images with --label good or --label defect."
        )
    if doubt is not None:
        raise ValueError(
            f"The images of {where} would count as good, but {doubt}. Pass a folder "
            "of good images, or the parent folder; if these images are good, pass "
            "--label good."
        )


def _doubt(folder: Path) -> str | None:
    """Return a reason to doubt that the images of a folder are good, or None."""
    own = Path(os.path.abspath(folder))
    if meaning(own.name, clearly=True) is False:
        return "the name of the folder suggests that they are not"
    if not os.access(own.parent, os.R_OK):
        return None
    beside = sorted(p for p in own.parent.iterdir() if p != own and p.is_dir())
    good = next((p for p in beside if meaning(p.name, clearly=True)), None)
    if good is None:
        return None
    return f"the folder is next to {str(good)!r}, which contains the good images"


def common_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """Choose a common size: the median, with a shorter side of at most 128."""
    h, w = np.median(np.array(sizes), axis=0)
    scale = min(1.0, _LARGEST / min(h, w))
    return max(1, round(h * scale)), max(1, round(w * scale))


def load_unlabelled(
    model: Model, source: Path, on_error: str, pictures: tuple[Path | None, ...] = ()
) -> Any:
    """Load all images of a folder and its subfolders, all of a table, or one image.

    Files in the folders `pictures` are excluded: an earlier run may have written them.
    """
    if source.suffix.lower() in SUFFIXES and source.is_file():
        found = Found([Entry(source, "", False)], labelled=False)
    else:
        found = find_images(source, on_error=on_error, unlabelled=True)
        for folder in pictures:
            entries = outside(found.entries, folder, source)
            found = replace(found, entries=entries)
    return read_found(found, source, on_error=on_error, **model.options)


def leave_outside(data: Any, estimator: Any) -> int:
    """Relabel images whose defects are all outside the region of interest as good.

    Returns the number of these images.
    """
    outside = defects_outside(data, estimator)
    data.target = np.where(outside, 0, data.target)
    return int(outside.sum())


def defects_outside(data: Any, estimator: Any) -> npt.NDArray[np.bool_]:
    """Return whether the defects of each image are outside the region of interest.

    The result is a bool array of shape (n,). It is False for images without a mask.
    """
    roi = getattr(estimator, "roi_", None)
    outside = np.zeros(len(data.target), dtype=bool)
    if roi is None or data.masks is None:
        return outside
    for row in np.flatnonzero(data.target == 1):
        mask = data.masks[row]
        if mask is not None and np.any(mask):
            outside[row] = not (np.asarray(mask) > 0)[roi].any()
    return outside
