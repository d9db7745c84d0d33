"""Data sets from addresses, against a server of our own."""

from __future__ import annotations

import errno
import functools
import gc
import gzip
import hashlib
import http.server
import io
import logging
import lzma
import os
import re
import shutil
import socket
import stat
import struct
import tarfile
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skfcdd.datasets import _download, _fetch_table
from skfcdd.datasets._download import RemoteFile, fetch_file, read_files, unpack
from skfcdd.datasets._fetch import (
    fetch_cifar10,
    fetch_cifar100,
    fetch_fashion_mnist,
)
from skfcdd.datasets._fetch_folders import (
    _parts,
    fetch_magnetic_tiles,
    fetch_mvtec_ad,
    fetch_visa,
)
from skfcdd.exceptions import DownloadError

RNG = np.random.RandomState(0)
BODY = RNG.bytes(3_000_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with files; knows ranges, and breaks off, as the server was told."""

    def do_GET(self):
        server, span = self.server, self.headers.get("Range")
        server.requests.append((self.path, span))
        body = server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = 0
        if span and server.ranges:
            start = int(span.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_error(416)
                return
            start += server.shift
            self.send_response(206)
            self.send_header(
                "Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}"
            )
        else:
            self.send_response(200)
        if server.tells_length:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        sent = body[start:]
        self.wfile.write(sent[: server.breaks_after])

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    """A server whose answers a test chooses."""

    daemon_threads = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.files = [], {}
        self.ranges, self.tells_length = True, True
        self.breaks_after, self.shift = None, 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *args):
        """A client that leaves early is part of the tests."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(
            target=functools.partial(server.serve_forever, poll_interval=0.01)
        )
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    # Sockets that the code left open are told of here, not in a later test.
    gc.collect()


def sha256(body):
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def names(folder):
    return sorted(path.name for path in Path(folder).rglob("*"))


@pytest.fixture
def remote(server):
    server.files["/a.bin"] = BODY
    return RemoteFile("a.bin", f"{server.url}/a.bin", sha256(BODY))


def fetch(remote, folder, download_if_missing=True):
    return fetch_file(remote, folder, download_if_missing=download_if_missing)


# Downloads


@pytest.mark.parametrize("digest", ["sha256", "md5", None])
def test_downloads_once(server, remote, tmp_path, digest):
    if digest == "md5":
        remote = replace(remote, digest=f"md5:{hashlib.md5(BODY).hexdigest()}")
    elif digest is None:
        remote = replace(remote, digest=None)
    for _ in range(2):
        assert fetch(remote, tmp_path / "new").read_bytes() == BODY
    assert server.requests == [("/a.bin", None)]
    assert names(tmp_path) == ["a.bin", "new"]


def cut(server, remote, folder, n_bytes):
    server.breaks_after = n_bytes
    with pytest.raises(DownloadError, match="truncated after") as caught:
        fetch(remote, folder)
    server.breaks_after = None
    return str(caught.value)


def test_goes_on_after_a_cut_connection(server, remote, tmp_path):
    assert "truncated after 1000000 of 3000000" in cut(server, remote, tmp_path, 10**6)
    assert names(tmp_path) == ["a.bin.part"]
    assert "truncated after 1500000 of 3000000" in cut(
        server, remote, tmp_path, 500_000
    )
    assert names(tmp_path) == ["a.bin.part"]
    assert fetch(remote, tmp_path).read_bytes() == BODY
    assert names(tmp_path) == ["a.bin"]
    spans = [span for _, span in server.requests]
    assert spans == [None, "bytes=1000000-", "bytes=1500000-"]


def test_server_without_ranges(server, remote, tmp_path):
    server.ranges = False
    cut(server, remote, tmp_path, 10**6)
    assert fetch(remote, tmp_path).read_bytes() == BODY
    assert names(tmp_path) == ["a.bin"]


def test_server_that_sends_another_range(server, remote, tmp_path):
    cut(server, remote, tmp_path, 10**6)
    server.shift = 5
    assert fetch(remote, tmp_path).read_bytes() == BODY
    assert [span for _, span in server.requests] == [None, "bytes=1000000-", None]


