"""Synthetic anomalies, created from batches of normal images or of their features.

Anomalies in images are drawn by functions that accept a batch of images (n, c, h, w) in
the unit range and a random generator on the same device. They return the changed images
and masks (n, 1, h, w), which are True at changed pixels; all other pixels are
unchanged. Sizes are relative to the image. Colours and contrasts are drawn
independently for each image. So are shapes, except in batches of at least 128 images,
in which up to four images share a shape that is mirrored differently in each.

Anomalies in features, `FeatureNoise` and `FeatureMix`, change cells of the feature maps
of a frozen network, and leave the images unchanged.
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
