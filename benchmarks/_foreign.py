"""Photographs of brick, grass and gravel with foreign matter, from scikit-image.

The photographs are part of scikit-image. Normal images are cropped from the left half
of a photograph for training, and from the right half for testing. Defects are pieces of
other photographs, pasted into images of the right half, and mostly adapted to the local
brightness. Unlike the synthetic anomalies of skfcdd, they are real texture on texture.
"""

from __future__ import annotations

import numpy as np
import skimage.data
from scipy import ndimage

__all__ = ["SURFACES", "load_foreign"]

SURFACES = ("brick", "grass", "gravel")
_OTHERS = (*SURFACES, "coins", "camera", "moon", "page")
_SIDE, _STEP = 128, 12


def load_foreign(
    surface: str, n_test: int = 100, seed: int = 0
) -> dict[str, np.ndarray]:
    """Make grey images of 128 x 128 pixels, with masks of the foreign matter.

    Parameters
    ----------
    surface : {"brick", "grass", "gravel"}
        Photograph from which normal images are cropped.
    n_test : int, default=100
        Number of normal test images, and of test images with foreign matter.
    seed : int, default=0
        Seed of the positions and of the pasted pieces.

    Returns
    -------
    dict of ndarray
        Arrays with the keys "X_train", "X_test", "mask_test" and "kind_test".
    """
    rng = np.random.RandomState(seed)
    whole = getattr(skimage.data, surface)()
    left, right = whole[:, :256], whole[:, 256:]
    train = np.concatenate([_crops(left), _crops(left[:, ::-1])])
    pool = _crops(right)
    chosen = rng.choice(len(pool), 2 * n_test, replace=len(pool) < 2 * n_test)
    good, spoilt = pool[chosen[:n_test]], pool[chosen[n_test:]].copy()
    masks = np.zeros((2 * n_test, _SIDE, _SIDE), dtype=np.uint8)
    kinds = ["free"] * n_test
    others = [name for name in _OTHERS if name != surface]
    for i, image in enumerate(spoilt):
        name = others[i % len(others)]
        shape = _outline(rng)
        matter = _piece(getattr(skimage.data, name)(), rng)
        level = matter[shape > 0.5].mean() - image[shape > 0.5].mean()
        blended = image + shape * (matter - level * rng.uniform(0.5, 1.0) - image)
        spoilt[i] = np.clip(blended, 0, 255).astype(np.uint8)
        masks[n_test + i] = shape > 0.5
        kinds.append(name)
    return {
        "X_train": train,
        "X_test": np.concatenate([good, spoilt]),
        "mask_test": masks,
        "kind_test": np.array(kinds),
    }


def _crops(image: np.ndarray) -> np.ndarray:
    """Return all crops at multiples of the step."""
    h, w = image.shape
    places = [
        (y, x)
        for y in range(0, h - _SIDE + 1, 4 * _STEP)
        for x in range(0, w - _SIDE + 1, _STEP)
    ]
    return np.stack([image[y : y + _SIDE, x : x + _SIDE] for y, x in places])


def _piece(image: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Return a random crop of a photograph, without rescaling."""
    y, x = (rng.randint(n - _SIDE) if n > _SIDE else 0 for n in image.shape[:2])
    piece = image[y : y + _SIDE, x : x + _SIDE].astype(float)
    return np.pad(piece, [(0, _SIDE - n) for n in piece.shape], mode="reflect")


def _outline(rng: np.random.RandomState) -> np.ndarray:
    """Draw an irregular, soft-edged region (128, 128), 6 to 40 pixels across."""
    size = np.exp(rng.uniform(np.log(6), np.log(40)))
    noise = ndimage.gaussian_filter(rng.standard_normal((_SIDE, _SIDE)), size / 4)
    cy, cx = rng.uniform(size / 2, _SIDE - size / 2, 2)
    y, x = np.mgrid[:_SIDE, :_SIDE]
    distance = np.hypot(y - cy, x - cx) / (size / 2)
    inside = 1.0 - distance + 0.5 * noise / noise.std()
    return np.clip(ndimage.gaussian_filter((inside > 0).astype(float), 0.8), 0, 1) * (
        distance < 2
    )
