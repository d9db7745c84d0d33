"""Implementation of ``skfcdd predict``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skfcdd._answers import has_memory
from skfcdd._verdicts import convention_of
from skfcdd.cli._basis import basis
from skfcdd.cli._console import Outcome, duration, many
from skfcdd.cli._heatmaps import HeatmapFiles, printable
from skfcdd.cli._marked import Marked, MaskFiles, mark, region_rows
from skfcdd.cli._model import AT_ONCE, Model
from skfcdd.cli._reading import load_unlabelled
from skfcdd.cli._tables import rows_writer
from skfcdd.cli._writing import check_place

__all__ = ["Wanted", "predict"]

# Columns of the table of defects; a table without rows needs them for its header.
_REGION_COLUMNS = (
    *("path", "defect", "left", "top", "right", "bottom"),
    *("area", "peak", "peak_x", "peak_y"),
)


@dataclass(frozen=True)
class Wanted:
    """Requested outputs of ``skfcdd predict``.

    Parameters
    ----------
    table : Path or None
        Table of predictions; None means standard output.
    lines : bool
        Whether tables are written as JSON Lines instead of CSV.
    regions : Path or None
        Table of defects.
    heatmaps, masks : Path or None
        Folders for pictures.
    layout : {"overlay", "side-by-side", "parts"}
    """

    table: Path | None = None
    lines: bool = False
    regions: Path | None = None
    heatmaps: Path | None = None
    masks: Path | None = None
    layout: str = "overlay"

    @property
    def pixels(self) -> bool:
        """Whether heatmaps are needed."""
        return any((self.regions, self.heatmaps, self.masks))

    def check(self, estimator: Any, *inputs: Path) -> None:
        """Raise an error before scoring if an output cannot be written."""
        if self.layout == "parts" and not has_memory(estimator):
            raise ValueError(
                "--layout parts: this model has no memory bank, so its heatmaps have "
                "no parts. Choose overlay or side-by-side."
            )
        for path in (self.table, self.regions):
            if path is not None:
                check_place(path, *inputs)
        given = [p for p in (self.table, self.regions) if p is not None]
        if len({p.resolve() for p in given}) < len(given):
            raise ValueError(
                "--output and --regions are the same file. Choose different files."
            )
        folders = [p.resolve() for p in (self.heatmaps, self.masks) if p is not None]
        if len(set(folders)) < len(folders):
            raise ValueError(
                "--heatmaps and --masks are the same folder. Choose different folders."
            )


def predict(
    model: Model,
    folder: Path,
    wanted: Wanted,
    *,
    on_error: str,
    say: Callable[[str], None],
    progress: Callable[[int], Any],
) -> Outcome:
    """Score the images of a folder, batch by batch, and write the requested files."""
    wanted.check(model.estimator, model.path, *([folder] if folder.is_file() else []))
    pictures = (wanted.heatmaps, wanted.masks)
    data = load_unlabelled(model, folder, on_error, pictures)
    say(data.summary)
    tally = _Tally()
    with ExitStack() as stack:
        write = stack.enter_context(rows_writer(wanted.table, wanted.lines))
        each = _writers(stack, model, folder, data.images, wanted, tally)
        step = progress(len(data.images))
        started = time.perf_counter()
        for k, row, found in _judged(model, data.images, wanted.pixels):
            write({"path": printable(data.images.paths[k])} | row)
            tally.count(row["anomalous"])
            if each:
                marked = mark(model.estimator, data.images, k, found)
                for act in each:
                    act(k, found, marked)
            step()
        spent = time.perf_counter() - started
    return _outcome(model, data, wanted, tally, spent / len(data.images))


def _judged(
    model: Model, images: Any, heatmaps: bool
) -> Iterator[tuple[int, dict[str, Any], Any]]:
    """Yield the index, the table row and, if requested, the heatmap of each image."""
    pixels = convention_of(model.estimator).judges_pixels
    for start in range(0, len(images), AT_ONCE):
        found = model.judge(images[start : start + AT_ONCE], heatmaps)
        for k, row in enumerate(found.rows(pixels)):
            yield start + k, row, found.finding(k) if heatmaps else None


@dataclass
class _Tally:
    """Counts of results so far."""

    n_anomalous: int = 0
    n_regions: int = 0
    n_without: int = 0

    def count(self, anomalous: int) -> None:
        self.n_anomalous += anomalous


def _writers(
    stack: ExitStack,
    model: Model,
    folder: Path,
    images: Any,
    wanted: Wanted,
    tally: _Tally,
) -> list[Callable[[int, Any, Marked], None]]:
    """Return functions that write the outputs of an image other than its table row."""
    each: list[Callable[[int, Any, Marked], None]] = []
    if wanted.heatmaps is not None:
        files = HeatmapFiles(
            wanted.heatmaps, folder, images, model.estimator, wanted.layout
        )
        each.append(files.write)
    if wanted.masks is not None:
        masks = MaskFiles(wanted.masks, folder, images)
        # An image that is classified as normal has no defects.
        each.append(
            lambda k, found, marked: masks.write(
                k, marked.mask if found.anomalous else np.zeros_like(marked.mask)
            )
        )
    if wanted.regions is not None:
        lines = wanted.lines or wanted.regions.suffix.lower() == ".jsonl"
        write = stack.enter_context(rows_writer(wanted.regions, lines, _REGION_COLUMNS))

        def regions(k: int, found: Any, marked: Marked) -> None:
            rows = list(region_rows(images.paths[k], marked)) if found.anomalous else []
            for row in rows:
                write(row)
            tally.n_regions += len(rows)
            tally.n_without += found.anomalous and not rows

        each.append(regions)
    return each


def _outcome(
    model: Model, data: Any, wanted: Wanted, tally: _Tally, pace: float
) -> Outcome:
    n = len(data.images)
    record: dict[str, Any] = {
        "model": str(model.path),
        "n_images": n,
        "n_anomalous": tally.n_anomalous,
        "threshold": float(model.estimator.threshold_),
        "seconds_per_image": pace,
    }
    verb = "is" if tally.n_anomalous == 1 else "are"
    sentences = [
        f"{tally.n_anomalous} of {many(n, 'image')} {verb} classified as anomalous; "
        f"{duration(pace)} per image.",
        *basis(model.estimator),
    ]
    if wanted.regions is not None:
        record["n_regions"] = tally.n_regions
        text = f"{many(tally.n_regions, 'defect')} in {wanted.regions}"
        if tally.n_without:
            text += (
                f"; {many(tally.n_without, 'anomalous image')} without a distinct "
                "region"
            )
        sentences.append(f"{text}.")
    written = [p for p in (wanted.table, wanted.heatmaps, wanted.masks) if p]
    names = ("table", "regions", "heatmaps", "masks")
    record |= {k: str(p) for k in names if (p := getattr(wanted, k)) is not None}
    if written:
        sentences.append(f"Wrote {', '.join(map(str, written))}.")
    return Outcome(record, sentences)
