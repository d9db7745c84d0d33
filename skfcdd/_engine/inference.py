"""Batch-wise inference within the memory of the device."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skfcdd._inputs.images import ImageArray
from skfcdd._utils.device import in_parts, lowered, resolve_device
from skfcdd._utils.random import undisturbed

__all__ = [
    "FixedRunner",
    "Runner",
    "in_batches",
    "is_pooling",
    "n_pooled",
    "pool_maps",
    "top_cells",
]

# Batches of small images are enlarged to about this many values.
_VALUES_CPU, _VALUES = 100_000, 1 << 22
# Maximum number of values in a batch of large images.
_MOST_VALUES = 1 << 25


class Runner(Protocol):
    """Network with everything needed to run it; skorch nets satisfy this protocol.

    Attributes
    ----------
    module_ : torch.nn.Module
        Network with an attribute `preprocess`, a
        :class:`~skfcdd._engine.preprocessing.Preprocess`.
    device : str
    precision : {"float64", "float32", "bfloat16", "mixed"}
    batch_size : int
    """

    module_: Any
    device: Any
    precision: str
    batch_size: int


@dataclass
class FixedRunner:
    """Trained module with the device, precision and batch size to run it with.

    Parameters
    ----------
    module_ : torch.nn.Module
    device : str
    precision : {"float64", "float32", "bfloat16", "mixed"}
    batch_size : int
    """

    module_: Any
    device: str
    precision: str
    batch_size: int

    def __getstate__(self) -> dict[str, Any]:
        """Return a state that can be loaded on a machine without the device."""
        state = dict(vars(self))
        if torch.device(self.device).type != "cpu":
            state["module_"] = copy.deepcopy(self.module_).cpu()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore on the saved device if available, otherwise on the CPU."""
        vars(self).update(state)
        try:
            self.device = resolve_device(self.device)
        except ValueError as error:
            warnings.warn(f"{error} Computing on the CPU.", UserWarning, stacklevel=2)
            self.device = "cpu"
        self.module_.to(self.device)


def in_batches(
    net: Runner,
    images: ImageArray,
    rows: npt.NDArray[np.intp] | None,
    compute: Callable[[Tensor], Tensor],
) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    """Yield the positions of each batch, and the result of `compute` for it.

    Parameters
    ----------
    net : Runner
        Defines the device, the precision and the minimum batch size.
    images : ImageArray
    rows : ndarray of int or None
        Rows of the images to process; None means all.
    compute : callable
        Maps images (k, c, h, w) in the unit range to a tensor of length k.

    Warns
    -----
    OutOfMemoryWarning
        Once, if the batch size had to be reduced.
    """
    device, module = net.device, net.module_
    module.eval()

    def run(place: slice) -> npt.NDArray[Any]:
        with (
            torch.no_grad(),
            undisturbed(module, device),
            lowered(net.precision, device),
        ):
            raw = images.take(place if rows is None else rows[place], device)
            return compute(module.preprocess.unit(raw)).cpu().numpy()

    n = len(images) if rows is None else len(rows)
    return in_parts(n, _batch_size(net, images), device, run)


def _batch_size(net: Runner, images: ImageArray) -> int:
    few, many = _VALUES_CPU, _MOST_VALUES
    if torch.device(net.device).type != "cpu":
        few, many = _VALUES, 4 * _MOST_VALUES
    # Raw images count, because they are usually larger than the resized ones.
    h, w, c = images.image_shape
    wanted = max(net.batch_size, few // (h * w * c))
    return min(wanted, max(1, many // (h * w * c)))


def is_pooling(pooling: Any) -> bool:
    """Whether `pooling` is "mean", "max" or a fraction in (0, 1]."""
    number = isinstance(pooling, (int, float)) and not isinstance(pooling, bool)
    return pooling in ("mean", "max") or (number and 0 < pooling <= 1)


def n_pooled(pooling: str | float, n_cells: int) -> int:
    """Return how many of the largest cells are averaged into a score."""
    if pooling == "mean":
        return n_cells
    # 7 % of 100 cells are 7 cells, although 0.07 * 100 is slightly greater than 7.
    count = 1 if pooling == "max" else math.ceil(float(pooling) * n_cells - 1e-9)
    return min(count, n_cells)


def pool_maps(
    maps: npt.NDArray[np.floating],
    pooling: str | float,
    weights: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """Pool anomaly maps (n, u, v) to scores (n,), float64.

    Parameters
    ----------
    maps : ndarray of shape (n, u, v)
        Non-negative.
    pooling : {"mean", "max"} or float
        A float is the fraction of the largest cells to average (at least one cell).
    weights : ndarray of shape (u, v), default=None
        Weights of the cells, which sum to 1; those with weight 0 do not count. None
        means equal weights.
    """
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    if weights is not None:
        own, weight = top_cells(flat, pooling, weights)
        weighted = np.take_along_axis(flat, own, axis=1) * weight
        return np.asarray(weighted.sum(axis=1))
    n_cells = flat.shape[1]
    count = n_pooled(pooling, n_cells)
    if count == n_cells:
        return flat.mean(axis=1)
    top = np.partition(flat, n_cells - count, axis=1)[:, n_cells - count :]
    # Summing in sorted order makes the result independent of cell positions.
    scores: npt.NDArray[np.float64] = np.sort(top, axis=1).mean(axis=1)
    return scores


def top_cells(
    flat: npt.NDArray[np.float64],
    pooling: str | float,
    weights: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Return the cells that a weighted score averages, and their weights.

    The largest cells are averaged, until their weights add up to the fraction that
    `pooling` requests. The last one counts in part, so that the score is continuous
    when two cells change their order.

    Parameters
    ----------
    flat : ndarray of shape (n, m), float64
        Cells of each image.
    pooling : {"mean", "max"} or float
    weights : ndarray of float64 with m elements
        Weights of the cells, which sum to 1.

    Returns
    -------
    cells : ndarray of shape (n, k), int
        Cells of each image that may have a share in its score.
    shares : ndarray of shape (n, k), float64
        Their shares; each row sums to 1.
    """
    weights = weights.ravel()
    inside = np.flatnonzero(weights)
    count = n_pooled(pooling, len(inside))
    if count == len(inside):
        every = np.broadcast_to(inside, (len(flat), len(inside)))
        return every, np.broadcast_to(weights[inside], every.shape)
    order = np.argsort(-flat[:, inside], axis=1, kind="stable")
    if pooling == "max":
        return inside[order[:, :1]], np.ones((len(flat), 1))
    cells = inside[order]
    own, share = weights[cells], count / len(inside)
    left = share - (own.cumsum(axis=1) - own)
    return cells, np.minimum(own, left.clip(min=0)) / share
