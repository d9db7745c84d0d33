"""Files of a folder as they are completed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Arrival", "WatchedFolder"]


@dataclass(frozen=True)
class Arrival:
    """A file as it was seen.

    Parameters
    ----------
    name : str
        Path below the folder, as a text that any file can hold.
    path : Path
    modified_ns, size : int
        When it was last modified, in nanoseconds, and its size in bytes. A file of the
        same name for which they differ is another one.
    """

    name: str
    path: Path
    modified_ns: int
    size: int

    @property
    def state(self) -> tuple[int, int]:
        """Time and size, which distinguish successive files of the same name."""
        return self.modified_ns, self.size


class WatchedFolder:
    """Which files of a folder are complete and have not been seen to yet.

    A file counts as complete if two looks at it, `settle` seconds apart or more, find
    it unchanged. One that cannot be read nevertheless is tried again until it has been
    unchanged for `patience` seconds.

    Memory holds the files that are in the folder, and no others.

    Parameters
    ----------
    root : Path
        Looked through with all folders in it, except hidden ones and links.
    suffixes : collection of str
        Endings of images, in lower case.
    settle, patience : float
        In seconds.
    clock : callable, default=time.monotonic
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
        """Number of files that are not seen to yet."""
        return len(self._waiting)

    def look(self) -> list[Arrival]:
        """Files that are complete and have not been seen to, the oldest first.

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
        """Note that a file has been seen to, now or in an earlier run."""
        self._done[name] = state
        self._waiting.pop(name, None)

    def may_get_better(self, arrival: Arrival) -> bool:
        """Whether a file that cannot be read may still be being written."""
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
            continue  # removed meanwhile, or closed to us
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
                    continue  # removed between listing and looking


def _arrival(root: Path, entry: os.DirEntry[str]) -> Arrival:
    found, path = entry.stat(), Path(entry.path)
    name = os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")
    return Arrival(name, path, found.st_mtime_ns, found.st_size)
