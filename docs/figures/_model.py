"""A small model that several figures share, fitted once for each build.

With a network of the paper, of which a cell sees so little of the image that the field
can be drawn.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from sklearn.utils import Bunch

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects


@cache
def fitted() -> tuple[FCDDClassifier, Bunch]:
    """A classifier that was fitted on good images of wood, and images to show."""
    data = make_defects(300, image_size=64, texture="wood", random_state=3)
    good = data.images[data.target == 0][:150]
    model = FCDDClassifier(weights=None, max_epochs=12, random_state=0).fit(good)
    return model, data


def cells(model: FCDDClassifier, images: np.ndarray) -> np.ndarray:
    """The cells A of images (n, u, v), before they are spread over the image."""
    parts = model._fitted.maps(model._check_images(images))
    return np.concatenate([part for _, part in parts])
