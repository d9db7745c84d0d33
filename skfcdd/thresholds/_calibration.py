"""Basis of a threshold, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import beta

from skfcdd.conformal import n_calibration_required

__all__ = ["Calibration"]

# Confidence in either end of the range of false alarms.
_CONFIDENCE = 0.95

_SOURCES = {
    "held-out": " that were held out of training",
    "out-of-fold": ", each scored by a network that was not trained on it",
    "given": " that calibrate was given",
}
_HELD = {
    "held-out": "holds on average for images of the same kind, whatever their scores",
    "out-of-fold": (
        "is approximate: the network was then trained on all images, and its scores "
        "are taken to be distributed as those of the networks that were not"
    ),
    "given": "holds on average for images of the same kind, whatever their scores",
}


@dataclass(frozen=True)
class Calibration:
    """Basis of a threshold, and how far the images support it.

    ``str`` of it is a text in plain words.

    Parameters
    ----------
    source : {"held-out", "out-of-fold", "given"}
        Where the scores came from: normal images held out of training; all normal
        images, scored by networks that were trained on the others; or those that
        ``calibrate`` was given.
    n_images : int
        Number of normal images.
    n_groups : int
        Number of groups of images that belong together, which is the number that
        counts; `n_images` if there are no groups.
    rate : float or None
        Share of normal images that may be called anomalous, if the rule states one.
    n_above : float or None
        Number of calibration images, or sum of the shares of groups, above the
        threshold; None for a segmenter whose rule looks at pixels.

    Examples
    --------
    >>> from skfcdd.thresholds import Calibration
    >>> found = Calibration("held-out", 4, 4, rate=0.05, n_above=0)
    >>> found.n_required, found.supported
    (19, False)
    >>> [round(end, 2) for end in found.range]
    [0.0, 0.53]
    """

    source: str
    n_images: int
    n_groups: int
    rate: float | None
    n_above: float | None

    @property
    def grouped(self) -> bool:
        """Whether images belong together."""
        return self.n_groups < self.n_images

    @property
    def n_required(self) -> int | None:
        """Number of images, or groups, that the asked rate takes."""
        return None if self.rate is None else n_calibration_required(self.rate)

    @property
    def supported(self) -> bool:
        """Whether there are as many; True if no rate is asked for."""
        return self.rate is None or self.n_groups >= n_calibration_required(self.rate)

    @property
    def range(self) -> tuple[float, float]:
        """Least and greatest share of normal images that may be called anomalous.

        As far as these images tell: with 95 % confidence in either end, after Clopper
        and Pearson. (0, 1) if nothing is known.
        """
        n, k = self.n_groups, self.n_above
        if k is None:
            return 0.0, 1.0
        low = float(beta.ppf(1 - _CONFIDENCE, k, n - k + 1)) if k > 0 else 0.0
        high = float(beta.ppf(_CONFIDENCE, k + 1, n - k)) if k < n else 1.0
        return low, high

    @property
    def warning(self) -> str | None:
        """Warning if the images are too few; None if they are not."""
        if self.supported:
            return None
        low, high = (100 * end for end in self.range)
        units = "groups of images" if self.grouped else "images"
        return (
            f"A false-alarm rate of {100 * (self.rate or 0):.3g} % needs at least "
            f"{self.n_required} normal {units} to calibrate on, and there are "
            f"{self.n_groups}: between {low:.0f} and {high:.0f} % of good images may "
            f"be called anomalous. The threshold is an estimate beyond the scores that "
            f"there are. Add good images, or calibrate(X) on others."
        )

    def __str__(self) -> str:
        """Basis of the threshold, in plain words."""
        images = f"{self.n_images} normal image{'s' * (self.n_images != 1)}"
        if self.grouped:
            images += f" in {self.n_groups} group{'s' * (self.n_groups != 1)}"
        text = f"Calibrated on {images}{_SOURCES[self.source]}."
        if self.warning is not None:
            return f"{text} {self.warning}"
        if self.rate is None:
            return text
        low, high = (100 * end for end in self.range)
        return (
            f"{text} The rate of false alarms asked for, {100 * self.rate:.3g} %, "
            f"{_HELD[self.source]}. For this one threshold, these images leave room "
            f"for {low:.1f} to {high:.1f} %."
        )
