"""Atomic downloads, and safe unpacking of archives."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import http.client
import importlib
import os
import secrets
import shutil
import stat
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from skfcdd.exceptions import DownloadError

try:
    from lzma import LZMAError
except ImportError:  # pragma: no cover
    # Some builds of Python lack lzma; tarfile then rejects such archives itself.
    LZMAError = OSError  # type: ignore[misc, assignment]

__all__ = ["RemoteFile", "download", "fetch_file", "read_files", "unpack"]

_TIMEOUT = 60.0
_CHUNK = 1 << 20
# After this many seconds without writing, a partial file is considered abandoned.
_ABANDONED = 3600.0
# Errors on a full disk, after which a partial download is deleted.
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
# Photographs hardly compress: an archive that expands by more is probably malicious.
_MAX_GROWTH = 50
_MIN_LIMIT = 1 << 28

Check = Callable[[Path], None]
Choice = Callable[[str], bool]


@dataclass(frozen=True)
class RemoteFile:
    """A file, its URL, and the hash of its contents ("sha256:..." or "md5:...")."""

    name: str
    url: str
    digest: str | None = None


def fetch_file(remote: RemoteFile, folder: Path, *, download_if_missing: bool) -> Path:
    """Return the path of a file, downloaded if missing, after checking its hash."""
    path = folder / remote.name
    if path.exists():
        try:
            _check(path, remote)
        except DownloadError as error:
            # The user may have put it there, so do not delete it.
            raise DownloadError(
                f"The file {path} is damaged or a different file: {error}. Delete it "
                f"to download it again from {remote.url}, or replace it with a good "
                "copy."
            ) from error
        return path
    if not download_if_missing:
        raise DownloadError(
            f"There is no file {remote.name} in the folder {folder}, and "
            f"download_if_missing=False. Put it there (from {remote.url}), or set "
            "download_if_missing=True."
        )
    # Without a hash, it is unknown whether two parts belong to one file.
    resume = remote.digest is not None
    download(remote.url, path, check=lambda part: _check(part, remote), resume=resume)
    return path


def _check(path: Path, remote: RemoteFile) -> None:
    """Raise if the file is not the expected one."""
    if remote.digest is None:
        # The response may have been the login page of a proxy.
        if remote.name.endswith(".zip") and not zipfile.is_zipfile(path):
            raise DownloadError("it is not a zip archive, or is truncated")
        return
    algorithm, _, expected = remote.digest.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(
            file, lambda: hashlib.new(algorithm, usedforsecurity=False)
        ).hexdigest()
    if found != expected:
        raise DownloadError(
            f"its hash ({algorithm}) is {found}, but {expected} was expected"
        )


def download(
    url: str,
    path: Path,
    *,
    check: Check,
    resume: bool = False,
    lead: str = "",
    instead: str = "",
) -> None:
    """Download a file completely or not at all.

    `check` raises if the contents are wrong. With `resume`, an interrupted download is
    kept next to the file, and the next call continues it. Error messages begin with
    `lead` and end with the alternative `instead`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, path, check, resume)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise DownloadError(
            f"{lead}{url} could not be downloaded into the folder {path.parent}: "
            f"{error or type(error).__name__}. To work without a connection, put the "
            f"file into this folder under the name {path.name}{instead}."
        ) from error


def _download(url: str, path: Path, check: Check, resume: bool) -> None:
    # Several processes may download the same file, so each writes to its own.
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    if resume:
        _claim(path, part)
    keep = resume
    try:
        continued = _stream(url, part)
        try:
            check(part)
        except (OSError, ValueError):
            keep = False
            if not continued:
                raise
            # The existing part belonged to another file, or was damaged.
            part.unlink()
            _stream(url, part)
            check(part)
        os.replace(part, path)
    except BaseException as error:
        keep = keep and getattr(error, "errno", None) not in _FULL
        with contextlib.suppress(OSError):
            if keep and part.stat().st_size:
                os.replace(part, path.with_name(f"{path.name}.part"))
            else:
                part.unlink()
        raise


def _claim(path: Path, part: Path) -> None:
    """Rename the partial file that an earlier call has left, if any, to `part`."""
    for old in path.parent.glob(f"{glob.escape(path.name)}*.part"):
        # If another process takes the file first, start from the beginning.
        with contextlib.suppress(OSError):
            is_left = old.name == f"{path.name}.part"
            if is_left or time.time() - old.stat().st_mtime > _ABANDONED:
                os.utime(old)
                os.rename(old, part)
                return


