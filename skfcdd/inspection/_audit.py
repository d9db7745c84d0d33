"""Audit of regions that should not affect the score, such as a watermark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import check_model, pick_masks, read_truth
from skfcdd._inputs.labels import is_masks
from skfcdd.inspection._checks import check_heatmaps, check_number, hot_pixels
from skfcdd.inspection._fill import Filler
from skfcdd.inspection._images import Stack, read_stack, score_changed
from skfcdd.inspection._regions import CORNERS, as_regions, check_parts
from skfcdd.inspection._shares import RegionShare, shares_of

__all__ = ["RegionAudit", "RegionFinding", "audit_regions"]

_HEAD = ("region", "images", "n", "pixels", "heat", "ratio", "change", "affected")

Masks = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RegionFinding:
    """Influence of a region on a model, for normal images or for anomalies.

    Returned by :func:`audit_regions`.

    Parameters
    ----------
    region : str
        Name of the region.
    group : {"normal", "anomaly", "all"}
        Group of images.
    n_images : int
        Number of images; those with a known defect in the region are excluded.
    area : float
        Fraction of the pixels in the region.
    share : float
        Fraction of the heatmap in the region; the median over the images.
    ratio : float
        Ratio of `share` to `area`; the median over the images.
    change : float
        Change of the score if the region is replaced by normal content: the difference
        divided by the larger of both scores, in [-1, 1]; the median over the images.
        -0.6 means that the score falls by 60 %.
    limit : float
        Change from which an image counts as affected.
    affected : float
        Fraction of the images that are affected.
    flagged : bool
        Whether more than half of the images are affected.

    Examples
    --------
    >>> from skfcdd.inspection import RegionFinding
    >>> found = RegionFinding(
    ...     region="top_left", group="anomaly", n_images=20, area=0.06, share=0.7,
    ...     ratio=11.2, change=-0.6, limit=-0.12, affected=0.9, flagged=True,
    ... )
    >>> found.change <= found.limit
    True
    """

    region: str
    group: str
    n_images: int
    area: float
    share: float
    ratio: float
    change: float
    limit: float
    affected: float
    flagged: bool


@dataclass(frozen=True)
class RegionAudit:
    """Influence of regions that should not affect the score.

    Returned by :func:`audit_regions`; ``print`` shows a table.

    Parameters
    ----------
    findings : tuple of RegionFinding
        Findings for each region and group.

    Attributes
    ----------
    flagged : list of str
        Names of the regions that the model depends on.

    Examples
    --------
    >>> from skfcdd.inspection import RegionAudit, RegionFinding
    >>> found = RegionFinding(
    ...     region="border", group="all", n_images=20, area=0.2, share=0.3, ratio=1.5,
    ...     change=-0.02, limit=-0.4, affected=0.1, flagged=False,
    ... )
    >>> print(RegionAudit((found,)))
    region  images   n  pixels   heat  ratio  change  affected
    border  all     20   20.0%  30.0%    1.5     -2%       10%
    """

    findings: tuple[RegionFinding, ...]

    @property
    def flagged(self) -> list[str]:
        """Names of the regions that the model depends on."""
        return list(dict.fromkeys(f.region for f in self.findings if f.flagged))

    def __str__(self) -> str:
        """Format a table; flagged rows end with an exclamation mark."""
        head = (
            "region",
            "images",
            "n",
            "pixels",
            "heat",
            "ratio",
            "change",
            "affected",
        )
        rows = [head, *(_cells(finding) for finding in self.findings)]
        widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
        lines = []
        for row, finding in zip(rows, (None, *self.findings), strict=True):
            cells = [
                f"{cell:{'<' if k < 2 else '>'}{widths[k]}}"
                for k, cell in enumerate(row)
            ]
            mark = "  !" if finding is not None and finding.flagged else ""
            lines.append("  ".join(cells) + mark)
        return "\n".join(lines)


def _cells(finding: RegionFinding) -> tuple[str, ...]:
    return (
        finding.region,
        finding.group,
        str(finding.n_images),
        f"{finding.area:.1%}",
        f"{finding.share:.1%}",
        f"{finding.ratio:.1f}",
        f"{finding.change:+.0%}",
        f"{finding.affected:.0%}",
    )


def audit_regions(
    estimator: Any,
    X: Any,
    y: Any = None,
    regions: Mapping[str, Any] | None = None,
    *,
    masks: Any = None,
    fill: Any = "clone",
    min_ratio: float = 2.0,
    min_change: float = 0.1,
    batch_size: int = 64,
) -> RegionAudit:
    """Test whether a model depends on regions that should not affect the score.

    A model that detects the anomalies of a data set may have learned something that
    coincides with them: a watermark, a label, a shadow of the fixture [1]_. For each
    region, the audit measures the fraction of the heatmap that it contains, relative to
    its size, and the change of the score if its content is replaced by normal content.
    The latter is decisive. An image is affected if the score falls by at least
    `min_change`, and by `min_ratio` times the fraction of pixels in the region. A
    region is flagged if more than half of the normal images, or of the anomalies, are
    affected.

    If the score falls although the region is no hotter than others, the receptive field
    is too large for the heatmap to localise the cause (``receptive_field_``). Content
    that a model associates with *normal* images causes no heat, and is not flagged:
    scores of normal images rise if it is removed, as ``change`` shows.

    Parameters
    ----------
    estimator : estimator
        A fitted model with ``anomaly_score`` and ``explain``.
    X : array-like
        Images that were not used for training, as for its ``explain``; loaded into
        memory.
    y : array-like of shape (n,) or (n, h, w), default=None
        Labels, as for its ``fit``, or masks. None treats all images as one group.
    regions : dict of str to region, default=None
        Regions by name, as for :func:`region_share`. None uses the border and the four
        corners.
    masks : array-like of shape (n, h, w), or list with None, default=None
        Known defects. An image with a defect in a region is excluded from it. Without
        masks, a region that contains most defects is flagged.
    fill : {"clone", "harmonic", "blur", "mean"} or array, default="clone"
        Replacement of the region, as for :func:`counterfactual`.
    min_ratio : float, default=2.0
        Fall of the score that counts, as a multiple of the fraction of pixels in the
        region: without a tenth of a uniformly hot image, the score falls by a tenth.
    min_change : float, default=0.1
        Minimum relative fall of the score that counts.
    batch_size : int, default=64
        Number of modified images in memory at a time.

    Returns
    -------
    RegionAudit

    Raises
    ------
    TypeError, NotFittedError
        If `estimator` is not a fitted model.
    ImageShapeError
        If regions, masks or `fill` do not match the images.
    ValueError
        If a region is empty or the whole image, a group has no images left, or a value
        is invalid.

    References
    ----------
    .. [1] Lapuschkin et al., "Unmasking Clever Hans predictors and assessing what
       machines really learn", Nature Communications 10, 2019. Liznerski et al.,
       "Explainable Deep One-Class Classification", ICLR 2021, show the same for FCDD.

    Examples
    --------
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.inspection import audit_regions
    >>> data = make_defects(40, image_size=32, random_state=0)
    >>> model = FCDDClassifier(max_epochs=1, random_state=0)
    >>> model = model.fit(data.images[data.target == 0])
    >>> audit = audit_regions(
    ...     model, data.images, data.target, {"left edge": (0, 0, 32, 4)}
    ... )
    >>> [finding.group for finding in audit.findings]
    ['normal', 'anomaly']
    """
    check_model(estimator, "anomaly_score", "explain")
    min_ratio = check_number("min_ratio", min_ratio, 0)
    min_change = check_number("min_change", min_change, 0, 1)
    limits = min_ratio, min_change
    scores = np.asarray(estimator.anomaly_score(X), dtype=np.float64)
    heatmaps = check_heatmaps(estimator.explain(X))
    stack = read_stack(estimator, X)
    n = len(stack)
    filler = Filler(stack, fill, hot_pixels(estimator, heatmaps))
    if masks is None and y is not None and is_masks(y):
        masks = y
    groups = _groups(read_truth(estimator, y, n), n)
    defects = pick_masks(masks, np.arange(n), n, stack.size)
    findings = []
    for name, region in _check_regions(regions).items():
        where = as_regions(region, heatmaps.shape, name=f"regions[{name!r}]")
        check_parts(where, f"regions[{name!r}]")
        free = np.ones(n, dtype=bool)
        if defects is not None:
            free = ~np.asarray((defects & where).any(axis=(1, 2)))
        change = _change(estimator, stack, filler, where, scores, batch_size)
        for group, rows in groups.items():
            left = np.flatnonzero(rows & free)
            if len(left) == 0:
                raise ValueError(
                    f"Every image of the group {group!r} has a defect in the region "
                    f"{name!r}, so no image is left to examine."
                )
            shares = shares_of(heatmaps[left], where[left])
            findings.append(_finding(name, group, shares, change[left], *limits))
    return RegionAudit(tuple(findings))


def _groups(truth: Masks | None, n: int) -> dict[str, Masks]:
    """Split the images into groups."""
    if truth is None:
        return {"all": np.ones(n, dtype=bool)}
    groups = {"normal": ~truth, "anomaly": truth}
    return {name: rows for name, rows in groups.items() if rows.any()}


def _finding(
    region: str,
    group: str,
    shares: RegionShare,
    change: Values,
    min_ratio: float,
    min_change: float,
) -> RegionFinding:
    """Compute the finding of a region in some images."""
    limits = np.maximum(min_change, min_ratio * shares.area)
    affected = float((change <= -limits).mean())
    return RegionFinding(
        region=region,
        group=group,
        n_images=len(change),
        area=float(np.mean(shares.area)),
        share=float(np.median(shares.share)),
        ratio=float(np.median(shares.ratio)),
        change=float(np.median(change)),
        limit=float(-np.median(limits)),
        affected=affected,
        flagged=affected > 0.5,
    )


def _check_regions(regions: Mapping[str, Any] | None) -> dict[str, Any]:
    if regions is None:
        return {name: name for name in ("border", *CORNERS)}
    if not isinstance(regions, Mapping) or len(regions) == 0:
        raise ValueError(
            "regions must be a dict that maps names to regions. Got "
            f"{type(regions).__name__} of length {len(regions)}."
        )
    return {str(name): region for name, region in regions.items()}


def _change(
    estimator: Any,
    stack: Stack,
    filler: Filler,
    where: Masks,
    scores: Values,
    batch_size: int,
) -> Values:
    """Compute the change of each score in [-1, 1] if a region (n, h, w) is replaced."""

    def make(rows: slice) -> npt.NDArray[Any]:
        return filler(np.arange(rows.start, rows.stop), where[rows])

    new, _ = score_changed(estimator, stack, len(stack), make, batch_size)
    greater = np.maximum(new, scores)
    change: Values = (new - scores) / np.where(greater > 0, greater, 1)
    return change