@pytest.mark.parametrize(
    "part",
    [b"x" * 1000, b"x" * len(BODY), BODY + b"x", b""],
    ids=["other", "other of the same length", "longer", "empty"],
)
def test_part_that_is_no_prefix(server, remote, tmp_path, part):
    (tmp_path / "a.bin.part").write_bytes(part)
    assert fetch(remote, tmp_path).read_bytes() == BODY
    assert names(tmp_path) == ["a.bin"]


def test_part_that_is_the_whole_file(server, remote, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(BODY)
    assert fetch(remote, tmp_path).read_bytes() == BODY
    assert server.requests == [("/a.bin", f"bytes={len(BODY)}-")]


def test_no_part_is_kept_without_a_hash(server, remote, tmp_path):
    cut(server, replace(remote, digest=None), tmp_path, 10**6)
    assert names(tmp_path) == []


def test_part_of_a_process_that_died(server, remote, tmp_path):
    left = tmp_path / "a.bin.0123abcd.part"
    left.write_bytes(BODY[:1000])
    # Another process may be at it.
    assert fetch(remote, tmp_path).read_bytes() == BODY
    assert server.requests == [("/a.bin", None)] and left.exists()
    (tmp_path / "a.bin").unlink()
    os.utime(left, (time.time() - 7200,) * 2)
    assert fetch(remote, tmp_path).read_bytes() == BODY
    assert server.requests[1:] == [("/a.bin", "bytes=1000-")]
    assert names(tmp_path) == ["a.bin"]


def test_part_that_another_process_takes_first(server, remote, tmp_path, monkeypatch):
    (tmp_path / "a.bin.part").write_bytes(BODY[:1000])

    def too_late(old, new):
        os.replace(old, tmp_path / "taken")
        raise FileNotFoundError(old)

    monkeypatch.setattr(os, "rename", too_late)
    assert fetch(remote, tmp_path).read_bytes() == BODY
    assert server.requests == [("/a.bin", None)]


def test_server_that_tells_no_length(server, remote, tmp_path):
    server.tells_length = False
    assert fetch(remote, tmp_path).read_bytes() == BODY
    (tmp_path / "a.bin").unlink()
    server.breaks_after = 1000
    with pytest.raises(DownloadError, match="hash"):
        fetch(remote, tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("part", [b"", BODY[:1000]])
def test_wrong_hash_leaves_nothing(server, remote, tmp_path, part):
    server.files["/a.bin"] = BODY[:-1] + b"x"
    if part:
        (tmp_path / "a.bin.part").write_bytes(part)
    with pytest.raises(DownloadError, match=r"hash \(sha256\).*expected") as caught:
        fetch(remote, tmp_path)
    for told in (remote.url, str(tmp_path), "under the name a.bin"):
        assert told in str(caught.value)
    assert names(tmp_path) == []


def test_wrong_file_put_by_hand_is_kept(server, remote, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"mine")
    with pytest.raises(DownloadError, match=r"damaged or a different.*Delete it"):
        fetch(remote, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"mine" and not server.requests


def test_page_instead_of_an_archive(server, tmp_path):
    server.files["/a.zip"] = b"<html>Please log in.</html>"
    with pytest.raises(DownloadError, match="not a zip archive"):
        fetch(RemoteFile("a.zip", f"{server.url}/a.zip"), tmp_path)
    assert names(tmp_path) == []


def test_no_such_file(server, tmp_path):
    remote = RemoteFile("b.bin", f"{server.url}/b.bin", sha256(BODY))
    with pytest.raises(DownloadError, match="404") as caught:
        fetch(remote, tmp_path)
    for told in (remote.url, str(tmp_path), "under the name b.bin"):
        assert told in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_no_connection(tmp_path, monkeypatch, host):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    (tmp_path / "a.bin.part").write_bytes(BODY[:1000])
    with pytest.raises(DownloadError, match="without a connection") as caught:
        fetch(RemoteFile("a.bin", f"http://{host}:{port}/a", "md5:0"), tmp_path)
    assert isinstance(caught.value.__cause__, OSError)
    # What is there already is not lost.
    assert names(tmp_path) == ["a.bin.part"]


def test_not_allowed_to_download(server, remote, tmp_path):
    with pytest.raises(DownloadError, match=r"no file a\.bin in") as caught:
        fetch(remote, tmp_path, download_if_missing=False)
    assert remote.url in str(caught.value) and str(tmp_path) in str(caught.value)
    assert not server.requests


def test_disk_that_is_too_small(server, remote, tmp_path, monkeypatch):
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**6))
    with pytest.raises(DownloadError, match=r"full: 3\.0 MB are needed, and 1\.0 MB"):
        fetch(remote, tmp_path)
    assert names(tmp_path) == []
    with pytest.raises(OSError, match="full"):
        unpack(packed_tar(tmp_path / "a.tar", {"a": BODY}), tmp_path, always)


def test_disk_that_becomes_full(server, remote, tmp_path, monkeypatch):
    def full(source, target, *args):
        target.write(b"x" * 1000)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_download, "_copy", full)
    with pytest.raises(DownloadError, match="No space left"):
        fetch(remote, tmp_path)
    assert names(tmp_path) == []


