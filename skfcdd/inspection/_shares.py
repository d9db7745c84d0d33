"""Additivity of heatmaps, and fractions of the score by region."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import check_model, count, iter_heatmaps
from skfcdd.inspection._checks import check_heatmaps
from skfcdd.inspection._regions import as_regions, check_parts

__all__ = ["RegionShare", "additivity_error", "region_share", "shares_of"]

Values = npt.NDArray[np.float64]


def additivity_error(estimator: Any, X: Any) -> Values:
    """Compute how much the mean of each heatmap differs from the score.

    With ``score_pooling="mean"``, the mean of a heatmap equals the score of the image:
    the fraction of the heatmap in a region is then its fraction of the score. With a
    region of interest (``roi_``), it is the mean of the pixels inside.

    Parameters
    ----------
    estimator : estimator
        A fitted model with ``anomaly_score`` and ``explain``.
    X : array-like
        Images, as for its ``explain``.

    Returns
    -------
    ndarray of shape (n,), float64
        Difference between the mean of the heatmap and the score, divided by the larger
        of the two; in [0, 1], 0 if both are 0. Rounding causes about 1e-6 in float32.

    Raises
    ------
    TypeError, NotFittedError
        If `estimator` is not a fitted model.
    ValueError
        If scores are not pooled by the mean: they are then computed from the largest
        cells, whereas the heatmap sums to the mean of all cells.

    Examples
    --------
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.inspection import additivity_error
    >>> images = make_defects(40, image_size=32, random_state=0).images
    >>> model = FCDDClassifier(max_epochs=1, precision="float32", random_state=0)
    >>> bool(additivity_error(model.fit(images), images).max() < 1e-5)
    True
    """
    check_model(estimator, "anomaly_score", "explain")
    pooling = _pooling(estimator)
    if pooling not in ("mean", 1):
        raise ValueError(
            f"{type(estimator).__name__} was fitted with score_pooling={pooling!r}: "
            "its score is the mean of the highest cells, but heatmaps sum to the mean "
            "of all cells. These agree only with score_pooling='mean'."
        )
    scores = np.asarray(estimator.anomaly_score(X), dtype=np.float64)
    means, roi = np.empty(count(X)), getattr(estimator, "roi_", None)
    done = 0
    for heatmaps in iter_heatmaps(estimator, X):
        pixels = (
            heatmaps.reshape(len(heatmaps), -1) if roi is None else heatmaps[:, roi]
        )
        part = pixels.mean(axis=1, dtype=np.float64)
        means[done : done + len(part)] = part
        done += len(part)
    greater = np.maximum(np.abs(means), np.abs(scores))
    error: Values = np.abs(means - scores) / np.where(greater > 0, greater, 1)
    return error


def _pooling(estimator: Any) -> Any:
    """Return the score pooling of an estimator, by default the mean."""
    named = getattr(estimator, "score_pooling", "mean")
    metadata = getattr(estimator, "metadata_", {})
    if "score_pooling" in metadata:
        named = json.loads(metadata["score_pooling"])
    return getattr(estimator, "_pooling", named)


@dataclass(frozen=True)
class RegionShare:
    """Fraction of each heatmap in a region, compared with the size of the region.

    Returned by :func:`region_share`.

    Parameters
    ----------
    share : ndarray of shape (n,), float64
        Fraction of the sum of the heatmap, in [0, 1].
    area : ndarray of shape (n,), float64
        Fraction of the pixels of the image, in (0, 1).

    Attributes
    ----------
    ratio : ndarray of shape (n,), float64
        ``share / area``: 1 if the region is as hot as the image average.

    Examples
    --------
    >>> import numpy as np
    >>> from skfcdd.inspection import RegionShare
    >>> RegionShare(share=np.array([0.5]), area=np.array([0.125])).ratio
    array([4.])
    """

    share: Values
    area: Values

    @property
    def ratio(self) -> Values:
        """Fraction of the heat divided by the fraction of the pixels."""
        return self.share / self.area


def region_share(
    heatmaps: Any, region: Any, *, size: float | None = None
) -> RegionShare:
    """Compute the fraction of each heatmap, and so of the score, in a region.

    Parameters
    ----------
    heatmaps : array-like of shape (n, h, w)
        Heatmaps computed by ``explain``; no value is negative.
    region : str, box, Region or array
        "border", "top_left", "top_right", "bottom_left" or "bottom_right"; a box (top,
        left, bottom, right) or a :class:`~skfcdd.Region`; or a mask of shape (h, w), or
        (n, h, w) for one per image. For the background, pass the mask ``~object``.
    size : int or float, default=None
        Size of a region given by name: pixels, or a fraction of the side. None means a
        sixteenth of the shorter side for the border, and a quarter of each side for a
        corner.

    Returns
    -------
    RegionShare
        For a heatmap that is 0 everywhere, the share equals the area.

    Raises
    ------
    ImageShapeError
        If the region does not match the heatmaps.
    ValueError
        If a region is empty or the whole image, or heatmaps contain NaN or negative
        values.

    Examples
    --------
    >>> from skfcdd.inspection import region_share
    >>> heatmaps = [[[3.0, 0, 0, 0], [0, 0, 0, 1]]]
    >>> found = region_share(heatmaps, (0, 0, 2, 1))
    >>> found.share, found.area, found.ratio
    (array([0.75]), array([0.25]), array([3.]))
    """
    maps = check_heatmaps(heatmaps)
    if maps.min() < 0:
        raise ValueError(
            f"heatmaps have values down to {maps.min():g}, but shares of a sum need "
            "values of at least 0."
        )
    regions = as_regions(region, maps.shape, size)
    check_parts(regions)
    return shares_of(maps, regions)


def shares_of(
    heatmaps: npt.NDArray[Any], regions: npt.NDArray[np.bool_]
) -> RegionShare:
    """Compute the shares of regions (n, h, w) in validated heatmaps."""
    total = heatmaps.sum(axis=(1, 2), dtype=np.float64)
    inside = np.where(regions, heatmaps, 0).sum(axis=(1, 2), dtype=np.float64)
    area = regions.mean(axis=(1, 2))
    even = total <= 0
    share = np.where(even, area, inside / np.where(even, 1, total))
    return RegionShare(share, area)
