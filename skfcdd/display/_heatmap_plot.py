"""How images and their heatmaps are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skfcdd.display._common import style
from skfcdd.display._grid import make_grid
from skfcdd.display._overlay import (
    draw_outlines,
    fading,
    outline_handle,
    outline_kinds,
)
from skfcdd.display._pictures import as_grey

if TYPE_CHECKING:
    from typing import Self

__all__ = ["HeatmapPlot"]

# Names are cut to so many letters, their ends kept.
_LONGEST_NAME = 19

# By whether an image is called anomalous, and whether that is wrong.
_WORDS = {
    (False, False): "normal",
    (False, True): "missed",
    (True, False): "anomaly",
    (True, True): "false alarm",
}


class HeatmapPlot:
    """The drawing of a HeatmapDisplay, which says what the data are."""

    images: npt.NDArray[np.float32]
    heatmaps: npt.NDArray[np.float32]
    scale: tuple[float, float]
    scores: npt.NDArray[np.float64] | None
    anomalous: npt.NDArray[np.bool_] | None
    truth: npt.NDArray[np.bool_] | None
    masks: npt.NDArray[np.bool_] | None
    predicted_masks: npt.NDArray[np.bool_] | None
    names: Sequence[str] | None

    def plot(
        self,
        *,
        ax: Any = None,
        n_columns: int = 8,
        show_images: bool = True,
        cmap: Any = "plasma",
        opacity: float = 0.8,
        colorbar: bool = True,
        image_kw: dict[str, Any] | None = None,
        heatmap_kw: dict[str, Any] | None = None,
        outline_kw: dict[str, Any] | None = None,
        title_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw each image, and below it the image in grey with its heatmap.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            Axes in whose place all is drawn; or an array of shape (n, 2), or (n, 1)
            without the images. None makes a figure.
        n_columns : int, default=8
            Images side by side.
        show_images : bool, default=True
            Whether to show the images without their heatmaps too.
        cmap : str or matplotlib Colormap, default="plasma"
            Made transparent at its low end. The default is perceptually uniform, and
            is told from grey by all kinds of colour vision.
        opacity : float, default=0.8
            Of the highest values.
        colorbar : bool, default=True
            Whether to show the scale, and below it what the outlines mean.
        image_kw, heatmap_kw : dict, default=None
            Further arguments of `matplotlib.axes.Axes.imshow`.
        outline_kw : dict, default=None
            Further arguments of `matplotlib.axes.Axes.contour`.
        title_kw : dict, default=None
            Further arguments of `matplotlib.axes.Axes.set_title`.

        Returns
        -------
        self : HeatmapDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If options do not exist, or `ax` has another shape.
        """
        n, h, w = self.heatmaps.shape
        low, high = self.scale
        heat = {"cmap": fading(cmap, opacity), "vmin": low, "vmax": high}
        if "norm" in (heatmap_kw or {}):  # it brings its own ends
            del heat["vmin"], heat["vmax"]
        heat |= heatmap_kw or {}
        plain = {"cmap": "gray", "vmin": 0, "vmax": 1} | (image_kw or {})
        n_rows, n_titles = 1 + show_images, 1 + (self.names is not None)
        self.figure_, self.axes_ = make_grid(ax, n, n_columns, n_rows, (h, w), n_titles)
        for axis in self.axes_.flat:
            axis.set_axis_off()
        last, grey = self.axes_[:, -1], as_grey(self.images)
        self.image_artists_ = [
            axis.imshow(image, **plain)
            for axis, image in zip(self.axes_[:, 0], self.images, strict=True)
            if show_images
        ]
        for axis, image in zip(last, grey, strict=True):
            axis.imshow(image, **plain)
        self.heatmap_artists_ = [
            axis.imshow(heatmap, **heat)
            for axis, heatmap in zip(last, self.heatmaps, strict=True)
        ]
        self._write_titles(style(title_kw, "text.Text", fontsize=8))
        kinds = outline_kinds(outline_kw)
        self.outlines_ = draw_outlines(last, self.masks, kinds["defect"])
        self.predicted_outlines_ = draw_outlines(
            last, self.predicted_masks, kinds["marked"]
        )
        self.colorbar_ = self._draw_scale(min(n_columns, n)) if colorbar else None
        self.legend_ = self._explain_outlines(kinds) if ax is None else None
        return self

    def _write_titles(self, title: dict[str, Any]) -> None:
        """Names above the images, verdicts above the heatmaps; wrong ones in bold."""
        self.verdicts_ = []
        for k, column in enumerate(self.axes_):
            words, wrong = self._verdict(k)
            if self.names is not None and len(column) == 2:
                column[0].set_title(_shortened(str(self.names[k])), **title)
            elif self.names is not None:
                words = f"{_shortened(str(self.names[k]))}\n{words}".strip()
            weight = {"fontweight": "bold" if wrong else "normal"}
            self.verdicts_.append(column[-1].set_title(words, **(weight | title)))

    def _verdict(self, k: int) -> tuple[str, bool]:
        """What is said of an image, and whether it is wrong."""
        words, wrong = [], False
        if self.anomalous is not None:
            called = bool(self.anomalous[k])
            wrong = self.truth is not None and called != bool(self.truth[k])
            words.append(_WORDS[called, wrong])
        if self.scores is not None:
            words.append(f"{self.scores[k]:.3g}")
        return ", ".join(words), wrong

    def _draw_scale(self, n_columns: int) -> Any:
        return self.figure_.colorbar(
            self.heatmap_artists_[-1],
            ax=list(self.axes_.flat),
            extend="max",
            label="heatmap",
            fraction=0.12 / n_columns,  # of the same width beside any number
            pad=0.06 / n_columns,
            aspect=30,
        )

    def _explain_outlines(self, kinds: dict[str, dict[str, Any]]) -> Any:
        """A legend of the outlines that are drawn."""
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
    """The end of a long name, which tells files of a folder apart."""
    return name if len(name) <= _LONGEST_NAME else "…" + name[1 - _LONGEST_NAME :]
