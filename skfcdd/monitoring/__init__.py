r"""Whether the images of a stream are still like those a model was calibrated on.

Lamps age, lenses get dirty, and products change. A threshold that was set on the first
day promises nothing for images of another kind. :class:`DriftMonitor` watches the
scores of images as they come, and raises an alarm that is false with a stated
probability over the whole stream, however long it is.

It is a conformal test martingale (Vovk, Nouretdinov and Gammerman, "Testing
exchangeability on-line", ICML 2003; Vovk, "Testing randomness online", Statistical
Science 36, 2021). The score of each image is ranked among all scores before it, those
of calibration and those of the stream. As long as all images are exchangeable, these
ranks, with ties broken at random, are *exactly* independent and uniform. (They would
not be if each image were ranked among the same calibration images: over a long stream,
the sampling error of that fixed set would look like drift.) The monitor bets against
uniform ranks, starting with a wealth of 1. In a fair game, the wealth ever reaches
:math:`1 / \alpha` with a probability of at most :math:`\alpha`. This is Ville's
inequality, and it makes the alarm valid at any time.
"""

from __future__ import annotations

from skfcdd.monitoring._monitor import DriftMonitor
from skfcdd.monitoring._required import n_scores_required
from skfcdd.monitoring._selection import select_images
from skfcdd.monitoring._statistics import STATISTICS, image_statistics

__all__ = [
    "STATISTICS",
    "DriftMonitor",
    "image_statistics",
    "n_scores_required",
    "select_images",
]
