"""Detection of completely written files in a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Arrival", "WatchedFolder"]


@dataclass(frozen=True)
class Arrival:
    """State of a file when it was found.

    Parameters
    ----------
    name : str
        Path relative to the folder, escaped if it is not valid UTF-8.
    path : Path
        Path of the file.
    modified_ns, size : int
        Time of the last modification in nanoseconds, and size in bytes. A file of the
        same name with different values is treated as a new file.
    """

    name: str
    path: Path
    modified_ns: int
    size: int

    @property
    def state(self) -> tuple[int, int]:
        """Time and size, which distinguish successive files with the same name."""
        return self.modified_ns, self.size


class WatchedFolder:
    """Folder that is watched for complete files.

    A file is complete if it is unchanged in two scans at least `settle` seconds apart.
    If it still cannot be read, reading is tried again until the file has been unchanged
    for `patience` seconds.

    Only files that are still in the folder are remembered.

    Parameters
    ----------
    root : Path
        Folder to scan, with its subfolders except for hidden ones and symbolic links.
    suffixes : collection of str
        Suffixes of images, in lower case.
    settle, patience : float
        Times in seconds.
    clock : callable, default=time.monotonic
        Returns the current time in seconds.
    """

    def __init__(
        self,
        root: Path,
        suffixes: Collection[str],
        *,
        settle: float,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self.suffixes = frozenset(suffixes)
        self.settle = settle
        self.patience = patience
        self.clock = clock
        self._done: dict[str, tuple[int, int]] = {}
        self._waiting: dict[str, tuple[tuple[int, int], float]] = {}

    @property
    def n_waiting(self) -> int:
        """Number of files that have not been processed yet."""
        return len(self._waiting)

    def look(self) -> list[Arrival]:
        """Find complete files that have not been processed yet, oldest first.

        Raises
        ------
        OSError
            If the folder itself cannot be read.
        """
        now, found = self.clock(), {a.name: a for a in _files(self.root, self.suffixes)}
        # Files that no longer exist need not be remembered.
        self._done = {n: state for n, state in self._done.items() if n in found}
        before, self._waiting = self._waiting, {}
        ready = []
        for name, arrival in found.items():
            if self._done.get(name) == arrival.state:
                continue
            state, since = before.get(name, (None, now))
            if state != arrival.state:
                since = now
            self._waiting[name] = arrival.state, since
            if state == arrival.state and now - since >= self.settle:
                ready.append(arrival)
        return sorted(ready, key=lambda arrival: (arrival.modified_ns, arrival.name))

    def finish(self, name: str, state: tuple[int, int]) -> None:
        """Mark a file as processed, in this or an earlier run."""
        self._done[name] = state
        self._waiting.pop(name, None)

    def may_get_better(self, arrival: Arrival) -> bool:
        """Return whether an unreadable file may not be completely written yet."""
        _, since = self._waiting.get(arrival.name, (None, self.clock()))
        return self.clock() - since < self.patience


def _files(root: Path, suffixes: Collection[str]) -> Iterator[Arrival]:
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            entries = os.scandir(folder)
        except OSError:
            if folder == root:
                raise
            continue  # removed meanwhile, or no permission
        with entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                try:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    elif os.path.splitext(entry.name)[1].lower() in suffixes:
                        yield _arrival(root, entry)
                except OSError:
                    continue  # removed since it was listed


def _arrival(root: Path, entry: os.DirEntry[str]) -> Arrival:
    found, path = entry.stat(), Path(entry.path)
    name = os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")
    return Arrival(name, path, found.st_mtime_ns, found.st_size)