def test_interrupted(server, remote, tmp_path, monkeypatch):
    def interrupted(source, target, *args):
        target.write(source.read(1000))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_download, "_copy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(remote, tmp_path)
    assert fetch(remote, tmp_path).read_bytes() == BODY
    assert server.requests[1:] == [("/a.bin", "bytes=1000-")]


# Archives


def always(name):
    return True


def packed_tar(path, files, mode="w", extra=()):
    """A tar archive of files, and of members that are given as TarInfo."""
    with tarfile.open(path, mode) as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
        for member in extra:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def packed_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return path


PACK = {
    "tar": packed_tar,
    "tar.gz": functools.partial(packed_tar, mode="w:gz"),
    "tar.xz": functools.partial(packed_tar, mode="w:xz"),
    "zip": packed_zip,
}


@pytest.mark.parametrize("suffix", PACK)
def test_unpacks(tmp_path, suffix):
    files = {"./a/b/one.txt": b"1", "a/two.txt": b"2" * 5000, "c.txt": b""}
    archive = PACK[suffix](tmp_path / f"a.{suffix}", files)
    unpack(archive, tmp_path / "out", always)
    for name, body in files.items():
        assert (tmp_path / "out" / name).read_bytes() == body
    unpack(archive, tmp_path / "some", lambda name: name == "a/b/one.txt")
    assert names(tmp_path / "some") == ["a", "b", "one.txt"]
    found = read_files(archive, lambda name: name.endswith("o.txt"))
    assert found == {"a/two.txt": b"2" * 5000}


def test_python_without_filters(tmp_path, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    archive = packed_tar(tmp_path / "a.tar", {"a": b"x"})
    assert read_files(archive, always) == {"a": b"x"}


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/evil",
        "a\\..\\..\\evil",
        "C:/evil",
        "\\\\host\\evil",
    ],
)
def test_paths_that_lead_out_of_the_folder(tmp_path, suffix, name):
    archive = PACK[suffix](tmp_path / f"a.{suffix}", {"good": b"", name: b"x"})
    # Even one that nobody wants to have.
    for keep in (always, lambda name: name == "good"):
        with pytest.raises(DownloadError, match=r"points outside.*Delete it") as caught:
            unpack(archive, tmp_path / "out" / "in", keep)
        assert str(archive) in str(caught.value)
    assert names(tmp_path) == sorted([archive.name, "out", "in", "good"])


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE],
    ids=["symbolic link", "hard link", "device", "pipe"],
)
@pytest.mark.parametrize("target", ["/etc/passwd", "../out", "good"])
def test_links_and_devices_in_tar(tmp_path, kind, target):
    member = tarfile.TarInfo("a")
    member.type, member.linkname = kind, target
    archive = packed_tar(tmp_path / "a.tar", {"good": b""}, extra=[member])
    with pytest.raises(DownloadError, match="'a', which is a link or a device"):
        unpack(archive, tmp_path / "out", always)
    assert names(tmp_path) == ["a.tar", "good", "out"]


def test_link_in_zip(tmp_path):
    link = zipfile.ZipInfo("a")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = packed_zip(tmp_path / "a.zip", {"good": b""})
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(link, "/etc/passwd")
        file.mkdir("folder")
    with pytest.raises(DownloadError, match="'a', which is a link or a device"):
        unpack(archive, tmp_path / "out", always)


