"""Scores, heatmaps and their parts from a single forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skfcdd._engine.inference import in_batches, n_pooled, pool_maps, top_cells
from skfcdd._engine.model import FittedModel
from skfcdd._inputs.images import ImageArray

__all__ = ["Evidence", "find_evidence"]


@dataclass
class Evidence:
    """Scores and heatmaps of a batch of images, with their parts.

    Parameters
    ----------
    score : ndarray of shape (n,), float64
    novelty_share : ndarray of shape (n,), float64
        Fraction of the score that comes from the memory bank, from 0 to 1.
    heatmap, defect, novelty : ndarray of shape (n, h, w), float32, or None
        The heatmap, and the two parts that sum to it.
    """

    score: npt.NDArray[np.float64]
    novelty_share: npt.NDArray[np.float64]
    heatmap: npt.NDArray[np.float32] | None = None
    defect: npt.NDArray[np.float32] | None = None
    novelty: npt.NDArray[np.float32] | None = None


def find_evidence(
    model: FittedModel, images: ImageArray, heatmaps: bool
) -> Iterator[tuple[slice, Evidence]]:
    """Yield the evidence batch by batch.

    Scores and heatmaps equal those of ``model.scores`` and ``model.heatmaps`` to the
    last bit, although the images pass through the network only once.
    """
    if not model.module.objective.spatial:
        yield from _of_gradients(model, images, heatmaps)
        return
    maker: Any = model.heatmap_maker().to(model.runner.device).eval()
    module, (u, v) = maker.module, model.map_shape

    def compute(unit: Tensor) -> Tensor:
        cells = module.parts(unit)
        flat = [cells.transpose(0, 1).flatten(1)]
        if heatmaps:
            whole = maker.upsample(_sum(cells))
            flat += [whole.flatten(1), maker.spread(cells).flatten(1)]
        return torch.cat(flat, dim=1)

    n_parts = 1 if model.memory is None else 2
    for rows, numbers in in_batches(model.runner, images, None, compute):
        n, n_cells = len(numbers), n_parts * u * v
        cells = numbers[:, :n_cells].reshape(n, n_parts, u, v)
        found = _scored(cells, model.judging.score_pooling, model.cell_weights)
        if heatmaps:
            maps = numbers[:, n_cells:].astype(np.float32)
            maps = maps.reshape(n, 1 + n_parts, *model.image_size)
            found.heatmap, found.defect = maps[:, 0], maps[:, 1]
            found.novelty = maps[:, 2] if n_parts == 2 else np.zeros_like(maps[:, 0])
        yield rows, found


def _sum(parts: Any) -> Any:
    """Sum parts (p, ...) in the same order as the network."""
    return parts[0] + parts[1] if len(parts) == 2 else parts[0]


def _scored(
    cells: npt.NDArray[Any],
    pooling: str | float,
    weights: npt.NDArray[np.float64] | None,
) -> Evidence:
    """Score cells (n, p, u, v); return scores and their share from the memory bank."""
    whole = _sum(cells.swapaxes(0, 1))
    score = pool_maps(whole, pooling, weights)
    if cells.shape[1] == 1:
        return Evidence(score, np.zeros(len(cells)))
    flat, novelty = (
        part.reshape(len(part), -1).astype(np.float64) for part in (whole, cells[:, 1])
    )
    share: Any = 1.0
    if weights is not None:
        top, share = top_cells(flat, pooling, weights)
    else:
        count = n_pooled(pooling, flat.shape[1])
        top = np.argsort(flat, axis=1, kind="stable")[:, flat.shape[1] - count :]
    total, new = (
        (np.take_along_axis(part, top, axis=1) * share).sum(axis=1)
        for part in (flat, novelty)
    )
    return Evidence(score, new / np.maximum(total, np.finfo(np.float64).tiny))


def _of_gradients(
    model: FittedModel, images: ImageArray, heatmaps: bool
) -> Iterator[tuple[slice, Evidence]]:
    """Yield the evidence of objectives without an anomaly map, which has one part."""
    scores = model.scores(images)
    if not heatmaps:
        yield slice(0, len(scores)), Evidence(scores, np.zeros(len(scores)))
        return
    for rows, maps in model.heatmaps(images):
        none = np.zeros(len(maps))
        yield rows, Evidence(scores[rows], none, maps, maps, np.zeros_like(maps))
