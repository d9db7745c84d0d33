"""Synthetic anomalies, made of whole batches of normal images or of their features.

Every kind that is planted in images is a function of a batch of them (n, c, h, w),
whose values lie in the unit range of the normal images, and a generator of random
numbers on their device. It gives the changed images and their masks (n, 1, h, w): True
at the pixels that were changed, everything else is left as it was. Sizes are relative
to the image. Each image draws its own shapes, colours and contrasts.

Kinds that are made of features, `FeatureNoise` and `FeatureMix`, change cells of what
frozen stages of a network make of normal images, and leave the images alone.
"""

from __future__ import annotations

from skfcdd.anomalies._features import (
    FEATURE_ANOMALIES,
    FeatureAnomaly,
    FeatureMix,
    FeatureNoise,
)
from skfcdd.anomalies._mixture import (
    SYNTHETIC_ANOMALIES,
    Planter,
    mixed,
    resolve_synthetic,
)
from skfcdd.anomalies._noise import gaussian, perlin, solid, uniform
from skfcdd.anomalies._planted import blobs, confetti, cutpaste, scratches

__all__ = [
    "FEATURE_ANOMALIES",
    "SYNTHETIC_ANOMALIES",
    "FeatureAnomaly",
    "FeatureMix",
    "FeatureNoise",
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
