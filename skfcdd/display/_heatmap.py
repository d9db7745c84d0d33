"""Display of images with their heatmaps, on one colour scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import (
    check_model,
    count,
    pick_masks,
    read_truth,
    take,
)
from skfcdd._inputs.labels import is_masks, masks_to_labels
from skfcdd.display._choice import (
    choose_rows,
    file_names,
    pictures_of,
    ranked,
)
from skfcdd.display._common import as_flags, as_numbers, check_scale, matplotlib
from skfcdd.display._findings import check_parts, findings, given_parts
from skfcdd.display._heatmap_plot import HeatmapPlot
from skfcdd.display._pictures import as_pictures
from skfcdd.exceptions import ImageShapeError

__all__ = ["HeatmapDisplay"]


class HeatmapDisplay(HeatmapPlot):
    """Visualisation of images with heatmaps as coloured overlays.

    Create it with :meth:`from_estimator` or :meth:`from_predictions`. All heatmaps
    share the scale of the model. Pixels at or below its low end are not coloured, so
    that a normal image looks calm and an anomaly looks the same in every figure.

    Parameters
    ----------
    images : ndarray of shape (n, h, w) or (n, h, w, 3)
        Values from 0 to 1.
    heatmaps : ndarray of shape (n, h, w)
        Greater values are more anomalous.
    scale : tuple of float (low, high)
        Limits of the colour scale.
    scores : ndarray of shape (n,), default=None
        Anomaly scores; for a segmenter, the lowest pixel threshold at which nothing
        would be marked.
    threshold : float, default=None
        Images with a higher score are anomalous.
    anomalous : ndarray of shape (n,), bool, default=None
        Predicted labels.
    truth : ndarray of shape (n,), bool, default=None
        True labels.
    masks : ndarray of shape (n, h, w), bool, default=None
        True defects, shown as outlines.
    predicted_masks : ndarray of shape (n, h, w), bool, default=None
        Defects marked by the model, shown as dashed outlines: pixels above its
        ``pixel_threshold_``.
    names : list of str, default=None
        Titles of the images.
    parts : tuple of ndarray of shape (n, h, w), default=None
        Parts that sum to the heatmaps: similarity to a defect, and novelty.
    novelty_share : ndarray of shape (n,), default=None
        Fraction of each score that comes from the second part, from 0 to 1.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure containing the plot.
    axes_ : ndarray of shape (n, k) of matplotlib Axes
        Axes of each image, of its heatmap, and of its parts if shown.
    image_artists_, heatmap_artists_ : list of matplotlib AxesImage
        Images without heatmap, and coloured overlays.
    part_artists_ : list of pairs of matplotlib AxesImage
        Coloured overlays of the parts of each heatmap.
    outlines_ : list of matplotlib QuadContourSet or None
        Outlines of the true defects, one per image.
    predicted_outlines_ : list of matplotlib QuadContourSet or None
        Outlines of the predicted defects, one per image.
    verdicts_ : list of matplotlib Text
        Predicted label and score of each image.
    frames_ : list of matplotlib Rectangle or None
        Frames around the heatmaps of misclassified images.
    colorbar_ : matplotlib Colorbar or None
        Colour bar of the scale.
    legend_ : matplotlib Legend or None
        Explains the outlines.

    Examples
    --------
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.display import HeatmapDisplay
    >>> data = make_defects(40, image_size=32, random_state=0)
    >>> model = FCDDClassifier(max_epochs=1, random_state=0)
    >>> model = model.fit(data.images[data.target == 0])
    >>> display = HeatmapDisplay.from_estimator(
    ...     model, data.images, data.target, masks=data.masks, n_images=4
    ... )
    >>> display.axes_.shape
    (4, 2)
    """

    def __init__(
        self,
        *,
        images: npt.NDArray[np.float32],
        heatmaps: npt.NDArray[np.float32],
        scale: tuple[float, float],
        scores: npt.NDArray[np.float64] | None = None,
        threshold: float | None = None,
        anomalous: npt.NDArray[np.bool_] | None = None,
        truth: npt.NDArray[np.bool_] | None = None,
        masks: npt.NDArray[np.bool_] | None = None,
        predicted_masks: npt.NDArray[np.bool_] | None = None,
        names: Sequence[str] | None = None,
        parts: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None,
        novelty_share: npt.NDArray[np.float64] | None = None,
    ) -> None:
        self.images = images
        self.heatmaps = heatmaps
        self.scale = scale
        self.scores = scores
        self.threshold = threshold
        self.anomalous = anomalous
        self.truth = truth
        self.masks = masks
        self.predicted_masks = predicted_masks
        self.names = names
        self.parts = parts
        self.novelty_share = novelty_share

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        masks: Any = None,
        names: Sequence[str] | None = None,
        order: str = "score",
        n_images: int | None = 16,
        rows: Any = None,
        parts: bool = False,
        scale: tuple[float, float] | None = None,
        channel: int | None = None,
        value_range: tuple[float, float] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> HeatmapDisplay:
        """Explain some images with a fitted model, and plot the heatmaps.

        All images are scored to choose among them, unless `rows` or ``order="given"``
        selects them; only the images shown are explained.

        Parameters
        ----------
        estimator : estimator
            A fitted FCDDClassifier, FCDDSegmenter or FCDDDetector, or an
            :class:`~skfcdd.onnx.OnnxFCDD`.
        X : array-like
            Images, as for its ``explain``.
        y : array-like of shape (n,) or (n, h, w), default=None
            True labels, as for its ``fit``, or masks. Wrong predictions are then marked
            "missed" or "false alarm".
        masks : array-like of shape (n, h, w), or list with None, default=None
            True defects, 1 (or 255) at their pixels. None for unknown masks.
        names : sequence of str, default=None
            Titles, one for each image in X. None uses the file names if X is files.
        order : {"score", "errors", "threshold", "given"}, default="score"
            Which images come first: those with the highest scores, wrong predictions,
            scores close to the threshold, or the first in X.
        n_images : int or None, default=16
            Maximum number of images shown. None shows all.
        rows : array-like of int, default=None
            Rows of X to show instead, in this order.
        parts : bool, default=False
            Whether to also show the two parts of each heatmap: similarity to a defect,
            and novelty. Requires a model with a memory bank of normal features, see
            :class:`~skfcdd.memory_bank.MemoryBank`.
        scale : tuple of float (low, high), default=None
            Limits of the colour scale. None uses ``heatmap_scale_``, so that all
            figures of a model are comparable. If defects far exceed it, a higher limit
            reveals more of their shape.
        channel : int, default=None
            The channel to show, in grey. None shows three or four channels as red,
            green and blue, and the mean of any other number in grey.
        value_range : tuple of float (low, high), default=None
            Values of X shown as black and white. None uses 0 and 255 for bytes, 0 and 1
            for floats in this range, and otherwise the range of nearly all values of
            the images shown.
        ax : matplotlib Axes or array of them, default=None
            See :meth:`plot`.
        **kwargs
            Passed to :meth:`plot`.

        Returns
        -------
        HeatmapDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        TypeError
            If `estimator` is of another type.
        NotFittedError
            If `estimator` is not fitted.
        ValueError
            If the number of labels, masks or names differs from that of images, an
            option is invalid, or `parts` is True for a model without a memory bank.
        """
        matplotlib()
        check_model(estimator, "anomaly_score", "explain")
        if parts:
            check_parts(estimator)
        n = count(X)
        if masks is None and y is not None and is_masks(y):
            masks = y
        truth = _truth(estimator, y, masks, n)
        chosen, scores = choose_rows(rows, n, order, n_images), None
        if chosen is None:
            scores = estimator.anomaly_score(X)
            chosen = ranked(estimator, X, order, scores, truth)[:n_images]
            scores = scores[chosen]
        shown = take(X, chosen)
        found = findings(estimator, shown, scores, parts)
        size = found["heatmaps"].shape[1:]
        look = {"channel": channel, "value_range": value_range}
        display = cls(
            images=pictures_of(estimator, shown, size, **look),
            scale=check_scale(estimator.heatmap_scale_ if scale is None else scale),
            threshold=float(estimator.threshold_),
            truth=None if truth is None else truth[chosen],
            masks=pick_masks(masks, chosen, n, size),
            names=_names(names, chosen, n) or file_names(X, chosen),
            **found,
        )
        return display.plot(ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        heatmaps: Any,
        *,
        scale: tuple[float, float],
        scores: Any = None,
        threshold: float | None = None,
        anomalous: Any = None,
        y_true: Any = None,
        masks: Any = None,
        predicted_masks: Any = None,
        names: Sequence[str] | None = None,
        parts: Any = None,
        channels: str | None = None,
        channel: int | None = None,
        value_range: tuple[float, float] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> HeatmapDisplay:
        """Plot images with existing heatmaps.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, c, h, w)
            All images to show.
        heatmaps : array-like of shape (n, h, w)
            Greater values are more anomalous.
        scale : tuple of float (low, high)
            Limits of the colour scale: ``heatmap_scale_`` of the model.
        scores : array-like of shape (n,), default=None
            Anomaly scores.
        threshold : float, default=None
            Threshold of the scores.
        anomalous : array-like of shape (n,), bool, default=None
            Predicted labels. None omits them.
        y_true : array-like of shape (n,), bool, default=None
            True labels.
        masks, predicted_masks : array-like of shape (n, h, w), default=None
            True and predicted defects, 1 (or 255) at their pixels. Either may be a list
            with None for unknown masks.
        names : sequence of str, default=None
            Titles of the images.
        parts : pair of array-like of shape (n, h, w), default=None
            Parts that sum to the heatmaps: ``defect`` and ``novelty`` of
            ``explain_parts``.
        channels : {"first", "last"}, default=None
            Position of the channel axis of X, if its shape is ambiguous.
        channel, value_range, ax, **kwargs
            See :meth:`from_estimator`.

        Returns
        -------
        HeatmapDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ImageShapeError
            If images, heatmaps or masks have different sizes.
        ValueError
            If a value is invalid.
        """
        matplotlib()
        maps = np.asarray(heatmaps)
        if maps.ndim != 3 or len(maps) == 0:
            raise ImageShapeError(
                f"heatmaps must be of shape (n, h, w), n > 0. Got {maps.shape}."
            )
        if maps.dtype.kind not in "biuf" or not np.isfinite(maps).all():
            raise ValueError("heatmaps must hold finite numbers.")
        images = as_pictures(
            X,
            maps.shape[1:],
            channels=channels,
            channel=channel,
            value_range=value_range,
        )
        n, size, every = len(maps), maps.shape[1:], np.arange(len(maps))
        if len(images) != n:
            raise ImageShapeError(f"There are {len(images)} images, but {n} heatmaps.")
        halves, share = given_parts(parts, maps.shape)
        display = cls(
            images=images,
            heatmaps=maps,
            parts=halves,
            novelty_share=share,
            scale=check_scale(scale),
            scores=None if scores is None else as_numbers(scores, "scores", n),
            threshold=None if threshold is None else float(threshold),
            anomalous=_optional_flags(anomalous, "anomalous", n),
            truth=_optional_flags(y_true, "y_true", n),
            masks=pick_masks(masks, every, n, size),
            predicted_masks=pick_masks(predicted_masks, every, n, size),
            names=_names(names, every, n),
        )
        return display.plot(ax=ax, **kwargs)


def _truth(estimator: Any, y: Any, masks: Any, n: int) -> npt.NDArray[np.bool_] | None:
    """Return which images are anomalous, from labels or otherwise from masks."""
    if y is not None or masks is None:
        return read_truth(estimator, y, n)
    if len(masks) != n:
        raise ImageShapeError(f"There are {n} images, but {len(masks)} masks.")
    return masks_to_labels(masks).astype(bool)


def _optional_flags(values: Any, name: str, n: int) -> npt.NDArray[np.bool_] | None:
    return None if values is None else as_flags(values, name, n)


def _names(
    names: Sequence[str] | None, rows: npt.NDArray[np.intp], n: int
) -> list[str] | None:
    if names is None:
        return None
    if len(names) != n:
        raise ValueError(f"There are {n} images, but {len(names)} names.")
    given = list(names)
    return [str(given[row]) for row in rows]
