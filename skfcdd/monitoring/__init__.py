r"""Detection of drift in a stream of images, and selection of images to label.

Lamps age, lenses get dirty, and products change. A threshold that was set on the first
day gives no guarantee for images of a different kind. :class:`DriftMonitor` monitors
the scores of images as they arrive, and raises an alarm if the images have changed. The
probability of a false alarm over the whole stream, however long, can be chosen.

The monitor is a conformal test martingale (Vovk, Nouretdinov and Gammerman, "Testing
exchangeability on-line", ICML 2003; Vovk, "Testing randomness online", Statistical
Science 36, 2021). The score of each image is ranked among all earlier scores, from
calibration and from the stream. As long as all images are exchangeable, these ranks,
with ties broken at random, are *exactly* independent and uniform. (They would not be if
each image were ranked among the same calibration images: over a long stream, the
sampling error of that fixed set would look like drift.) The monitor bets against
uniform ranks, starting with a wealth of 1. In a fair game, the probability that the
wealth ever reaches :math:`1 / \alpha` is at most :math:`\alpha`. This is Ville's
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
