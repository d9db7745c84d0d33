"""Numerical comparison of an exported model with the fitted one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._engine.model import FittedModel
from skfcdd._engine.tiling import explain_large
from skfcdd._inputs.images import ImageArray
from skfcdd._verdicts import is_above
from skfcdd.exceptions import ExportError

__all__ = ["ParityReport", "compare", "generate_images"]

Answers = Mapping[str, npt.NDArray[Any]]
Run = Callable[[npt.NDArray[Any]], Answers]

# Images are compared in batches of one, of two, and of at most this many.
_LARGEST_BATCH = 32
# Scores far below the threshold have few significant digits, so differences are taken
# relative to at least this fraction of the threshold.
_LEAST_SHARE = 1e-3


@dataclass(frozen=True)
class ParityReport:
    """Differences between the results of an exported model and of the estimator.

    Parameters
    ----------
    n_images : int
        Number of images compared.
    batch_sizes : tuple of int
        Batch sizes of the comparison.
    score_difference : float
        Largest difference between the two scores of an image.
    score_relative_difference : float
        The same, relative to the score (or to a thousandth of the threshold if the
        score is smaller).
    heatmap_difference : float or None
        Largest difference between the two heatmaps at a pixel; None if there are no
        heatmaps.
    heatmap_relative_difference : float or None
        The same, relative to the maximum of the heatmap.
    label_agreement : float
        Fraction of equal labels; for a segmenter, of equal pixels of masks.
    n_undecided : int
        Number of labels (or pixels) so close to the threshold that rounding decides;
        they do not count as differences.
    bfloat16_difference : float or None
        Largest relative difference between the estimator's scores in bfloat16, in which
        it was trained, and in float32, in which it was exported. None if it was not
        trained in bfloat16.

    Examples
    --------
    >>> from skfcdd.export import ParityReport
    >>> print(ParityReport(14, (1, 2, 14), 2e-8, 1e-7, 3e-8, 2e-7, 1.0, 0, None))
    14 images in batches of 1, 2, 14
    scores differ by at most 2e-08 (1e-07 of the score)
    heatmaps differ by at most 3e-08 (2e-07 of their peak)
    labels agree: 100.00 % (0 undecided)
    """

    n_images: int
    batch_sizes: tuple[int, ...]
    score_difference: float
    score_relative_difference: float
    heatmap_difference: float | None
    heatmap_relative_difference: float | None
    label_agreement: float
    n_undecided: int
    bfloat16_difference: float | None

    def __str__(self) -> str:
        sizes = ", ".join(map(str, self.batch_sizes))
        lines = [
            f"{self.n_images} images in batches of {sizes}",
            f"scores differ by at most {self.score_difference:.2g} "
            f"({self.score_relative_difference:.2g} of the score)",
            "no heatmaps",
            f"labels agree: {self.label_agreement:.2%} "
            f"({self.n_undecided} undecided)".replace("%", " %"),
        ]
        if self.heatmap_difference is not None:
            lines[2] = (
                f"heatmaps differ by at most {self.heatmap_difference:.2g} "
                f"({self.heatmap_relative_difference:.2g} of their peak)"
            )
        if self.bfloat16_difference is not None:
            lines.append(
                f"scores in bfloat16 differ from these by up to "
                f"{self.bfloat16_difference:.2g} of the score"
            )
        return "\n".join(lines)


@dataclass
class _Tally:
    """The largest differences found so far."""

    score: float = 0.0
    score_share: float = 0.0
    heatmap: float = 0.0
    heatmap_share: float = 0.0
    labels: int = 0
    equal: int = 0
    undecided: int = 0


def compare(
    model: FittedModel,
    groups: Sequence[ImageArray],
    run: Run,
    rtol: float,
) -> ParityReport:
    """Compare the outputs of `run` with the results of the fitted model.

    Parameters
    ----------
    model : FittedModel
        Fitted model, evaluated in float32 whatever its training precision.
    groups : sequence of ImageArray
        Images grouped by size; the first group has the size of ``fit``.
    run : callable
        Function that maps raw images to the outputs of the graph.
    rtol : float
        Maximum relative difference of scores and heatmaps.

    Raises
    ------
    ExportError
        If scores or heatmaps differ by more than `rtol`, or labels differ.
    """
    tally, sizes = _Tally(), set()
    exact = model.in_float32()
    lowered = None if exact is model else model.scores(groups[0])
    for number, images in enumerate(groups):
        expected = _expected(exact, images, same_size=number == 0)
        if number == 0:
            drift = _largest_share(lowered, expected["score"], model.threshold)
        for size in sorted({1, min(2, len(images)), len(images)}):
            size = min(size, _LARGEST_BATCH)
            sizes.add(size)
            _add(tally, images, expected, run, size, model, rtol)
    report = ParityReport(
        n_images=sum(map(len, groups)),
        batch_sizes=tuple(sorted(sizes)),
        score_difference=tally.score,
        score_relative_difference=tally.score_share,
        heatmap_difference=tally.heatmap if "heatmap" in expected else None,
        heatmap_relative_difference=(
            tally.heatmap_share if "heatmap" in expected else None
        ),
        label_agreement=tally.equal / max(1, tally.labels),
        n_undecided=tally.undecided,
        bfloat16_difference=None if lowered is None else drift,
    )
    _judge(report, rtol)
    return report


def _judge(report: ParityReport, rtol: float) -> None:
    numbers = [getattr(report, field.name) for field in fields(report)[2:-1]]
    finite = all(np.isfinite(x) for x in numbers if x is not None)
    shares = report.score_relative_difference, report.heatmap_relative_difference or 0.0
    if not finite or max(shares) > rtol or report.label_agreement < 1:
        raise ExportError(
            "The exported model does not reproduce the results of the estimator "
            f"(rtol={rtol:g}), so it was not written. Differences on these images:\n"
            f"{report}"
        )


def _add(
    tally: _Tally,
    images: ImageArray,
    expected: Answers,
    run: Run,
    size: int,
    model: FittedModel,
    rtol: float,
) -> None:
    """Add the differences for images of one size."""
    threshold, pixels = model.threshold, model.convention.judges_pixels
    # One or two small batches are as informative as all of them.
    stop = len(images) if size > 2 else min(len(images), 2 * size)
    for start in range(0, stop, size):
        place = slice(start, min(start + size, stop))
        found = run(images.data[place])
        wanted = {name: values[place] for name, values in expected.items()}
        difference = np.abs(found["score"] - wanted["score"])
        share = _largest_share(found["score"], wanted["score"], threshold)
        tally.score = _larger(tally.score, difference)
        tally.score_share = _larger(tally.score_share, share)
        values, margin = wanted["score"], rtol * threshold
        if "heatmap" in wanted:
            peaks = wanted["heatmap"].max(axis=(1, 2), keepdims=True)
            difference = np.abs(found["heatmap"] - wanted["heatmap"])
            tally.heatmap = _larger(tally.heatmap, difference)
            least = _LEAST_SHARE * threshold
            relative = difference / np.maximum(peaks, least)
            tally.heatmap_share = _larger(tally.heatmap_share, relative)
            if pixels:
                values = wanted["heatmap"]
                margin = rtol * np.maximum(peaks, threshold)
        decided = np.abs(values - threshold) > margin
        answer = "mask" if pixels else "label"
        equal = found[answer] == wanted[answer]
        tally.labels += int(decided.sum())
        tally.equal += int((equal & decided).sum())
        tally.undecided += int((~decided).sum())


def _larger(so_far: float, values: Any) -> float:
    """Return the largest value; NaN if there is one, which Python's ``max`` ignores."""
    return float(np.maximum(so_far, np.max(values)))


