"""Display of the per-region overlap curve."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import auc

from skfcdd._answers import check_model, count, iter_heatmaps
from skfcdd.display._common import NORMAL, figure_of, foreground, matplotlib, style
from skfcdd.exceptions import ImageShapeError
from skfcdd.metrics import region_overlap_curve
from skfcdd.metrics._curves import check_max_fpr, cut_curve, region_overlap
from skfcdd.metrics._histogram import PixelHistogram
from skfcdd.metrics._pixels import MOST_EXACT

__all__ = ["RegionOverlapDisplay"]

# Points in the same cell of a grid with this many cells a side are drawn as one.
_RESOLUTION = 1000


class RegionOverlapDisplay:
    """Visualisation of the per-region overlap against the false positive rate.

    Create it with :meth:`from_estimator` or :meth:`from_predictions`. The area under
    the curve up to `max_fpr` is :func:`skfcdd.metrics.aupro_score`.

    Parameters
    ----------
    fpr : ndarray of shape (k,)
        Fraction of the normal pixels above each threshold.
    overlap : ndarray of shape (k,)
        Fraction of the pixels of a defect above each threshold, averaged over all
        defects.
    thresholds : ndarray of shape (k,), default=None
        Decreasing thresholds.
    max_fpr : float, default=0.3
        Upper limit of the false positive rate for the area.
    name : str, default=None
        Name of the model.

    Attributes
    ----------
    aupro : float
        Area under the curve, divided by `max_fpr`.
    figure_ : matplotlib Figure
        Figure containing the plot.
    ax_ : matplotlib Axes
        Axes containing the curve.
    line_ : matplotlib Line2D
        The curve.
    area_ : matplotlib PolyCollection or None
        The shaded area.
    chance_level_ : matplotlib Line2D or None
        The curve of uninformative heatmaps.

    Examples
    --------
    >>> from skfcdd.display import RegionOverlapDisplay
    >>> masks = [[[1, 0, 0, 0, 0, 0, 1, 1]]]
    >>> heatmaps = [[[9, 0, 0, 0, 0, 0, 9, 0]]]
    >>> display = RegionOverlapDisplay.from_predictions(masks, heatmaps, max_fpr=0.2)
    >>> round(display.aupro, 3)
    0.775
    """

    def __init__(
        self,
        *,
        fpr: npt.NDArray[np.float64],
        overlap: npt.NDArray[np.float64],
        thresholds: npt.NDArray[Any] | None = None,
        max_fpr: float = 0.3,
        name: str | None = None,
    ) -> None:
        self.fpr = fpr
        self.overlap = overlap
        self.thresholds = thresholds
        self.max_fpr = max_fpr
        self.name = name

    @property
    def aupro(self) -> float:
        """Area under the curve up to `max_fpr`, divided by `max_fpr`."""
        area = auc(*cut_curve(self.fpr, self.overlap, self.max_fpr))
        return float(area / self.max_fpr)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        masks: Any,
        *,
        max_fpr: float = 0.3,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> RegionOverlapDisplay:
        """Explain images with a fitted model and plot the curve.

        Exact up to 16 million pixels; for more, heatmaps are counted batch by batch in
        a :class:`~skfcdd.metrics.PixelHistogram`, so that they are never all in memory.

        Parameters
        ----------
        estimator : estimator
            A fitted FCDDClassifier, FCDDSegmenter or FCDDDetector, or an
            :class:`~skfcdd.onnx.OnnxFCDD`.
        X : array-like
            Images, as for its ``explain``.
        masks : array-like of shape (n, h, w)
            1 (or 255) at anomalous pixels.
        max_fpr : float, default=0.3
            Upper limit of the false positive rate for the area, in (0, 1].
        name : str, default=None
            Name in the legend. None uses the class name.
        ax : matplotlib Axes, default=None
            Axes to plot on. None creates a new figure.
        **kwargs
            Passed to :meth:`plot`.

        Returns
        -------
        RegionOverlapDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        TypeError
            If `estimator` is of another type.
        NotFittedError
            If `estimator` is not fitted.
        ValueError
            If masks have another shape, or contain only one kind of pixels.
        """
        matplotlib()
        check_model(estimator, "explain")
        check_max_fpr(max_fpr)
        truth = np.asanyarray(masks)
        if truth.ndim != 3 or len(truth) != count(X):
            raise ImageShapeError(
                f"masks must be of shape (n, h, w) with n = {count(X)}, the number of "
                f"images. Got {truth.shape}."
            )
        name = type(estimator).__name__ if name is None else name
        options = {"max_fpr": max_fpr, "name": name, "ax": ax, **kwargs}
        roi = getattr(estimator, "roi_", None)
        if truth.size <= MOST_EXACT:
            curve = region_overlap_curve(truth, estimator.explain(X), roi=roi)
            return cls._drawn(curve, **options)
        histogram, done = PixelHistogram(), 0
        for heatmaps in iter_heatmaps(estimator, X):
            histogram.update(truth[done : done + len(heatmaps)], heatmaps, roi)
            done += len(heatmaps)
        return cls._drawn(region_overlap(histogram.sample()), **options)

    @classmethod
    def from_predictions(
        cls,
        masks: Any,
        heatmaps: Any,
        *,
        max_fpr: float = 0.3,
        method: str = "auto",
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> RegionOverlapDisplay:
        """Plot the curve of existing heatmaps.

        Parameters
        ----------
        masks, heatmaps, method
            See :func:`skfcdd.metrics.region_overlap_curve`.
        max_fpr : float, default=0.3
            Upper limit of the false positive rate for the area, in (0, 1].
        name : str, default=None
            Name in the legend.
        ax : matplotlib Axes, default=None
            Axes to plot on. None creates a new figure.
        **kwargs
            Passed to :meth:`plot`.

        Returns
        -------
        RegionOverlapDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            As for :func:`skfcdd.metrics.region_overlap_curve`.
        """
        matplotlib()
        check_max_fpr(max_fpr)
        curve = region_overlap_curve(masks, heatmaps, method=method)
        return cls._drawn(curve, max_fpr=max_fpr, name=name, ax=ax, **kwargs)

    @classmethod
    def _drawn(
        cls,
        curve: tuple[npt.NDArray[Any], ...],
        *,
        max_fpr: float,
        name: str | None,
        ax: Any,
        **kwargs: Any,
    ) -> RegionOverlapDisplay:
        fpr, overlap, thresholds = curve
        display = cls(
            fpr=fpr, overlap=overlap, thresholds=thresholds, max_fpr=max_fpr, name=name
        )
        return display.plot(ax=ax, **kwargs)

    def plot(
        self,
        *,
        ax: Any = None,
        name: str | None = None,
        fill: bool = True,
        plot_chance_level: bool = False,
        fill_kw: dict[str, Any] | None = None,
        chance_level_kw: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> RegionOverlapDisplay:
        """Plot the curve, and the area that defines AUPRO.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on; several curves may share one. None creates a new figure.
        name : str, default=None
            Name in the legend. None uses that of the display.
        fill : bool, default=True
            Whether to shade the area up to `max_fpr`.
        plot_chance_level : bool, default=False
            Whether to plot the curve of uninformative heatmaps.
        fill_kw, chance_level_kw : dict, default=None
            Keyword arguments passed to `matplotlib.axes.Axes.fill_between` and
            ``plot``.
        **kwargs
            Keyword arguments passed to `matplotlib.axes.Axes.plot` for the curve.

        Returns
        -------
        self : RegionOverlapDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        self.figure_, self.ax_ = figure_of(ax)
        label = f"AUPRO = {self.aupro:.3f} (up to {self.max_fpr:g})"
        name = self.name if name is None else name
        if name:
            label = f"{name}\n{label}"
        look: dict[str, Any] = {"color": NORMAL} if ax is None else {}
        look = style(kwargs, "lines.Line2D", label=label, **look)
        (self.line_,) = self.ax_.plot(*_thinned(self.fpr, self.overlap), **look)
        self.area_ = self._shade(fill_kw) if fill else None
        self.chance_level_ = None
        if plot_chance_level:
            chance = style(
                chance_level_kw,
                "lines.Line2D",
                color=foreground(),
                linestyle="--",
                linewidth=1,
                label="chance",
            )
            (self.chance_level_,) = self.ax_.plot([0, 1], [0, 1], **chance)
        self.ax_.set(
            xlabel="false positive rate of pixels",
            ylabel="per-region overlap",
            xlim=(-0.01, 1.01),
            ylim=(-0.01, 1.01),
        )
        self.ax_.legend(loc="lower right")
        return self

    def _shade(self, given: dict[str, Any] | None) -> Any:
        x, y = _thinned(*cut_curve(self.fpr, self.overlap, self.max_fpr))
        look = {"color": self.line_.get_color(), "alpha": 0.2, "linewidth": 0}
        return self.ax_.fill_between(
            x, y, **style(given, "collections.PolyCollection", **look)
        )


def _thinned(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Drop points that are indistinguishable in a plot; the last is kept."""
    places = np.stack([x, y]) * _RESOLUTION
    moved = np.abs(np.diff(places.round(), axis=1)).any(axis=0)
    keep = np.r_[True, moved]
    keep[-1] = True
    return x[keep], y[keep]
