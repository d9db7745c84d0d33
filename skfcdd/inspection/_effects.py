"""Contributions of hot regions to the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import check_model, judge
from skfcdd._regions import Region, find_regions, label_regions
from skfcdd.inspection._checks import check_heatmaps, check_int, hot_pixels
from skfcdd.inspection._counterfactual import hot_level, refuse_whole, widened
from skfcdd.inspection._fill import Filler
from skfcdd.inspection._images import read_stack, score_changed
from skfcdd.inspection._shares import shares_of

__all__ = ["RegionEffect", "explain_regions"]

Masks = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RegionEffect:
    """Contribution of a hot region to the score.

    Returned by :func:`explain_regions`.

    Parameters
    ----------
    region : Region
        The region.
    share : float
        Fraction of the sum of the heatmap.
    drop : float
        Score of the image minus the score without the region.
    score_without : float
        Score if the region were normal.
    decisive : bool or None
        Whether the image is labelled anomalous, and would not be without the region.
        None for an estimator without a threshold.

    Examples
    --------
    >>> from skfcdd import Region
    >>> from skfcdd.inspection import RegionEffect
    >>> where = Region(bbox=(0, 2, 4, 8), area=20, peak=3.5, peak_at=(1, 5))
    >>> effect = RegionEffect(where, share=0.6, drop=0.9, score_without=0.3)
    >>> effect.region.area, effect.decisive
    (20, None)
    """

    region: Region
    share: float
    drop: float
    score_without: float
    decisive: bool | None = None


def explain_regions(
    estimator: Any,
    X: Any,
    *,
    level: float | None = None,
    min_area: int = 4,
    max_regions: int = 5,
    fill: Any = "clone",
    margin: int = 0,
    batch_size: int = 64,
) -> list[list[RegionEffect]]:
    """Compute the contribution of each hot region of an image to its score.

    Each region is replaced separately by normal content, as in :func:`counterfactual`.

    Parameters
    ----------
    estimator : estimator
        A fitted model with ``anomaly_score`` and ``explain``.
    X : array-like
        Images, as for its ``explain``; loaded into memory.
    level : float, default=None
        Pixels above this level are hot. None uses the low end of ``heatmap_scale_``.
    min_area : int, default=4
        Regions with fewer pixels are ignored.
    max_regions : int, default=5
        Maximum number of regions per image; those with the highest peaks are used.
    fill, margin, batch_size
        See :func:`counterfactual`.

    Returns
    -------
    list of list of RegionEffect
        For each image, sorted by decreasing drop; empty if nothing is hot.

    Raises
    ------
    TypeError, NotFittedError
        If `estimator` is not a fitted model.
    ValueError
        If a region is the whole image, or a value is invalid.

    Examples
    --------
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.inspection import explain_regions
    >>> data = make_defects(40, image_size=32, random_state=0)
    >>> model = FCDDClassifier(max_epochs=1, random_state=0)
    >>> model = model.fit(data.images[data.target == 0])
    >>> effects = explain_regions(model, data.images[:4])
    >>> len(effects)
    4
    """
    check_model(estimator, "anomaly_score", "explain")
    min_area = check_int("min_area", min_area, 1)
    max_regions = check_int("max_regions", max_regions, 1)
    scores = np.asarray(estimator.anomaly_score(X), dtype=np.float64)
    heatmaps = check_heatmaps(estimator.explain(X))
    stack = read_stack(estimator, X)
    filler = Filler(stack, fill, hot_pixels(estimator, heatmaps))
    hot = heatmaps > hot_level(estimator, level)
    found = [
        [region for region in regions if region.area >= min_area][:max_regions]
        for regions in find_regions(hot, heatmaps)
    ]
    rows = np.repeat(np.arange(len(found)), [len(regions) for regions in found])
    regions = [region for some in found for region in some]
    spots = _one_by_one(hot, regions, rows)
    holes = widened(spots, margin)
    refuse_whole(holes, filler)
    without, after = score_changed(
        estimator, stack, len(rows), lambda s: filler(rows[s], holes[s]), batch_size
    )
    decisive: Any = [None] * len(rows)
    if after is not None:
        decisive = judge(estimator, X, scores)[rows] & ~after
    share = shares_of(heatmaps[rows], spots).share
    effects: list[list[RegionEffect]] = [[] for _ in found]
    for k, (row, region) in enumerate(zip(rows, regions, strict=True)):
        effect = RegionEffect(
            region=region,
            share=float(share[k]),
            drop=float(scores[row] - without[k]),
            score_without=float(without[k]),
            decisive=None if after is None else bool(decisive[k]),
        )
        effects[row].append(effect)
    return [sorted(some, key=lambda effect: -effect.drop) for some in effects]


def _one_by_one(hot: Masks, regions: list[Region], rows: npt.NDArray[np.intp]) -> Masks:
    """Return a mask (k, h, w) for each region, given the row of `hot` it belongs to."""
    labels, _ = label_regions(hot)
    spots = np.zeros((len(rows), *hot.shape[1:]), dtype=bool)
    for k, (row, region) in enumerate(zip(rows, regions, strict=True)):
        spots[k] = labels[row] == labels[(row, *region.peak_at)]
    return spots
