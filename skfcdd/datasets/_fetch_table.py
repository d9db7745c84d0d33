"""URLs, hashes and licences of the public data sets, and their storage."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from skfcdd.datasets._download import RemoteFile, fetch_file

__all__ = ["DATA_SETS", "DataSet", "check_choice", "fetch_files", "home_of"]

logger = logging.getLogger("skfcdd.datasets")


@dataclass(frozen=True)
class DataSet:
    """A data set, its files and its terms of use."""

    title: str
    files: tuple[RemoteFile, ...]
    source: str
    license: str
    reference: str
    contents: str

    @property
    def description(self) -> str:
        """Title and contents, followed by source, licence and reference."""
        return (
            f"{self.title}\n\n{self.contents}\n\nSource: {self.source}\n"
            f"Licence: {self.license}\nReference: {self.reference}\n"
        )


_FASHION = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
# A commit identifies the contents permanently, whereas a branch could change.
_TILES_COMMIT = "cc4eb530b57b9cb7225bf76023873043ffd50655"

DATA_SETS: dict[str, DataSet] = {
    "fashion_mnist": DataSet(
        title="Fashion-MNIST",
        files=tuple(
            RemoteFile(name, f"{_FASHION}/{name}", f"sha256:{digest}")
            for name, digest in (
                (
                    "train-images-idx3-ubyte.gz",
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                ),
                (
                    "train-labels-idx1-ubyte.gz",
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                ),
                (
                    "t10k-images-idx3-ubyte.gz",
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                ),
                (
                    "t10k-labels-idx1-ubyte.gz",
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
            )
        ),
        source="https://github.com/zalandoresearch/fashion-mnist",
        license="MIT, Zalando SE",
        reference=(
            "H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a novel image dataset for "
            "benchmarking machine learning algorithms. arXiv:1708.07747, 2017."
        ),
        contents=(
            "Grey images of 10 kinds of clothing, 28 x 28 pixels: 60,000 for training "
            "and 10,000 for testing."
        ),
    ),
    "cifar10": DataSet(
        title="CIFAR-10",
        files=(
            RemoteFile(
                "cifar-10-binary.tar.gz",
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        license="not stated; the authors ask users to cite the reference",
        reference=(
            "A. Krizhevsky: Learning multiple layers of features from tiny images. "
            "Technical report, University of Toronto, 2009."
        ),
        contents=(
            "Colour images of 10 kinds of animals and vehicles, 32 x 32 pixels: "
            "50,000 for training and 10,000 for testing."
        ),
    ),
    "cifar100": DataSet(
        title="CIFAR-100",
        files=(
            RemoteFile(
                "cifar-100-binary.tar.gz",
                "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                "sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            ),
        ),
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        license="not stated; the authors ask users to cite the reference",
        reference=(
            "A. Krizhevsky: Learning multiple layers of features from tiny images. "
            "Technical report, University of Toronto, 2009."
        ),
        contents=(
            "Colour images of 100 kinds of things in 20 groups, 32 x 32 pixels: "
            "50,000 for training and 10,000 for testing."
        ),
    ),
    "mvtec_ad": DataSet(
        title="MVTec AD",
        files=(
            RemoteFile(
                "mvtec_anomaly_detection.tar.xz",
                "https://www.mydrive.ch/shares/150996/b52ecdcbf521176e9db9c731f2304b27/"
                "download/420938113-1629960298/mvtec_anomaly_detection.tar.xz",
                "sha256:cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
            ),
        ),
        source="https://www.mvtec.com/company/research/datasets/mvtec-ad",
        license="CC BY-NC-SA 4.0, non-commercial use only; MVTec Software GmbH",
        reference=(
            "P. Bergmann, K. Batzner, M. Fauser, D. Sattlegger, C. Steger: The MVTec "
            "anomaly detection dataset. International Journal of Computer Vision 129, "
            "2021."
        ),
        contents=(
            "Photographs of 15 objects and textures, 700 to 1024 pixels wide: 3,629 "
            "good ones for training, 467 good ones and 1,258 with defects for "
            "testing, with masks."
        ),
    ),
    "visa": DataSet(
        title="VisA",
        files=(
            RemoteFile(
                "VisA_20220922.tar",
                "https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/"
                "VisA_20220922.tar",
                "sha256:2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",
            ),
        ),
        source="https://github.com/amazon-science/spot-diff",
        license="CC BY 4.0, Amazon.com",
        reference=(
            "Y. Zou, J. Jeong, L. Pemula, D. Zhang, O. Dabeer: SPot-the-Difference "
            "self-supervised pre-training for anomaly detection and segmentation. ECCV "
            "2022."
        ),
        contents=(
            "Photographs of 12 objects, 9,621 good ones and 1,200 with defects, with "
            "masks; the training and test parts are the authors' one-class split."
        ),
    ),
    "magnetic_tiles": DataSet(
        title="Magnetic tile defects",
        files=(
            # GitHub creates this archive on demand and does not guarantee identical
            # bytes, so there is no hash: the commit in the URL identifies the contents,
            # and each file in the archive has a checksum.
            RemoteFile(
                f"magnetic-tiles-{_TILES_COMMIT[:7]}.zip",
                "https://github.com/abin24/Magnetic-tile-defect-datasets./archive/"
                f"{_TILES_COMMIT}.zip",
            ),
        ),
        source="https://github.com/abin24/Magnetic-tile-defect-datasets.",
        license=(
            "not stated; the authors welcome its use and ask users to cite the "
            "reference"
        ),
        reference=(
            "Y. Huang, C. Qiu, K. Yuan: Surface defect saliency of magnetic tile. The "
            "Visual Computer 36, 2020."
        ),
        contents=(
            "Grey photographs of magnetic tiles in many sizes: 952 good ones, and 392 "
            "with a blowhole, break, crack, fray or uneven surface, with masks. Each "
            "tile was photographed at up to six exposures; all photographs of a tile "
            "are in the same part. The split is not the authors', but that of skfcdd."
        ),
    ),
}


def home_of(key: str, data_home: str | os.PathLike[str] | None) -> Path:
    """Return the folder in which a data set is stored."""
    home = data_home or os.environ.get("SKFCDD_DATA") or "~/skfcdd_data"
    return Path(home).expanduser() / key


def fetch_files(
    key: str,
    folder: Path,
    download_if_missing: bool,
    names: Iterable[str] | None = None,
) -> list[Path]:
    """Return paths of all or the given files of a data set; download missing ones."""
    data_set = DATA_SETS[key]
    files = [f for f in data_set.files if names is None or f.name in names]
    mirror = os.environ.get("SKFCDD_MIRROR", "").rstrip("/")
    if mirror and "://" not in mirror:
        raise ValueError(
            f"Got the environment variable SKFCDD_MIRROR={mirror!r}, but expected a "
            "URL, such as https://example.org/data."
        )
    if mirror:
        files = [replace(file, url=f"{mirror}/{file.name}") for file in files]
    missing = [file for file in files if not (folder / file.name).exists()]
    if missing and download_if_missing:
        # A warning is visible with any logging settings: users of such data must know
        # its terms of use.
        logger.warning(
            "Downloading %s into %s. Licence: %s. Please cite: %s",
            data_set.title,
            folder,
            data_set.license,
            data_set.reference,
        )
    return [
        fetch_file(file, folder, download_if_missing=download_if_missing)
        for file in files
    ]


def check_choice(what: str, given: object, known: Iterable[str | None]) -> None:
    """Raise for an unknown name, and suggest the closest one."""
    known = list(known)
    if given in known:
        return
    names = [name for name in known if name is not None]
    near = difflib.get_close_matches(str(given), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"Got {what}={given!r}, but expected one of {known}.{hint}")
