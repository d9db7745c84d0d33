"""Scoring: batch after batch through a network, within the memory of the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skfcdd._inputs.images import ImageArray
from skfcdd._utils.device import lowered
from skfcdd._utils.memory import in_parts
from skfcdd._utils.random import undisturbed

__all__ = ["Runner", "in_batches"]

# Small images are scored in batches of about this many values.
_VALUES_CPU, _VALUES = 100_000, 1 << 22
# Of large ones no more values than this are taken at once.
_MOST_VALUES = 1 << 25


class Runner(Protocol):
    """A network with all that running it takes; a net of skorch is one.

    Attributes
    ----------
    module_ : torch.nn.Module
        Has a :class:`~skfcdd._engine.preprocessing.Preprocess` as `preprocess`.
    device : str
    precision : {"float64", "float32", "bfloat16"}
    batch_size : int
    """

    module_: Any
    device: Any
    precision: str
    batch_size: int


def in_batches(
    net: Runner,
    images: ImageArray,
    rows: npt.NDArray[np.intp] | None,
    compute: Callable[[Tensor], Tensor],
) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    """Yield the places of a batch and what `compute` makes of it.

    Parameters
    ----------
    net : Runner
        Says how many images to take at least, and where to compute.
    images : ImageArray
    rows : ndarray of int or None
        Which images; None takes all.
    compute : callable
        Maps images (k, c, h, w) in the unit range to a tensor of k entries.

    Warns
    -----
    OutOfMemoryWarning
        Once, where batches had to be made smaller.
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
    # Raw images count, which are the larger ones where they are resized.
    h, w, c = images.image_shape
    wanted = max(net.batch_size, few // (h * w * c))
    return min(wanted, max(1, many // (h * w * c)))
