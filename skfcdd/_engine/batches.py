"""Training batches of normal images and of real and synthetic anomalies.

In an epoch, every normal image appears once, or in proportion to its weight. Anomalies
are added up to `anomaly_fraction`: real ones first, then exposed outliers, and then
synthetic anomalies, which are drawn into the normal images of the same batch or made
from their features. All operations are vectorised over the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.utils.data import Dataset

from skfcdd._engine.altered import Alteration
from skfcdd._engine.augmentation import Augmentation
from skfcdd._engine.inside import hitting, planted
from skfcdd._engine.preprocessing import Preprocess, resize
from skfcdd._inputs.images import ImageArray, to_device
from skfcdd._utils.device import in_parts
from skfcdd._utils.random import on_host

__all__ = ["BatchTarget", "TrainingData"]

T = TypeVar("T")

# Maximum number of times that a real anomaly or an exposed outlier appears in an epoch
# if other anomalies can fill the batches: without masks, the normal surroundings of a
# defect are learned as anomalous too. With ten times, 15 labelled tiles lowered the
# image AUROC of magnetic tiles by .015.
_MAX_REPEATS = 3
# Several batches of small images are made together, with about this many values.
_TOGETHER_CPU, _TOGETHER = 1 << 22, 1 << 25
# Sources of anomalies: labelled images, exposed outliers, synthetic anomalies drawn
# into images, and synthetic anomalies made by altering features.
_REAL, _EXPOSED, _PLANTED, _ALTERED = range(4)
N_SOURCES = 4


@dataclass(frozen=True)
class BatchTarget:
    """Labels and masks of a batch.

    Parameters
    ----------
    anomalous : Tensor of shape (n,), bool
        True for anomalies.
    masks : Tensor of shape (n, 1, h, w), bool
        Anomalous pixels of each image.
    has_mask : Tensor of shape (n,), bool
        Whether the mask of each image is known.
    weight : float, default=1.0
        Weight of the mean loss, if the batch is shared with other processes.
    """

    anomalous: Tensor
    masks: Tensor
    has_mask: Tensor
    weight: float = 1.0

    def take(self, index: Tensor) -> BatchTarget:
        """Select the images at `index`."""
        parts = (self.anomalous, self.masks, self.has_mask)
        anomalous, masks, has_mask = (part.index_select(0, index) for part in parts)
        return replace(self, anomalous=anomalous, masks=masks, has_mask=has_mask)

    def with_anomalies(self, masks: Tensor, trusted: bool) -> BatchTarget:
        """Append an anomaly for each mask; `trusted` is whether the masks are known."""
        flags = torch.ones_like(masks[:, 0, 0, 0])
        return replace(
            self,
            anomalous=torch.cat([self.anomalous, flags]),
            masks=torch.cat([self.masks, masks]),
            has_mask=torch.cat([self.has_mask, flags & trusted]),
        )


@dataclass
class TrainingData(Dataset[Any]):
    """Source of training batches.

    Parameters
    ----------
    images : ImageArray
        All images of ``fit``.
    normal, anomalous : ndarray of int
        Rows of the normal images and of the real anomalies to train on.
    preprocess : Preprocess
        Maps raw images to the unit range.
    generator : torch.Generator
        Generator on the device; the only source of randomness.
    masks, has_mask : ndarray or None
        Masks of all images, and whether the mask of each is known.
    weights : ndarray or None
        Relative frequency of each image; None means equal frequencies.
    exposed : ImageArray or None
        Outlier images.
    exposed_index : ndarray of int
        The rows of `exposed` to use.
    exposed_range : tuple of float or None
        Raw values of `exposed` that map to 0 and 1; None uses those of `images`.
    plant : callable or None
        Draws synthetic anomalies into images.
    alter : Alteration or None
        Makes synthetic anomalies from the output of `encode`.
    augment : sequence of callables
        Augmentations of normal images and real anomalies.
    anomaly_fraction : float
        Fraction of anomalies in a batch.
    trust_planted : bool
        Whether the loss uses the masks of synthetic anomalies and exposed outliers.
    reseed : int or None
        Seed of a new generator in every epoch, which makes all epochs equal; None
        continues with `generator`.
    encode : callable or None
        Maps images (n, c, h, w) to the features of frozen layers, which batches then
        contain instead of images.
    """

    images: ImageArray
    normal: npt.NDArray[np.intp]
    anomalous: npt.NDArray[np.intp]
    preprocess: Preprocess
    generator: Generator
    masks: npt.NDArray[Any] | None = None
    has_mask: npt.NDArray[np.bool_] | None = None
    weights: npt.NDArray[np.float64] | None = None
    exposed: ImageArray | None = None
    exposed_index: npt.NDArray[np.intp] = field(
        default_factory=lambda: np.empty(0, dtype=np.intp)
    )
    exposed_range: tuple[float, float] | None = None
    plant: Callable[[Tensor, Generator], tuple[Tensor, Tensor]] | None = None
    alter: Alteration | None = None
    augment: Sequence[Augmentation] = ()
    anomaly_fraction: float = 0.5
    trust_planted: bool = False
    reseed: int | None = None
    encode: Callable[[Tensor], tuple[Tensor, ...]] | None = None
    # Largest chunk size known to fit in memory, for each kind of work.
    _fits: dict[str, int] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.normal)

    def n_batches(self, batch_size: int) -> int:
        """Return the number of batches per epoch.

        Batches have at most `batch_size` images, and differ in size by at most one.
        """
        n_images = len(self.normal) + self._wanted_slots
        return max(1, min(len(self.normal), -(-n_images // batch_size)))

    def n_slots(self, batch_size: int) -> int:
        """Return the number of anomalies per epoch.

        They fall short of `anomaly_fraction` if each batch has only one normal image.
        """
        room = self.n_batches(batch_size) * batch_size - len(self.normal)
        return min(self._wanted_slots, room)

    def batches(
        self, batch_size: int, device: torch.device | str
    ) -> Iterator[tuple[Any, BatchTarget]]:
        """Yield unit-range images (n, c, h, w), or their features, with targets."""
        if self.reseed is not None:
            self.generator = Generator(device).manual_seed(self.reseed)
        n_batches = self.n_batches(batch_size)
        order = self._drawn(self.normal, len(self.normal))
        plan = self._plan(self.n_slots(batch_size))
        normals = np.array_split(order, n_batches)
        # array_split puts larger parts first; reversing one of them evens out the
        # sizes.
        anomalies = np.array_split(plan, n_batches)[::-1]
        step = self._batches_at_once(len(normals[0]) + len(anomalies[0]), device)

        def made(part: slice) -> Iterator[tuple[Any, BatchTarget]]:
            return self._mix(normals[part], anomalies[part], device)

        for some in self._in_parts("batch(es)", n_batches, step, device, made):
            for batch, target in some:
                yield batch, self._confined(target)

    def _confined(self, target: BatchTarget) -> BatchTarget:
        """Restrict a target to the region of interest.

        An anomaly becomes normal if all of its known anomalous pixels are outside.
        """
        roi = self.preprocess.roi
        if roi is None:
            return target
        masks = target.masks & roi.seen
        outside = target.masks.flatten(1).any(dim=1) & ~masks.flatten(1).any(dim=1)
        anomalous = target.anomalous & ~outside
        known = target.has_mask | ~anomalous
        return replace(target, anomalous=anomalous, masks=masks, has_mask=known)

    def _in_parts(
        self,
        what: str,
        n: int,
        size: int,
        device: torch.device | str,
        compute: Callable[[slice], T],
    ) -> Iterator[T]:
        """Apply `compute` to chunks, which shrink permanently if memory runs out."""
        size = min(size, self._fits.get(what, size))
        for place, result in in_parts(n, size, device, compute, what):
            if place.stop < n:
                self._fits[what] = place.stop - place.start
            yield result

    def _batches_at_once(self, n_images: int, device: torch.device | str) -> int:
        """Return how many batches to make together, to amortise the cost of calls."""
        h, w, c = self.images.image_shape
        seen = self.preprocess.size or (0, 0)
        n_values = n_images * c * max(h * w, seen[0] * seen[1])
        on_cpu = torch.device(device).type == "cpu"
        return max(1, (_TOGETHER_CPU if on_cpu else _TOGETHER) // n_values)

    def _mix(
        self,
        normals: list[npt.NDArray[np.intp]],
        anomalies: list[npt.NDArray[np.intp]],
        device: torch.device | str,
    ) -> Iterator[tuple[Any, BatchTarget]]:
        """Make some batches together and yield them one by one.

        Batch k has the normal images ``normals[k]`` and the anomalies ``anomalies[k]``
        (as in `_plan`), ordered by source.
        """
        counts = np.array(
            [
                [len(rows), *np.bincount(slots[:, 0], minlength=N_SOURCES)]
                for rows, slots in zip(normals, anomalies, strict=True)
            ]
        )
        n_normal, n_altered = counts[:, 0], counts[:, 1 + _ALTERED]
        counts = counts[:, : 1 + _ALTERED]
        rows, slots = np.concatenate(normals), np.concatenate(anomalies)
        sources = self._sources(rows, slots, counts[:, [0, 1 + _PLANTED]], device)
        ends = counts.cumsum(axis=0)
        places = zip(ends - counts, ends, strict=True)
        joined = (_joined(sources, first, last) for first, last in places)
        if self.encode is None:
            return joined
        return (
            self._with_altered(self.encode(images), target, n, count)
            for (images, target), n, count in zip(
                joined, n_normal, n_altered, strict=True
            )
        )

    def _with_altered(
        self,
        features: tuple[Tensor, ...],
        target: BatchTarget,
        n_normal: int,
        n_altered: int,
    ) -> tuple[tuple[Tensor, ...], BatchTarget]:
        """Append anomalies made from the features of the first `n_normal` images."""
        if not n_altered:
            return features, target
        assert self.alter is not None
        index = self._recycle(np.arange(n_normal), n_altered)
        place = to_device(index, features[0].device)
        own = tuple(x.index_select(0, place) for x in features)
        h, w = target.masks.shape[2:]
        altered, masks = self._altered(own, (h, w))
        joined = tuple(torch.cat(pair) for pair in zip(features, altered, strict=True))
        return joined, target.with_anomalies(masks, self.trust_planted)

    def _altered(
        self, own: tuple[Tensor, ...], size: tuple[int, int]
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return altered features, and their masks (n, 1, h, w)."""
        roi = self.preprocess.roi

        def alter(rows: Tensor | None) -> tuple[tuple[Tensor, ...], Tensor]:
            assert self.alter is not None
            some = own if rows is None else tuple(x.index_select(0, rows) for x in own)
            return self.alter(some, size, self.generator)

        return alter(None) if roi is None else hitting(alter, roi.seen)

    @property
    def _wanted_slots(self) -> int:
        """Number of anomalies per epoch needed for `anomaly_fraction`."""
        ratio = self.anomaly_fraction / (1 - self.anomaly_fraction)
        return round(len(self.normal) * ratio)

    def _permutation(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        order = torch.randperm(len(rows), generator=on_host(self.generator))
        return rows[order.numpy()]

    def _recycle(self, rows: npt.NDArray[np.intp], count: int) -> npt.NDArray[np.intp]:
        """Draw `count` of `rows` in random order, each equally often (within 1)."""
        rounds = -(-count // max(1, len(rows)))
        parts = [self._permutation(rows) for _ in range(rounds)]
        return np.concatenate([rows[:0], *parts])[:count]

    def _drawn(self, rows: npt.NDArray[np.intp], count: int) -> npt.NDArray[np.intp]:
        """Draw `count` of `rows` in random order, in proportion to weight (within 1).

        Equivalent to repeating each row as often as its weight.
        """
        if self.weights is None or not len(rows):
            return self._recycle(rows, count)
        rows = self._permutation(rows)
        ends = np.cumsum(self.weights[rows])
        start = torch.rand((), generator=on_host(self.generator)).item()
        points = (np.arange(count) + start) * (ends[-1] / max(1, count))
        found = np.searchsorted(ends, points, side="right")
        return self._permutation(rows[np.minimum(found, len(rows) - 1)])

    def _plan(self, n_slots: int) -> npt.NDArray[np.intp]:
        """Draw the source of each anomaly of an epoch, in random order.

        Rows are (source, index), where source is `_REAL`, `_EXPOSED`, `_PLANTED` or
        `_ALTERED`.
        """
        numbers = n_real, n_exposed, n_planted, n_altered = self._plan_sources(n_slots)
        index = np.concatenate(
            [
                self._drawn(self.anomalous, n_real),
                self._recycle(self.exposed_index, n_exposed),
                self._planted_index(n_planted),
                np.zeros(n_altered, dtype=np.intp),  # unused: made in each batch
            ]
        )
        source = np.repeat(np.arange(N_SOURCES), numbers)
        order = self._permutation(np.arange(len(index)))
        return np.stack([source, index], axis=1)[order]

    def _plan_sources(self, n_slots: int) -> tuple[int, int, int, int]:
        """Split `n_slots` into real, exposed, drawn and altered anomalies."""
        available = len(self.exposed_index)
        synthetic = self.plant is not None or self.alter is not None
        n_real = _quota(len(self.anomalous), n_slots, available > 0 or synthetic)
        n_exposed = _quota(available, n_slots - n_real, synthetic)
        rest = n_slots - n_real - n_exposed if synthetic else 0
        n_altered = round(self.alter.share * rest) if self.alter is not None else 0
        return n_real, n_exposed, rest - n_altered, n_altered

    def _planted_index(self, count: int) -> npt.NDArray[np.intp]:
        """Return the indices of synthetic anomalies; zeros, because none are stored."""
        return np.zeros(count, dtype=np.intp)

    def _sources(
        self,
        rows: npt.NDArray[np.intp],
        slots: npt.NDArray[np.intp],
        sizes: npt.NDArray[np.intp],
        device: torch.device | str,
    ) -> list[tuple[Tensor, ...]]:
        """Return images, masks and mask flags from each source, for several batches.

        The first entry has the normal images `rows`; the others have the anomalies of
        each source in `slots`, and are empty for unused sources. `sizes` are the
        numbers of normal images and of synthetic anomalies in each batch. A synthetic
        anomaly is drawn into an image of the same batch, because the network learns
        best from the difference between the two.
        """
        real, exposed = (slots[slots[:, 0] == k, 1] for k in (_REAL, _EXPOSED))
        images, masks, has_mask = self._load(np.concatenate([rows, real]), device)
        for change in self.augment:
            images, masks = change(images, masks, self.generator)
        known, n = (images, masks, has_mask), len(rows)
        sources: list[tuple[Tensor, ...]] = [
            tuple(each[:n] for each in known),
            tuple(each[n:] for each in known),
            self._expose(exposed, images) if len(exposed) else (),
            (),
        ]
        if self.plant is not None and sizes[:, 1].any():
            first = sizes[:, 0].cumsum() - sizes[:, 0]
            own = [
                start + self._recycle(np.arange(count), n_planted)
                for start, (count, n_planted) in zip(first, sizes, strict=True)
            ]
            index = to_device(np.concatenate(own), images.device)
            changed, where = self._planted(images, index)
            sources[1 + _PLANTED] = (changed, where, self._trust(where))
        return sources

    def _planted(self, images: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images at `index` with synthetic anomalies, and their masks."""

        def some(part: slice) -> tuple[Tensor, Tensor]:
            assert self.plant is not None
            own = images.index_select(0, index[part])
            return planted(self.plant, own, self.generator, self.preprocess.roi)

        n, device = len(index), images.device
        parts = list(self._in_parts("anomalies", n, n, device, some))
        if len(parts) == 1:
            return parts[0]
        changed, masks = (torch.cat(x) for x in zip(*parts, strict=True))
        return changed, masks

    def _load(
        self, rows: npt.NDArray[np.intp], device: torch.device | str
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Load images of ``fit`` with their masks."""
        images = self.preprocess.unit(self.images.take(rows, device))
        # Before augmentations, which may move pixels from outside into the region.
        images = self.preprocess.filled(images)
        h, w = images.shape[2:]
        return images, *self._masks(rows, (h, w), images.device)

    def _masks(
        self,
        rows: npt.NDArray[np.intp],
        size: tuple[int, int],
        device: torch.device | str,
    ) -> tuple[Tensor, Tensor]:
        """Load masks at network input size, and whether the mask of each is known."""
        if self.masks is None or self.has_mask is None:
            masks = torch.zeros(len(rows), 1, *size, dtype=torch.bool, device=device)
            return masks, torch.zeros_like(masks[:, 0, 0, 0])
        masks = to_device(self.masks[rows] > 0, device)[:, None]
        if self.preprocess.roi is not None:
            masks = masks & self.preprocess.roi.inside
        if masks.shape[2:] != size:
            # A pixel is anomalous if any part of it is.
            masks = F.adaptive_max_pool2d(masks.float(), size) > 0
        return masks, to_device(self.has_mask[rows], device)

    def _expose(
        self, index: npt.NDArray[np.intp], like: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Load exposed outliers with the size and channels of `like`."""
        assert self.exposed is not None
        raw = self.exposed.take(index, like.device)
        low, high = self.exposed_range or (self.preprocess.low, self.preprocess.high)
        images = (raw - low) / (high - low)
        if images.shape[2:] != like.shape[2:]:
            images = resize(images, (like.shape[2], like.shape[3]))
        images = match_channels(images, like.shape[1])
        masks = torch.ones_like(images[:, :1], dtype=torch.bool)
        return images, masks, self._trust(masks)

    def _trust(self, masks: Tensor) -> Tensor:
        return torch.full_like(masks[:, 0, 0, 0], self.trust_planted)


def _joined(
    sources: list[tuple[Tensor, ...]],
    first: npt.NDArray[np.intp],
    last: npt.NDArray[np.intp],
) -> tuple[Tensor, BatchTarget]:
    """Concatenate the slices `first` to `last` of all sources into a batch."""
    parts = [
        [each[i:j] for each in source]
        for source, i, j in zip(sources, first, last, strict=True)
        if j > i
    ]
    batch, masks, has_mask = (torch.cat(x) for x in zip(*parts, strict=True))
    anomalous = torch.arange(len(batch), device=batch.device) >= last[0] - first[0]
    return batch, BatchTarget(anomalous, masks, has_mask | ~anomalous)


def match_channels(images: Tensor, n_channels: int) -> Tensor:
    """Repeat grey images over channels, or average channels to grey."""
    if images.shape[1] == n_channels:
        return images
    return images.mean(dim=1, keepdim=True).expand(-1, n_channels, -1, -1)


def _quota(n_available: int, n_slots: int, others: bool) -> int:
    """Return the number of anomalies to draw from a source with `n_available` images.

    If there are other sources, an image is drawn at most `_MAX_REPEATS` times, and
    repeated images fill at most half of the `n_slots`.
    """
    if n_available == 0:
        return 0
    if not others:
        return n_slots
    return min(n_slots, _MAX_REPEATS * n_available, max(n_available, n_slots // 2))
