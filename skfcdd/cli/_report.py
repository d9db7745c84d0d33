"""Implementation of ``skfcdd report``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd.cli._basis import basis
from skfcdd.cli._console import Outcome, duration, many
from skfcdd.cli._heatmaps import printable
from skfcdd.cli._model import Model
from skfcdd.cli._reading import Source, leave_outside, load_part, load_unlabelled
from skfcdd.cli._writing import check_place
from skfcdd.datasets._found import SUFFIXES
from skfcdd.datasets._layout import says_what_is_good
from skfcdd.datasets._tables import has_labels
from skfcdd.report import ReportInfo
from skfcdd.report._write import below, write_known

__all__ = ["report"]


@dataclass
class _Images:
    """Images of a folder; labels, masks and kinds of defect are None if unknown."""

    X: Any
    names: list[str]
    summary: str
    truth: npt.NDArray[np.bool_] | None = None
    masks: Any = None
    kinds: list[str] | None = None


def report(
    model: Model,
    source: Source,
    output: Path,
    *,
    title: str | None,
    review: Path | None,
    n_images: int | None,
    max_side: int | None,
    quality: int | None,
    max_bytes: int,
    say: Callable[[str], None],
    progress: Callable[[int], Callable[[], None]],
) -> Outcome:
    """Write a report on the images of a folder."""
    check_place(output, model.path, *([source.path] if source.path.is_file() else []))
    images = _find(model, source, say)
    step, told = None, 0

    def tell(done: int, total: int) -> None:
        nonlocal step, told
        step = progress(total) if step is None else step
        for _ in range(done - told):
            step()
        told = done

    started = time.perf_counter()
    info = write_known(
        model.estimator,
        images.X,
        output,
        images.truth,
        masks=images.masks,
        names=images.names,
        kinds=images.kinds,
        title=_title(model, source.path) if title is None else title,
        origin=_origin(model, source.path),
        review=review,
        n_images=n_images,
        max_side=max_side,
        quality=quality,
        max_bytes=max_bytes,
        progress=tell,
    )
    pace = (time.perf_counter() - started) / info.n_images
    return _outcome(model, source, info, images.summary, pace)


def _outcome(
    model: Model, source: Source, info: ReportInfo, summary: str, pace: float
) -> Outcome:
    record = {
        "report": str(info.path),
        "n_images": info.n_images,
        "n_pictures": info.n_pictures,
        "n_bytes": info.n_bytes,
        "threshold": info.threshold,
        "data": summary,
        "seconds_per_image": pace,
    }
    sentences = [
        f"Read {many(info.n_images, 'image')} from {source.path}: {summary}.",
        *basis(model.estimator),
        f"Wrote {info}; {duration(pace)} per image. Open it in a browser.",
    ]
    return Outcome(record, sentences)


def _title(model: Model, path: Path) -> str:
    """Make a title from the images, the model and the date."""
    today = datetime.now().astimezone().date()
    name = os.path.basename(os.path.abspath(path))
    day = f"{today.day} {today:%B %Y}"
    return (
        f"{printable(Path(name))} scored by {printable(Path(model.path.name))}, {day}"
    )


def _origin(model: Model, path: Path) -> dict[str, str] | None:
    """Return the paths for commands that use the report; None for exported models."""
    if model.path.suffix.lower() == ".onnx":
        return None
    return {"model": printable(model.path), "folder": printable(path)}


def _find(model: Model, source: Source, say: Callable[[str], None]) -> _Images:
    path = source.path
    if not _is_labelled(source):
        data = load_unlabelled(model, path, source.on_error)
        say(data.summary)
        return _Images(data.images, _names(data.images.paths, path), data.summary)
    data = load_part(source, "test", **model.options)
    say(data.summary)
    leave_outside(data, model.estimator)
    return _Images(
        data.images,
        _names(data.images.paths, path),
        data.summary,
        data.target == 1,
        data.masks,
        data.kind.tolist(),
    )


def _is_labelled(source: Source) -> bool:
    """Whether folders, a table or an option state which images are good.

    Images in a folder without subfolders are not labelled: unlike ``fit``, a report
    does not assume that they are good.
    """
    path = source.path
    if path.is_file():
        return path.suffix.lower() not in SUFFIXES and has_labels(path)
    if source.label is not None or source.masks is not None:
        return True
    return not path.is_dir() or says_what_is_good(path, source.normal)


def _names(paths: list[Path], folder: Path) -> list[str]:
    """Return paths relative to the folder or, if not all are in it, to a common one."""
    inside = folder.is_dir() and all(path.is_relative_to(folder) for path in paths)
    return below(paths, folder if inside else None)