def _stream(url: str, part: Path) -> bool:
    """Download to a partial file; return whether an existing one was resumed."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "skfcdd", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        # The part is not shorter than the file: it is complete, or belongs to another
        # file.
        error.close()
        return True
    with answer:
        span = answer.headers.get("Content-Range", "")
        if answer.status != 206:
            # The server does not support ranges and sends the whole file.
            start = 0
        elif not span.startswith(f"bytes {start}-"):
            part.unlink()
            return _stream(url, part)
        length = answer.headers.get("Content-Length", "")
        n_bytes = int(length) if length.isdecimal() else 0
        with part.open("ab" if start else "wb") as file:
            _check_space(part.parent, n_bytes)
            received = _copy(answer, file, start, n_bytes)
    # http.client mistakes an interrupted connection for the end of the file.
    if received < n_bytes:
        raise ConnectionError(
            f"truncated after {start + received} of {start + n_bytes} bytes"
        )
    return start > 0


def _copy(source: IO[bytes], target: IO[bytes], start: int, n_bytes: int) -> int:
    """Copy a stream with a progress bar; return the number of bytes."""
    bar: Any = importlib.import_module("tqdm").tqdm(
        total=start + n_bytes if n_bytes else None,
        initial=start,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=None,
    )
    received = 0
    with bar:
        while chunk := source.read(_CHUNK):
            target.write(chunk)
            received += len(chunk)
            bar.update(len(chunk))
    return received


def _check_space(folder: Path, n_bytes: int) -> None:
    """Raise before an operation that would fill the disk."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise OSError(
            f"the disk of {folder} is full: {n_bytes / 1e6:.1f} MB are needed, and "
            f"{free / 1e6:.1f} MB are free"
        )


def unpack(archive: Path, folder: Path, keep: Choice) -> None:
    """Unpack the files of a tar or zip archive whose names are selected by `keep`.

    Paths outside the folder, links, devices and implausibly large archives raise an
    error. Files that were unpacked before the error remain, so use a temporary folder.
    """
    with _telling(archive):
        for name, size, source in _entries(archive, keep):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _check_space(target.parent, size)
            with target.open("wb") as file:
                shutil.copyfileobj(source, file, _CHUNK)


def read_files(archive: Path, keep: Choice) -> dict[str, bytes]:
    """Return the contents of the files that are selected by `keep`, by name."""
    with _telling(archive):
        return {name: source.read() for name, _, source in _entries(archive, keep)}


@contextlib.contextmanager
def _telling(archive: Path) -> Iterator[None]:
    """Convert errors to DownloadError, with the path of the archive and advice."""
    try:
        yield
    # Damaged archives cause various errors; RuntimeError means a password is needed.
    except (
        DownloadError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        LZMAError,
    ) as error:
        raise DownloadError(
            f"The archive {archive} cannot be unpacked: "
            f"{error or type(error).__name__}. Delete it to download it again, or "
            "replace it with a good copy."
        ) from error


def _entries(archive: Path, keep: Choice) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield name, size and contents of the selected files; check all files."""
    limit = max(_MAX_GROWTH * archive.stat().st_size, _MIN_LIMIT)
    packed = _from_zip if zipfile.is_zipfile(archive) else _from_tar
    for name, size, is_plain, source in packed(archive):
        # Windows paths may have drives, and both kinds of slashes.
        path = PureWindowsPath(name)
        if path.drive or path.root or ".." in path.parts:
            raise DownloadError(
                f"it contains {name!r}, which points outside the folder"
            )
        if not is_plain:
            raise DownloadError(f"it contains {name!r}, which is a link or a device")
        limit -= size
        if limit < 0:
            raise DownloadError("its unpacked size would be implausibly large")
        short = str(PurePosixPath(name))
        if source is not None and keep(short):
            with source() as file:
                yield short, size, file


_Entry = tuple[str, int, bool, Callable[[], IO[bytes]] | None]


def _from_zip(archive: Path) -> Iterator[_Entry]:
    """Yield name, size, whether it is a file or folder, and a function to open it."""
    with zipfile.ZipFile(archive) as packed:
        for info in packed.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            is_plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
            source = None if info.is_dir() else partial(packed.open, info)
            yield info.filename, info.file_size, is_plain, source


def _from_tar(archive: Path) -> Iterator[_Entry]:
    """Yield the entries of a tar archive, as for a zip archive."""
    # Reading it as a stream ensures that a large archive is decompressed only once.
    with tarfile.open(archive, "r|*") as packed:
        for member in packed:
            is_plain = member.isfile() or member.isdir()
            source = partial(_extract, packed, member) if member.isfile() else None
            yield member.name, member.size, is_plain, source


def _extract(packed: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    # This second check is missing in older versions of Python.
    if hasattr(tarfile, "data_filter"):
        tarfile.data_filter(member, tempfile.gettempdir())
    source = packed.extractfile(member)
    assert source is not None
    return source
