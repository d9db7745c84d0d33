"""Training batches of stored features of frozen stages, in place of images."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skfcdd._engine.batches import N_SOURCES, BatchTarget, TrainingData
from skfcdd._engine.inside import planted
from skfcdd._inputs.images import to_device
from skfcdd.feature_cache import FeatureCache

__all__ = ["CachedTrainingData", "FeatureStore", "stored_dtype"]


class FeatureStore:
    """Feature maps of many images, in memory or in a file.

    Parameters
    ----------
    n : int
        Number of images.
    like : tuple of Tensor of shape (1, d, u, v)
        Features of one image.
    dtype : torch.dtype
        Storage type.
    device : torch.device or str
        Device on which features are kept, unless they are in a file.
    path : Path or None, default=None
        File to create; None keeps features in memory.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skfcdd._engine.feature_store import FeatureStore
    >>> store = FeatureStore(5, (torch.zeros(1, 2, 3, 3),), torch.float16, "cpu")
    >>> store.write(slice(0, 2), (torch.ones(2, 2, 3, 3),))
    >>> store.read(np.array([1, 0]), torch.float32)[0].shape
    torch.Size([2, 2, 3, 3])
    """

    def __init__(
        self,
        n: int,
        like: tuple[Tensor, ...],
        dtype: torch.dtype,
        device: torch.device | str,
        path: Path | None = None,
    ) -> None:
        # Channels last, as the following layers expect.
        shapes = [(n, x.shape[2], x.shape[3], x.shape[1]) for x in like]
        if path is None:
            self._parts = [torch.empty(s, dtype=dtype, device=device) for s in shapes]
            return
        whole = torch.from_file(
            str(path), shared=True, size=sum(map(math.prod, shapes)), dtype=dtype
        )
        self._parts, start = [], 0
        for shape in shapes:
            stop = start + math.prod(shape)
            self._parts.append(whole[start:stop].view(shape))
            start = stop

    def write(self, rows: Any, features: tuple[Tensor, ...]) -> None:
        """Store the features of some images.

        Raises
        ------
        ValueError
            If values overflow the storage type.
        """
        for part, x in zip(self._parts, features, strict=True):
            stored = x.permute(0, 2, 3, 1).to(part.device, part.dtype)
            if not bool(stored.isfinite().all()):
                raise ValueError(
                    "The features of the frozen stages exceed the range of "
                    f"{part.dtype}: they reach {float(x.abs().max()):.3g}. Set dtype "
                    "of FeatureCache to 'bfloat16' or 'float32'."
                )
            part[rows] = stored

    def read(
        self, rows: npt.NDArray[np.intp], dtype: torch.dtype
    ) -> tuple[Tensor, ...]:
        """Return the features of some images, each (k, d, u, v)."""
        index = to_device(rows, self._parts[0].device)
        return tuple(part[index].permute(0, 3, 1, 2).to(dtype) for part in self._parts)


@dataclass
class CachedTrainingData(TrainingData):
    """Source of training batches of stored features.

    Parameters
    ----------
    cache : FeatureCache
        Settings of the cache.
    stored : torch.dtype
        Storage type.
    dtype : torch.dtype
        Type of the features in batches.

    See Also
    --------
    skfcdd._engine.batches.TrainingData : The other parameters.
    """

    cache: FeatureCache = field(kw_only=True)
    stored: torch.dtype = field(kw_only=True)
    dtype: torch.dtype = field(kw_only=True)

    @classmethod
    def over(cls, data: TrainingData, **options: Any) -> CachedTrainingData:
        """Create a source of features with the parameters of a source of images."""
        given = {f.name: getattr(data, f.name) for f in fields(data) if f.init}
        return cls(**given, **options)

    def __post_init__(self) -> None:
        self._store: FeatureStore | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._n_bank = 0  # number of stored synthetic anomalies
        self._next = 0  # index of the oldest of them
        self._bank_masks: Tensor | None = None
        known = np.concatenate([self.normal, self.anomalous])
        self._row_at = np.full(len(self.images), -1, dtype=np.intp)
        self._row_at[known] = np.arange(len(known))
        self._exposed_at = {int(row): i for i, row in enumerate(self.exposed_index)}
        self._first_exposed = len(known)
        self._first_planted = len(known) + len(self._exposed_at)

    def batches(self, batch_size: int, device: torch.device | str) -> Any:
        """Yield batches of features with their targets."""
        if self._store is None:
            self._fill(batch_size, device)
        else:
            count = round(self.cache.refresh * self._n_bank)
            self._plant_bank(count, batch_size, device)
        yield from super().batches(batch_size, device)

    def close(self) -> None:
        """Discard the features and delete their file."""
        self._store = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _encoded(self, images: Tensor) -> tuple[Tensor, ...]:
        assert self.encode is not None
        return self.encode(images)

    def _bank_size(self, batch_size: int) -> int:
        """Return the number of synthetic anomalies to store."""
        if self.plant is None:
            return 0
        n_planted = self._plan_sources(self.n_slots(batch_size))[2]
        return math.ceil(self.cache.bank * n_planted)

    def _fill(self, batch_size: int, device: torch.device | str) -> None:
        """Compute the features of all training images."""
        self._n_bank = self._bank_size(batch_size)
        images = self._load(self.normal[:1], device)[0]
        like = self._encoded(images)
        self._store = self._make_store(like, device)
        known = np.concatenate([self.normal, self.anomalous])
        for start in range(0, len(known), batch_size):
            chunk = known[start : start + batch_size]
            self._write(start, self._load(chunk, device)[0])
        for start in range(0, len(self.exposed_index), batch_size):
            chunk = self.exposed_index[start : start + batch_size]
            self._write(self._first_exposed + start, self._expose(chunk, images)[0])
        if self.trust_planted or self.preprocess.roi is not None:
            shape = (self._n_bank, 1, *images.shape[2:])
            self._bank_masks = torch.zeros(shape, dtype=torch.bool)
        self._plant_bank(self._n_bank, batch_size, device)

    def _make_store(
        self, like: tuple[Tensor, ...], device: torch.device | str
    ) -> FeatureStore:
        n = self._first_planted + self._n_bank
        needed = n * sum(x[0].numel() for x in like) * self.stored.itemsize
        if needed <= self.cache.memory:
            return FeatureStore(n, like, self.stored, device)
        self._folder = tempfile.TemporaryDirectory(
            prefix="skfcdd-features-",
            dir=self.cache.folder,
            # On some systems, an open mapping prevents deleting the file at once.
            ignore_cleanup_errors=True,
        )
        path = Path(self._folder.name) / "features"
        free = shutil.disk_usage(self._folder.name).free
        if free < needed:  # writing to a mapped file on a full disk kills the process
            raise OSError(
                f"The features of the frozen stages take {needed / 2**20:,.0f} MiB, "
                f"but {self._folder.name} has {free / 2**20:,.0f} MiB left. Choose "
                "another folder with FeatureCache(folder=...), allow more memory, or "
                "set feature_cache=None."
            )
        return FeatureStore(n, like, self.stored, "cpu", path)

    def _write(self, start: int, images: Tensor) -> None:
        assert self._store is not None
        self._store.write(slice(start, start + len(images)), self._encoded(images))

    def _plant_bank(
        self, count: int, batch_size: int, device: torch.device | str
    ) -> None:
        """Replace the `count` oldest synthetic anomalies."""
        assert self._store is not None
        rows = self._recycle(self.normal, count)
        places = (self._next + np.arange(count)) % max(1, self._n_bank)
        self._next = (self._next + count) % max(1, self._n_bank)
        for start in range(0, count, batch_size):
            part = slice(start, start + batch_size)
            assert self.plant is not None
            images, masks = planted(
                self.plant,
                self._load(rows[part], device)[0],
                self.generator,
                self.preprocess.roi,
            )
            at = torch.from_numpy(places[part])
            self._store.write(self._first_planted + at, self._encoded(images))
            if self._bank_masks is not None:
                self._bank_masks[at] = masks.cpu()

    def _planted_index(self, count: int) -> npt.NDArray[np.intp]:
        return self._recycle(np.arange(self._n_bank), count)

    def _mix(
        self,
        normals: list[npt.NDArray[np.intp]],
        anomalies: list[npt.NDArray[np.intp]],
        device: torch.device | str,
    ) -> Iterator[tuple[Any, BatchTarget]]:
        """Return an iterator that reads batches of stored features one by one."""
        pairs = zip(normals, anomalies, strict=True)
        return (self._read(rows, slots, device) for rows, slots in pairs)

    def _read(
        self,
        rows: npt.NDArray[np.intp],
        slots: npt.NDArray[np.intp],
        device: torch.device | str,
    ) -> tuple[Any, BatchTarget]:
        """Read the features of the images `rows` and of the anomalies in `slots`."""
        assert self._store is not None
        real, exposed, planted, altered = (
            slots[slots[:, 0] == k, 1] for k in range(N_SOURCES)
        )
        own = np.concatenate([rows, real])
        outside = [self._exposed_at[int(i)] for i in exposed]
        places = np.concatenate(
            [
                self._row_at[own],
                self._first_exposed + np.array(outside, dtype=np.intp),
                self._first_planted + planted,
            ]
        )
        features = self._store.read(places, self.dtype)
        size = self.preprocess.size or self.images.image_shape[:2]
        known, has_mask = self._masks(own, size, device)
        masks = [
            known,
            torch.ones(len(exposed), 1, *size, dtype=torch.bool, device=device),
            self._planted_masks(planted, size, device),
        ]
        trusted = torch.full(
            (len(exposed) + len(planted),), self.trust_planted, device=device
        )
        anomalous = torch.arange(len(places), device=device) >= len(rows)
        has_mask = torch.cat([has_mask, trusted]) | ~anomalous
        moved = tuple(x.to(device) for x in features)
        target = BatchTarget(anomalous, torch.cat(masks), has_mask)
        return self._with_altered(moved, target, len(rows), len(altered))

    def _planted_masks(
        self,
        planted: npt.NDArray[np.intp],
        size: Sequence[int],
        device: torch.device | str,
    ) -> Tensor:
        if self._bank_masks is None:
            return torch.zeros(len(planted), 1, *size, dtype=torch.bool, device=device)
        return self._bank_masks[torch.from_numpy(planted)].to(device)


def stored_dtype(cache: FeatureCache, precision: str) -> torch.dtype:
    """Return the storage type for a cache and a training precision."""
    name = cache.dtype
    if name == "auto":
        name = {"float32": "float16", "mixed": "bfloat16"}.get(precision, precision)
    dtype: torch.dtype = getattr(torch, name)
    return dtype
