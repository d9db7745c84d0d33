"""Colormaps with transparency, and outlines with a rim."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd.display._common import matplotlib
from skfcdd.display._look import DEFECT, MARKED, WRONG, ramp

__all__ = [
    "draw_frame",
    "draw_outlines",
    "fading",
    "outline_handle",
    "outline_kinds",
]

# Enough colours for the low end, where they change fast.
_N_COLOURS = 1024


def fading(cmap: Any, opacity: float) -> Any:
    """Create a colormap that is transparent at and below its low end.

    Parameters
    ----------
    cmap : str or Colormap
    opacity : float
        Opacity at the high end, in (0, 1].

    Raises
    ------
    ValueError
        If the colormap does not exist, or `opacity` is out of range.
    """
    if not 0 < opacity <= 1:
        raise ValueError(f"Got opacity={opacity!r}, but expected it in (0, 1].")
    base = matplotlib().colormaps.get_cmap(cmap)
    shade, alpha = ramp(np.linspace(0, 1, _N_COLOURS))
    colours = base(shade)
    colours[:, 3] *= opacity * alpha
    faded = matplotlib("colors").ListedColormap(colours, name=f"{base.name}_fading")
    nothing = (0, 0, 0, 0)
    return faded.with_extremes(under=nothing, bad=nothing, over=colours[-1])


def outline_kinds(given: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Return the line styles of true defects, and of predicted ones (dashed)."""
    lines = given or {}
    return {
        "defect": {"colors": DEFECT, "linewidths": 1.0, "linestyles": "solid"} | lines,
        "marked": {"colors": MARKED, "linewidths": 1.0}
        | lines
        | {"linestyles": "dashed"},
    }


def draw_frame(ax: Any) -> Any:
    """Draw a frame around a misclassified image."""
    frame = matplotlib("patches").Rectangle(
        (0, 0),
        1,
        1,
        transform=ax.transAxes,
        fill=False,
        edgecolor=WRONG,
        linewidth=2.5,
        clip_on=False,
    )
    ax.add_artist(frame)
    return frame


def draw_outlines(
    axes: npt.NDArray[Any],
    masks: npt.NDArray[np.bool_] | None,
    kind: dict[str, Any],
) -> list[Any]:
    """Outline masks on their axes; None for empty masks."""
    if masks is None:
        return [None] * len(axes)
    return [
        _outline(ax, mask, kind) if mask.any() else None
        for ax, mask in zip(axes, masks, strict=True)
    ]


def _outline(ax: Any, mask: npt.NDArray[np.bool_], kind: dict[str, Any]) -> Any:
    # Pad with normal pixels, so that outlines close at the image border.
    framed = np.pad(mask.astype(float), 1)
    h, w = framed.shape
    lines = ax.contour(np.arange(w) - 1, np.arange(h) - 1, framed, levels=[0.5], **kind)
    lines.set_path_effects([_rim(np.max(lines.get_linewidths()))])
    ax.set(xlim=(-0.5, w - 2.5), ylim=(h - 2.5, -0.5))
    return lines


def _rim(width: float) -> Any:
    """Return a dark rim, which makes a light line visible on light images."""
    effects = matplotlib("patheffects")
    return effects.withStroke(linewidth=width + 1.4, foreground="black")


def outline_handle(name: str, kind: dict[str, Any]) -> Any:
    """Create a legend entry in the same style."""
    width = float(np.max(kind["linewidths"]))
    return matplotlib("lines").Line2D(
        [],
        [],
        label=name,
        color=np.atleast_1d(kind["colors"])[0],
        linewidth=width,
        linestyle=kind["linestyles"],
        path_effects=[_rim(width)],
    )
