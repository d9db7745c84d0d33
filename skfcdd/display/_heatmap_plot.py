"""Plotting of images and their heatmaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skfcdd.display._common import style
from skfcdd.display._grid import make_grid
from skfcdd.display._look import (
    OPACITY,
    PARTS,
    WRONG,
    comparison,
    is_wrong,
    outcome,
    share_texts,
)
from skfcdd.display._overlay import (
    draw_frame,
    draw_outlines,
    fading,
    outline_handle,
    outline_kinds,
)
from skfcdd.display._pictures import as_grey

if TYPE_CHECKING:
    from typing import Self

__all__ = ["HeatmapPlot"]

# Maximum length of names; the beginning is cut off.
_LONGEST_NAME = 19


class HeatmapPlot:
    """Plotting methods of HeatmapDisplay, which holds the data."""

    images: npt.NDArray[np.float32]
    heatmaps: npt.NDArray[np.float32]
    scale: tuple[float, float]
    scores: npt.NDArray[np.float64] | None
    threshold: float | None
    anomalous: npt.NDArray[np.bool_] | None
    truth: npt.NDArray[np.bool_] | None
    masks: npt.NDArray[np.bool_] | None
    predicted_masks: npt.NDArray[np.bool_] | None
    names: Sequence[str] | None
    parts: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None
    novelty_share: npt.NDArray[np.float64] | None

    def plot(
        self,
        *,
        ax: Any = None,
        n_columns: int = 8,
        show_images: bool = True,
        cmap: Any = "plasma",
        opacity: float = OPACITY,
        colorbar: bool = True,
        image_kw: dict[str, Any] | None = None,
        heatmap_kw: dict[str, Any] | None = None,
        outline_kw: dict[str, Any] | None = None,
        title_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Plot each image, and below it the image in grey with its heatmap.

        If the display has parts of heatmaps, they follow below.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            Axes to replace by the plot, or an array of shape (n, 2), or (n, 1) without
            the images, with two more columns for parts. None creates a new figure.
        n_columns : int, default=8
            Number of images side by side.
        show_images : bool, default=True
            Whether to also show the images without heatmaps.
        cmap : str or matplotlib Colormap, default="plasma"
            Made transparent at its low end. The default is perceptually uniform, and
            distinguishable from grey with any colour vision deficiency.
        opacity : float, default=0.6
            Opacity of the highest values. Below 1, the image remains visible.
        colorbar : bool, default=True
            Whether to show the colour bar, and below it a legend of the outlines.
        image_kw, heatmap_kw : dict, default=None
            Keyword arguments passed to `matplotlib.axes.Axes.imshow`.
        outline_kw : dict, default=None
            Keyword arguments passed to `matplotlib.axes.Axes.contour`.
        title_kw : dict, default=None
            Keyword arguments passed to `matplotlib.axes.Axes.set_title`.

        Returns
        -------
        self : HeatmapDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If an option is invalid, or `ax` has another shape.
        """
        n, h, w = self.heatmaps.shape
        low, high = self.scale
        heat = {"cmap": fading(cmap, opacity), "vmin": low, "vmax": high}
        if "norm" in (heatmap_kw or {}):  # it has its own limits
            del heat["vmin"], heat["vmax"]
        heat |= heatmap_kw or {}
        plain = {"cmap": "gray", "vmin": 0, "vmax": 1} | (image_kw or {})
        first, n_parts = int(show_images), 0 if self.parts is None else len(self.parts)
        n_titles = 1 + (self.names is not None) + n_parts
        self.figure_, self.axes_ = make_grid(
            ax, n, n_columns, first + 1 + n_parts, (h, w), n_titles
        )
        for axis in self.axes_.flat:
            axis.set_axis_off()
        own, grey = self.axes_[:, first], as_grey(self.images)
        self.image_artists_ = [
            axis.imshow(image, **plain)
            for axis, image in zip(self.axes_[:, 0], self.images, strict=True)
            if show_images
        ]
        for column, image in zip(self.axes_, grey, strict=True):
            for axis in column[first:]:
                axis.imshow(image, **plain)
        self.heatmap_artists_ = [
            axis.imshow(heatmap, **heat)
            for axis, heatmap in zip(own, self.heatmaps, strict=True)
        ]
        title = style(title_kw, "text.Text", fontsize=8)
        self.part_artists_ = self._draw_parts(heat, title)
        self._write_titles(title, first)
        kinds = outline_kinds(outline_kw)
        self.outlines_ = draw_outlines(own, self.masks, kinds["defect"])
        self.predicted_outlines_ = draw_outlines(
            own, self.predicted_masks, kinds["marked"]
        )
        self.colorbar_ = self._draw_scale(min(n_columns, n)) if colorbar else None
        self.legend_ = self._explain_outlines(kinds) if ax is None else None
        return self

    def _draw_parts(
        self, heat: dict[str, Any], title: dict[str, Any]
    ) -> list[tuple[Any, ...]]:
        """Draw the parts of each heatmap, with their titles."""
        if self.parts is None:
            return []
        drawn = []
        for k, column in enumerate(self.axes_):
            shares = ("", "")
            if self.novelty_share is not None:
                shares = share_texts(self.novelty_share[k])
            both = zip(column[-2:], self.parts, PARTS, shares, strict=True)
            artists = []
            for axis, part, words, share in both:
                artists.append(axis.imshow(part[k], **heat))
                axis.set_title(f"{words} {share}".strip(), **title)
            drawn.append(tuple(artists))
        return drawn

    def _write_titles(self, title: dict[str, Any], first: int) -> None:
        """Write names above images, labels above heatmaps; highlight wrong labels."""
        self.verdicts_, self.frames_ = [], []
        for k, column in enumerate(self.axes_):
            words, wrong = self._verdict(k)
            if self.names is not None and first:
                column[0].set_title(_shortened(str(self.names[k])), **title)
            elif self.names is not None:
                words = f"{_shortened(str(self.names[k]))}\n{words}".strip()
            strong = {"fontweight": "bold", "color": WRONG} if wrong else {}
            self.verdicts_.append(column[first].set_title(words, **(strong | title)))
            self.frames_.append(draw_frame(column[first]) if wrong else None)

    def _verdict(self, k: int) -> tuple[str, bool]:
        """Return the text about an image, and whether its label is wrong."""
        words, wrong = [], False
        if self.anomalous is not None:
            truth = None if self.truth is None else bool(self.truth[k])
            wrong = is_wrong(bool(self.anomalous[k]), truth)
            words.append(outcome(bool(self.anomalous[k]), truth))
        if self.scores is not None:
            words.append(comparison(float(self.scores[k]), self.threshold))
        return ", ".join(words), wrong

    def _draw_scale(self, n_columns: int) -> Any:
        bar = self.figure_.colorbar(
            self.heatmap_artists_[-1],
            ax=list(self.axes_.flat),
            extend="max",
            label="heatmap",
            fraction=0.12 / n_columns,  # the same width for any number of columns
            pad=0.06 / n_columns,
            aspect=30,
        )
        bar.ax.set_facecolor("0.45")  # as over an image, not over the page
        return bar

    def _explain_outlines(self, kinds: dict[str, dict[str, Any]]) -> Any:
        """Draw a legend of the outlines."""
        drawn = {
            "true defect": (self.outlines_, kinds["defect"]),
            "marked by the model": (self.predicted_outlines_, kinds["marked"]),
        }
        handles = [
            outline_handle(name, kind)
            for name, (lines, kind) in drawn.items()
            if any(line is not None for line in lines)
        ]
        if not handles:
            return None
        return self.figure_.legend(
            handles=handles, loc="outside lower center", ncols=2, frameon=False
        )


def _shortened(name: str) -> str:
    """Return the end of a long name, which distinguishes files of a folder."""
    return name if len(name) <= _LONGEST_NAME else "…" + name[1 - _LONGEST_NAME :]
