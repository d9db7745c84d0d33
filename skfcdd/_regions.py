"""Connected regions of batches of masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Region", "drop_small", "find_regions", "label_regions"]

# Pixels are connected to all eight neighbours, but not to pixels of other images.
_NEIGHBOURS = np.zeros((3, 3, 3), dtype=bool)
_NEIGHBOURS[1] = True


@dataclass(frozen=True)
class Region:
    """Connected region of anomalous pixels in an image.

    Parameters
    ----------
    bbox : tuple of int (top, left, bottom, right)
        Bounding box in pixels; bottom and right are exclusive.
    area : int
        Number of pixels.
    peak : float
        Maximum of the heatmap in the region.
    peak_at : tuple of int (row, column)
        Position of the maximum.

    Examples
    --------
    >>> from skfcdd import Region
    >>> Region(bbox=(0, 2, 4, 8), area=20, peak=3.5, peak_at=(1, 5)).area
    20
    """

    bbox: tuple[int, int, int, int]
    area: int
    peak: float
    peak_at: tuple[int, int]


def label_regions(masks: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int]:
    """Number the 8-connected regions of masks (n, h, w), starting at 1."""
    from scipy import ndimage  # imported late: not needed to serve exported models

    labels, count = ndimage.label(masks, structure=_NEIGHBOURS)
    return labels, int(count)


def drop_small(masks: npt.NDArray[np.bool_], min_area: int) -> npt.NDArray[np.bool_]:
    """Remove regions of fewer than `min_area` pixels from masks (n, h, w)."""
    if min_area <= 1:
        return masks
    labels, _ = label_regions(masks)
    keep = np.bincount(labels.ravel()) >= min_area
    keep[0] = False
    kept: npt.NDArray[np.bool_] = keep[labels]
    return kept


def find_regions(
    masks: npt.NDArray[np.bool_], heatmaps: npt.NDArray[np.floating]
) -> list[list[Region]]:
    """Find the regions of each image, sorted by decreasing peak."""
    from scipy import ndimage

    found: list[list[Region]] = [[] for _ in masks]
    labels, count = label_regions(masks)
    if count == 0:
        return found
    numbers = np.arange(1, count + 1)
    areas = np.bincount(labels.ravel())[1:]
    peaks = ndimage.maximum(heatmaps, labels, numbers)
    places = ndimage.maximum_position(heatmaps, labels, numbers)
    for box, area, peak, (image, row, column) in zip(
        ndimage.find_objects(labels), areas, peaks, places, strict=True
    ):
        _, rows, columns = box
        region = Region(
            bbox=(rows.start, columns.start, rows.stop, columns.stop),
            area=int(area),
            peak=float(peak),
            peak_at=(int(row), int(column)),
        )
        found[image].append(region)
    for regions in found:
        regions.sort(key=lambda region: -region.peak)
    return found
