"""Regions that a model marks as defects, in pixels of the original files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._regions import Region, find_regions
from skfcdd._utils.optional import pillow
from skfcdd._verdicts import convention_of, outline_level
from skfcdd.cli._heatmaps import Finding, PictureNames, printable
from skfcdd.datasets import ImageFiles

__all__ = ["Marked", "MaskFiles", "mark", "region_rows"]

Map = npt.NDArray[np.float32]


@dataclass
class Marked:
    """Heatmap and marked pixels of an image, at the size of its file.

    Parameters
    ----------
    heatmap : ndarray of shape (h, w)
    parts : list of ndarray of shape (h, w)
        Parts that sum to the heatmap; empty for a model without a memory bank.
    mask : ndarray of shape (h, w), bool
        Pixels that are marked as defects.
    """

    heatmap: Map
    parts: list[Map]
    mask: npt.NDArray[np.bool_]

    def regions(self) -> list[Region]:
        """Return the connected regions of the mask, sorted by decreasing peak."""
        return find_regions(self.mask[None], self.heatmap[None])[0]


def mark(estimator: Any, images: ImageFiles, row: int, found: Finding) -> Marked:
    """Return the heatmap of an image, and the pixels that `estimator` marks in it."""
    level = outline_level(estimator)
    masks = convention_of(estimator).masks(found.heatmap[None], level)
    maps = [found.heatmap, *found.parts, masks[0].astype(np.float32)]
    heatmap, *parts, marked = images.at_original_size(np.stack(maps), [row] * len(maps))
    # Outlines follow the resized heatmap; the mask excludes regions that are too small.
    return Marked(heatmap, parts, (heatmap > level) & (marked > 0))


def region_rows(path: Path, marked: Marked) -> Iterator[dict[str, Any]]:
    """Yield a table row for each defect of an image, in pixels of its file."""
    for number, region in enumerate(marked.regions(), 1):
        top, left, bottom, right = region.bbox
        yield {
            "path": printable(path),
            "defect": number,
            "left": left,
            "top": top,
            "right": right,
            "bottom": bottom,
            "area": region.area,
            "peak": float(f"{region.peak:.7g}"),
            "peak_x": region.peak_at[1],
            "peak_y": region.peak_at[0],
        }


class MaskFiles:
    """Writer of masks, each with the name and the size of its image file.

    Parameters
    ----------
    folder : Path
        Folder for the masks, created with the first one.
    source : Path
        Folder of the images, or path of a single image.
    images : ImageFiles
    """

    def __init__(self, folder: Path, source: Path, images: ImageFiles) -> None:
        self.paths = PictureNames("--masks", folder, source, images.paths).paths

    def write(self, row: int, mask: npt.NDArray[np.bool_]) -> None:
        """Write the mask of an image: 255 for defects, 0 elsewhere."""
        path = self.paths[row]
        path.parent.mkdir(parents=True, exist_ok=True)
        pillow("Image").fromarray(mask.astype(np.uint8) * 255).save(path)