def test_folders_in_archives(tmp_path):
    folder = tarfile.TarInfo("empty")
    folder.type = tarfile.DIRTYPE
    archive = packed_tar(tmp_path / "a.tar", {"b/a": b"x"}, extra=[folder])
    unpack(archive, tmp_path / "out", always)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.mkdir("empty")
        file.writestr("b/a", b"x")
    unpack(tmp_path / "a.zip", tmp_path / "out", always)
    assert names(tmp_path / "out") == ["a", "b"]


@pytest.mark.parametrize("suffix", ["tar.gz", "zip"])
def test_absurd_size(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(_download, "_MIN_LIMIT", 10**5)
    files = {str(i): bytes(50_000) for i in range(10)}
    archive = PACK[suffix](tmp_path / f"a.{suffix}", files)
    with pytest.raises(DownloadError, match="implausibly large"):
        unpack(archive, tmp_path / "out", always)


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_damaged_archive(tmp_path, suffix, share):
    archive = PACK[suffix](tmp_path / f"a.{suffix}", {"a": BODY[:50_000]})
    body = archive.read_bytes()
    archive.write_bytes(body[: int(share * len(body))])
    with pytest.raises(DownloadError, match=r"cannot be unpacked: \S.*Delete it"):
        unpack(archive, tmp_path / "out", always)


def test_contents_that_fail_the_checksum(tmp_path):
    archive = packed_zip(tmp_path / "a.zip", {"a": BODY[:5000]})
    body = bytearray(archive.read_bytes())
    body[1000] ^= 255
    archive.write_bytes(body)
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out", always)


def test_sparse_giant(tmp_path):
    member = tarfile.TarInfo("a")
    member.size = 1 << 50
    (tmp_path / "a.tar").write_bytes(member.tobuf() + bytes(1024))
    with pytest.raises(DownloadError, match="implausibly large"):
        unpack(tmp_path / "a.tar", tmp_path / "out", always)


# The data sets


@pytest.fixture
def publish(server, monkeypatch):
    """Put the files of a data set on the server, in place of the real ones."""

    def put(key, **files):
        data_set = _fetch_table.DATA_SETS[key]
        remotes = []
        for remote, body in zip(data_set.files, files.values(), strict=True):
            server.files[f"/{remote.name}"] = body
            digest = remote.digest and sha256(body)
            remotes.append(RemoteFile(remote.name, "http://127.0.0.1:1/", digest))
        fake = replace(data_set, files=tuple(remotes))
        monkeypatch.setitem(_fetch_table.DATA_SETS, key, fake)

    monkeypatch.setenv("SKFCDD_MIRROR", f"{server.url}/")
    return put


def packed(data):
    """Compressed without the time, which would differ between processes."""
    return gzip.compress(data, mtime=0)


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return packed(head + array.tobytes())


CLOTHES = RNG.randint(256, size=(9, 28, 28), dtype=np.uint8)
LABELS = np.arange(9, dtype=np.uint8)


@pytest.fixture
def fashion(publish):
    publish(
        "fashion_mnist",
        train_images=idx(CLOTHES[:6]),
        train_labels=idx(LABELS[:6]),
        test_images=idx(CLOTHES[6:]),
        test_labels=idx(LABELS[6:]),
    )


def test_fashion_mnist(server, fashion, tmp_path, caplog):
    data = fetch_fashion_mnist(data_home=tmp_path)
    assert data.images.dtype == np.uint8 and data.target.dtype == np.int64
    np.testing.assert_array_equal(data.images, CLOTHES)
    np.testing.assert_array_equal(data.target, LABELS)
    assert data.split.tolist() == ["train"] * 6 + ["test"] * 3
    assert data.target_names[9] == "Ankle boot"
    assert "MIT" in data.license and data.license in data.DESCR
    [record] = caplog.records
    assert record.levelno == logging.WARNING and "MIT" in record.getMessage()
    assert len(server.requests) == 4
    X, y = fetch_fashion_mnist(split="test", data_home=tmp_path, return_X_y=True)
    np.testing.assert_array_equal(X, CLOTHES[6:])
    np.testing.assert_array_equal(y, LABELS[6:])
    assert len(server.requests) == 4 and len(caplog.records) == 1


def test_one_part_alone_is_fetched(server, fashion, tmp_path):
    assert len(fetch_fashion_mnist(split="train", data_home=tmp_path).images) == 6
    assert all(path.startswith("/train") for path, _ in server.requests)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (packed(b"no idx"), "not in the MNIST format"),
        (packed(b"\0\0\x08\x03\0\0"), "not in the MNIST format"),
        (packed(b"\0\0\x08\x01\0\0\0\x05abc"), "3 bytes, but expected 5 x 1"),
        (idx(CLOTHES)[:300], "is damaged"),
        (b"no gzip", "is damaged"),
    ],
)
def test_files_of_another_format(publish, tmp_path, body, message):
    good = idx(LABELS)
    publish("fashion_mnist", a=good, b=good, c=body, d=good)
    with pytest.raises(DownloadError, match=message):
        fetch_fashion_mnist(split="test", data_home=tmp_path)