def _largest_share(
    found: npt.NDArray[Any] | None, wanted: npt.NDArray[Any], threshold: float
) -> float:
    """Return the largest relative difference of scores."""
    if found is None:
        return 0.0
    least = _LEAST_SHARE * min(threshold, float(np.max(wanted)))
    tiny = float(np.finfo(np.float32).tiny)
    return float(np.max(np.abs(found - wanted) / np.maximum(wanted, least + tiny)))


def _expected(
    model: FittedModel, images: ImageArray, *, same_size: bool
) -> dict[str, npt.NDArray[Any]]:
    """Compute the results of the fitted model, with labels encoded as in the graph."""
    convention, threshold = model.convention, model.threshold
    expected: dict[str, npt.NDArray[Any]] = {"score": model.scores(images)}
    if model.module.objective.spatial:
        expected["heatmap"] = (
            np.concatenate([part for _, part in model.heatmaps(images)])
            if same_size
            else _large_heatmaps(model, images)
        )
    if convention.judges_pixels:
        # The graph does not remove small regions, so the comparison keeps them.
        mask = is_above(expected["heatmap"], threshold)
        expected["mask"] = mask.astype(np.uint8)
        return expected
    labels = convention.index(expected["score"], threshold)
    if convention.kind == "detector":
        labels = convention.classes[labels]
    return expected | {"label": labels}


def _large_heatmaps(model: FittedModel, images: ImageArray) -> npt.NDArray[np.float32]:
    """Compute heatmaps at a size other than that of ``fit``, each in one tile."""
    raw = images.data
    if images.channels_first and model.images.channels != "first":
        raw = np.moveaxis(raw, 1, 3)
    side = max(images.image_shape)
    return np.stack([explain_large(model, x, side, None) for x in raw])


def generate_images(
    size: tuple[int, int],
    n_channels: int,
    limits: tuple[float, float],
    dtype: Any,
    channels_first: bool,
    *,
    resized: bool = False,
) -> ImageArray:
    """Generate test images: noise of increasing contrast, and constant images."""
    rng = np.random.RandomState(0)
    contrast = np.linspace(0.05, 1, 12)[:, None, None, None]
    noise = 0.5 + contrast * (rng.uniform(size=(12, *size, n_channels)) - 0.5)
    # With contrast normalisation, the result for a constant image depends only on
    # rounding, unless its value is exact: 0 and 1 are, but only 0 after resizing.
    exact = (0.0,) if resized else (0.0, 1.0)
    flat = [np.full((1, *size, n_channels), value) for value in exact]
    unit = np.concatenate([noise, *flat])
    low, high = limits
    raw = low + (high - low) * unit
    raw = (np.round(raw) if dtype == np.uint8 else raw).astype(dtype)
    if channels_first:
        raw = np.ascontiguousarray(np.moveaxis(raw, 3, 1))
    return ImageArray(raw, channels_first)
