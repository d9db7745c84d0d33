"""Small folders of images, and their masks, written for a test."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIZE = (6, 8)
RNG = np.random.RandomState(0)


def put(root, *names, values=None):
    """Write images, noise unless `values` are given; names end in a suffix."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = RNG.randint(0, 256, SIZE, dtype=np.uint8) if values is None else values
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        image.save(path)
    return root


def spot(value=255, dtype=np.uint8):
    """A mask with six anomalous pixels."""
    mask = np.zeros(SIZE, dtype=dtype)
    mask[1:3, 2:5] = value
    return mask


def put_masks(root, *names, **options):
    """Write masks with a spot."""
    return put(root, *names, values=spot(**options))


def targets(data, root):
    """Label of each file, by its name below the root."""
    names = [str(p.relative_to(root)).replace("\\", "/") for p in data.images.paths]
    assert len(set(names)) == len(names), "a file was read twice"
    return dict(zip(names, data.target.tolist(), strict=True))


def masked(data, root):
    """Names of the defects whose mask is known, and not empty."""
    if data.masks is None:
        return set()
    return {
        name
        for (name, bad), mask in zip(
            targets(data, root).items(), data.masks, strict=True
        )
        if bad and mask is not None and mask.any()
    }