COLOURS = RNG.randint(256, size=(12, 32, 32, 3), dtype=np.uint8)
CLASSES = np.arange(12, dtype=np.uint8) % 10
GROUPS = np.arange(12, dtype=np.uint8) % 3


def records(rows, *labels):
    planes = COLOURS[rows].transpose(0, 3, 1, 2).reshape(-1, 3072)
    heads = [label[rows, None] for label in labels]
    return np.concatenate([*heads, planes], axis=1).tobytes()


def cifar10(tmp_path):
    folder = "cifar-10-batches-bin"
    files = {
        f"{folder}/data_batch_{i + 1}.bin": records(slice(2 * i, 2 * i + 2), CLASSES)
        for i in (3, 0, 1, 2, 4)
    }
    files[f"{folder}/test_batch.bin"] = records(slice(10, 12), CLASSES)
    files[f"{folder}/batches.meta.txt"] = b"airplane\nautomobile\n\n"
    files[f"{folder}/readme.html"] = b"<html>"
    return packed_tar(tmp_path / "c.tar.gz", files, "w:gz").read_bytes()


@pytest.mark.parametrize("split", [None, "train", "test"])
def test_cifar10(server, publish, tmp_path, split):
    publish("cifar10", archive=cifar10(tmp_path))
    rows = {None: slice(0, 12), "train": slice(0, 10), "test": slice(10, 12)}[split]
    data = fetch_cifar10(split=split, data_home=tmp_path)
    np.testing.assert_array_equal(data.images, COLOURS[rows])
    np.testing.assert_array_equal(data.target, CLASSES[rows])
    assert data.split.tolist() == (["train"] * 10 + ["test"] * 2)[rows]
    assert data.target_names == ["airplane", "automobile"]
    X, y = fetch_cifar10(split=split, data_home=tmp_path, return_X_y=True)
    np.testing.assert_array_equal(X, data.images)
    np.testing.assert_array_equal(y, data.target)
    assert len(server.requests) == 1
    assert names(tmp_path / "cifar10") == ["cifar-10-binary.tar.gz"]


def test_cifar100(publish, tmp_path):
    files = {
        "cifar-100-binary/train.bin": records(slice(0, 9), GROUPS, CLASSES),
        "cifar-100-binary/test.bin": records(slice(9, 12), GROUPS, CLASSES),
        "cifar-100-binary/fine_label_names.txt": b"apple\naquarium_fish\n",
        "cifar-100-binary/coarse_label_names.txt": b"aquatic_mammals\n",
    }
    body = packed_tar(tmp_path / "c.tar.gz", files, "w:gz").read_bytes()
    publish("cifar100", archive=body)
    data = fetch_cifar100(data_home=tmp_path)
    np.testing.assert_array_equal(data.images, COLOURS)
    np.testing.assert_array_equal(data.target, CLASSES)
    np.testing.assert_array_equal(data.group, GROUPS)
    assert data.target_names == ["apple", "aquarium_fish"]
    assert data.group_names == ["aquatic_mammals"]
    test = fetch_cifar100(data_home=tmp_path, split="test")
    np.testing.assert_array_equal(test.group, GROUPS[9:])


