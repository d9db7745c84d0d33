"""Evidence of the whole image: how far its mean features are from normal ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import KFold
from sklearn.svm import OneClassSVM
from torch import Tensor, nn

__all__ = ["MOST_IMAGES", "Tally", "WholeImage", "learn_whole_image"]

Means = npt.NDArray[np.float64]

# Maximum number of images that are compared: training takes quadratic time.
MOST_IMAGES = 2000
# Fraction of the normal images that may lie outside of the learnt region.
_NU = 0.1
# Images whose similarity exceeds the mean of normal ones by at least this many standard
# deviations count as equally normal: it keeps the map from becoming negative.
_MARGIN = 1.0


class WholeImage(nn.Module):
    """Dissimilarity of the mean features of an image from those of normal images.

    The decision function of a one-class support vector machine (Schölkopf et al., 2001)
    with a Gaussian kernel, reversed and limited to at least 0. Its standard deviation
    on normal images that the machine was not fitted to is 1. It is bounded from above,
    so that it decides on close calls, but never hides where a defect is.

    Parameters
    ----------
    center, scale : Tensor of shape (d,)
        Features are standardised by these, with the width of the kernel included.
    support : Tensor of shape (m, d)
        The standardised support vectors.
    dual : Tensor of shape (m,)
        Their coefficients.
    top : Tensor of shape ()
        Similarity from which an image is as normal as can be.
    """

    center: Tensor
    scale: Tensor
    support: Tensor
    dual: Tensor
    top: Tensor

    def __init__(
        self, center: Tensor, scale: Tensor, support: Tensor, dual: Tensor, top: Tensor
    ) -> None:
        super().__init__()
        self.register_buffer("center", center)
        self.register_buffer("scale", scale)
        self.register_buffer("support", support)
        self.register_buffer("dual", dual)
        self.register_buffer("top", top)

    def forward(self, means: Tensor) -> Tensor:
        """Dissimilarity (n,) of mean features (n, d), at least 0."""
        standard = (means - self.center) * self.scale
        squares = (
            standard.square().sum(dim=1, keepdim=True)
            + self.support.square().sum(dim=1)
            - 2 * standard @ self.support.T
        )
        similarity = torch.exp(-squares.clamp_min(0)) @ self.dual
        return (self.top - similarity).clamp_min(0)


class Tally:
    """Mean features of an image that is processed in tiles.

    Parameters
    ----------
    memory : NormalMemory
        Which compares whole images.
    """

    def __init__(self, memory: Any) -> None:
        self.memory = memory
        self.factors = memory.features.factors
        self.sums: list[Any] = [0.0] * len(self.factors)
        self.counts = [0] * len(self.factors)

    def add(self, maps: list[Tensor], rows: slice, columns: slice) -> None:
        """Add the cells at some rows and columns of FCDD's map.

        Parameters
        ----------
        maps : list of Tensor of shape (1, d, u, v)
            The outputs of the stages for a tile.
        rows, columns : slice
            They begin and end at multiples of the factors between the stages.
        """
        for k, (stage, factors) in enumerate(zip(maps, self.factors, strict=True)):
            own = [
                _coarse(*pair) for pair in zip((rows, columns), factors, strict=True)
            ]
            part = stage[0][:, own[0], own[1]].to(self.memory.mean.dtype)
            self.sums[k] = self.sums[k] + part.sum(dim=(1, 2))
            self.counts[k] += part[0].numel()

    def global_part(self) -> float:
        """Evidence of the whole image, added to each cell of the map."""
        pairs = zip(self.sums, self.counts, strict=True)
        means = torch.cat([total / count for total, count in pairs])
        return float(self.memory.global_part(means[None]))


def _coarse(cells: slice, factor: float) -> slice:
    """The cells of a coarser stage at the same place."""
    step = round(factor)
    stop = None if cells.stop is None else cells.stop // step
    return slice(cells.start // step, stop)


def learn_whole_image(
    means: Means,
    dtype: torch.dtype,
    previous: WholeImage | None = None,
    *,
    groups: npt.NDArray[np.intp] | None = None,
) -> WholeImage:
    """Fit to the mean features (n, d) of at least 2 normal images.

    Parameters
    ----------
    means : ndarray of shape (n, d)
    dtype : torch.dtype
        Of the result.
    previous : WholeImage, default=None
        Result of the training that is continued: its support vectors stand for the
        images seen then.
    groups : ndarray of shape (n,), int, default=None
        Equal for images that belong together; at least 2 groups. None if none do.
    """
    n, d = means.shape
    if previous is None:
        center, spread = means.mean(axis=0), means.std(axis=0)
        scale = 1 / np.where(spread > 0, spread * math.sqrt(d), np.inf)
        known = np.empty((0, d))
    else:
        center, scale, known = (
            np.asarray(numbers, np.float64)
            for numbers in (previous.center, previous.scale, previous.support)
        )
    standard = (means - center) * scale
    unseen = np.concatenate(
        [
            _similarity(_fitted(standard[~rest]), standard[rest])
            for rest in _folds(np.arange(n) if groups is None else groups)
        ]
    )
    unit = float(unseen.std()) or 1.0
    machine = _fitted(np.concatenate([known, standard]))
    numbers = (
        center,
        scale,
        machine.support_vectors_,
        machine.dual_coef_[0] / (machine.dual_coef_.sum() * unit),
        float(unseen.mean()) / unit + _MARGIN,
    )
    return WholeImage(*(torch.as_tensor(np.asarray(x), dtype=dtype) for x in numbers))


def _folds(groups: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.bool_]]:
    """Yield the rows of up to 5 folds of whole groups."""
    names = np.unique(groups)
    folds = KFold(min(5, len(names)), shuffle=True, random_state=0)
    for _, rest in folds.split(names):
        yield np.isin(groups, names[rest])


def _fitted(standard: Means) -> OneClassSVM:
    return OneClassSVM(nu=_NU, gamma=1.0).fit(standard)


def _similarity(machine: OneClassSVM, standard: Means) -> Means:
    """Weighted mean of the kernel, from 0 to 1; its sum grows with the images."""
    found: Means = machine.score_samples(standard) / machine.dual_coef_.sum()
    return found
