"""Loaders of photographs of surfaces and objects, stored in the MVTec-AD layout."""

from __future__ import annotations

import csv
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skfcdd._utils.optional import pillow
from skfcdd.datasets._download import unpack
from skfcdd.datasets._fetch_table import (
    DATA_SETS,
    check_choice,
    fetch_files,
    home_of,
)
from skfcdd.exceptions import DownloadError

__all__ = ["fetch_magnetic_tiles", "fetch_mvtec_ad", "fetch_visa"]

Home = str | os.PathLike[str] | None
Size = int | tuple[int, int] | None

_MVTEC = (
    "bottle",
    "cable",
    "capsule",
    "carpet",
    "grid",
    "hazelnut",
    "leather",
    "metal_nut",
    "pill",
    "screw",
    "tile",
    "toothbrush",
    "transistor",
    "wood",
    "zipper",
)
_VISA = (
    "candle",
    "capsules",
    "cashew",
    "chewinggum",
    "fryum",
    "macaroni1",
    "macaroni2",
    "pcb1",
    "pcb2",
    "pcb3",
    "pcb4",
    "pipe_fryum",
)
# Photographs whose numbers are closer than this show the same magnetic tile.
_GAP = 160
# Numbers of the tiles without defects that are used for testing, drawn at random.
_TEST_TILES = {17, 46, 52, 62, 67, 71, 89, 99, 101, 123, 124, 126, 127}
_TEST_TILES |= {130, 131, 141, 147, 155, 173, 177, 181, 187, 200, 204, 208}