@pytest.mark.parametrize(
    ("files", "message"),
    [({"a/data_batch_1.bin": b"x" * 100}, "100 bytes"), ({"b": b""}, "no images")],
)
def test_cifar_of_another_format(publish, tmp_path, files, message):
    body = packed_tar(tmp_path / "c.tar.gz", files, "w:gz").read_bytes()
    publish("cifar10", archive=body)
    with pytest.raises(DownloadError, match=message):
        fetch_cifar10(data_home=tmp_path)


def picture(shape=(12, 16, 3), value=None, form="PNG"):
    from PIL import Image

    pixels = RNG.randint(256, size=shape, dtype=np.uint8)
    if value is not None:
        pixels = np.full(shape, 0, np.uint8)
        pixels[:4, :4] = value
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def mvtec(tmp_path):
    files = {"license.txt": b"", "readme.txt": b""}
    for category in ("bottle", "screw"):
        for name in ("train/good/000", "train/good/001", "test/good/000"):
            files[f"{category}/{name}.png"] = picture()
        files[f"{category}/test/broken/000.png"] = picture()
        mask = picture((12, 16), 255)
        files[f"{category}/ground_truth/broken/000_mask.png"] = mask
    return packed_tar(tmp_path / "m.tar.xz", files, "w:xz").read_bytes()


def test_mvtec_ad(server, publish, tmp_path, caplog):
    pytest.importorskip("PIL")
    publish("mvtec_ad", archive=mvtec(tmp_path))
    data = fetch_mvtec_ad("bottle", resize=None, data_home=tmp_path)
    assert data.images.shape == (4, 12, 16, 3)
    assert sorted(data.kind) == ["broken", "good", "good", "good"]
    assert data.target.sum() == 1 and data.masks.sum() == 16
    assert data.folder == str(tmp_path / "mvtec_ad" / "bottle")
    assert "NC" in data.license and "Bergmann" in data.DESCR
    assert "non-commercial use" in caplog.text
    train = fetch_mvtec_ad("bottle", split="train", resize=8, data_home=tmp_path)
    assert train.images.shape == (2, 8, 8, 3) and train.target.tolist() == [0, 0]
    # Another category comes from the same archive.
    X, y = fetch_mvtec_ad("screw", split="test", data_home=tmp_path, return_X_y=True)
    assert X.shape == (2, 256, 256, 3) and sorted(y) == [0, 1]
    assert len(server.requests) == 1
    # Once unpacked, the archive may go.
    (tmp_path / "mvtec_ad" / "mvtec_anomaly_detection.tar.xz").unlink()
    fetch_mvtec_ad("screw", data_home=tmp_path, download_if_missing=False)
    assert sorted(p.name for p in (tmp_path / "mvtec_ad").iterdir()) == [
        "bottle",
        "screw",
    ]


def test_category_that_the_archive_lacks(publish, tmp_path):
    pytest.importorskip("PIL")
    publish("mvtec_ad", archive=mvtec(tmp_path))
    with pytest.raises(DownloadError, match=r"no images of 'wood'.*Delete it"):
        fetch_mvtec_ad("wood", data_home=tmp_path)
    assert names(tmp_path / "mvtec_ad") == ["mvtec_anomaly_detection.tar.xz"]


def test_category_that_another_process_has_unpacked(publish, tmp_path, monkeypatch):
    pytest.importorskip("PIL")
    publish("mvtec_ad", archive=mvtec(tmp_path))
    fetch_mvtec_ad("bottle", data_home=tmp_path)
    real, first = Path.is_dir, []

    def is_dir(path):
        if path.name == "bottle" and path.parent.name == "mvtec_ad" and not first:
            first.append(path)
            return False
        return real(path)

    monkeypatch.setattr(Path, "is_dir", is_dir)
    assert len(fetch_mvtec_ad("bottle", data_home=tmp_path).target) == 4
    assert first


