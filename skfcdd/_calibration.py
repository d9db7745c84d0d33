"""Calibration of thresholds and colour scales on images held out of training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from skfcdd._engine.inference import in_batches
from skfcdd._engine.inside import planted
from skfcdd._engine.model import FittedModel, Judging
from skfcdd._inputs.images import ImageArray
from skfcdd._inputs.labels import Targets
from skfcdd._verdicts import is_above
from skfcdd.anomalies import mixed
from skfcdd.metrics import PixelHistogram
from skfcdd.thresholds import (
    Auto,
    Calibration,
    MaxF1,
    Quantile,
    Threshold,
    resolve_threshold,
)

__all__ = [
    "CalibrationRows",
    "NormalHeat",
    "Scorer",
    "Verge",
    "calibration_of",
    "check_rule",
    "heatmap_scale",
    "image_threshold",
    "normal_heat",
    "pixel_threshold",
    "with_calibration_scores",
]

Rows = npt.NDArray[np.intp]

# Approximate maximum numbers of heatmaps, and of pixels per heatmap, from which the
# colour scale is estimated.
_SCALE_IMAGES, _SCALE_PIXELS = 256, 1 << 14
# Number of synthetic defects whose peaks set the upper end of the scale.
_PLANTED_IMAGES = 64
# Contamination that "auto" stands for.
_CONTAMINATION = 0.05
# Proportion of normal images in which no pixel is outlined.
_CALM = 0.95


@dataclass(frozen=True)
class CalibrationRows:
    """Row numbers of the images that are used for calibration.

    Parameters
    ----------
    normal, anomalous : ndarray of int
        Normal and anomalous images from which the threshold is chosen.
    every : ndarray of int
        Images that the `contamination` of an outlier detector refers to.
    groups : ndarray of int, or None
        Group number of each normal image, starting at 0.
    """

    normal: Rows
    anomalous: Rows
    every: Rows
    groups: npt.NDArray[np.intp] | None = None

    @property
    def n_units(self) -> int:
        """Number of normal images, or of their groups if there are groups."""
        if self.groups is None:
            return len(self.normal)
        return int(self.groups.max()) + 1


class Scorer(Protocol):
    """Protocol for scoring calibration images, with one model or a model per fold."""

    def scores(self, images: ImageArray, rows: Rows) -> npt.NDArray[np.float64]:
        """Compute the scores of the images at `rows`."""

    def heatmaps(
        self, images: ImageArray, rows: Rows
    ) -> Iterator[tuple[Any, npt.NDArray[np.float32]]]:
        """Yield row numbers and heatmaps of the images at `rows`, batch by batch."""


def _rule(judging: Judging) -> Threshold | float:
    """Return the rule that chooses the threshold, or the threshold itself."""
    if isinstance(judging.threshold, Real):
        return float(judging.threshold)
    share = judging.contamination
    return resolve_threshold(
        judging.threshold, _CONTAMINATION if isinstance(share, str) else share
    )


def check_rule(judging: Judging, n_normal: int, n_anomalous: int) -> None:
    """Raise before training if there are too few images for the rule."""
    rule = _rule(judging)
    if isinstance(rule, Threshold):
        rule.check(n_normal, n_anomalous)


def with_calibration_scores(
    model: FittedModel, images: ImageArray, rows: CalibrationRows, scorer: Scorer
) -> FittedModel:
    """Return a copy of the model with the scores of normal calibration images."""
    scores, groups = scorer.scores(images, rows.normal), rows.groups
    order = np.argsort(scores, kind="stable")
    scores = scores[order]
    scores.setflags(write=False)
    if groups is not None:
        groups = groups[order].astype(np.int64)
        groups.setflags(write=False)
    return replace(model, calibration_scores=scores, calibration_groups=groups)


@dataclass(frozen=True)
class Verge:
    """Threshold and the values of the normal images that it was chosen from.

    Parameters
    ----------
    threshold : float
        The threshold.
    normal : ndarray of float64, or None
        Value of each normal image that is compared with the threshold: its score, or
        the peak of its heatmap. None if the threshold was set without such values.
    groups : ndarray of int, or None
        Group of each normal image.
    rate : float or None
        Proportion of normal images that may exceed the threshold; None if the rule
        does not limit it.
    """

    threshold: float
    normal: npt.NDArray[np.float64] | None = None
    groups: npt.NDArray[np.integer] | None = None
    rate: float | None = None


def image_threshold(
    model: FittedModel, images: ImageArray, rows: CalibrationRows, scorer: Scorer
) -> Verge:
    """Choose the threshold of image scores."""
    rule, normal = _rule(model.judging), model.calibration_scores
    own = groups = model.calibration_groups
    if not isinstance(rule, Threshold):
        return Verge(rule, normal, own)
    scores = [normal, scorer.scores(images, rows.anomalous)]
    labels = np.repeat([0, 1], [len(part) for part in scores])
    if own is not None:  # groups of anomalies are not used
        groups = np.concatenate([own, np.zeros(len(scores[1]), dtype=int)])
    threshold = rule(labels, np.concatenate(scores), groups=groups)
    return Verge(threshold, normal, own, rule.asked_rate(len(scores[1])))


def pixel_threshold(
    model: FittedModel,
    images: ImageArray,
    targets: Targets,
    found: CalibrationRows,
    scorer: Scorer,
) -> Verge:
    """Choose the threshold of heatmaps.

    Rules that need anomalies use all pixels; other rules use the hottest pixel of each
    normal image.
    """
    rule, normal, masked = _rule(model.judging), found.normal, found.anomalous
    if not isinstance(rule, Threshold):
        return Verge(rule)
    if isinstance(rule, Auto):
        rule = MaxF1() if len(masked) else Quantile(rule.contamination)
    if not rule.needs_anomalies:
        peaks = np.empty(len(normal))
        for part, heatmaps in scorer.heatmaps(images, normal):
            peaks[part] = heatmaps.max(axis=(1, 2))
        threshold = rule(np.zeros(len(normal)), peaks, groups=found.groups)
        return Verge(threshold, peaks, found.groups, rule.asked_rate(0))
    rule.check(len(normal), len(masked))
    rows = np.concatenate([normal, masked])
    histogram = PixelHistogram(regions=False)
    for part, heatmaps in scorer.heatmaps(images, rows):
        masks = targets.mask_of(rows[part], heatmaps.shape[1:])
        histogram.update(masks, heatmaps, model.roi)
    pixels = histogram.sample()
    return Verge(rule(pixels.truth, pixels.score, sample_weight=pixels.weight))


def calibration_of(verge: Verge, rows: CalibrationRows, source: str) -> Calibration:
    """Summarise the images that a threshold was chosen from."""
    rate = None if verge.rate is None else float(verge.rate)
    found = Calibration(source, len(rows.normal), rows.n_units, rate, None)
    if verge.normal is None:
        return found
    above = is_above(verge.normal, verge.threshold)
    n_above = float(above.sum())
    if verge.groups is not None:
        shares = np.bincount(verge.groups, above) / np.bincount(verge.groups)
        n_above = float(shares.sum())
    return replace(found, n_above=n_above)


@dataclass(frozen=True)
class NormalHeat:
    """Summary of the heatmaps of held-out normal images.

    Parameters
    ----------
    pixels : ndarray of float32
        Sample of the pixel values.
    peaks : ndarray of float32
        Maximum of each heatmap.
    """

    pixels: npt.NDArray[np.float32]
    peaks: npt.NDArray[np.float32]

    @property
    def calm(self) -> float:
        """Value that the heatmaps of 95 % of the normal images do not exceed."""
        return float(np.quantile(self.peaks, _CALM))


def heatmap_scale(
    model: FittedModel, images: ImageArray, normal: Rows, heat: NormalHeat
) -> tuple[float, float]:
    """Compute the limits of the colour scale of heatmaps.

    Only 1 % of the normal pixels exceed the lower limit. The upper limit is the typical
    peak of synthetic defects, because there may be no real ones, or five times the
    lower limit if that is higher.
    """
    low = float(np.quantile(heat.pixels, 0.99))
    if not low > 0:  # the map is 0 for normal images
        low = model.threshold
    return low, max(5 * low, _planted_peak(model, images, normal[:_PLANTED_IMAGES]))


def _planted_peak(model: FittedModel, images: ImageArray, rows: Rows) -> float:
    """Compute the median heatmap peak of normal images with a synthetic defect."""
    maker = model.heatmap_maker().to(model.runner.device).eval()
    generator = torch.Generator(model.runner.device).manual_seed(0)
    roi = model.module.preprocess.roi

    def peaks(unit: torch.Tensor) -> torch.Tensor:
        marked, _ = planted(mixed, unit, generator, roi)
        heatmaps: torch.Tensor = maker(marked)
        return heatmaps.amax(dim=(1, 2))

    parts = [part for _, part in in_batches(model.runner, images, rows, peaks)]
    return float(np.median(np.concatenate(parts)))


def normal_heat(
    scorer: Scorer,
    images: ImageArray,
    normal: Rows,
    roi: npt.NDArray[np.bool_] | None = None,
) -> NormalHeat:
    """Summarise the heatmaps of a sample of normal images, inside a region (h, w)."""
    rows = normal[:: -(-len(normal) // _SCALE_IMAGES)]
    h, w = images.image_shape[:2]
    step = max(1, math.isqrt(h * w // _SCALE_PIXELS))

    def sample(maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if roi is None:
            return maps[:, ::step, ::step].ravel()
        inside = maps[:, roi]
        return inside[:, :: max(1, inside.shape[1] // _SCALE_PIXELS)].ravel()

    found = [
        (sample(maps), maps.max(axis=(1, 2)))
        for _, maps in scorer.heatmaps(images, rows)
    ]
    return NormalHeat(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
