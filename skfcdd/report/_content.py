"""Contents of a report, computed in batches from the model and the images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed

from skfcdd._answers import pick_masks, take
from skfcdd._utils.optional import library_versions
from skfcdd._verdicts import decisive_scores, is_above, settled
from skfcdd.display._choice import pictures_of, range_of
from skfcdd.report._budget import Budget, forms
from skfcdd.report._frames import Frames, shrunk_size
from skfcdd.report._model import Findings, describe, examine
from skfcdd.report._pictures import (
    encode_heatmap,
    encode_picture,
    heat_colours,
    heat_levels,
    outline,
    run_lengths,
)

__all__ = ["Content"]

# Maximum number of images, and of values, in a batch.
_IMAGES, _VALUES = 64, 1 << 24
_THREADS = min(8, os.cpu_count() or 1)

# Pictures whose longer side exceeds the first number have a thumbnail of this size and
# quality.
_THUMB_FROM, _THUMB, _THUMB_QUALITY = 400, 256, 75
# Number of sample pictures for estimating the file size, and their maximum total number
# of pixels.
_SAMPLES, _SAMPLE_PIXELS = 8, 40_000_000
# Bytes of the page without pictures, and of the data of an image besides its picture.
_PAGE, _ROW = 150_000, 250
# Images with more pixels are read one at a time.
_LARGE = 8_000_000

T = TypeVar("T")


class Picture(NamedTuple):
    """Encoded picture and heatmap of an image, as stored in the page.

    Parameters
    ----------
    parts : tuple of str
        Picture, heatmap, outline, and parts of the heatmap.
    thumb : str
        Thumbnail, if the picture is large.
    """

    parts: tuple[str, ...]
    thumb: str = ""


@dataclass
class Content:
    """Images, their labels and predictions, and display options.

    The parameters are those of :func:`write_report`, checked and converted.
    """

    estimator: Any
    X: Any
    n: int
    names: list[str]
    kinds: list[str] | None
    truth: npt.NDArray[np.bool_] | None
    max_side: int | None
    quality: int | None
    max_bytes: int | None = None
    value_range: tuple[float, float] | None = None
    channel: int | None = None
    masks: Any = None
    progress: Callable[[int, int], None] | None = None
    origin: dict[str, str] | None = None
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
        self.size = self.estimator.image_shape_[:2]
        self.frames = Frames(self.X, self.size)
        room = self.max_bytes
        if room is not None:  # the page itself also needs space
            room = max(1, room - _PAGE - _ROW * self.n)
        self.budget = Budget(forms(self.quality, room), room)
        self.picture_size: tuple[int, int] | None = None

    def choose(self, n_images: int | None) -> npt.NDArray[np.intp]:
        """Choose the rows to show: wrong predictions first, then the highest scores."""
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
        """Yield the data of each image, computed batch by batch."""
        known, scores = self.scores, np.zeros(self.n)
        self.budget.left = len(rows)
        for part in self._batches(rows):
            batch = take(self.X, part)
            found = examine(
                self.estimator, batch, None if known is None else known[part]
            )
            scores[part] = found.scores
            self._note(part, found)
            if self.value_range is None or not self.budget.n_bytes:
                self._look_at()
            drawn = self._drawn(batch)
            others = self._maps(part, found)
            if not self.budget.n_bytes:
                self._tune(rows, others, drawn)
            encoded = self._pictures(part, drawn)
            for k, (row, picture, thumb) in enumerate(encoded):
                yield row, Picture((picture, *others[k]), thumb)
            sizes = [len(p) + len(t) for _, p, t in encoded]
            self.budget.add(
                [n + sum(map(len, o)) for n, o in zip(sizes, others, strict=True)]
            )
            self._step(len(part))
        if known is None:
            self.scores = scores

    def _note(self, rows: npt.NDArray[np.intp], found: Findings) -> None:
        """Store the peak and the novelty share of each image for the page."""
        for row, peak in zip(rows.tolist(), found.peaks, strict=True):
            self.peaks[row] = self.frames.place(row, peak)
        if found.novelty_share is not None:
            shares = found.novelty_share.round(4).tolist()
            self.novelty |= dict(zip(rows.tolist(), shares, strict=True))

    def _look_at(self) -> None:
        """Check all masks, and determine the value range common to all pictures."""
        for part in self._batches(np.arange(self.n)):
            # Report invalid masks before the long computation, not in the middle of it.
            pick_masks(self.masks, part, self.n, self.size)
        if self.value_range is None:
            step = max(1, -(-self.n // self._at_once()))
            some = take(self.X, np.arange(0, self.n, step))
            self.value_range = range_of(self.estimator, some, self.size, self.channel)

    def _drawn(self, X: Any) -> npt.NDArray[np.uint8] | None:
        """Return pictures of the model's input; None if the files are shown instead."""
        if self.frames.of_files:
            return None
        look = {"channel": self.channel, "value_range": self.value_range}
        return _as_bytes(pictures_of(self.estimator, X, self.size, **look))

    def _maps(
        self, rows: npt.NDArray[np.intp], found: Findings
    ) -> list[tuple[str, ...]]:
        """Encode the heatmap of each image, with its outline and its parts."""
        masks = pick_masks(self.masks, rows, self.n, self.size)

        def encode(k: int) -> tuple[str, ...]:
            inside = self.frames.inside(int(rows[k]))
            size = self.frames.heat_size(int(rows[k]), self.max_side)
            heat, *parts = (
                encode_heatmap(part[k][inside], size, self.levels)
                for part in (found.heatmaps, *found.parts)
            )
            line = "" if masks is None else outline(masks[k][inside], size)
            return heat, line, *parts

        return in_threads(encode, range(len(rows)))

    def _tune(
        self,
        rows: npt.NDArray[np.intp],
        others: list[tuple[str, ...]],
        drawn: npt.NDArray[np.uint8] | None,
    ) -> None:
        """Choose the format of the pictures from a sample."""
        beside = sum(len(text) for texts in others for text in texts) // len(others)
        if drawn is None:
            n_pixels = max(h * w for h, w in map(self.frames.whole, rows.tolist()))
            n = int(np.clip(_SAMPLE_PIXELS // n_pixels, 2, _SAMPLES))
            picked = rows[np.unique(np.linspace(0, len(rows) - 1, n).astype(int))]
            samples = [self._of_file(int(row)) for row in picked]
        else:
            samples = list(drawn[:_SAMPLES])

        def size_of(picture: npt.NDArray[np.uint8]) -> int:
            return beside + sum(map(len, self._encoded(picture)))

        while not self.budget.fits(in_threads(size_of, samples)):
            pass

    def _pictures(
        self, rows: npt.NDArray[np.intp], drawn: npt.NDArray[np.uint8] | None
    ) -> list[tuple[int, str, str]]:
        """Return row, encoded picture and thumbnail of each image."""

        def encode(k: int) -> tuple[int, str, str]:
            row = int(rows[k])
            picture = self._of_file(row) if drawn is None else drawn[k]
            return row, *self._encoded(picture)

        large = drawn is None and max(map(np.prod, self.frames.files_sizes)) > _LARGE
        return in_threads(encode, range(len(rows)), n_jobs=1 if large else _THREADS)

    def _of_file(self, row: int) -> npt.NDArray[np.uint8]:
        assert self.value_range is not None
        return _as_bytes(self.frames.picture(row, self.value_range, self.channel))

    def _encoded(self, picture: npt.NDArray[np.uint8]) -> tuple[str, str]:
        """Encode a picture in the current format, with a thumbnail if it is large."""
        form, whole = self.budget.form, picture.shape[:2]
        size = shrunk_size(whole, self.max_side or max(whole))
        size = shrunk_size(size, max(1, form.scale * max(size)))
        if self.picture_size is None:
            self.picture_size = size
        address = encode_picture(picture, size, form.quality)
        if max(size) <= _THUMB_FROM:
            return address, ""
        return address, encode_picture(
            picture, shrunk_size(size, _THUMB), _THUMB_QUALITY
        )

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
        """Return all data of the page except for the pictures."""
        assert self.scores is not None and self.value_range is not None
        truth = None if self.truth is None else self.truth.astype(int).tolist()
        # The page compares scores with the threshold exactly.
        scores = settled(self.scores, self.estimator.threshold_).tolist()
        return {
            "id": _identity(self.names, scores),
            "version": library_versions()["skfcdd"],
            "created": datetime.now().astimezone().isoformat(timespec="minutes"),
            "model": describe(self.estimator),
            "levels": self.levels.tolist(),
            "colours": heat_colours(self.levels, self.estimator.heatmap_scale_),
            "value_range": [float(end) for end in self.value_range],
            "exact": self.budget.form.exact and self.max_side is None,
            "quality": self.budget.form.quality,
            "of_files": self.frames.of_files,
            "image_size": list(self.size),
            "heat_share": self.frames.heat_share(self.max_side),
            "picture_size": list(self.picture_size or self.size),
            **self.frames.summary(self.n),
            "origin": self.origin,
            "names": self.names,
            "scores": scores,
            "truth": truth,
            "kinds": self.kinds,
            "outlines": self.masks is not None,
            "regions": self._regions(),
            "peaks": {str(row): peak for row, peak in self.peaks.items()},
            "novelty": {str(row): share for row, share in self.novelty.items()},
        }

    def _regions(self) -> dict[str, list[int]]:
        """Return the region of interest for each heatmap size, as run lengths."""
        found: dict[str, list[int]] = {}
        roi: Any = getattr(self.estimator, "roi_", None)
        for row in () if roi is None else self.peaks:
            size = self.frames.heat_size(row, self.max_side)
            name = f"{size[0]},{size[1]}"
            if name not in found:
                found[name] = run_lengths(roi[self.frames.inside(row)], size)
        return found


def _as_bytes(pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Convert values from 0 to 1 to bytes."""
    return np.rint(pictures * 255).astype(np.uint8)


def in_threads(
    function: Callable[[Any], T], items: Iterable[Any], n_jobs: int = _THREADS
) -> list[T]:
    """Apply a function to items in threads, and return the results."""
    # Threads suffice because Pillow releases the GIL while it compresses.
    parallel = Parallel(n_jobs=n_jobs, prefer="threads")
    return list(parallel(delayed(function)(item) for item in items))


def _identity(names: list[str], scores: list[float]) -> str:
    """Return an identifier, so that a browser stores the marks of each report."""
    digest = hashlib.sha256(repr((names, scores)).encode())
    return digest.hexdigest()[:24]
