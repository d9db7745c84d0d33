"""Data sets: generated surfaces with defects, and images from files."""

from __future__ import annotations

from skfcdd._files import ImageFiles
from skfcdd.datasets._folders import load_images
from skfcdd.datasets._make_defects import make_defects

__all__ = ["ImageFiles", "load_images", "make_defects"]
