"""Image-level evidence: dissimilarity of mean features from those of normal images."""

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

# Maximum number of images to fit to, because the fit takes quadratic time.
MOST_IMAGES = 2000
# Fraction of the normal images that may be outside of the learned region.
_NU = 0.1
# The dissimilarity is 0 if the similarity exceeds the mean of normal images by this
# many standard deviations or more, which keeps the map from becoming negative.
_MARGIN = 1.0


class WholeImage(nn.Module):
    """Dissimilarity of the mean features of an image from those of normal images.

    The decision function of a one-class support vector machine (Schölkopf et al., 2001)
    with a Gaussian kernel, negated and clipped at 0. Before clipping, its standard
    deviation on normal images that the machine was not fitted to is 1. It is bounded
    from above, so that it can tip a close decision, but not outweigh a clear defect.

    Parameters
    ----------
    center, scale : Tensor of shape (d,)
        Features are standardised by subtracting `center` and multiplying by `scale`,
        which includes the width of the kernel.
    support : Tensor of shape (m, d)
        The standardised support vectors.
    dual : Tensor of shape (m,)
        Their coefficients.
    top : Tensor of shape ()
        Similarity at and above which the dissimilarity is 0.
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
        """Compute the dissimilarity (n,) of mean features (n, d), at least 0."""
        standard = (means - self.center) * self.scale
        squares = (
            standard.square().sum(dim=1, keepdim=True)
            + self.support.square().sum(dim=1)
            - 2 * standard @ self.support.T
        )
        similarity = torch.exp(-squares.clamp_min(0)) @ self.dual
        return (self.top - similarity).clamp_min(0)


class Tally:
    """Running sums of the features of an image that is processed in tiles.

    Parameters
    ----------
    memory : NormalMemory
        Memory bank with image-level evidence.
    """

    def __init__(self, memory: Any) -> None:
        self.memory = memory
        self.factors = memory.features.factors
        self.sums: list[Any] = [0.0] * len(self.factors)
        self.counts = [0] * len(self.factors)

    def add(self, maps: list[Tensor], rows: slice, columns: slice) -> None:
        """Add the features of some cells of a tile.

        Parameters
        ----------
        maps : list of Tensor of shape (1, d, u, v)
            The stage outputs for the tile.
        rows, columns : slice
            Cells to add, on the grid of the FCDD map. Start and stop are multiples of
            the upsampling factors of all stages.
        """
        for k, (stage, factors) in enumerate(zip(maps, self.factors, strict=True)):
            own = [
                _coarse(*pair) for pair in zip((rows, columns), factors, strict=True)
            ]
            part = stage[0][:, own[0], own[1]].to(self.memory.mean.dtype)
            self.sums[k] = self.sums[k] + part.sum(dim=(1, 2))
            self.counts[k] += part[0].numel()

    def global_part(self) -> float:
        """Return the image-level evidence, which is added to all cells of the map."""
        pairs = zip(self.sums, self.counts, strict=True)
        means = torch.cat([total / count for total, count in pairs])
        return float(self.memory.global_part(means[None]))


def _coarse(cells: slice, factor: float) -> slice:
    """Return the cells of a coarser stage that cover the same part of the image."""
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
    """Fit a one-class support vector machine to the mean features of normal images.

    Parameters
    ----------
    means : ndarray of shape (n, d)
        Mean features of at least 2 images.
    dtype : torch.dtype
        Type of the resulting tensors.
    previous : WholeImage, default=None
        Result of the training that is continued; its support vectors represent the
        earlier images.
    groups : ndarray of shape (n,), int, default=None
        Equal for images that belong together, which are held out together; at least 2
        groups. None treats every image as a group.
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
    """Yield masks of the images held out by up to 5 folds, without splitting groups."""
    names = np.unique(groups)
    folds = KFold(min(5, len(names)), shuffle=True, random_state=0)
    for _, rest in folds.split(names):
        yield np.isin(groups, names[rest])


def _fitted(standard: Means) -> OneClassSVM:
    return OneClassSVM(nu=_NU, gamma=1.0).fit(standard)


def _similarity(machine: OneClassSVM, standard: Means) -> Means:
    """Return the weighted mean (n,) of the kernel over support vectors, from 0 to 1.

    ``score_samples`` returns the sum, which grows with the number of images.
    """
    found: Means = machine.score_samples(standard) / machine.dual_coef_.sum()
    return found
