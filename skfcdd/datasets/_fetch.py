"""Loaders of Fashion-MNIST and CIFAR as arrays."""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import Bunch

from skfcdd.datasets._download import read_files
from skfcdd.datasets._fetch_table import (
    DATA_SETS,
    check_choice,
    fetch_files,
    home_of,
)
from skfcdd.exceptions import DownloadError

__all__ = ["fetch_cifar10", "fetch_cifar100", "fetch_fashion_mnist"]

Bytes = npt.NDArray[np.uint8]
Home = str | os.PathLike[str] | None

_SPLITS = ("train", "test")
_CLOTHES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]


def fetch_fashion_mnist(
    *,
    split: str | None = None,
    data_home: Home = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Any:
    """Load Fashion-MNIST: grey images of 10 classes of clothing.

    Parameters
    ----------
    split : {"train", "test"} or None, default=None
        Images to load: the 60,000 training images, the 10,000 test images, or all
        of them (None).
    data_home : path, default=None
        Download folder. None uses the environment variable ``SKFCDD_DATA`` if set,
        otherwise ``~/skfcdd_data``.
    download_if_missing : bool, default=True
        Whether to download the data (30 MB) if missing. If False, missing data
        raise an error.
    return_X_y : bool, default=False
        If True, return only (images, target).

    Returns
    -------
    sklearn.utils.Bunch
        Dictionary-like object with the attributes

        - images: (n, 28, 28), uint8.
        - target: (n,), int64, 0 to 9.
        - split: (n,), "train" or "test".
        - target_names, DESCR, license.

        If `return_X_y` is True, a tuple (images, target) instead.

    Raises
    ------
    DownloadError
        If the files are missing and cannot be downloaded, or are damaged. The message
        states where to put them manually.

    Notes
    -----
    If the environment variable ``SKFCDD_MIRROR`` is set to a URL, files of the same
    names are downloaded from there. Their hashes are still checked.

    Examples
    --------
    >>> from skfcdd.datasets import fetch_fashion_mnist
    >>> data = fetch_fashion_mnist(split="test")  # doctest: +SKIP
    >>> data.images.shape, data.target_names[5]  # doctest: +SKIP
    ((10000, 28, 28), 'Sandal')
    """
    check_choice("split", split, [*_SPLITS, None])
    parts = {
        part: [f"{prefix}-{what}-ubyte.gz" for what in ("images-idx3", "labels-idx1")]
        for part, prefix in zip(_SPLITS, ("train", "t10k"), strict=True)
        if split in (None, part)
    }
    names = [name for pair in parts.values() for name in pair]
    folder = home_of("fashion_mnist", data_home)
    fetch_files("fashion_mnist", folder, download_if_missing, names)
    arrays = [
        (part, _read_idx(folder / images), _read_idx(folder / labels))
        for part, (images, labels) in parts.items()
    ]
    return _bunch("fashion_mnist", arrays, return_X_y, target_names=list(_CLOTHES))


def fetch_cifar10(
    *,
    split: str | None = None,
    data_home: Home = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Any:
    """Load CIFAR-10: colour images of 10 classes of animals and vehicles.

    Parameters
    ----------
    split : {"train", "test"} or None, default=None
        Images to load: the 50,000 training images, the 10,000 test images, or all
        of them (None).
    data_home : path, default=None
        Download folder. None uses the environment variable ``SKFCDD_DATA`` if set,
        otherwise ``~/skfcdd_data``.
    download_if_missing : bool, default=True
        Whether to download the data (170 MB) if missing. If False, missing data
        raise an error.
    return_X_y : bool, default=False
        If True, return only (images, target).

    Returns
    -------
    sklearn.utils.Bunch
        Dictionary-like object with the attributes

        - images: (n, 32, 32, 3), uint8.
        - target: (n,), int64, 0 to 9.
        - split: (n,), "train" or "test".
        - target_names, DESCR, license.

        If `return_X_y` is True, a tuple (images, target) instead.

    Raises
    ------
    DownloadError
        If the file is missing and cannot be downloaded, or is damaged. The message
        states where to put it manually.

    Notes
    -----
    If the environment variable ``SKFCDD_MIRROR`` is set to a URL, files of the same
    names are downloaded from there. Their hashes are still checked.

    Examples
    --------
    One class is normal, all others are anomalous:

    >>> from skfcdd.datasets import fetch_cifar10
    >>> X, y = fetch_cifar10(split="train", return_X_y=True)  # doctest: +SKIP
    >>> X[y == 8].shape  # doctest: +SKIP
    (5000, 32, 32, 3)
    """
    packed = _fetch_cifar("cifar10", split, data_home, download_if_missing)
    names = _lines(packed, "batches.meta.txt")
    arrays = [
        (part, images, labels[:, 0])
        for part, images, labels in _cifar_parts(packed, 1, split)
    ]
    return _bunch("cifar10", arrays, return_X_y, target_names=names)


def fetch_cifar100(
    *,
    split: str | None = None,
    data_home: Home = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Any:
    """Load CIFAR-100: colour images of 100 classes in 20 superclasses.

    Parameters
    ----------
    split : {"train", "test"} or None, default=None
        Images to load: the 50,000 training images, the 10,000 test images, or all
        of them (None).
    data_home : path, default=None
        Download folder. None uses the environment variable ``SKFCDD_DATA`` if set,
        otherwise ``~/skfcdd_data``.
    download_if_missing : bool, default=True
        Whether to download the data (169 MB) if missing. If False, missing data
        raise an error.
    return_X_y : bool, default=False
        If True, return only (images, target).

    Returns
    -------
    sklearn.utils.Bunch
        Dictionary-like object with the attributes

        - images: (n, 32, 32, 3), uint8.
        - target: (n,), int64, 0 to 99.
        - group: (n,), int64, 0 to 19, the superclass of each class.
        - split: (n,), "train" or "test".
        - target_names, group_names, DESCR, license.

        If `return_X_y` is True, a tuple (images, target) instead.

    Raises
    ------
    DownloadError
        If the file is missing and cannot be downloaded, or is damaged. The message
        states where to put it manually.

    Notes
    -----
    If the environment variable ``SKFCDD_MIRROR`` is set to a URL, files of the same
    names are downloaded from there. Their hashes are still checked.

    Examples
    --------
    For outlier exposure with CIFAR-10, which has no class in common:

    >>> from skfcdd.datasets import fetch_cifar100
    >>> others = fetch_cifar100(split="train").images  # doctest: +SKIP
    >>> others.shape  # doctest: +SKIP
    (50000, 32, 32, 3)
    """
    packed = _fetch_cifar("cifar100", split, data_home, download_if_missing)
    parts = list(_cifar_parts(packed, 2, split))
    return _bunch(
        "cifar100",
        [(part, images, labels[:, 1]) for part, images, labels in parts],
        return_X_y,
        group=np.concatenate([labels[:, 0] for *_, labels in parts]).astype(np.int64),
        target_names=_lines(packed, "fine_label_names.txt"),
        group_names=_lines(packed, "coarse_label_names.txt"),
    )


def _fetch_cifar(
    key: str, split: str | None, data_home: Home, download_if_missing: bool
) -> dict[str, bytes]:
    """Return the contents of the files of a CIFAR archive, by name without folder."""
    check_choice("split", split, [*_SPLITS, None])
    [archive] = fetch_files(key, home_of(key, data_home), download_if_missing)
    other = {"train": "test", "test": "train"}.get(split or "")

    def is_wanted(name: str) -> bool:
        path = PurePosixPath(name)
        return path.suffix == ".txt" or (
            path.suffix == ".bin" and _part_of(path.name) != other
        )

    found = read_files(archive, is_wanted)
    return {PurePosixPath(name).name: body for name, body in found.items()}


def _part_of(name: str) -> str:
    """Return the split that a batch file belongs to."""
    return "test" if name.startswith("test") else "train"


def _cifar_parts(
    packed: dict[str, bytes], n_labels: int, split: str | None
) -> list[tuple[str, Bytes, Bytes]]:
    """Return split, images (n, 32, 32, 3) and labels of each batch file."""
    parts = []
    for part in _SPLITS if split is None else (split,):
        for name in sorted(packed):
            if not name.endswith(".bin") or _part_of(name) != part:
                continue
            records = _as_array(name, packed[name], (-1, n_labels + 3072))
            # Each record stores all red values, then all green and all blue ones.
            planes = records[:, n_labels:].reshape(-1, 3, 32, 32)
            images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
            parts.append((part, images, records[:, :n_labels]))
    return parts


def _read_idx(path: Path) -> Bytes:
    """Read an array from a file in the IDX format of MNIST."""
    try:
        with gzip.open(path) as file:
            body = file.read()
    except (EOFError, gzip.BadGzipFile) as error:
        raise DownloadError(f"The file {path} is damaged: {error}.") from error
    # Two zeros, the data type (8 is uint8), the number of axes, and their lengths.
    if body[:3] != b"\0\0\x08" or len(body) < 4 + 4 * body[3]:
        raise DownloadError(f"The file {path} is not in the MNIST format.")
    shape = np.frombuffer(body, dtype=">u4", count=body[3], offset=4)
    return _as_array(
        path.name, body[4 + 4 * len(shape) :], tuple(int(side) for side in shape)
    )


def _as_array(name: str, body: bytes, shape: tuple[int, ...]) -> Bytes:
    """Reshape the bytes of a file, after checking their number."""
    row = math.prod(shape[1:])
    n_rows = shape[0] if shape[0] >= 0 else len(body) // row
    if len(body) != n_rows * row:
        raise DownloadError(
            f"The file {name} is damaged: it contains {len(body)} bytes, but expected "
            f"{n_rows} x {row}."
        )
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def _lines(packed: dict[str, bytes], name: str) -> list[str]:
    """Read names from a text file, one per line."""
    lines = packed.get(name, b"").decode().splitlines()
    return [line.strip() for line in lines if line.strip()]


def _bunch(
    key: str,
    arrays: Sequence[tuple[str, Bytes, Bytes]],
    return_X_y: bool,
    **others: Any,
) -> Any:
    """Create the return value of a loader."""
    if not arrays:
        raise DownloadError(f"There are no images in the files of {key}.")
    images = np.concatenate([images for _, images, _ in arrays])
    target = np.concatenate([labels for *_, labels in arrays]).astype(np.int64)
    if return_X_y:
        return images, target
    lengths = [len(labels) for *_, labels in arrays]
    return Bunch(
        images=images,
        target=target,
        split=np.repeat([part for part, *_ in arrays], lengths),
        DESCR=DATA_SETS[key].description,
        license=DATA_SETS[key].license,
        **others,
    )
