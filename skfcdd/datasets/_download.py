"""Files fetched whole or not at all, and archives unpacked with care."""

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
    # Some builds of Python come without; tarfile then refuses such archives itself.
    LZMAError = OSError  # type: ignore[misc, assignment]

__all__ = ["RemoteFile", "download", "fetch_file", "read_files", "unpack"]

_TIMEOUT = 60.0
_CHUNK = 1 << 20
# Seconds after which a part that nobody writes to was left by a process that died.
_ABANDONED = 3600.0
# A part is worth nothing on a disk that it has filled.
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
# Photographs hardly shrink in an archive. One that grows beyond this is a trap.
_MAX_GROWTH = 50
_MIN_LIMIT = 1 << 28

Check = Callable[[Path], None]
Choice = Callable[[str], bool]


@dataclass(frozen=True)
class RemoteFile:
    """A file, where it is, and the hash of its contents ("sha256:..." or "md5:...")."""

    name: str
    url: str
    digest: str | None = None


def fetch_file(remote: RemoteFile, folder: Path, *, download_if_missing: bool) -> Path:
    """Path of a file in a folder, fetched if it is not there, with the right hash."""
    path = folder / remote.name
    if path.exists():
        try:
            _check(path, remote)
        except DownloadError as error:
            # It may have been put there by hand, so it is not ours to delete.
            raise DownloadError(
                f"The file {path} is damaged or another one: {error}. Delete it to "
                f"download it anew from {remote.url}, or put a good copy in its place."
            ) from error
        return path
    if not download_if_missing:
        raise DownloadError(
            f"There is no file {remote.name} in the folder {folder}, and "
            f"download_if_missing=False. Put it there (it is at {remote.url}), or give "
            f"download_if_missing=True."
        )
    # Without a hash, nobody could tell whether two parts belong to one file.
    resume = remote.digest is not None
    download(remote.url, path, check=lambda part: _check(part, remote), resume=resume)
    return path


def _check(path: Path, remote: RemoteFile) -> None:
    """Refuse a file that is not the one it should be."""
    if remote.digest is None:
        # A page of a proxy that asks for a password is a file, too.
        if remote.name.endswith(".zip") and not zipfile.is_zipfile(path):
            raise DownloadError("it is not a zip archive, or cut off")
        return
    algorithm, _, expected = remote.digest.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(
            file, lambda: hashlib.new(algorithm, usedforsecurity=False)
        ).hexdigest()
    if found != expected:
        raise DownloadError(
            f"the hash ({algorithm}) of its contents is {found}, but expected "
            f"{expected}"
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
    """Fetch a file, all of it or nothing.

    `check` raises if the contents are wrong. With `resume`, what came before a
    connection broke is kept beside the file, and the next call goes on from there.
    `lead` begins the message of an error, `instead` ends it with another way out.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, path, check, resume)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise DownloadError(
            f"{lead}{url} could not be downloaded into the folder {path.parent}: "
            f"{error or type(error).__name__}. To go on without a connection, put the "
            f"file into this folder under the name {path.name}{instead}."
        ) from error


def _download(url: str, path: Path, check: Check, resume: bool) -> None:
    # Each process writes to a file of its own: two of them can fetch the same.
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
            # The first part was of another file, or damaged.
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
    """Take over the part that an earlier call has left, if there is one."""
    for old in path.parent.glob(f"{glob.escape(path.name)}*.part"):
        # Another process may be faster; then this one begins anew.
        with contextlib.suppress(OSError):
            is_left = old.name == f"{path.name}.part"
            if is_left or time.time() - old.stat().st_mtime > _ABANDONED:
                os.utime(old)
                os.rename(old, part)
                return


def _stream(url: str, part: Path) -> bool:
    """Write what an address gives to the end of a part; whether it was continued."""
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
        # Nothing is behind the end of the part: it is the file, or of another one.
        error.close()
        return True
    with answer:
        span = answer.headers.get("Content-Range", "")
        if answer.status != 206:
            # The server knows no ranges: it sends the file from its start.
            start = 0
        elif not span.startswith(f"bytes {start}-"):
            part.unlink()
            return _stream(url, part)
        length = answer.headers.get("Content-Length", "")
        n_bytes = int(length) if length.isdecimal() else 0
        with part.open("ab" if start else "wb") as file:
            _check_space(part.parent, n_bytes)
            received = _copy(answer, file, start, n_bytes)
    # http.client takes a connection cut in the middle for the end of the file.
    if received < n_bytes:
        raise ConnectionError(
            f"cut off after {start + received} of {start + n_bytes} bytes"
        )
    return start > 0


def _copy(source: IO[bytes], target: IO[bytes], start: int, n_bytes: int) -> int:
    """Number of bytes copied, with a progress bar where somebody watches."""
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
    """Refuse what would fill the disk, before it does."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise OSError(
            f"the disk of {folder} is full: {n_bytes / 1e6:.1f} MB are needed, and "
            f"{free / 1e6:.1f} MB are free"
        )


