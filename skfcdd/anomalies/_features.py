"""Synthetic anomalies in the features of normal images.

Cells of the feature maps of frozen stages are changed; the images are not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from numbers import Real
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from skfcdd.anomalies._drawing import Draw, grid

_SOURCES = ("both", "other", "same")


@dataclass(frozen=True)
class FeatureAnomaly(ABC):
    """Base class for synthetic anomalies in feature maps, within a box of cells.

    The box of each image is drawn on the coarsest map, and covers the same region of
    all maps. Subclasses implement :meth:`change`, which computes the new values of the
    cells inside the box.

    Parameters
    ----------
    size : float or tuple of float (min, max), default=(0.1, 0.6)
        Side lengths of the box as fractions of those of the map, in (0, 1], drawn
        log-uniformly. 1 changes whole maps.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import torch
    >>> from skfcdd.anomalies import FeatureAnomaly
    >>> @dataclass(frozen=True)
    ... class Silence(FeatureAnomaly):
    ...     def change(self, features, inside, spread, generator):
    ...         return [torch.zeros_like(x) for x in features]
    >>> maps, spread = (torch.ones(1, 3, 8, 8),), (torch.ones(3),)
    >>> plant = Silence(size=0.5)
    >>> (changed,), masks = plant(maps, spread, (64, 64), torch.Generator())
    >>> int((changed[0, 0] == 0).sum()), float(masks.float().mean())
    (16, 0.25)
    """

    _: KW_ONLY
    size: float | tuple[float, float] = (0.1, 0.6)

    def __call__(
        self,
        features: tuple[Tensor, ...],
        spread: tuple[Tensor, ...],
        image_size: tuple[int, int],
        generator: Generator,
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Change a box of cells of each image.

        Parameters
        ----------
        features : tuple of Tensor of shape (n, d, u, v)
            Maps of the frozen stages, each with its own size.
        spread : tuple of Tensor of shape (d,)
            Standard deviations of the channels over normal images.
        image_size : tuple of int (h, w)
            Size of the images.
        generator : torch.Generator
            Generator on the device of `features`.

        Returns
        -------
        features : tuple of Tensor of shape (n, d, u, v)
            Unchanged outside the box.
        masks : Tensor of shape (n, 1, h, w), bool
            True at the pixels of the changed cells.
        """
        coarsest = min(features, key=lambda x: x.shape[2] * x.shape[3])
        box = self._boxes(
            len(coarsest), (coarsest.shape[2], coarsest.shape[3]), Draw(generator)
        )
        inside = [_brought_to(box, (x.shape[2], x.shape[3])) for x in features]
        new = self.change(features, inside, spread, generator)
        changed = tuple(
            torch.where(where, values.to(x.dtype), x)
            for where, values, x in zip(inside, new, features, strict=True)
        )
        return changed, _brought_to(box, image_size)

    @abstractmethod
    def change(
        self,
        features: Sequence[Tensor],
        inside: Sequence[Tensor],
        spread: Sequence[Tensor],
        generator: Generator,
    ) -> Sequence[Tensor]:
        """Compute new values of the maps; only those inside the boxes are used.

        Parameters
        ----------
        features : sequence of Tensor of shape (n, d, u, v)
        inside : sequence of Tensor of shape (n, 1, u, v), bool
            True for the cells inside the boxes.
        spread : sequence of Tensor of shape (d,)
            Standard deviations of the channels over normal images.
        generator : torch.Generator
            Generator on the device of `features`.

        Returns
        -------
        sequence of Tensor of shape (n, d, u, v)
        """

    def check(self) -> None:
        """Check the parameters.

        Raises
        ------
        ValueError
            If a parameter is out of range; the message names it.
        """
        sides = self._sides()
        shares = len(sides) == 2 and all(_is_positive(side, 1) for side in sides)
        if not (shares and sides[0] <= sides[1]):
            self._refuse("size", "a number in (0, 1], or a tuple (min, max) of these")

    def _refuse(self, name: str, expected: str) -> None:
        raise ValueError(
            f"Got {type(self).__name__}({name}={getattr(self, name)!r}), but expected "
            f"{expected}."
        )

    def _sides(self) -> tuple[float, ...]:
        size = self.size
        return tuple(size) if isinstance(size, (tuple, list)) else (size, size)

    def _boxes(self, n: int, size: tuple[int, int], draw: Draw) -> Tensor:
        """Draw a box of whole cells for each of `n` maps (n, 1, u, v), bool."""
        low, high = self._sides()
        sides = draw.log_uniform(n, 2, low=low, high=high)
        center = draw.uniform(n, 2)
        within = []
        for axis, middle in enumerate(grid(size, sides.device)):
            length = (sides[:, axis] * size[axis]).round().clamp_(1, size[axis])
            # A box that would extend beyond the border is moved inside.
            first = (center[:, axis] * size[axis] - length / 2).round().clamp_(min=0)
            first = first.minimum(size[axis] - length)[:, None, None, None]
            last = first + length[:, None, None, None]
            within.append((middle > first) & (middle < last))
        return within[0] & within[1]


