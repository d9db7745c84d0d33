"""Positions of cells in images of a different size from those of ``fit``."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from skfcdd._engine.model import FittedModel
from skfcdd._engine.module import ALIKE
from skfcdd._utils.random import undisturbed
from skfcdd.backbones import measure_backbone
from skfcdd.receptive_field import ReceptiveField

__all__ = ["SAME", "field_at", "fitted_field"]

# Cells count as equal if they differ by at most this fraction of the largest cell.
SAME = 1e-3


def fitted_field(model: FittedModel) -> ReceptiveField:
    """Return the receptive field of a fitted model."""
    assert model.receptive_field is not None
    return model.receptive_field


def field_at(model: FittedModel, size: tuple[int, int]) -> ReceptiveField:
    """Return the receptive field of cells in images of a given size (h, w).

    If the padding of a network depends on the image size, its cells have other
    positions than in ``fit``. They are measured on a small image whose size leaves the
    same remainder.
    """
    known, c = fitted_field(model), model.images.shape[2]
    rest = [n % ALIKE for n in size]
    if rest == [n % ALIKE for n in model.image_size] or _lie_alike(model, size):
        return known
    least = [math.ceil(extent) for extent in known.extent]
    own, other = (
        measure_backbone(model.module.backbone, _small(n, least), c).offset
        for n in (model.image_size, size)
    )
    # The centre of the effective field has the same offset from that of the full field.
    rows, columns = (
        offset + there - here
        for offset, here, there in zip(known.offset, own, other, strict=True)
    )
    return replace(known, offset=(rows, columns))


def _small(size: tuple[int, int], least: list[int]) -> tuple[int, int]:
    """Return a small size with the same remainder as `size`, but at least `least`."""
    floor = [max(ALIKE, n) for n in least]
    rows, columns = (m + (n - m) % ALIKE for n, m in zip(size, floor, strict=True))
    return rows, columns


@torch.no_grad()
def _lie_alike(model: FittedModel, size: tuple[int, int]) -> bool:
    """Whether cells have the same positions in images of this size as in ``fit``.

    Tested with noise of small sizes with the same remainders: cells whose receptive
    field does not touch the border must be equal.
    """
    module, field = model.module.eval(), fitted_field(model)
    pairs = list(zip(field.extent, field.stride, strict=True))
    margins = [math.ceil(r / j) + 1 for r, j in pairs]
    # Without padding, no receptive field extends beyond the border.
    least = [
        math.ceil(r + (2 * m + 2) * j) for (r, j), m in zip(pairs, margins, strict=True)
    ]
    sizes = [_small(n, least) for n in (model.image_size, size)]
    whole = [max(pair) for pair in zip(*sizes, strict=True)]
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, model.images.shape[2], *whole, generator=generator)
    noise = module.preprocess(noise.to(module.preprocess.mean))
    with undisturbed(module, model.runner.device):
        first, second = (module.features_of(noise[..., :h, :w])[0] for h, w in sizes)
    u, v = (min(first.shape[k], second.shape[k]) - m for k, m in enumerate(margins, 1))
    inner = (slice(None), slice(margins[0], u), slice(margins[1], v))
    error = (first[inner] - second[inner]).abs().max()
    return bool(error <= SAME * first[inner].abs().max())
