"""Summary of the calibration of a threshold."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import beta

from skfcdd.conformal import n_calibration_required

__all__ = ["Calibration", "rate_limits"]

# Confidence level of each limit of the range of false alarms.
_CONFIDENCE = 0.95

_SOURCES = {
    "held-out": " that were held out of training",
    "out-of-fold": ", each scored by a network that was not trained on it",
    "given": " passed to calibrate",
}
_EXACT = "holds on average for images of the same kind, with any distribution of scores"
_HELD = {
    "held-out": _EXACT,
    "out-of-fold": (
        "is approximate: the final network was trained on all images, and its scores "
        "for new images are assumed to be distributed like the out-of-fold scores"
    ),
    "given": _EXACT,
}


def rate_limits(k: float, n: int, confidence: float) -> tuple[float, float]:
    """Return the Clopper-Pearson limits of a rate, from `k` events in `n` cases.

    Each of the two limits holds with this confidence.
    """
    low = float(beta.ppf(1 - confidence, k, n - k + 1)) if k > 0 else 0.0
    high = float(beta.ppf(confidence, k + 1, n - k)) if k < n else 1.0
    return low, high


@dataclass(frozen=True)
class Calibration:
    """Summary of the images that a threshold was calibrated on.

    ``str`` returns a description in plain words.

    Parameters
    ----------
    source : {"held-out", "out-of-fold", "given"}
        Origin of the scores: normal images held out of training; all normal images,
        scored by networks that were not trained on them; or images passed to
        ``calibrate``.
    n_images : int
        Number of normal images.
    n_groups : int
        Number of groups, which is the effective number of images; `n_images` if there
        are no groups.
    rate : float or None
        Proportion of normal images that may be predicted as anomalous, if the rule
        limits this proportion.
    n_above : float or None
        Number of calibration images above the threshold (with groups, the sum of their
        proportions); None for a segmenter whose rule uses pixels.

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
        """Whether images are grouped."""
        return self.n_groups < self.n_images

    @property
    def n_required(self) -> int | None:
        """Number of images, or groups, that the requested rate requires."""
        return None if self.rate is None else n_calibration_required(self.rate)

    @property
    def supported(self) -> bool:
        """Whether there are enough images; True if no rate is requested."""
        return self.rate is None or self.n_groups >= n_calibration_required(self.rate)

    @property
    def range(self) -> tuple[float, float]:
        """Range of plausible rates of false alarms.

        Each limit has a confidence level of 95 % (Clopper-Pearson). The range is (0, 1)
        if the number of images above the threshold is unknown.
        """
        n, k = self.n_groups, self.n_above
        if k is None:
            return 0.0, 1.0
        return rate_limits(k, n, _CONFIDENCE)

    @property
    def warning(self) -> str | None:
        """Text of the warning about too few images; None if there are enough."""
        if self.supported:
            return None
        low, high = (100 * end for end in self.range)
        units = "groups of images" if self.grouped else "images"
        return (
            f"A false alarm rate of {100 * (self.rate or 0):.3g} % needs at least "
            f"{self.n_required} normal {units} for calibration, but there are "
            f"{self.n_groups}: between {low:.0f} and {high:.0f} % of normal images may "
            "be flagged. The threshold is extrapolated beyond the calibration scores. "
            "Add normal images, or call calibrate(X) with further ones."
        )

    def __str__(self) -> str:
        """Describe the calibration in plain words."""
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
            f"{text} The requested false alarm rate, {100 * self.rate:.3g} %, "
            f"{_HELD[self.source]}. For this particular threshold, these images are "
            f"compatible with a rate of {low:.1f} to {high:.1f} %."
        )
