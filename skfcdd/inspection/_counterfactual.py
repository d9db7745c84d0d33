"""Counterfactual explanations: results if a region were normal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from skfcdd._answers import check_model, judge
from skfcdd.inspection._checks import (
    check_heatmaps,
    check_int,
    check_number,
    hot_pixels,
)
from skfcdd.inspection._fill import Filler
from skfcdd.inspection._images import chunks, read_stack, to_dtype
from skfcdd.inspection._regions import as_regions, check_parts

__all__ = ["Counterfactual", "counterfactual", "hot_level", "refuse_whole", "widened"]

Masks = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Counterfactual:
    """Images and results before and after a region is replaced by normal content.

    Returned by :func:`counterfactual`. The prefix ``new_`` means "after".

    Parameters
    ----------
    images, new_images : ndarray of shape (n, h, w) or (n, h, w, c)
        In the data type of X, with channels last. Look at them: the result is only as
        good as the inserted content.
    regions : ndarray of shape (n, h, w), bool
        The replaced regions.
    scores, new_scores : ndarray of shape (n,), float64
        Anomaly scores.
    heatmaps, new_heatmaps : ndarray of shape (n, h, w)
        Heatmaps computed by ``explain``.
    anomalous, new_anomalous : ndarray of shape (n,), bool, or None
        Predicted labels; None for an estimator without a threshold.

    Attributes
    ----------
    drop : ndarray of shape (n,), float64
        Contribution of the region to the score: ``scores - new_scores``. Negative if
        the new content is more anomalous than the old.

    Examples
    --------
    >>> import numpy as np
    >>> from skfcdd.inspection import Counterfactual
    >>> maps = np.zeros((1, 4, 4))
    >>> found = Counterfactual(
    ...     images=maps, new_images=maps, regions=maps > 0, heatmaps=maps,
    ...     new_heatmaps=maps, scores=np.array([3.0]), new_scores=np.array([1.0]),
    ... )
    >>> found.drop
    array([2.])
    """

    images: npt.NDArray[Any]
    new_images: npt.NDArray[Any]
    regions: Masks
    scores: Values
    new_scores: Values
    heatmaps: npt.NDArray[Any]
    new_heatmaps: npt.NDArray[Any]
    anomalous: Masks | None = None
    new_anomalous: Masks | None = None

    @property
    def drop(self) -> Values:
        """Contribution of the region to the score."""
        return self.scores - self.new_scores


def counterfactual(
    estimator: Any,
    X: Any,
    region: Any = "hot",
    *,
    fill: Any = "clone",
    size: float | None = None,
    level: float | None = None,
    margin: int = 0,
    batch_size: int = 64,
) -> Counterfactual:
    """Compute score, label and heatmap if a region were normal.

    A heatmap states how much a region contributes to the score; this function tests it.
    If the label depends on the region, it changes when the region is replaced.

    The replacement must look normal, or it is itself an anomaly. Smooth content
    rarely does: on textured surfaces, it raises the scores of good images more than a
    defect does. By default, the region is therefore filled with a piece of the same
    image, away from hot pixels, whose surroundings match best, and the difference at
    its border is propagated inwards by solving the Laplace equation, so that there is
    no visible seam.

    Parameters
    ----------
    estimator : estimator
        A fitted model with ``anomaly_score`` and ``explain``.
    X : array-like
        Images, as for its ``explain``; loaded into memory.
    region : "hot", str, box, Region or array, default="hot"
        "hot": all pixels whose heatmap exceeds `level`. Images without such pixels are
        not changed. Otherwise as for :func:`region_share`: a name, a box or a mask.
    fill : {"clone", "harmonic", "blur", "mean"} or array, default="clone"
        "clone": as above; if the image has no free piece of sufficient size, the region
        is filled part by part. An array with one or more normal images in the form of
        X: pieces are taken from these, which is better if positions are not
        interchangeable, as on objects. "harmonic": smooth interpolation from the
        border. "blur": the blurred image. "mean": its mean colour. The last three are
        intended for images without texture.
    size : int or float, default=None
        Size of a region given by name, as for :func:`region_share`.
    level : float, default=None
        Level of "hot" pixels. None uses the low end of ``heatmap_scale_``, which
        exceeds nearly all pixels of normal images.
    margin : int, default=0
        Number of pixels by which regions are dilated; useful if masks are tight.
    batch_size : int, default=64
        Number of modified images in memory at a time.

    Returns
    -------
    Counterfactual

    Raises
    ------
    TypeError, NotFittedError
        If `estimator` is not a fitted model.
    ImageShapeError
        If the region or `fill` does not match the images.
    ValueError
        If a region is empty or the whole image, or a value is invalid.

    Examples
    --------
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.inspection import counterfactual
    >>> data = make_defects(40, image_size=32, random_state=0)
    >>> model = FCDDClassifier(max_epochs=1, random_state=0)
    >>> model = model.fit(data.images[data.target == 0])
    >>> bad = data.target == 1
    >>> found = counterfactual(model, data.images[bad], data.masks[bad])
    >>> found.new_images.shape, found.drop.shape
    ((8, 32, 32), (8,))
    """
    check_model(estimator, "anomaly_score", "explain")
    scores = np.asarray(estimator.anomaly_score(X), dtype=np.float64)
    heatmaps = check_heatmaps(estimator.explain(X))
    stack = read_stack(estimator, X)
    shape = (len(stack), *stack.size)
    if isinstance(region, str) and region == "hot":
        regions = heatmaps > hot_level(estimator, level)
    else:
        if level is not None:
            raise ValueError(
                f"Got level={level!r}, which applies only to region='hot'."
            )
        regions = as_regions(region, shape, size)
        check_parts(regions)
    regions = widened(regions, margin)
    filler = Filler(stack, fill, hot_pixels(estimator, heatmaps))
    refuse_whole(regions, filler)
    new = np.empty_like(stack.images)
    for rows in chunks(len(stack), batch_size):
        index = np.arange(rows.start, rows.stop)
        new[rows] = to_dtype(filler(index, regions[rows]), new.dtype)
    given = stack.given(new)
    new_scores = np.asarray(estimator.anomaly_score(given), dtype=np.float64)
    judges = hasattr(estimator, "threshold_")
    return Counterfactual(
        images=_shown(stack.images),
        new_images=_shown(new),
        regions=regions,
        scores=scores,
        new_scores=new_scores,
        heatmaps=heatmaps,
        new_heatmaps=estimator.explain(given),
        anomalous=judge(estimator, X, scores) if judges else None,
        new_anomalous=judge(estimator, given, new_scores) if judges else None,
    )


def _shown(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return images[..., 0] if images.shape[3] == 1 else images


def hot_level(estimator: Any, level: Any) -> float:
    """Return the level above which pixels are hot."""
    if level is None:
        scale = getattr(estimator, "heatmap_scale_", None)
        if scale is None:
            raise ValueError(
                f"{type(estimator).__name__} has no heatmap_scale_: set level= to the "
                "heatmap value above which pixels are hot."
            )
        return float(scale[0])
    return check_number("level", level)


def widened(regions: Masks, margin: Any) -> Masks:
    """Dilate regions (n, h, w) by `margin` pixels on all sides."""
    width = check_int("margin", margin, 0)
    if width == 0:
        return regions
    steps = ndimage.generate_binary_structure(3, 3)
    steps[[0, 2]] = False  # not into the next image
    wide: Masks = ndimage.binary_dilation(regions, steps, iterations=width)
    return wide


def refuse_whole(regions: Masks, filler: Filler) -> None:
    """Raise if a whole image would have to be filled from its border."""
    whole = regions.all(axis=(1, 2))
    if filler.needs_border and whole.any():
        raise ValueError(
            f"In row {np.flatnonzero(whole)[0]} all pixels would be replaced, so no "
            "border is left from which to fill them. Use a smaller region, a higher "
            "level or a smaller margin."
        )
