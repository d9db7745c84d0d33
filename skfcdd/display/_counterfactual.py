"""Display of images before and after replacing a region by normal content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skfcdd.display._common import check_scale, matplotlib, style
from skfcdd.display._grid import make_grid
from skfcdd.display._look import OPACITY, comparison, outcome
from skfcdd.display._overlay import draw_outlines, fading, outline_kinds
from skfcdd.display._pictures import as_grey, as_pictures

if TYPE_CHECKING:
    from skfcdd.inspection import Counterfactual

__all__ = ["CounterfactualDisplay"]

ROWS = ("before", "after", "heat before", "heat after", "difference")


class CounterfactualDisplay:
    """Visualisation of images, heatmaps, scores and labels if a region were normal.

    Create it with :meth:`from_estimator` or :meth:`from_counterfactual`. Each image has
    a column: before and after, both heatmaps on the scale of the model, and their
    difference: orange for heat that has disappeared, blue for new heat.

    Parameters
    ----------
    result : Counterfactual
        Result of :func:`~skfcdd.inspection.counterfactual`.
    scale : tuple of float (low, high)
        Limits of the colour scale of heatmaps: ``heatmap_scale_`` of the model.
    names : sequence of str, default=None
        Titles of the images.
    channel, value_range
        How images are shown, see :class:`HeatmapDisplay`.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure containing the plot.
    axes_ : ndarray of shape (n, 5) of matplotlib Axes
        Axes of each image, from top to bottom: before, after, both with their heatmaps,
        difference.
    image_artists_, heatmap_artists_ : ndarray of shape (n, 2) of matplotlib AxesImage
        Artists before and after the replacement.
    difference_artists_ : list of matplotlib AxesImage
        Artists of the heatmap before minus the heatmap after.
    outlines_ : list of matplotlib QuadContourSet or None
        Outlines of the regions, on the images before the replacement.
    verdicts_ : ndarray of shape (n, 2) of matplotlib Text
        Label and score before and after.
    colorbar_ : matplotlib Colorbar or None
        Colour bar of the heatmap scale.

    Examples
    --------
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.display import CounterfactualDisplay
    >>> data = make_defects(40, image_size=32, random_state=0)
    >>> model = FCDDClassifier(max_epochs=1, random_state=0)
    >>> model = model.fit(data.images[data.target == 0])
    >>> bad = data.target == 1
    >>> display = CounterfactualDisplay.from_estimator(
    ...     model, data.images[bad], data.masks[bad]
    ... )
    >>> display.axes_.shape
    (8, 5)
    """

    def __init__(
        self,
        *,
        result: Counterfactual,
        scale: tuple[float, float],
        names: Sequence[str] | None = None,
        channel: int | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.result = result
        self.scale = scale
        self.names = names
        self.channel = channel
        self.value_range = value_range

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        region: Any = "hot",
        *,
        scale: tuple[float, float] | None = None,
        names: Sequence[str] | None = None,
        channel: int | None = None,
        value_range: tuple[float, float] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> CounterfactualDisplay:
        """Compute the counterfactuals of a fitted model and plot them.

        Parameters
        ----------
        estimator : estimator
            A fitted model with ``anomaly_score`` and ``explain``.
        X : array-like
            Images to show.
        region : "hot", str, box, Region or array, default="hot"
            See :func:`~skfcdd.inspection.counterfactual`.
        scale : tuple of float (low, high), default=None
            Limits of the colour scale. None uses ``heatmap_scale_``.
        names : sequence of str, default=None
            Titles of the images.
        channel, value_range
            How images are shown, see :class:`HeatmapDisplay`.
        ax : matplotlib Axes or array of them, default=None
            See :meth:`plot`.
        **kwargs
            Passed to :func:`~skfcdd.inspection.counterfactual`.

        Returns
        -------
        CounterfactualDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        TypeError, ValueError
            As for :func:`~skfcdd.inspection.counterfactual`.
        """
        from skfcdd.inspection import counterfactual

        matplotlib()
        result = counterfactual(estimator, X, region, **kwargs)
        return cls.from_counterfactual(
            result,
            scale=estimator.heatmap_scale_ if scale is None else scale,
            names=names,
            channel=channel,
            value_range=value_range,
            ax=ax,
        )

    @classmethod
    def from_counterfactual(
        cls,
        result: Counterfactual,
        *,
        scale: tuple[float, float],
        names: Sequence[str] | None = None,
        channel: int | None = None,
        value_range: tuple[float, float] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> CounterfactualDisplay:
        """Plot an existing counterfactual.

        Parameters
        ----------
        result : Counterfactual
            The result to plot.
        scale : tuple of float (low, high)
            Limits of the colour scale: ``heatmap_scale_`` of the model.
        names, channel, value_range
            See :meth:`from_estimator`.
        ax : matplotlib Axes or array of them, default=None
            See :meth:`plot`.
        **kwargs
            Passed to :meth:`plot`.

        Returns
        -------
        CounterfactualDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If the number of names differs from that of images, or `scale` is invalid.
        """
        n = len(result.scores)
        if names is not None and len(names) != n:
            raise ValueError(f"There are {n} images, but {len(names)} names.")
        display = cls(
            result=result,
            scale=check_scale(scale),
            names=names,
            channel=channel,
            value_range=value_range,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(
        self,
        *,
        ax: Any = None,
        n_columns: int = 8,
        cmap: Any = "plasma",
        difference_cmap: Any = "PuOr_r",
        opacity: float = OPACITY,
        colorbar: bool = True,
        title_kw: dict[str, Any] | None = None,
        outline_kw: dict[str, Any] | None = None,
    ) -> CounterfactualDisplay:
        """Plot a column for each image.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            Axes to replace by the plot, or an array of shape (n, 5). None creates a new
            figure.
        n_columns : int, default=8
            Number of images side by side.
        cmap, difference_cmap : str or matplotlib Colormap
            Colormaps of heatmaps, and of their differences.
        opacity : float, default=0.6
            Opacity of the highest values.
        colorbar : bool, default=True
            Whether to show the colour bar.
        title_kw, outline_kw : dict, default=None
            Keyword arguments passed to `matplotlib.axes.Axes.set_title` and
            ``contour``.

        Returns
        -------
        self : CounterfactualDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If an option is invalid, or `ax` has another shape.
        """
        found = self.result
        n, h, w = found.heatmaps.shape
        titles = 2 + (self.names is not None)
        self.figure_, self.axes_ = make_grid(ax, n, n_columns, 5, (h, w), titles)
        pictures = self._pictures()
        text = style(title_kw, "text.Text", fontsize=8)
        kinds = outline_kinds(outline_kw)
        self.outlines_ = draw_outlines(self.axes_[:, 0], found.regions, kinds["defect"])
        low, high = self.scale
        heat = {"cmap": fading(cmap, opacity), "vmin": low, "vmax": high}
        artists = [
            self._draw_column(k, pictures, heat, difference_cmap) for k in range(n)
        ]
        self.image_artists_ = np.array([a[:2] for a in artists], dtype=object)
        self.heatmap_artists_ = np.array([a[2:4] for a in artists], dtype=object)
        self.difference_artists_ = [a[4] for a in artists]
        self._write(min(n_columns, n), text)
        self.colorbar_ = None
        if colorbar:
            self.colorbar_ = self.figure_.colorbar(
                self.heatmap_artists_[-1, 0],
                ax=list(self.axes_.flat),
                extend="max",
                label="heatmap",
                fraction=0.12 / min(n_columns, n),
                pad=0.06 / min(n_columns, n),
                aspect=40,
            )
        return self

    def _pictures(self) -> npt.NDArray[np.float32]:
        """Return images before and after, (2, n, h, w[, 3]), on one scale."""
        found = self.result
        both = np.concatenate([found.images, found.new_images])
        shown = as_pictures(
            both,
            found.heatmaps.shape[1:],
            channels=None if both.ndim == 3 else "last",
            channel=self.channel,
            value_range=self.value_range,
        )
        return shown.reshape(2, -1, *shown.shape[1:])

    def _draw_column(
        self, k: int, pictures: npt.NDArray[np.float32], heat: dict[str, Any], cmap: Any
    ) -> list[Any]:
        """Draw the images, the heatmaps and their difference for one image."""
        plain = {"cmap": "gray", "vmin": 0, "vmax": 1}
        maps = (self.result.heatmaps[k], self.result.new_heatmaps[k])
        column = self.axes_[k]
        artists = [column[i].imshow(pictures[i, k], **plain) for i in (0, 1)]
        for i, heatmap in enumerate(maps):
            column[2 + i].imshow(as_grey(pictures[i, k][None])[0], **plain)
            artists.append(column[2 + i].imshow(heatmap, **heat))
        most = self.scale[1] - self.scale[0]
        change = maps[0] - maps[1]
        ends = {"vmin": -most, "vmax": most}
        artists.append(column[4].imshow(change, cmap=cmap, **ends))
        return artists

    def _write(self, n_columns: int, text: dict[str, Any]) -> None:
        """Write names, labels and row titles."""
        for k, column in enumerate(self.axes_):
            for axis, row in zip(column, ROWS, strict=True):
                axis.set(xticks=[], yticks=[], frame_on=False)
                if k % n_columns == 0:
                    axis.set_ylabel(row, fontsize=8)
            if self.names is not None:
                column[0].set_title(str(self.names[k]), **text)
        found = self.result
        sides = (
            (found.scores, found.anomalous),
            (found.new_scores, found.new_anomalous),
        )
        self.verdicts_ = np.array(
            [
                [
                    column[2 + i].set_title(_verdict(k, *side), **text)
                    for i, side in enumerate(sides)
                ]
                for k, column in enumerate(self.axes_)
            ],
            dtype=object,
        )


def _verdict(
    k: int, scores: npt.NDArray[np.float64], anomalous: npt.NDArray[np.bool_] | None
) -> str:
    words = comparison(scores[k], None)
    return words if anomalous is None else f"{outcome(anomalous[k])}, {words}"
