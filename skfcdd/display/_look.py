"""The one look of heatmaps: colours, words and marks of every picture that we make.

Displays, the command line and the report read them here. Needs only NumPy.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = [
    "DEFECT",
    "MARKED",
    "OPACITY",
    "PARTS",
    "WRONG",
    "coloured",
    "comparison",
    "is_wrong",
    "outcome",
    "plasma",
    "ramp",
    "share_texts",
]

# Opacity of the hottest pixels: what is below them shall be seen as well.
OPACITY = 0.6
# A true defect is outlined in white, and what a model marks in a colour that is not one
# of the map; both on a dark rim.
DEFECT, MARKED = "#ffffff", "#00e5ff"
# Of wrong verdicts, on light pages and on dark ones.
WRONG = "#d1264f"
# The two parts of a heatmap, in words.
PARTS = ("looks like a defect", "never seen before")

# matplotlib's "plasma", at even steps from its low end to its high one.
_PLASMA = (
    "0d0887 310597 4c02a1 6600a7 7e03a8 9511a1 aa2395 bc3587 cc4778 da5a6a e66c5c "
    "f0804e f89540 fdac33 fdc527 f8df25 f0f921"
)
# So many colours that there are enough at the low end, where they change fast.
_STEPS = 1024
# By whether an image is called anomalous, and whether that is wrong.
_WORDS = {
    (False, False): "normal",
    (False, True): "missed",
    (True, False): "anomaly",
    (True, True): "false alarm",
}

Floats = npt.NDArray[np.floating]


def ramp(place: Floats) -> tuple[Floats, Floats]:
    """Colour, as a place on a map of colours, and opacity, both from 0 to 1.

    Both rise fast from the low end of a scale: a heat that is a tenth of that of a
    usual defect can be seen, and what is at or below the low end is not drawn.

    Parameters
    ----------
    place : ndarray
        Place on the scale: 0 at its low end, 1 at its high one.
    """
    inside = np.clip(place, 0, 1)
    return inside**0.5, inside**0.3


def plasma(shade: Floats) -> Floats:
    """Red, green and blue from 0 to 1 of places on the map of colours."""
    stops = np.array(
        [[int(text[k : k + 2], 16) for k in (0, 2, 4)] for text in _PLASMA.split()]
    )
    even = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(shade, even, c) for c in stops.T], axis=-1) / 255


def coloured(
    picture: Floats,
    heatmap: Floats,
    scale: tuple[float, float],
    opacity: float = OPACITY,
) -> Floats:
    """A grey picture (h, w) from 0 to 1 below the colours of its heatmap: (h, w, 3)."""
    low, high = scale
    shade, alpha = ramp(np.linspace(0, 1, _STEPS))
    alpha = opacity * alpha[:, None]
    # Of large pictures, only what is looked up is computed pixel by pixel.
    colours, kept = (plasma(shade) * alpha).astype(np.float32), 1 - alpha[:, 0]
    place = np.clip((heatmap - low) / (high - low), 0, 1)
    step = np.ceil(place * (_STEPS - 1)).astype(np.int16)
    mixed: Floats = colours[step]
    mixed += (picture * kept.astype(np.float32)[step])[..., None]
    return mixed


def is_wrong(called: bool, truth: bool | None) -> bool:
    """Whether a verdict is known to be wrong."""
    return truth is not None and bool(called) != bool(truth)


def outcome(called: bool, truth: bool | None = None) -> str:
    """A verdict in a word: normal, anomaly, or one of the two that are wrong."""
    return _WORDS[bool(called), is_wrong(called, truth)]


def comparison(score: float, threshold: float | None, sign: str = "≤") -> str:
    """A score against the threshold: "3.41 > 1.2".

    With as many digits as it takes to tell them apart, at least three; `sign` is that
    of a score which is not above.
    """
    if threshold is None or not math.isfinite(threshold):
        return f"{score:.3g}"
    above = score > threshold
    for digits in range(3, 18):
        left, right = f"{score:.{digits}g}", f"{threshold:.{digits}g}"
        if (float(left) > float(right)) == above:
            break
    return f"{left} {'>' if above else sign} {right}"


def share_texts(novelty: float) -> tuple[str, str]:
    """How much of a score comes from each part: "63 %" and "37 %"."""
    percent = round(100 * float(novelty))
    return f"{100 - percent} %", f"{percent} %"
