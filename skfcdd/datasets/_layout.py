"""Interpret folder names as parts, good images and kinds of defects."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from skfcdd._inputs.words import meaning, same
from skfcdd.datasets._found import Entry, Found, MaskFolder, first_of, plural
from skfcdd.datasets._mask_names import match_masks
from skfcdd.datasets._walk import Folder, Walk, walk, walk_masks

__all__ = ["part_of", "read_folder", "says_what_is_good"]

_PARTS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "calibration": "val",
}
# Folders of these names may contain masks, or images of a kind of defect.
_LIKE_MASKS = {"label", "labels", "annotation", "annotations", "seg", "segmentation"}


def part_of(name: str) -> str | None:
    """Return the part that a name stands for: "train", "test", "val" or None."""
    return _PARTS.get(name.strip().casefold())


def read_folder(
    source: Path,
    *,
    anomalous: Path | None = None,
    masks: Path | None = None,
    normal: str | None = None,
    unlabelled: bool = False,
    whole: bool | None = None,
) -> Found:
    """Find the images of a folder, with labels and masks.

    Parameters
    ----------
    source : Path
    anomalous, masks, normal
        As for :func:`load_images`.
    unlabelled : bool, default=False
        Whether to ignore all labels and masks.
    whole : bool, default=None
        Label of all images: True for defects, False for good images. None uses the
        names of folders.
    """
    apart = [] if anomalous is None else [anomalous]
    found = walk(source, apart=apart, masks=masks)
    if unlabelled:
        paths = found.root.every()
        entries = [Entry(path, "", False) for path in paths]
        warned = found.warnings()
        if n := sum(len(folder.files) for folder in found.masks):
            warned.append(f"{plural(n, 'mask')} ignored")
        return Found(entries, found.skipped, warned, labelled=False)
    layout = _Layout(source, normal, found.warnings())
    if whole is not None:
        layout.read_whole(found.root, whole)
    elif anomalous is None:
        layout.read(found.root)
    else:
        layout.read_two(found.root, anomalous, masks)
        if normal is not None and not layout.named:
            raise layout.unknown_normal()
    result = Found(layout.entries, found.skipped + layout.skipped, layout.warnings)
    _add_masks(result, source, found.masks + layout.masks, masks)
    bad = [entry.anomalous for entry in result.entries]
    if (
        whole is None
        and bad
        and all(bad)
        and not any("no good image" in w for w in result.warnings)
    ):
        result.warnings.append(f"no good image was found in {str(source)!r}")
    return result


def says_what_is_good(source: Path, normal: str | None = None) -> bool:
    """Whether the names of folders in a source show which images are good."""
    root = walk(source).root
    parts = any(part_of(folder.name) for folder in root.folders)
    return parts or _Layout(source, normal, []).knows_good(root)


class _Layout:
    """Builder of entries from folders, by interpreting their names."""

    def __init__(self, source: Path, normal: str | None, warnings: list[str]) -> None:
        self.source, self.normal, self.warnings = source, normal, warnings
        self.entries: list[Entry] = []
        self.skipped: list[Path] = []
        self.masks: list[MaskFolder] = []
        self.named = False

    def read(self, root: Folder) -> None:
        """Read the parts of a source, or the source as a single part."""
        if any(part_of(folder.name) for folder in root.folders):
            self._read_parts(root)
        else:
            name = os.path.basename(os.path.abspath(root.path))
            self._read_kinds(root, part_of(name) or name)
        if self.normal is not None and self.entries and not self.named:
            raise self.unknown_normal()

    def read_whole(self, root: Folder, anomalous: bool) -> None:
        """Read images that are all defects or all good; subfolders are kinds."""
        kinds = [replace(root, folders=[]), *root.folders]
        for kind in kinds:
            name = kind.name if anomalous else "good"
            self._add(kind, name, anomalous, part_of(root.name) or root.name)

    def unknown_normal(self) -> ValueError:
        return ValueError(
            f"Got normal={self.normal!r}, but no folder in {str(self.source)!r} has "
            "this name, so no image is known to be good. Set normal= to the name of "
            "the folder of good images."
        )

    def _read_parts(self, root: Folder) -> None:
        parts: dict[str, Folder] = {}
        rest = list(root.images)
        for folder in root.folders:
            part = part_of(folder.name)
            if part is None:
                rest += folder.every()
            elif part in parts:
                raise ValueError(
                    f"{str(root.path)!r} contains both {parts[part].name!r} and "
                    f"{folder.name!r}, which mean the same. Put their images into one "
                    "folder."
                )
            else:
                parts[part] = folder
        for part in ("train", "val", "test"):
            if part in parts:
                self._read_kinds(parts[part], part)
        if rest:
            self.skipped += rest
            self.warnings.append(
                f"{plural(len(rest), 'image')} next to the folders "
                f"{[folder.name for folder in parts.values()]} ignored, the first "
                f"{first_of(rest)}"
            )

    def _read_kinds(self, folder: Folder, split: str) -> None:
        kinds = folder.folders
        if not kinds:
            self._read_flat(folder, split)
            return
        if folder.images:
            raise ValueError(
                f"{str(folder.path)!r} contains both images and folders of images, so "
                "it is unclear which images are good. Move "
                f"{folder.images[0].name!r} and the other images into folders."
            )
        good = [kind for kind in kinds if self._is_good(kind.name)]
        if not good and self._leads_to_good(folder):
            if part_of(split) is None and any(part_of(kind.name) for kind in kinds):
                self._read_parts(folder)
                return
            for kind in kinds:
                if self._leads_to_good(kind):
                    self._read_kinds(kind, split)
                else:
                    self._add(kind, kind.name, True, split)
            return
        if not good:
            self._refuse(folder, split)
        for kind in kinds:
            self._add(kind, kind.name, kind not in good, split)
            if kind not in good and kind.name.casefold() in _LIKE_MASKS:
                self.warnings.append(
                    f"the images of {str(kind.path)!r} count as defects, although the "
                    "name of the folder suggests masks. If they are masks, pass the "
                    "folder as masks="
                )
        self._check_names(good, [kind for kind in kinds if kind not in good])

    def _read_flat(self, folder: Folder, split: str) -> None:
        if self.normal is not None and same(folder.name, self.normal):
            self.named = True
        elif meaning(folder.name, clearly=True) is False and folder.images:
            self.warnings.append(
                f"the images of {str(folder.path)!r} count as good, because there are "
                "no other folders, although the name suggests otherwise. Pass a "
                "folder of good images, and this one as anomalous="
            )
        elif split in ("test", "val") and folder.images and self.normal is None:
            self.warnings.append(
                f"the {plural(len(folder.images), 'image')} of {str(folder.path)!r} "
                "count as good, because there are no subfolders. Sort them into "
                "folders, or pass a table"
            )
        self._add(folder, folder.name, False, split, assumed=not self.named)

    def _refuse(self, folder: Folder, split: str) -> None:
        """Raise if no name marks the good images, unless only a test part is read."""
        names = [kind.name for kind in folder.folders]
        known = [name for name in self._names(folder) if meaning(name, clearly=True)]
        hint = f" The name of {known[0]!r} suggests good images." if known else ""
        if split not in ("test", "val") or (self.normal is not None and known):
            named = "" if self.normal is None else f" (normal={self.normal!r})"
            raise ValueError(
                f"None of the folders {names} in {str(folder.path)!r} is known to "
                f"contain good images{named}.{hint} Pass the name of the right one as "
                "normal=, or rename it to 'good'."
            )

        if self.normal is None and all(
            meaning(n, clearly=True) is False for n in names
        ):
            return
        self.warnings.append(
            f"no good image was found in {str(folder.path)!r}: none of its folders "
            f"{names} has a name such as 'good', 'normal' or 'ok', and all count as "
            "defects. If one of them contains good images, pass its name as normal="
        )

    def _is_good(self, name: str) -> bool:
        if self.normal is None:
            return meaning(name) is True
        self.named |= same(name, self.normal)
        return same(name, self.normal)

    def _names(self, folder: Folder) -> list[str]:
        return [inner.name for inner in folder.below()]

    def knows_good(self, folder: Folder) -> bool:
        """Whether the name of any folder below this one means good."""
        near = any(self._is_good(inner.name) for inner in folder.folders)
        return near or self._leads_to_good(folder)

    def _leads_to_good(self, folder: Folder) -> bool:
        """Whether the name of a folder further down clearly means good.

        A name such as "0" is not clear, because it may be a lot number.
        """
        if self.normal is not None:
            return any(same(name, self.normal) for name in self._names(folder))
        return any(meaning(name, clearly=True) for name in self._names(folder))

    def _check_names(self, good: list[Folder], bad: list[Folder]) -> None:
        """Raise if there are defects below a folder of good images, or vice versa."""
        kinds = {kind.name.casefold() for kind in bad}
        for kind in good:
            for inner in kind.below():
                name = inner.name
                wrong = meaning(name, clearly=True) is False
                if wrong or name.casefold() in kinds:
                    raise self._contradiction(inner, kind, "good images")
        for kind in bad:
            for inner in kind.below():
                # Names other than `normal` keep their usual meaning.
                named = self.normal is not None and same(inner.name, self.normal)
                if named or meaning(inner.name, clearly=True):
                    raise self._contradiction(inner, kind, "defects")

    def _contradiction(self, inner: Folder, kind: Folder, what: str) -> ValueError:
        return ValueError(
            f"{str(inner.path)!r} is in {kind.name!r}, a folder of {what}, but its "
            "name suggests otherwise. Move or rename it."
        )

    def _add(
        self,
        folder: Folder,
        kind: str,
        anomalous: bool,
        split: str,
        *,
        assumed: bool = False,
        source: Path | None = None,
    ) -> None:
        top = Path(os.path.abspath(source or self.source))
        for path in folder.every():
            place = Path(os.path.abspath(path)).relative_to(top).parts[:-1]
            self.entries.append(
                Entry(
                    path,
                    kind,
                    anomalous,
                    split,
                    place=(top.name, *place),
                    assumed=assumed,
                )
            )

    def read_two(self, root: Folder, anomalous: Path, masks: Path | None) -> None:
        """Read a folder of good images and a folder of defects."""
        if os.path.realpath(anomalous) == os.path.realpath(self.source):
            raise ValueError(
                "anomalous= is also the folder of the good images, "
                f"{str(self.source)!r}. Pass two different folders."
            )
        name = os.path.basename(os.path.abspath(self.source))
        if any(part_of(folder.name) for folder in root.folders):
            self._read_parts(root)
        elif self.knows_good(root) or self._says_bad(root):
            self._read_kinds(root, name)
        else:
            self._add(root, name, False, name, assumed=True)
            self.named |= self.normal is not None and same(name, self.normal)
        other: Walk = walk(anomalous, apart=[self.source], masks=masks)
        if not other.root.every():
            raise FileNotFoundError(f"There are no images in {str(anomalous)!r}.")
        for inner in (other.root, *other.root.below()):
            if meaning(inner.name, clearly=True):
                raise self._contradiction(inner, other.root, "defects")
        kind = os.path.basename(os.path.abspath(anomalous))
        self._add(other.root, kind, True, name, source=anomalous)
        self.warnings += other.warnings()
        self.skipped += other.skipped
        self.masks += other.masks

    def _says_bad(self, folder: Folder) -> bool:
        return any(meaning(n, clearly=True) is False for n in self._names(folder))


def _add_masks(
    result: Found, source: Path, inside: list[MaskFolder], given: Path | None
) -> None:
    """Assign masks to entries, and warn about masks that are not assigned."""
    folders = inside
    beside = given is None and not inside
    if given is not None:
        folders = [_without_images(walk_masks(given, None), result)]
    elif beside:
        folders = [walk_masks(path, None) for path in _ground_truth_beside(source)]
    matched = match_masks(result.entries, folders)
    n_bad = sum(entry.anomalous for entry in result.entries)
    if given is not None and matched.n_matched == 0:
        raise ValueError(
            f"masks={str(given)!r} contains {plural(len(folders[0].files), 'image')}, "
            f"but none belongs to one of the {plural(n_bad, 'image')} with a "
            "defect. A mask must have the same subfolders and name as its image, with "
            "or without a suffix such as _mask."
        )
    result.masked = matched.n_matched > 0 or (bool(inside) and n_bad > 0)
    # A folder next to the source may contain masks of other images.
    if matched.unmatched and not beside:
        n = plural(len(matched.unmatched), "mask")
        result.warnings.append(
            f"{n} without an image, the first {first_of(matched.unmatched)}"
        )
    if matched.ambiguous:
        n = plural(len(matched.ambiguous), "mask")
        result.warnings.append(
            f"{n} not used, because several images match, the first "
            f"{first_of(matched.ambiguous)}. Put masks into subfolders with the names "
            "of the folders of their images"
        )


def _without_images(folder: MaskFolder, result: Found) -> MaskFolder:
    """Remove the images from a folder of masks that may also contain images."""
    images = {os.path.realpath(entry.path) for entry in result.entries}
    files = [p for p in folder.files if os.path.realpath(p) not in images]
    return replace(folder, files=tuple(files))


def _ground_truth_beside(source: Path) -> list[Path]:
    """Find a folder of masks next to the source."""
    above = Path(os.path.abspath(source)).parent
    if not os.access(above, os.R_OK):
        return []
    named = [p for p in sorted(above.iterdir()) if p.name.casefold() == "ground_truth"]
    return [path for path in named if path.is_dir()][:1]
