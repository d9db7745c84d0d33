"""Synthetic anomalies, planted on whole batches of normal images.

Every kind is a function of a batch of images (n, c, h, w), whose values lie in the
unit range of the normal images, and a generator of random numbers on their device. It
gives the changed images and their masks (n, 1, h, w): True at the pixels that were
changed, everything else is left as it was. Sizes are relative to the image. Each
image draws its own shapes, colours and contrasts.
"""

from __future__ import annotations

from skfcdd.anomalies._mixture import (
    SYNTHETIC_ANOMALIES,
    Planter,
    mixed,
    resolve_synthetic,
)
from skfcdd.anomalies._noise import gaussian, perlin, solid, uniform
from skfcdd.anomalies._planted import blobs, confetti, cutpaste, scratches

__all__ = [
    "SYNTHETIC_ANOMALIES",
    "Planter",
    "blobs",
    "confetti",
    "cutpaste",
    "gaussian",
    "mixed",
    "perlin",
    "resolve_synthetic",
    "scratches",
    "solid",
    "uniform",
]