@dataclass(frozen=True)
class FeatureNoise(FeatureAnomaly):
    """Synthetic anomaly that adds Gaussian noise to the features of normal images.

    The noise of each channel has `strength` times the standard deviation of that
    channel over normal images, and is independent for each cell (after Liu et al.,
    "SimpleNet", CVPR 2023, and the global anomalies of Chen et al., "GLASS", ECCV
    2024).

    Parameters
    ----------
    strength : float, default=1.0
        Standard deviation of the noise, relative to that of each channel. If it is too
        low, the anomalies are too similar to normal images to be useful.
    size : float or tuple of float (min, max), default=(0.1, 0.6)
        Side lengths of the changed box as fractions of those of the map, in (0, 1],
        drawn log-uniformly. 1 changes whole maps.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.anomalies import FeatureNoise
    >>> maps, spread = (torch.zeros(4, 3, 8, 8),), (torch.ones(3),)
    >>> generator = torch.Generator().manual_seed(0)
    >>> (changed,), masks = FeatureNoise()(maps, spread, (64, 64), generator)
    >>> changed.shape, masks.shape, bool(masks.any(dim=(1, 2, 3)).all())
    (torch.Size([4, 3, 8, 8]), torch.Size([4, 1, 64, 64]), True)
    """

    strength: float = 1.0

    def change(
        self,
        features: Sequence[Tensor],
        inside: Sequence[Tensor],
        spread: Sequence[Tensor],
        generator: Generator,
    ) -> list[Tensor]:
        """Add noise to the maps (see :meth:`FeatureAnomaly.change`)."""
        draw, noisy = Draw(generator), []
        for x, deviation in zip(features, spread, strict=True):
            n, d, u, v = x.shape
            # The noise is drawn in the memory layout of the features, channels last.
            noise = draw.normal(n, u, v, d) * (self.strength * deviation)
            noisy.append(x + noise.permute(0, 3, 1, 2).to(x.dtype))
        return noisy

    def check(self) -> None:
        """Check the parameters (see :meth:`FeatureAnomaly.check`)."""
        super().check()
        if not _is_positive(self.strength):
            self._refuse("strength", "a number greater than 0")


