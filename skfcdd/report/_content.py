"""What stands in a report: collected in batches, from the model and the images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed

from skfcdd._answers import pick_masks, take
from skfcdd._utils.optional import library_versions
from skfcdd._verdicts import decisive_scores, is_above, settled
from skfcdd.display._choice import pictures_of, range_of
from skfcdd.report._model import Findings, describe, examine
from skfcdd.report._pictures import (
    encode_heatmap,
    encode_picture,
    heat_colours,
    heat_levels,
    outline,
    shrunk_size,
)

__all__ = ["Content"]

# Of each batch no more images, and no more values, are in memory.
_IMAGES, _VALUES = 64, 1 << 24
_THREADS = min(8, os.cpu_count() or 1)

Picture = tuple[str, ...]


@dataclass
class Content:
    """Images, what is known of them, and how they shall look.

    The arguments are those of :func:`write_report`, checked and in one form.
    """

    estimator: Any
    X: Any
    n: int
    names: list[str]
    kinds: list[str] | None
    truth: npt.NDArray[np.bool_] | None
    max_side: int
    quality: int | None
    value_range: tuple[float, float] | None = None
    channel: int | None = None
    masks: Any = None
    progress: Callable[[int, int], None] | None = None
    size: tuple[int, int] = (0, 0)
    scores: npt.NDArray[np.float64] | None = None
    peaks: dict[int, tuple[float, int, int]] = field(default_factory=dict)
    novelty: dict[int, float] = field(default_factory=dict)
    done: int = 0
    total: int = 0

    def __post_init__(self) -> None:
        low, high = self.estimator.heatmap_scale_
        self.levels = heat_levels(low, high)
        self.total = self.n

    def choose(self, n_images: int | None) -> npt.NDArray[np.intp]:
        """Rows to show: all, or wrong verdicts and then the highest scores."""
        every = np.arange(self.n)
        if n_images is None or n_images >= self.n:
            return every
        self.total = self.n + n_images
        scores = []
        for rows in self._batches(every):
            scores.append(decisive_scores(self.estimator, take(self.X, rows)))
            self._step(len(rows))
        self.scores = np.concatenate(scores)
        right = np.ones(self.n, dtype=bool)
        if self.truth is not None:
            right = is_above(self.scores, self.estimator.threshold_) == self.truth
        first = np.lexsort((-self.scores, right))
        return np.sort(first[:n_images])

    def pictures(self, rows: npt.NDArray[np.intp]) -> Iterator[tuple[int, Picture]]:
        """Picture, heatmap, outline, and parts of the heatmap, batch by batch."""
        known, scores = self.scores, np.zeros(self.n)
        for part in self._batches(rows):
            batch = take(self.X, part)
            found = examine(
                self.estimator, batch, None if known is None else known[part]
            )
            scores[part] = found.scores
            self.peaks |= dict(zip(part.tolist(), found.peaks, strict=True))
            if found.novelty_share is not None:
                shares = found.novelty_share.round(4).tolist()
                self.novelty |= dict(zip(part.tolist(), shares, strict=True))
            if self.size == (0, 0):
                self._look_at(found.heatmaps.shape[1:])
            encoded = self._encode(batch, part, found)
            yield from zip(part.tolist(), encoded, strict=True)
            self._step(len(part))
        if known is None:
            self.scores = scores

    def _look_at(self, size: tuple[int, int]) -> None:
        """Find out what is the same for all pictures, before the first is made."""
        self.size = size
        for part in self._batches(np.arange(self.n)):
            # Wrong masks shall not be found after hours.
            pick_masks(self.masks, part, self.n, size)
        if self.value_range is None:
            step = max(1, -(-self.n // self._at_once()))
            some = take(self.X, np.arange(0, self.n, step))
            self.value_range = range_of(self.estimator, some, size, self.channel)

    def _encode(
        self, X: Any, rows: npt.NDArray[np.intp], found: Findings
    ) -> list[Picture]:
        look = {"channel": self.channel, "value_range": self.value_range}
        pictures = pictures_of(self.estimator, X, self.size, **look)
        masks = pick_masks(self.masks, rows, self.n, self.size)
        size = self.picture_size

        def encode(k: int) -> Picture:
            return (
                encode_picture(pictures[k], size, self.quality),
                encode_heatmap(found.heatmaps[k], size, self.levels),
                "" if masks is None else outline(masks[k], size),
                *(encode_heatmap(part[k], size, self.levels) for part in found.parts),
            )

        # Pillow lets other threads run while it compresses.
        parallel = Parallel(n_jobs=_THREADS, prefer="threads")
        return list(parallel(delayed(encode)(k) for k in range(len(rows))))

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return shrunk_size(self.size, self.max_side)

    def _at_once(self) -> int:
        values = int(np.prod(self.estimator.image_shape_))
        return max(1, min(_IMAGES, _VALUES // values))

    def _batches(self, rows: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
        step = self._at_once()
        for start in range(0, len(rows), step):
            yield rows[start : start + step]

    def _step(self, n: int) -> None:
        self.done += n
        if self.progress is not None:
            self.progress(self.done, self.total)

    def summary(self) -> dict[str, Any]:
        """What a page has to know, beside the pictures."""
        assert self.scores is not None and self.value_range is not None
        truth = None if self.truth is None else self.truth.astype(int).tolist()
        # The page compares with the threshold to the last digit.
        scores = settled(self.scores, self.estimator.threshold_).tolist()
        return {
            "id": _identity(self.names, scores),
            "version": library_versions()["skfcdd"],
            "created": datetime.now().astimezone().isoformat(timespec="minutes"),
            "model": describe(self.estimator),
            "levels": self.levels.tolist(),
            "colours": heat_colours(self.levels, self.estimator.heatmap_scale_),
            "value_range": [float(end) for end in self.value_range],
            "exact": self.quality is None,
            "image_size": list(self.size),
            "picture_size": list(self.picture_size),
            "names": self.names,
            "scores": scores,
            "truth": truth,
            "kinds": self.kinds,
            "outlines": self.masks is not None,
            "peaks": {str(row): peak for row, peak in self.peaks.items()},
            "novelty": {str(row): share for row, share in self.novelty.items()},
        }


def _identity(names: list[str], scores: list[float]) -> str:
    """Tells reports apart, so that each has marks of its own in a browser."""
    digest = hashlib.sha256(repr((names, scores)).encode())
    return digest.hexdigest()[:24]