def fetch_mvtec_ad(
    category: str,
    *,
    split: str | None = None,
    resize: Size = 256,
    data_home: Home = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Any:
    """Load one category of MVTec-AD: photographs of an object, good and defective.

    The archive (5.3 GB) contains all categories and is downloaded once; you may delete
    it after the required categories have been unpacked.

    Parameters
    ----------
    category : str
        "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather",
        "metal_nut", "pill", "screw", "tile", "toothbrush", "transistor", "wood" or
        "zipper".
    split : {"train", "test"} or None, default=None
        Images to load: the good training images, the test images, or all of them
        (None).
    resize : int, tuple of int (h, w) or None, default=256
        Size in pixels; None keeps the original size.
    data_home : path, default=None
        Download folder. None uses the environment variable ``SKFCDD_DATA`` if set,
        otherwise ``~/skfcdd_data``.
    download_if_missing : bool, default=True
        Whether to download missing data. If False, missing data raise an error.
    return_X_y : bool, default=False
        If True, return only (images, target).

    Returns
    -------
    sklearn.utils.Bunch
        The attributes of :func:`load_images` (images, target, kind, split, masks,
        filenames), and folder, DESCR and license. Images are read on access. If
        `return_X_y` is True, a tuple (images, target) instead.

    Raises
    ------
    ValueError
        If the category does not exist.
    DownloadError
        If the archive is missing and cannot be downloaded, or is damaged. The message
        states where to put it manually.

    Notes
    -----
    The licence, CC BY-NC-SA 4.0, does not permit commercial use. If the environment
    variable ``SKFCDD_MIRROR`` is set to a URL, files of the same names are downloaded
    from there. Their hashes are still checked.

    Examples
    --------
    >>> from skfcdd.datasets import fetch_mvtec_ad
    >>> good = fetch_mvtec_ad("bottle", split="train")  # doctest: +SKIP
    >>> good.images.shape  # doctest: +SKIP
    (209, 256, 256, 3)
    """
    check_choice("category", category, _MVTEC)
    folder = home_of("mvtec_ad", data_home) / category
    if not _is_here(folder, split):
        [archive] = fetch_files("mvtec_ad", folder.parent, download_if_missing)
        _install(
            archive,
            folder,
            lambda name: name.split("/")[0] == category,
            lambda unpacked: unpacked / category,
        )
    return _load("mvtec_ad", folder, split, resize, return_X_y)


def fetch_visa(
    category: str,
    *,
    split: str | None = None,
    resize: Size = 256,
    data_home: Home = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Any:
    """Load one category of VisA: photographs of an object, good and defective.

    The archive (1.9 GB) contains all categories and is downloaded once; you may delete
    it after the required categories have been unpacked.

    Parameters
    ----------
    category : str
        "candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1",
        "macaroni2", "pcb1", "pcb2", "pcb3", "pcb4" or "pipe_fryum".
    split : {"train", "test"} or None, default=None
        Images to load: the good training images, the test images, or all of them
        (None). The split is the one-class split of the authors.
    resize : int, tuple of int (h, w) or None, default=256
        Size in pixels; None keeps the original size, which must be the same for all
        files.
    data_home : path, default=None
        Download folder. None uses the environment variable ``SKFCDD_DATA`` if set,
        otherwise ``~/skfcdd_data``.
    download_if_missing : bool, default=True
        Whether to download missing data. If False, missing data raise an error.
    return_X_y : bool, default=False
        If True, return only (images, target).

    Returns
    -------
    sklearn.utils.Bunch
        The attributes of :func:`load_images` (images, target, kind, split, masks,
        filenames), and folder, DESCR and license. Images are read on access. The kind
        is "good" or "bad". If `return_X_y` is True, a tuple (images, target) instead.

    Raises
    ------
    ValueError
        If the category does not exist.
    DownloadError
        If the archive is missing and cannot be downloaded, or is damaged. The message
        states where to put it manually.

    Notes
    -----
    If the environment variable ``SKFCDD_MIRROR`` is set to a URL, files of the same
    names are downloaded from there. Their hashes are still checked.

    Examples
    --------
    >>> from skfcdd.datasets import fetch_visa
    >>> data = fetch_visa("pcb1", split="test")  # doctest: +SKIP
    >>> data.images.shape, int(data.target.sum())  # doctest: +SKIP
    ((200, 256, 256, 3), 100)
    """
    check_choice("category", category, _VISA)
    folder = home_of("visa", data_home) / category
    if not _is_here(folder, split):
        [archive] = fetch_files("visa", folder.parent, download_if_missing)
        _install(
            archive,
            folder,
            lambda name: name.split("/")[0] in (category, "split_csv"),
            lambda unpacked: _arrange_visa(unpacked, category),
        )
    return _load("visa", folder, split, resize, return_X_y)


def fetch_magnetic_tiles(
    *,
    split: str | None = None,
    resize: Size = 128,
    data_home: Home = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Any:
    """Load photographs of magnetic tiles, good or with one of five kinds of defects.

    Parameters
    ----------
    split : {"train", "test"} or None, default=None
        Images to load: the 714 good training images, the test images (238 good, 392
        defective), or all of them (None). No tile appears in both sets.
    resize : int, tuple of int (h, w) or None, default=128
        Size in pixels. The files have different sizes, so None raises an error.
    data_home : path, default=None
        Download folder. None uses the environment variable ``SKFCDD_DATA`` if set,
        otherwise ``~/skfcdd_data``.
    download_if_missing : bool, default=True
        Whether to download the data (51 MB) if missing. If False, missing data raise an
        error.
    return_X_y : bool, default=False
        If True, return only (images, target).

    Returns
    -------
    sklearn.utils.Bunch
        The attributes of :func:`load_images` (images, target, kind, split, masks,
        filenames), and folder, DESCR and license. Images are read on access. The kind
        is "good", "blowhole", "break", "crack", "fray" or "uneven". If `return_X_y` is
        True, a tuple (images, target) instead.

    Raises
    ------
    DownloadError
        If the archive is missing and cannot be downloaded, or is damaged. The message
        states where to put it manually.

    Notes
    -----
    If the environment variable ``SKFCDD_MIRROR`` is set to a URL, files of the same
    names are downloaded from there.

    Examples
    --------
    >>> from skfcdd.datasets import fetch_magnetic_tiles
    >>> data = fetch_magnetic_tiles(split="train")  # doctest: +SKIP
    >>> data.images.shape, int(data.target.sum())  # doctest: +SKIP
    ((714, 128, 128), 0)
    """
    folder = home_of("magnetic_tiles", data_home) / "magnetic_tiles"
    if not _is_here(folder, split):
        [archive] = fetch_files("magnetic_tiles", folder.parent, download_if_missing)
        _install(archive, folder, lambda name: "/MT_" in name, _arrange_tiles)
    return _load("magnetic_tiles", folder, split, resize, return_X_y)


def _is_here(folder: Path, split: str | None) -> bool:
    """Whether a data set has been unpacked, after checking that it can be read."""
    check_choice("split", split, ["train", "test", None])
    # Without Pillow, the download would be useless.
    pillow("Image")
    return folder.is_dir()


def _install(
    archive: Path,
    folder: Path,
    keep: Callable[[str], bool],
    arrange: Callable[[Path], Path],
) -> None:
    """Unpack an archive, arrange its files, and move the result into place."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacked-") as name:
        unpack(archive, Path(name), keep)
        ready = arrange(Path(name))
        if not (ready / "train").is_dir():
            raise DownloadError(
                f"The archive {archive} contains no images of {folder.name!r}. Delete "
                "it to download it again, or replace it with a good copy."
            )
        try:
            os.replace(ready, folder)
        except OSError:
            # Another process may have unpacked the same data first.
            if not folder.is_dir():
                raise


def _arrange_visa(unpacked: Path, category: str) -> Path:
    """Move the files of VisA to the folders given in the authors' table."""
    ready = unpacked / "ready"
    table = unpacked / "split_csv" / "1cls.csv"
    if not table.is_file():
        return ready
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.DictReader(file) if row["object"] == category]
    for row in rows:
        kind = "good" if row["label"] == "normal" else "bad"
        image = PurePosixPath(row["image"])
        part = "train" if row["split"] == "train" else "test"
        _move(unpacked, image, ready / part / kind / image.name)
        if kind == "bad":
            mask = ready / "ground_truth" / kind / f"{image.stem}_mask.png"
            _move(unpacked, PurePosixPath(row["mask"]), mask)
    return ready


def _move(unpacked: Path, name: PurePosixPath, target: Path) -> None:
    """Move a file listed in a table."""
    source = unpacked / name
    # A manipulated table could list any file of the computer.
    if ".." in name.parts or name.is_absolute() or not source.is_file():
        raise DownloadError(f"The table lists {name}, which does not exist.")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)


def _arrange_tiles(unpacked: Path) -> Path:
    """Sort the photographs of magnetic tiles by split and kind."""
    image = pillow("Image")
    ready = unpacked / "ready"
    paths = sorted(unpacked.glob("*/MT_*/Imgs/*.jpg"))
    kinds = [path.parent.parent.name.removeprefix("MT_").lower() for path in paths]
    for path, kind, part in zip(paths, kinds, _parts(paths, kinds), strict=True):
        kind = "good" if kind == "free" else kind
        target = ready / part / kind / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
        if kind != "good":
            mask = ready / "ground_truth" / kind / f"{path.stem}_mask.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            # Compression blurs masks: all pixels that are not dark belong to the
            # defect.
            with image.open(path.with_suffix(".png")) as drawn:
                grey = drawn.convert("L")
            grey.point(lambda value: 255 * (value > 127)).save(mask)
    return ready


def _parts(paths: list[Path], kinds: list[str]) -> list[str]:
    """Assign photographs to splits; all photographs of a tile are in the same split."""
    numbers = np.array(
        [int(re.sub(r".*num_(\d+).*", r"\1", path.stem)) for path in paths]
    )
    order = np.argsort(numbers)
    tiles = np.zeros(len(paths), dtype=np.int64)
    tiles[order[1:]] = np.cumsum(np.diff(numbers[order]) > _GAP)
    flawed = {int(t) for t, kind in zip(tiles, kinds, strict=True) if kind != "free"}
    return ["test" if t in flawed | _TEST_TILES else "train" for t in tiles.tolist()]


def _load(
    key: str, folder: Path, split: str | None, resize: Size, return_X_y: bool
) -> Any:
    """Create the return value of a loader from an existing folder."""
    from skfcdd.datasets._folders import find_images, read_found

    found = find_images(folder).only(split)
    data: Bunch = read_found(found, folder, split=split, resize=resize, keep_empty=True)
    if return_X_y:
        return data.images, data.target
    data.update(
        folder=str(folder),
        DESCR=DATA_SETS[key].description,
        license=DATA_SETS[key].license,
    )
    return data
