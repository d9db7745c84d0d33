"""Match masks to images by the names of files and folders.

A mask matches an image if it has the same file name, with or without a word such as
``_mask``, and if the folders above it are among those of the image. Of several matching
masks, an image is assigned the one that shares the most folders with it. A mask that
matches two images is not assigned.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from skfcdd.datasets._found import Entry, MaskFolder

__all__ = ["Matched", "is_mask_folder", "masks_beside", "match_masks"]

_FOLDERS = {"groundtruth", "groundtruths", "gt", "mask", "masks"}
# In a folder of images, only these words identify a file as the mask of another one.
_CLEAR = r"(?:ground[ _-]?truth|gt|masks?)"
_WORD = r"(?:ground[ _-]?truth|gt|masks?|labels?|seg(?:mentation)?|annotation|truth)"


def _pattern(word: str) -> re.Pattern[str]:
    """Compile a pattern for a name that is preceded or followed by a word."""
    behind = rf"(?P<a>.+?)[ _.-]{word}(?:[ _.-]?(?P<part>\d+))?"
    return re.compile(rf"{behind}|{word}[ _.-](?P<b>.+)", re.IGNORECASE)


_TAGGED, _CLEARLY_TAGGED = _pattern(_WORD), _pattern(_CLEAR)


def is_mask_folder(name: str) -> bool:
    """Whether a folder name denotes masks: ground_truth, gt, masks, ...."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    plain = [w.casefold() for w in words]
    return "".join(w for w in plain if w not in ("train", "test", "val")) in _FOLDERS


def masks_beside(images: Sequence[Path]) -> set[Path]:
    """Find the files in a folder of images that are named as masks of other files.

    If there is at least one, all files named in this way are considered masks, even if
    their image is missing.
    """
    names = {path.stem.casefold() for path in images}
    names |= {path.name.casefold() for path in images}
    tagged = {path: _stems(path, _CLEARLY_TAGGED) for path in images}
    tagged = {path: stems for path, stems in tagged.items() if stems}
    every = {stem.casefold() for stems in tagged.values() for stem in stems}
    return set(tagged) if names & every else set()


def _stems(path: Path, pattern: re.Pattern[str]) -> set[str]:
    """Return the names of images that a mask of this name may belong to."""
    found = pattern.fullmatch(path.stem)
    return {found["a"] or found["b"]} if found else set()


@dataclass(frozen=True)
class _Claim:
    """Candidate mask of an image.

    Parameters
    ----------
    depth : int
        Number of folders that the mask and the image have in common.
    tagged : bool
        Whether the name contains a word for masks.
    part : bool
        Whether it is one of several masks of an image.
    exact : bool
        Whether the names also agree in case.
    mask : Path
    """

    depth: int
    tagged: bool
    part: bool
    exact: bool
    mask: Path

    @property
    def rank(self) -> tuple[int, bool, bool, bool]:
        return self.depth, self.part, self.tagged, self.exact


@dataclass
class Matched:
    """Masks that match no image or several, and the number of defects with a mask."""

    unmatched: list[Path]
    ambiguous: list[Path]
    n_matched: int


def match_masks(entries: Sequence[Entry], folders: Iterable[MaskFolder]) -> Matched:
    """Assign masks to the images that they belong to.

    Good images need no mask. A mask of a good image is assigned only if it is in a
    folder of the same name as the image, so that it can later be verified to be empty.
    """
    names: dict[str, list[int]] = defaultdict(list)
    for row, entry in enumerate(entries):
        for name in {entry.path.stem.casefold(), entry.path.name.casefold()}:
            names[name].append(row)
    claims: dict[int, list[_Claim]] = defaultdict(list)
    every: list[Path] = []
    for folder in folders:
        every += folder.files
        for mask in folder.files:
            inner = mask.relative_to(folder.path).parts[:-1]
            for row, claim in _claims(mask, inner, names, entries, folder.scope):
                claims[row].append(claim)
    return _settle(entries, claims, every)


def _claims(
    mask: Path,
    inner: tuple[str, ...],
    names: dict[str, list[int]],
    entries: Sequence[Entry],
    scope: Path | None,
) -> Iterable[tuple[int, _Claim]]:
    """Yield the rows of the images that a mask may belong to, each with its claim."""
    found = _TAGGED.fullmatch(mask.stem)
    numbered = bool(found and found["part"])
    readings = [(s, inner, True, numbered) for s in _stems(mask, _TAGGED)]
    readings.append((mask.stem, inner, False, False))
    if inner:  # a folder with several masks of one image
        *outer, last = inner
        stems = {last, *_stems(Path(f"{last}.x"), _TAGGED)}
        readings += [(stem, tuple(outer), True, True) for stem in stems]
    for stem, folders, tagged, part in readings:
        for row in names.get(stem.casefold(), ()):
            entry = entries[row]
            inside = scope is None or entry.path.is_relative_to(scope)
            if inside and _lies_in(folders, entry.place):
                exact = stem in (entry.path.stem, entry.path.name)
                yield row, _Claim(len(folders), tagged, part, exact, mask)


def _lies_in(folders: Sequence[str], place: Sequence[str]) -> bool:
    """Whether the folders occur among those of an image, in the same order."""
    rest = iter(name.casefold() for name in place)
    return all(name.casefold() in rest for name in folders)


def _settle(
    entries: Sequence[Entry], claims: dict[int, list[_Claim]], every: list[Path]
) -> Matched:
    owners: dict[Path, set[int]] = defaultdict(set)
    best: dict[int, list[_Claim]] = {}
    for row, found in claims.items():
        entry = entries[row]
        if not (entry.anomalous or entry.assumed):
            found = [claim for claim in found if claim.depth]
        if not found:
            continue
        best[row] = _best(found)
        if entry.anomalous:
            for claim in best[row]:
                owners[claim.mask].add(row)
    ambiguous = {mask for mask, rows in owners.items() if len(rows) > 1}
    used: set[Path] = set()
    for row, chosen in sorted(best.items(), key=lambda x: not entries[x[0]].anomalous):
        masks = {claim.mask for claim in chosen} - ambiguous
        if not entries[row].anomalous:
            masks -= used
        if masks:
            entries[row].masks = tuple(sorted(masks))
            used |= masks
    unmatched = [mask for mask in every if mask not in used | ambiguous]
    n_matched = sum(entry.anomalous and bool(entry.masks) for entry in entries)
    return Matched(unmatched, sorted(ambiguous), n_matched)


def _best(found: list[_Claim]) -> list[_Claim]:
    """Return the best mask of an image, or several if it has numbered masks."""
    top = max(claim.rank for claim in found)
    chosen = sorted((c for c in found if c.rank == top), key=lambda c: c.mask.name)
    return chosen if top[1] else chosen[:1]
