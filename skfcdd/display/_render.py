"""Rendering of pictures with Pillow, in the style of the displays."""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._utils.optional import pillow
from skfcdd.display._look import MARKED, OPACITY, coloured

__all__ = ["Caption", "Panel", "draw_sheet"]

# Smaller pictures are enlarged by an integer factor until their longer side has this
# many pixels.
_LEAST_SIDE = 256
# Font size in pixels, and its maximum as a fraction of the picture width.
_LETTERS, _SHARE = (12, 120), 1 / 30
_PAGE, _INK, _QUIET = "#ffffff", "#1b1f24", "#57606a"

Floats = npt.NDArray[np.floating]


@dataclass
class Panel:
    """A picture within a sheet.

    Parameters
    ----------
    image : ndarray of shape (h, w) or (h, w, 3), uint8
        Grey if there is a heatmap.
    heatmap : ndarray of shape (h, w), default=None
    mask : ndarray of shape (h, w), bool, default=None
        Shown as an outline.
    words : str, default=""
        Text below the picture.
    """

    image: npt.NDArray[np.uint8]
    heatmap: Floats | None = None
    mask: npt.NDArray[np.bool_] | None = None
    words: str = ""


@dataclass
class Caption:
    """Text below the panels of a sheet.

    Parameters
    ----------
    verdict : str
        Coloured text at the beginning.
    colour : str
    words : str
        Text after the verdict.
    name : str
        Name of the image, on the next line; the beginning of a long name is cut off.
    lines : list of str
        Further lines.
    """

    verdict: str
    colour: str
    words: str
    name: str
    lines: list[str] = field(default_factory=list)


def draw_sheet(
    panels: Sequence[Panel], scale: tuple[float, float], caption: Caption
) -> Any:
    """Draw a Pillow image: panels of equal size side by side, above their caption.

    Parameters
    ----------
    panels : sequence of Panel
    scale : tuple of float (low, high)
        Limits of the colour scale of heatmaps.
    caption : Caption
    """
    h, w = panels[0].image.shape[:2]
    factor = max(1, -(-_LEAST_SIDE // max(h, w)))
    drawn = [_draw(panel, scale, factor) for panel in panels]
    h, w = factor * h, factor * w
    letters = int(np.clip(round(w * _SHARE), *_LETTERS))
    gap, line = max(4, letters // 2), round(1.5 * letters)
    font = _font(letters)
    start = gap // 2 + round(font.getlength(caption.verdict)) + 2 * gap
    words = start + font.getlength(_known(caption.words, font))
    needed = [words, *(gap + font.getlength(text) for text in caption.lines)]
    width = max(len(panels) * (w + gap) - gap, *(round(n) + gap for n in needed))
    labelled = any(panel.words for panel in panels)
    n_lines = 2 + len(caption.lines) + labelled
    sheet = pillow("Image").new("RGB", (width, h + n_lines * line + gap), _PAGE)
    pen = pillow("ImageDraw").Draw(sheet)
    for k, (panel, picture) in enumerate(zip(panels, drawn, strict=True)):
        left = k * (w + gap)
        sheet.paste(picture, (left, 0))
        if panel.words:
            words = _fitting(panel.words, font, w)
            pen.text((left + gap // 2, h + gap // 2), words, fill=_QUIET, font=font)
    left, top = gap // 2, h + gap // 2 + labelled * line
    pen.text((left, top), caption.verdict, fill=caption.colour, font=font)
    pen.text((start, top), _known(caption.words, font), fill=_INK, font=font)
    lines = [_fitting(caption.name, font, width - gap), *caption.lines]
    for k, text in enumerate(lines, 1):
        pen.text((left, top + k * line), text, fill=_QUIET, font=font)
    return sheet


def _draw(panel: Panel, scale: tuple[float, float], factor: int) -> Any:
    """Draw a panel as a Pillow image, enlarged by an integer factor."""
    h, w = panel.image.shape[:2]
    image = panel.image.repeat(factor, axis=0).repeat(factor, axis=1)
    if panel.heatmap is not None:
        heatmap = _enlarged(panel.heatmap, factor)
        mixed = coloured(image.astype(np.float32) / 255, heatmap, scale, OPACITY)
        image = (255 * mixed).round().astype(np.uint8)
    if panel.mask is not None and panel.mask.any():
        if image.ndim == 2:
            image = image[..., None].repeat(3, axis=2)
        mask = _enlarged(panel.mask.astype(np.float32), factor) >= 0.5
        image = _outlined(image, mask, max(1, round(factor * max(h, w) / 300)))
    return pillow("Image").fromarray(image).convert("RGB")


def _enlarged(values: Floats, factor: int) -> npt.NDArray[np.float32]:
    if factor == 1:
        return np.asarray(values, dtype=np.float32)
    h, w = values.shape
    image = pillow("Image").fromarray(np.ascontiguousarray(values, dtype=np.float32))
    bilinear = pillow("Image").Resampling.BILINEAR
    return np.asarray(image.resize((factor * w, factor * h), bilinear))


def _outlined(
    image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], width: int
) -> npt.NDArray[np.uint8]:
    """Draw a line around a mask, on a dark rim, without changing its inside."""
    from scipy import ndimage

    outlined = image.copy()
    rim = ndimage.maximum_filter(mask, 4 * width + 1) & ~mask
    ring = ndimage.maximum_filter(mask, 2 * width + 1) & ~mask
    outlined[rim] = outlined[rim] // 3
    outlined[ring] = pillow("ImageColor").getrgb(MARKED)
    return outlined


# -- text -----------------------------------------------------------------------------


@cache
def _font(size: int) -> Any:
    """Return matplotlib's font if it is installed, otherwise Pillow's."""
    fonts = pillow("ImageFont")
    found = importlib.util.find_spec("matplotlib")
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return fonts.truetype(str(path), size)
    return fonts.load_default(size)


def _known(text: str, font: Any) -> str:
    """Replace characters that the font lacks."""
    if "DejaVu" in font.getname()[0]:
        return text
    plain = unicodedata.normalize("NFKD", text.replace("≤", "<="))
    return plain.encode("ascii", "ignore").decode()


def _fitting(text: str, font: Any, room: float) -> str:
    """Return the end of a text that fits in the given width."""
    text = _known(text, font)
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"...{text}") > room:
        text = text[1:]
    return f"...{text}"
