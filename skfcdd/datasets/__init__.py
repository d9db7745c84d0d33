"""Data sets: generated images of defects, images from files, public data sets."""

from __future__ import annotations

from skfcdd._inputs.files import ImageFiles
from skfcdd.datasets._fetch import fetch_cifar10, fetch_cifar100, fetch_fashion_mnist
from skfcdd.datasets._fetch_folders import (
    fetch_magnetic_tiles,
    fetch_mvtec_ad,
    fetch_visa,
)
from skfcdd.datasets._folders import load_images
from skfcdd.datasets._make_defects import make_defects

__all__ = [
    "ImageFiles",
    "fetch_cifar10",
    "fetch_cifar100",
    "fetch_fashion_mnist",
    "fetch_magnetic_tiles",
    "fetch_mvtec_ad",
    "fetch_visa",
    "load_images",
    "make_defects",
]
