"""Search for images and masks below a folder.

Hidden folders, and folders created by operating systems and other programs, are
skipped. Each image is found only once, even if several links lead to it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from skfcdd.datasets._found import SUFFIXES, MaskFolder, first_of, plural
from skfcdd.datasets._mask_names import is_mask_folder, masks_beside

__all__ = ["Folder", "Walk", "walk", "walk_masks"]

# Folders created by macOS archives, network drives and operating systems.
_FOREIGN = {"__macosx", "@eadir", "$recycle.bin", "system volume information"}
# Unsupported image formats; a warning is issued for such files.
_UNREAD = re.compile(
    r"\.(apng|avif|bm|dcm|dib|dng|exr|hdr|heic|heif|jfif|jp2|jpe|jxl|pbm|pcx"
    r"|pgm|png~|pnm|ppm|psd|raw|svg|tga)$",
    re.IGNORECASE,
)


@dataclass
class Folder:
    """A folder with its images, and the subfolders that contain images."""

    path: Path
    images: list[Path] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)

    @property
    def name(self) -> str:
        return os.path.basename(os.path.abspath(self.path))

    def every(self) -> list[Path]:
        """Return the images in the folder and all subfolders."""
        found = [*self.images, *(p for inner in self.folders for p in inner.every())]
        return sorted(found)

    def below(self) -> Iterator[Folder]:
        """Iterate over all subfolders, at any depth."""
        for inner in self.folders:
            yield inner
            yield from inner.below()


@dataclass
class Walk:
    """Images and masks found below a folder, and files and links to warn about."""

    root: Folder
    masks: list[MaskFolder] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    links_out: list[Path] = field(default_factory=list)
    links_back: list[Path] = field(default_factory=list)

    @property
    def skipped(self) -> list[Path]:
        return [*self.hidden, *self.unread, *self.links_back]

    def warnings(self) -> list[str]:
        """Return warnings about files and links that may not have been intended."""
        told = []
        for paths, noun, text in (
            (
                self.unread,
                "file",
                "in unsupported formats, or not regular files, skipped",
            ),
            (self.links_out, "link", "that lead out of the folder followed"),
            (
                self.links_back,
                "link",
                "to files that are also read directly not followed",
            ),
        ):
            if paths:
                n = plural(len(paths), noun)
                told.append(f"{n} {text}, the first {first_of(paths)}")
        return told


def walk(
    source: Path, *, apart: Collection[Path] = (), masks: Path | None = None
) -> Walk:
    """Search a folder for images and masks.

    Parameters
    ----------
    source : Path
    apart : collection of Path
        Subfolders to skip.
    masks : Path or None
        Folder of masks, which is not searched for images, whatever its name.
    """
    found = Walk(Folder(source))
    walker = _Walker(source, found, {_real(p) for p in apart}, masks and _real(masks))
    walker.look(found.root)
    return found


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is skipped."""
    return name.startswith(".") or name.casefold() in _FOREIGN


class _Walker:
    """Recursive search that follows links to folders not reached otherwise."""

    def __init__(
        self, source: Path, found: Walk, apart: set[Path], masks: Path | None
    ) -> None:
        self.found, self.apart, self.masks = found, apart, masks
        self.roots = [_real(source)]
        self.linked: set[Path] = set()

    def look(self, folder: Folder) -> None:
        for path in sorted(folder.path.iterdir()):
            if is_hidden(path.name):
                self.found.hidden += _images_below(path)
            elif path.is_dir():
                self._enter(path, folder)
            elif path.suffix.lower() in SUFFIXES:
                self._take(path, folder)
            elif _UNREAD.search(path.name):
                self.found.unread.append(path)
        if beside := masks_beside(folder.images):
            folder.images = [p for p in folder.images if p not in beside]
            place = folder.path
            self.found.masks.append(MaskFolder(place, place, tuple(sorted(beside))))

    def _enter(self, path: Path, folder: Folder) -> None:
        real = _real(path)
        if real in self.apart:
            return
        if path.is_symlink() and not self._is_new(path, real):
            return
        if real == self.masks or is_mask_folder(path.name):
            masks = walk_masks(path, folder.path, self.found)
            if real != self.masks:
                self.found.masks.append(masks)
            return
        inner = Folder(path)
        self.look(inner)
        if inner.images or inner.folders:
            folder.folders.append(inner)

    def _take(self, path: Path, folder: Folder) -> None:
        """Add a file. Broken links are added too, and raise an error when read."""
        if path.is_symlink() and path.exists():
            real = _real(path)
            if not path.is_file():
                self.found.unread.append(path)
                return
            if self._is_seen(real) and real.suffix.lower() in SUFFIXES:
                self.found.links_back.append(path)
                return
            if real in self.linked:
                self.found.links_back.append(path)
                return
            self.linked.add(real)
            if not self._is_inside(real):
                self.found.links_out.append(path)
        elif not path.is_symlink() and not path.is_file():
            self.found.unread.append(path)
            return
        folder.images.append(path)

    def _is_new(self, path: Path, real: Path) -> bool:
        """Whether a link leads to a folder that is not reached otherwise."""
        above = any(root.is_relative_to(real) for root in self.roots)
        if above or self._is_seen(real):
            self.found.links_back.append(path)
            return False
        if not self._is_inside(real):
            self.found.links_out.append(path)
        self.roots.append(real)
        return True

    def _is_inside(self, real: Path) -> bool:
        return any(real.is_relative_to(root) for root in self.roots)

    def _is_seen(self, real: Path) -> bool:
        """Whether a location is searched without following links, and is not hidden.

        Version control tools store files in hidden folders and create links to them.
        """
        return any(
            real.is_relative_to(root)
            and not any(map(is_hidden, real.relative_to(root).parts))
            for root in self.roots
        )


def walk_masks(path: Path, scope: Path | None, found: Walk | None = None) -> MaskFolder:
    """Return all masks in a folder."""
    files, hidden, unread = [], [], []
    for place, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in sorted(names):
            file = Path(place, name)
            if is_hidden(name):
                hidden += _images_below(file)
            elif file.suffix.lower() in SUFFIXES:
                files.append(file)
            elif _UNREAD.search(name):
                unread.append(file)
    if found is not None:
        found.hidden += hidden
        found.unread += unread
    return MaskFolder(path, scope, tuple(files))


def _images_below(path: Path) -> list[Path]:
    """Return image files in a hidden folder; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return [path] if path.suffix.lower() in SUFFIXES else []
    return [
        Path(place, name)
        for place, _, names in os.walk(path)
        for name in sorted(names)
        if Path(name).suffix.lower() in SUFFIXES
    ]
