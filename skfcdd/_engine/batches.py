"""Batches on the device: mixed from normal images, real and synthetic anomalies.

An epoch shows every normal image once, or as often as its weight asks for. Each batch
is filled up with anomalies to the asked share: real ones first, then exposed outliers,
then synthetic anomalies made of the batch's own normal images or their features. All
work is on whole tensors.
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
from skfcdd._engine.preprocessing import Preprocess, resize
from skfcdd._inputs.images import ImageArray, to_device
from skfcdd._utils.device import in_parts
from skfcdd._utils.random import on_host

__all__ = ["BatchTarget", "TrainingData"]

T = TypeVar("T")

# A real anomaly or an exposed outlier is shown at most this often in an epoch as long
# as there are others to fill the batches.
_MAX_REPEATS = 10
# Batches of small images are made several at a time, of about this many values.
_TOGETHER_CPU, _TOGETHER = 1 << 22, 1 << 25
# Where an anomaly comes from: a mark in `y`, images of other things, or a generator,
# which plants it in an image or makes it of the features of one.
_REAL, _EXPOSED, _PLANTED, _ALTERED = range(4)
N_SOURCES = 4


@dataclass(frozen=True)
class BatchTarget:
    """What is known of a batch.

    Parameters
    ----------
    anomalous : Tensor of shape (n,), bool
        Which images are anomalies.
    masks : Tensor of shape (n, 1, h, w), bool
        Their anomalous pixels.
    has_mask : Tensor of shape (n,), bool
        Where `masks` is to be believed.
    weight : float, default=1.0
        Of their mean loss, where other processes have the rest of the batch.
    """

    anomalous: Tensor
    masks: Tensor
    has_mask: Tensor
    weight: float = 1.0

    def take(self, index: Tensor) -> BatchTarget:
        """What is known of some of the images."""
        parts = (self.anomalous, self.masks, self.has_mask)
        anomalous, masks, has_mask = (part.index_select(0, index) for part in parts)
        return replace(self, anomalous=anomalous, masks=masks, has_mask=has_mask)

    def with_anomalies(self, masks: Tensor, trusted: bool) -> BatchTarget:
        """What is known of a batch with as many more anomalies as there are masks."""
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
        Rows of the normal images and the real anomalies to train on.
    preprocess : Preprocess
        Maps raw images to the unit range.
    generator : torch.Generator
        On the device; the only source of chance.
    masks, has_mask : ndarray or None
        Masks of all images, and where they are known.
    weights : ndarray or None
        How often each image is shown beside others; None shows all alike.
    exposed : ImageArray or None
        Images of other things.
    exposed_index : ndarray of int
        The rows of `exposed` to use.
    exposed_range : tuple of float or None
        Raw values of `exposed` that become 0 and 1; None for those of `images`.
    plant : callable or None
        Plants synthetic anomalies in images.
    alter : Alteration or None
        Makes synthetic anomalies of what `encode` gives.
    augment : sequence of callables
        Applied to images that are normal or really anomalous.
    anomaly_fraction : float
        Share of anomalies in a batch.
    trust_planted : bool
        Whether the masks of synthetic anomalies and exposed outliers are to be learnt.
    reseed : int or None
        Seed for an own generator, so that every epoch is the same.
    encode : callable or None
        Maps images (n, c, h, w) to what is handed out in their place: the features of
        frozen layers.
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
    # Largest part of each kind of work that is known to fit in memory.
    _fits: dict[str, int] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.normal)

    def n_batches(self, batch_size: int) -> int:
        """Number of batches of an epoch.

        None has more than `batch_size` images; all are of equal size within one.
        """
        n_images = len(self.normal) + self._wanted_slots
        return max(1, min(len(self.normal), -(-n_images // batch_size)))

    def n_slots(self, batch_size: int) -> int:
        """Number of anomalies in an epoch.

        Fewer than the asked share where each batch has but one normal image.
        """
        room = self.n_batches(batch_size) * batch_size - len(self.normal)
        return min(self._wanted_slots, room)

    def batches(
        self, batch_size: int, device: torch.device | str
    ) -> Iterator[tuple[Any, BatchTarget]]:
        """Yield batches (n, c, h, w) in the unit range, encoded, and their targets."""
        if self.reseed is not None:
            self.generator = Generator(device).manual_seed(self.reseed)
        n_batches = self.n_batches(batch_size)
        order = self._drawn(self.normal, len(self.normal))
        plan = self._plan(self.n_slots(batch_size))
        normals = np.array_split(order, n_batches)
        # The larger parts come first there and last here, so that sizes are even.
        anomalies = np.array_split(plan, n_batches)[::-1]
        step = self._batches_at_once(len(normals[0]) + len(anomalies[0]), device)

        def made(part: slice) -> Iterator[tuple[Any, BatchTarget]]:
            return self._mix(normals[part], anomalies[part], device)

        for some in self._in_parts("batch(es)", n_batches, step, device, made):
            yield from some

    def _in_parts(
        self,
        what: str,
        n: int,
        size: int,
        device: torch.device | str,
        compute: Callable[[slice], T],
    ) -> Iterator[T]:
        """What `compute` makes of parts, which are made smaller once for all."""
        size = min(size, self._fits.get(what, size))
        for place, result in in_parts(n, size, device, compute, what):
            if place.stop < n:
                self._fits[what] = place.stop - place.start
            yield result

    def _batches_at_once(self, n_images: int, device: torch.device | str) -> int:
        """How many batches to make together: a call costs as much as many pixels."""
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
        """Make some batches together, and hand out one after the other.

        A batch has the normal images of an entry of `normals`, and the anomalies of
        the slots in an entry of `anomalies`, ordered by their source.
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
        """A batch with anomalies made of the features of its first, normal images."""
        if not n_altered:
            return features, target
        assert self.alter is not None
        index = self._recycle(np.arange(n_normal), n_altered)
        place = to_device(index, features[0].device)
        own = tuple(x.index_select(0, place) for x in features)
        h, w = target.masks.shape[2:]
        altered, masks = self.alter(own, (h, w), self.generator)
        joined = tuple(torch.cat(pair) for pair in zip(features, altered, strict=True))
        return joined, target.with_anomalies(masks, self.trust_planted)

    @property
    def _wanted_slots(self) -> int:
        """Number of anomalies that an epoch needs for the asked share."""
        ratio = self.anomaly_fraction / (1 - self.anomaly_fraction)
        return round(len(self.normal) * ratio)

    def _permutation(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        order = torch.randperm(len(rows), generator=on_host(self.generator))
        return rows[order.numpy()]

    def _recycle(self, rows: npt.NDArray[np.intp], count: int) -> npt.NDArray[np.intp]:
        """`count` of `rows` in random order, each as often as the others (within 1)."""
        rounds = -(-count // max(1, len(rows)))
        parts = [self._permutation(rows) for _ in range(rounds)]
        return np.concatenate([rows[:0], *parts])[:count]

    def _drawn(self, rows: npt.NDArray[np.intp], count: int) -> npt.NDArray[np.intp]:
        """`count` of `rows` in random order, each as its weight asks for (within 1).

        As if each row stood there that many times.
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
        """Where each anomaly of an epoch comes from, in random order.

        Rows (source, index): `_REAL`, `_EXPOSED`, `_PLANTED` or `_ALTERED`, and which
        of them.
        """
        numbers = n_real, n_exposed, n_planted, n_altered = self._plan_sources(n_slots)
        index = np.concatenate(
            [
                self._drawn(self.anomalous, n_real),
                self._recycle(self.exposed_index, n_exposed),
                self._planted_index(n_planted),
                np.zeros(n_altered, dtype=np.intp),  # made for each batch
            ]
        )
        source = np.repeat(np.arange(N_SOURCES), numbers)
        order = self._permutation(np.arange(len(index)))
        return np.stack([source, index], axis=1)[order]

    def _plan_sources(self, n_slots: int) -> tuple[int, int, int, int]:
        """Numbers of real, exposed, planted and altered anomalies among `n_slots`."""
        available = len(self.exposed_index)
        synthetic = self.plant is not None or self.alter is not None
        n_real = _quota(len(self.anomalous), n_slots, available > 0 or synthetic)
        n_exposed = _quota(available, n_slots - n_real, synthetic)
        rest = n_slots - n_real - n_exposed if synthetic else 0
        n_altered = round(self.alter.share * rest) if self.alter is not None else 0
        return n_real, n_exposed, rest - n_altered, n_altered

    def _planted_index(self, count: int) -> npt.NDArray[np.intp]:
        """Which synthetic anomalies; they are made for each batch, and all alike."""
        return np.zeros(count, dtype=np.intp)

    def _sources(
        self,
        rows: npt.NDArray[np.intp],
        slots: npt.NDArray[np.intp],
        sizes: npt.NDArray[np.intp],
        device: torch.device | str,
    ) -> list[tuple[Tensor, ...]]:
        """Images, masks and whether to believe them, of some batches together.

        First of the normal images `rows`, then of the anomalies of each source in
        `slots`; empty where a source gives none. `sizes` are the numbers of normal
        images and synthetic anomalies of each batch: an anomaly is planted on an image
        of its own batch, for the network learns best from the difference of the two.
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
            planted, where = self._planted(images, index)
            sources[1 + _PLANTED] = (planted, where, self._trust(where))
        return sources

    def _planted(self, images: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images at `index` with anomalies planted, and the masks of these."""

        def some(part: slice) -> tuple[Tensor, Tensor]:
            assert self.plant is not None
            return self.plant(images.index_select(0, index[part]), self.generator)

        n, device = len(index), images.device
        parts = list(self._in_parts("anomalies", n, n, device, some))
        if len(parts) == 1:
            return parts[0]
        planted, masks = (torch.cat(x) for x in zip(*parts, strict=True))
        return planted, masks

    def _load(
        self, rows: npt.NDArray[np.intp], device: torch.device | str
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Images of ``fit`` with their masks."""
        images = self.preprocess.unit(self.images.take(rows, device))
        h, w = images.shape[2:]
        return images, *self._masks(rows, (h, w), images.device)

    def _masks(
        self,
        rows: npt.NDArray[np.intp],
        size: tuple[int, int],
        device: torch.device | str,
    ) -> tuple[Tensor, Tensor]:
        """Masks of images of ``fit`` at the network's size, and which are known."""
        if self.masks is None or self.has_mask is None:
            masks = torch.zeros(len(rows), 1, *size, dtype=torch.bool, device=device)
            return masks, torch.zeros_like(masks[:, 0, 0, 0])
        masks = to_device(self.masks[rows] > 0, device)[:, None]
        if masks.shape[2:] != size:
            # Any part of a pixel makes it anomalous.
            masks = F.adaptive_max_pool2d(masks.float(), size) > 0
        return masks, to_device(self.has_mask[rows], device)

    def _expose(
        self, index: npt.NDArray[np.intp], like: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Exposed outliers, brought to the size and channels of `like`."""
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
    """A batch of what lies from `first` to `last` in each of the sources."""
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
    """How many slots a source fills: few images must not fill an epoch alone.

    Where other sources can fill up, a source takes at most `_MAX_REPEATS` times its
    size, and no more than half of the slots unless it has as many images.
    """
    if n_available == 0:
        return 0
    if not others:
        return n_slots
    return min(n_slots, _MAX_REPEATS * n_available, max(n_available, n_slots // 2))