@dataclass(frozen=True)
class FeatureMix(FeatureAnomaly):
    """Synthetic anomaly that moves cells of feature maps to other positions.

    The features of each cell are real, but neighbouring cells do not fit together.

    Parameters
    ----------
    source : {"both", "other", "same"}, default="both"
        Source of the new cells. "other" takes those of the next image in the batch,
        shifted cyclically by a random distance. "same" permutes the cells in the box.
        "both" chooses one of the two at random for each image.
    opacity : float, default=1.0
        Weight of the new features in a changed cell, in (0, 1]. 1 replaces the old
        features.
    size : float or tuple of float (min, max), default=(0.1, 0.6)
        Side lengths of the changed box as fractions of those of the map, in (0, 1],
        drawn log-uniformly. 1 changes whole maps.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.anomalies import FeatureMix
    >>> generator = torch.Generator().manual_seed(0)
    >>> maps = (torch.rand(1, 3, 8, 8, generator=generator),)
    >>> plant = FeatureMix(source="same", size=1)
    >>> (changed,), masks = plant(maps, (torch.ones(3),), (64, 64), generator)
    >>> bool((changed == maps[0]).any())
    False
    >>> torch.equal(changed.flatten().sort().values, maps[0].flatten().sort().values)
    True
    """

    source: str = "both"
    opacity: float = 1.0

    def change(
        self,
        features: Sequence[Tensor],
        inside: Sequence[Tensor],
        spread: Sequence[Tensor],
        generator: Generator,
    ) -> list[Tensor]:
        """Move cells of the maps (see :meth:`FeatureAnomaly.change`)."""
        draw, n = Draw(generator), len(features[0])
        chance = {"both": 0.5, "other": 1.0, "same": 0.0}[self.source]
        moved = draw.chance(n, 1, p=chance)
        offset = draw.uniform(n, 2)
        mixed = []
        for x, where in zip(features, inside, strict=True):
            d, u, v = x.shape[1:]
            swapped, alone = _swapped(where.flatten(1), draw)
            index = torch.where(moved | alone, _elsewhere(offset, (u, v)), swapped)
            cells = x.permute(0, 2, 3, 1).reshape(n * u * v, d)
            new = cells[index].view(n, u, v, d).permute(0, 3, 1, 2)
            mixed.append(torch.lerp(x, new, self.opacity))
        return mixed

    def check(self) -> None:
        """Check the parameters (see :meth:`FeatureAnomaly.check`)."""
        super().check()
        if self.source not in _SOURCES:
            self._refuse("source", f"one of {_SOURCES}")
        if not _is_positive(self.opacity, 1):
            self._refuse("opacity", "a number in (0, 1]")


FEATURE_ANOMALIES: Mapping[str, FeatureAnomaly] = MappingProxyType(
    {"feature_noise": FeatureNoise(), "feature_mix": FeatureMix()}
)
"""Synthetic anomalies in features, by the names that ``synthetic=`` accepts."""


def _is_positive(value: object, most: float = 1e300) -> bool:
    return isinstance(value, Real) and 0 < float(value) <= most


def _brought_to(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize boolean cells (n, 1, u, v) by nearest-neighbour interpolation."""
    return F.interpolate(cells.float(), size, mode="nearest") > 0


def _elsewhere(offset: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the indices (n, u * v) of the cells of the next image, shifted cyclically.

    Indices run over the cells of all images. Offsets (n, 2) are fractions of the sides.
    The shift is at least one cell, so that no cell stays in place in a batch of one.
    """
    n, (u, v) = len(offset), size
    following = torch.arange(1, n + 1, device=offset.device) % n
    places = []
    for axis, length in enumerate(size):
        step = 1 + (offset[:, axis, None] * (length - 1)).long()
        places.append((torch.arange(length, device=offset.device) + step) % length)
    rows, columns = places
    index = (following[:, None, None] * u + rows[:, :, None]) * v + columns[:, None, :]
    return index.flatten(1)


def _swapped(inside: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Return indices (n, u * v) that permute the cells inside; all others stay.

    Indices run over the cells of all images. Each cell moves to the position of the
    next in a random order, so that none stays in place. Also returns whether at most
    one cell of each image is inside (n, 1).
    """
    n, n_cells = inside.shape
    order = (draw.uniform(n, n_cells) + (~inside)).argsort(dim=1)
    count = inside.sum(dim=1, keepdim=True)
    turn = torch.arange(n_cells, device=inside.device).expand(n, -1)
    following = torch.where(turn < count, (turn + 1) % count.clamp(min=1), turn)
    index = torch.empty_like(order).scatter_(1, order, order.gather(1, following))
    first = torch.arange(0, n * n_cells, n_cells, device=inside.device)[:, None]
    return index + first, count <= 1
