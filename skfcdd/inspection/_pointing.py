"""The pointing game: whether the hottest pixel lies on the defect."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from sklearn.utils.validation import column_or_1d

from skfcdd.inspection._checks import check_number
from skfcdd.metrics import Interval
from skfcdd.metrics._bootstrap import wilson_interval
from skfcdd.metrics._checks import blocks, check_maps

__all__ = ["PointingGame", "pointing_game"]

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PointingGame:
    """Result of the pointing game.

    Returned by :func:`pointing_game`.

    Parameters
    ----------
    share : Interval
        Fraction of hits among the images with a defect, with its confidence interval.
    chance : float
        Expected fraction of hits for a random pixel.
    rows : ndarray of shape (k,)
        The images with a defect; all others are ignored.
    hits : ndarray of shape (k,), float64
        1 if the hottest pixel lies on the defect, otherwise 0. If several pixels are
        equally hot, the fraction of them that does.
    by_kind : dict of str to Interval
        Fraction of hits for each kind of defect; empty without `kinds`.

    Examples
    --------
    >>> import numpy as np
    >>> from skfcdd.inspection import PointingGame
    >>> from skfcdd.metrics import Interval
    >>> game = PointingGame(
    ...     share=Interval(0.5, 0.1, 0.9), chance=0.02, rows=np.array([3, 4]),
    ...     hits=np.array([1.0, 0.0]),
    ... )
    >>> game.share.value
    0.5
    """

    share: Interval
    chance: float
    rows: npt.NDArray[np.intp]
    hits: Values
    by_kind: dict[str, Interval] = field(default_factory=dict)


def pointing_game(
    heatmaps: Any,
    masks: Any,
    *,
    tolerance: float = 0,
    kinds: Any = None,
    confidence_level: float = 0.95,
) -> PointingGame:
    """Compute the fraction of images whose hottest pixel lies on the true defect.

    The pointing game [1]_ does not evaluate how sharp a heatmap is, but whether its
    peak is in the right place.

    Parameters
    ----------
    heatmaps : array-like of shape (n, h, w)
        Greater values are more anomalous.
    masks : array-like of shape (n, h, w)
        1 (or 255) at anomalous pixels. Images without any are ignored.
    tolerance : float, default=0
        Distance in pixels from the nearest anomalous pixel that still counts as a hit.
        About half the stride of a cell is reasonable:
        ``max(model.receptive_field_.stride) / 2``.
    kinds : array-like of shape (n,), default=None
        Kind of defect of each image, to evaluate each kind separately.
    confidence_level : float, default=0.95
        Confidence level of the intervals. They are Wilson intervals, which are valid
        for few images, and if all are hits.

    Returns
    -------
    PointingGame

    Raises
    ------
    ImageShapeError
        If heatmaps and masks have different shapes.
    ValueError
        If no mask has an anomalous pixel, or a value is invalid.

    References
    ----------
    .. [1] Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016.

    Examples
    --------
    >>> from skfcdd.inspection import pointing_game
    >>> masks = [[[1, 0, 0]], [[0, 0, 1]], [[0, 0, 0]]]
    >>> heatmaps = [[[9, 0, 0]], [[0, 9, 0]], [[9, 9, 9]]]
    >>> pointing_game(heatmaps, masks).share.value
    0.5
    >>> pointing_game(heatmaps, masks, tolerance=1).hits
    array([1., 1.])
    """
    truth, maps = check_maps(masks, heatmaps)
    if maps.ndim != 3:
        raise ValueError(f"heatmaps must be of shape (n, h, w). Got {maps.shape}.")
    tolerance = check_number("tolerance", tolerance, 0)
    level = check_number("confidence_level", confidence_level, 1e-6, 1 - 1e-6)
    parts = [_hits(m, h, tolerance) for m, h in blocks(truth, maps)]
    found, hits, near = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not found.any():
        raise ValueError(
            "masks have no anomalous pixelss, so there is nothing to point at."
        )
    return PointingGame(
        share=_share(hits[found], level),
        chance=float(near[found].mean()),
        rows=np.flatnonzero(found),
        hits=hits[found],
        by_kind=_by_kind(kinds, hits, found, level),
    )


def _hits(
    masks: npt.NDArray[np.bool_], heatmaps: npt.NDArray[Any], tolerance: float
) -> tuple[npt.NDArray[np.bool_], Values, Values]:
    """Return whether each image has a defect, the hit, and the anomalous fraction."""
    near = masks
    if tolerance > 0:
        # The distance must not reach pixels of other images.
        apart = float(sum(masks.shape) + tolerance)
        far = ndimage.distance_transform_edt(~masks, sampling=(apart, 1, 1))
        near = (far <= tolerance) & masks.any()
    peaks = heatmaps == heatmaps.max(axis=(1, 2), keepdims=True)
    hits = (peaks & near).sum(axis=(1, 2)) / peaks.sum(axis=(1, 2))
    found = np.asarray(masks.any(axis=(1, 2)))
    return found, hits, near.mean(axis=(1, 2))


def _by_kind(
    kinds: Any, hits: Values, found: npt.NDArray[np.bool_], level: float
) -> dict[str, Interval]:
    if kinds is None:
        return {}
    kind = column_or_1d(kinds)
    if len(kind) != len(hits):
        raise ValueError(f"There are {len(hits)} images, but {len(kind)} kinds.")
    return {
        str(name): _share(hits[found & (kind == name)], level)
        for name in np.unique(kind[found])
    }


def _share(hits: Values, level: float) -> Interval:
    """Return the fraction of hits with Wilson's confidence interval."""
    return wilson_interval(float(hits.mean()), len(hits), level)