def unpack(archive: Path, folder: Path, keep: Choice) -> None:
    """Unpack those files of a tar or zip archive whose names `keep` chooses.

    Names that lead out of the folder, links, devices and archives of absurd size are
    refused; what was unpacked before stays, so give a folder that can go.
    """
    with _telling(archive):
        for name, size, source in _entries(archive, keep):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _check_space(target.parent, size)
            with target.open("wb") as file:
                shutil.copyfileobj(source, file, _CHUNK)


def read_files(archive: Path, keep: Choice) -> dict[str, bytes]:
    """Contents of those files of an archive whose names `keep` chooses, by name."""
    with _telling(archive):
        return {name: source.read() for name, _, source in _entries(archive, keep)}


@contextlib.contextmanager
def _telling(archive: Path) -> Iterator[None]:
    """Say of an archive that cannot be unpacked which one it is, and what to do."""
    try:
        yield
    # A damaged archive shows in many ways; zipfile uses RuntimeError for passwords.
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
            f"The archive {archive} cannot be unpacked: {error or type(error).__name__}"
            f". Delete it to download it anew, or put a good copy in its place."
        ) from error


def _entries(archive: Path, keep: Choice) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and contents of the chosen files; all of them are checked."""
    limit = max(_MAX_GROWTH * archive.stat().st_size, _MIN_LIMIT)
    packed = _from_zip if zipfile.is_zipfile(archive) else _from_tar
    for name, size, is_plain, source in packed(archive):
        # Paths of Windows know both slashes, and drives.
        path = PureWindowsPath(name)
        if path.drive or path.root or ".." in path.parts:
            raise DownloadError(f"it holds {name!r}, which leads out of the folder")
        if not is_plain:
            raise DownloadError(f"it holds {name!r}, which is a link or a device")
        limit -= size
        if limit < 0:
            raise DownloadError("it would unpack to an absurd size")
        short = str(PurePosixPath(name))
        if source is not None and keep(short):
            with source() as file:
                yield short, size, file


_Entry = tuple[str, int, bool, Callable[[], IO[bytes]] | None]


def _from_zip(archive: Path) -> Iterator[_Entry]:
    """Name, size, whether it is a file or folder, and a way to open a file."""
    with zipfile.ZipFile(archive) as packed:
        for info in packed.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            is_plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
            source = None if info.is_dir() else partial(packed.open, info)
            yield info.filename, info.file_size, is_plain, source


def _from_tar(archive: Path) -> Iterator[_Entry]:
    """As of a zip archive."""
    # A stream cannot go back, so that a large archive is decompressed only once.
    with tarfile.open(archive, "r|*") as packed:
        for member in packed:
            is_plain = member.isfile() or member.isdir()
            source = partial(_extract, packed, member) if member.isfile() else None
            yield member.name, member.size, is_plain, source


def _extract(packed: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    # Older versions of Python lack this second opinion.
    if hasattr(tarfile, "data_filter"):
        tarfile.data_filter(member, tempfile.gettempdir())
    source = packed.extractfile(member)
    assert source is not None
    return source