def test_folder_that_cannot_be_moved(publish, tmp_path, monkeypatch):
    pytest.importorskip("PIL")
    publish("mvtec_ad", archive=mvtec(tmp_path))
    fetch_mvtec_ad("bottle", data_home=tmp_path)
    shutil.rmtree(tmp_path / "mvtec_ad" / "bottle")

    def denied(*args):
        raise PermissionError("denied")

    monkeypatch.setattr(os, "replace", denied)
    with pytest.raises(PermissionError, match="denied"):
        fetch_mvtec_ad("bottle", data_home=tmp_path)
    assert names(tmp_path / "mvtec_ad") == ["mvtec_anomaly_detection.tar.xz"]


def visa(tmp_path, rows=None, table="split_csv/1cls.csv"):
    files, listed = {"LICENSE-DATASET": b""}, []
    for category in ("candle", "pcb1"):
        data = f"{category}/Data"
        for i, part in enumerate(("train", "train", "test")):
            name = f"{data}/Images/Normal/{i:04}.JPG"
            files[name] = picture(form="JPEG")
            listed.append(f"{category},{part},normal,{name},")
        image, mask = f"{data}/Images/Anomaly/000.JPG", f"{data}/Masks/Anomaly/000.png"
        files[image], files[mask] = picture(form="JPEG"), picture((12, 16), 3)
        listed.append(f"{category},test,anomaly,{image},{mask}")
    lines = ["object,split,label,image,mask", *(listed if rows is None else rows)]
    files[table] = "\r\n".join(lines).encode()
    return packed_tar(tmp_path / "v.tar", files).read_bytes()


def test_visa(server, publish, tmp_path):
    pytest.importorskip("PIL")
    publish("visa", archive=visa(tmp_path))
    data = fetch_visa("pcb1", resize=None, data_home=tmp_path)
    assert data.images.shape == (4, 12, 16, 3)
    assert sorted(data.kind) == ["bad", "good", "good", "good"]
    assert data.split.tolist().count("train") == 2
    # The numbers in its masks are those of kinds of defect.
    assert data.masks[data.target == 1].sum() == 16 == data.masks.sum()
    assert fetch_visa("pcb1", split="test", data_home=tmp_path).target.sum() == 1
    assert fetch_visa("candle", data_home=tmp_path).target.sum() == 1
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"rows": ["pcb1,test,normal,../../secret.JPG,"]},
            "secret.JPG.?, which does not exist",
        ),
        (
            {"rows": ["pcb1,test,normal,/etc/hostname,"]},
            "hostname.?, which does not exist",
        ),
        ({"rows": ["pcb1,test,normal,pcb1/no.JPG,"]}, "no.JPG.?, which does not exist"),
        ({"rows": []}, "no images of 'pcb1'"),
        ({"table": "other.csv"}, "no images of 'pcb1'"),
    ],
)
def test_visa_with_another_table(publish, tmp_path, arguments, message):
    pytest.importorskip("PIL")
    publish("visa", archive=visa(tmp_path, **arguments))
    (tmp_path / "visa").mkdir()
    (tmp_path / "visa" / "secret.JPG").write_bytes(b"mine")
    with pytest.raises(DownloadError, match=message):
        fetch_visa("pcb1", data_home=tmp_path)
    assert names(tmp_path / "visa") == ["VisA_20220922.tar", "secret.JPG"]


def tiles(tmp_path):
    root = "Magnetic-tile-defect-datasets.-0123456"
    files = {f"{root}/README.md": b"", f"{root}/dataset.jpg": b""}
    # The tiles 1000 and 3000 have no defect, 2000 has one in one of its photographs.
    for name in ("exp1_num_1000", "exp2_num_1100", "exp1_num_2000", "exp1_num_3000"):
        files[f"{root}/MT_Free/Imgs/{name}.jpg"] = picture((20, 30), form="JPEG")
        files[f"{root}/MT_Free/Imgs/{name}.png"] = picture((20, 30), 0)
    kinds = ("Blowhole", "Break", "Crack", "Fray", "Uneven")
    for i, kind in enumerate(kinds):
        stem = f"{root}/MT_{kind}/Imgs/exp{i}_num_{2150 + 1000 * i}"
        files[f"{stem}.jpg"] = picture((24 + i, 18), form="JPEG")
        files[f"{stem}.png"] = picture((24 + i, 18), 255 if i else 100)
    return packed_zip(tmp_path / "t.zip", files).read_bytes()


