"""The common style of heatmaps: colours, labels and marks.

Used by the displays, the command line and the report. Depends only on NumPy.
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

# Opacity of the hottest pixels, so that the image remains visible below them.
OPACITY = 0.6
# True defects have a white outline, predicted ones a colour outside the colormap; both
# have a dark rim.
DEFECT, MARKED = "#ffffff", "#00e5ff"
# Colours of wrong labels, on light and on dark pages.
WRONG = "#d1264f"
# Names of the two parts of a heatmap.
PARTS = ("looks like a defect", "never seen before")

# matplotlib's "plasma" at equidistant positions from low to high.
_PLASMA = (
    "0d0887 310597 4c02a1 6600a7 7e03a8 9511a1 aa2395 bc3587 cc4778 da5a6a e66c5c "
    "f0804e f89540 fdac33 fdc527 f8df25 f0f921"
)
# Enough colours for the low end, where they change fast.
_STEPS = 1024
# By predicted label, and whether it is wrong.
_WORDS = {
    (False, False): "normal",
    (False, True): "missed",
    (True, False): "anomaly",
    (True, True): "false alarm",
}

Floats = npt.NDArray[np.floating]


def ramp(place: Floats) -> tuple[Floats, Floats]:
    """Compute the position in the colormap, and the opacity, both from 0 to 1.

    Both rise fast from the low end of the scale: a tenth of the heat of a typical
    defect is visible, whereas values at or below the low end are not drawn.

    Parameters
    ----------
    place : ndarray
        Position on the scale: 0 at its low end, 1 at its high end.
    """
    inside = np.clip(place, 0, 1)
    return inside**0.5, inside**0.3


def plasma(shade: Floats) -> Floats:
    """Return red, green and blue, from 0 to 1, at positions in the colormap."""
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
    """Blend a grey picture (h, w), from 0 to 1, with its heatmap (h, w, 3)."""
    low, high = scale
    shade, alpha = ramp(np.linspace(0, 1, _STEPS))
    alpha = opacity * alpha[:, None]
    # For large pictures, only table lookups are done for each pixel.
    colours, kept = (plasma(shade) * alpha).astype(np.float32), 1 - alpha[:, 0]
    place = np.clip((heatmap - low) / (high - low), 0, 1)
    step = np.ceil(place * (_STEPS - 1)).astype(np.int16)
    mixed: Floats = colours[step]
    mixed += (picture * kept.astype(np.float32)[step])[..., None]
    return mixed


def is_wrong(called: bool, truth: bool | None) -> bool:
    """Whether a predicted label is known to be wrong."""
    return truth is not None and bool(called) != bool(truth)


def outcome(called: bool, truth: bool | None = None) -> str:
    """Return the outcome as a word: normal, anomaly, or one of the two errors."""
    return _WORDS[bool(called), is_wrong(called, truth)]


def comparison(score: float, threshold: float | None, sign: str = "≤") -> str:
    """Format a score and the threshold: "3.41 > 1.2".

    Uses as many digits as needed to distinguish them, at least three; `sign` is used
    for a score that does not exceed the threshold.
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
    """Format how much of a score resembles a defect, and how much is novel."""
    percent = round(100 * float(novelty))
    return f"{100 - percent} %", f"{percent} %"
