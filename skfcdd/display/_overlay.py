"""Colours that fade out, and outlines that stand out."""

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

# So many colours that there are enough at the low end, where they change fast.
_N_COLOURS = 1024


def fading(cmap: Any, opacity: float) -> Any:
    """A colour map that is transparent at its low end, and below.

    Parameters
    ----------
    cmap : str or Colormap
    opacity : float
        At its high end, in (0, 1].

    Raises
    ------
    ValueError
        If there is no such colour map, or `opacity` is out of range.
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
    """How a true defect is outlined, and what a model marks: with dashes."""
    lines = given or {}
    return {
        "defect": {"colors": DEFECT, "linewidths": 1.0, "linestyles": "solid"} | lines,
        "marked": {"colors": MARKED, "linewidths": 1.0}
        | lines
        | {"linestyles": "dashed"},
    }


def draw_frame(ax: Any) -> Any:
    """A frame around an image about which the verdict is wrong."""
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
    """Outline the masks, each on its axes; None where one is empty."""
    if masks is None:
        return [None] * len(axes)
    return [
        _outline(ax, mask, kind) if mask.any() else None
        for ax, mask in zip(axes, masks, strict=True)
    ]


def _outline(ax: Any, mask: npt.NDArray[np.bool_], kind: dict[str, Any]) -> Any:
    # A frame of normal pixels, so that outlines close at the edge of the image.
    framed = np.pad(mask.astype(float), 1)
    h, w = framed.shape
    lines = ax.contour(np.arange(w) - 1, np.arange(h) - 1, framed, levels=[0.5], **kind)
    lines.set_path_effects([_rim(np.max(lines.get_linewidths()))])
    ax.set(xlim=(-0.5, w - 2.5), ylim=(h - 2.5, -0.5))
    return lines


def _rim(width: float) -> Any:
    """A dark rim, with which a light line shows on light images too."""
    effects = matplotlib("patheffects")
    return effects.withStroke(linewidth=width + 1.4, foreground="black")


def outline_handle(name: str, kind: dict[str, Any]) -> Any:
    """A line of the same look for a legend."""
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