def test_magnetic_tiles(server, publish, tmp_path):
    pytest.importorskip("PIL")
    publish("magnetic_tiles", archive=tiles(tmp_path))
    data = fetch_magnetic_tiles(resize=32, data_home=tmp_path)
    assert data.images.shape == (9, 32, 32)
    kinds = {"good", "blowhole", "break", "crack", "fray", "uneven"}
    assert set(data.kind) == kinds
    found = {
        Path(name).stem: part
        for name, part in zip(data.filenames, data.split, strict=True)
    }
    assert found["exp1_num_1000"] == found["exp2_num_1100"] == "train"
    assert found["exp1_num_2000"] == found["exp0_num_2150"] == "test"
    # What is dark in a mask is the blur of its edge.
    has_mask = data.masks.any(axis=(1, 2))
    assert set(data.kind[has_mask]) == {"break", "crack", "fray", "uneven"}
    train = fetch_magnetic_tiles(split="train", data_home=tmp_path)
    assert train.target.sum() == 0 and train.images.shape[1:] == (128, 128)
    assert len(server.requests) == 1


def test_parts_of_the_real_magnetic_tiles(shared_data):
    path = shared_data / "magnetic_tile.npz"
    if not path.is_file():
        pytest.skip("the magnetic tiles are not here")
    with np.load(path, allow_pickle=False) as data:
        name, kind, expected = data["name"], data["kind"], data["split_tile"]
    paths = [Path(f"{stem}.jpg") for stem in name]
    assert _parts(paths, kind.tolist()) == expected.tolist()


ALL = {
    "fashion_mnist": fetch_fashion_mnist,
    "cifar10": fetch_cifar10,
    "cifar100": fetch_cifar100,
    "mvtec_ad": functools.partial(fetch_mvtec_ad, "bottle"),
    "visa": functools.partial(fetch_visa, "candle"),
    "magnetic_tiles": fetch_magnetic_tiles,
}


@pytest.mark.parametrize("key", ALL)
def test_nothing_is_fetched_unasked(tmp_path, monkeypatch, caplog, key):
    monkeypatch.setenv("SKFCDD_DATA", str(tmp_path))
    remote = _fetch_table.DATA_SETS[key].files[0]
    with pytest.raises(DownloadError, match="download_if_missing=False") as caught:
        ALL[key](download_if_missing=False)
    for told in (remote.name, remote.url, str(tmp_path / key)):
        assert told in str(caught.value)
    assert not caplog.records and names(tmp_path) == []


@pytest.mark.parametrize("key", ALL)
def test_unknown_part(tmp_path, key):
    with pytest.raises(ValueError, match=r"split='tset'.*Did you mean 'test'"):
        ALL[key](split="tset", data_home=tmp_path)


@pytest.mark.parametrize("fetcher", [fetch_mvtec_ad, fetch_visa])
def test_unknown_category(tmp_path, fetcher):
    with pytest.raises(ValueError, match=r"category='capsuls'.*Did you mean 'capsule"):
        fetcher("capsuls", data_home=tmp_path)
    with pytest.raises(ValueError, match="category=None, but expected"):
        fetcher(None, data_home=tmp_path)


def test_default_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("SKFCDD_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    home = _fetch_table.home_of("visa", None)
    assert home == tmp_path / "skfcdd_data" / "visa"
    assert _fetch_table.home_of("visa", "~/a") == tmp_path / "a" / "visa"


def test_mirror_that_is_no_address(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFCDD_MIRROR", "example.org")
    with pytest.raises(ValueError, match=r"SKFCDD_MIRROR='example\.org'"):
        fetch_cifar10(data_home=tmp_path)


def test_table():
    for data_set in _fetch_table.DATA_SETS.values():
        for remote in data_set.files:
            assert remote.url.startswith("https://")
            assert remote.digest is None or re.fullmatch(
                r"sha256:[0-9a-f]{64}", remote.digest
            )
        for told in (data_set.license, data_set.source, data_set.reference):
            assert told and told in data_set.description


def test_archives_of_xz_need_lzma():
    assert _download.LZMAError is lzma.LZMAError
