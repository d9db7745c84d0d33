"""Implementation of ``skfcdd select``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from skfcdd.cli._console import Outcome, many
from skfcdd.cli._model import Model
from skfcdd.cli._reading import load_unlabelled
from skfcdd.cli._writing import check_place, command
from skfcdd.datasets import ImageFiles
from skfcdd.monitoring import select_images
from skfcdd.report import read_review
from skfcdd.report._write import below, write_known

__all__ = ["select"]


def select(
    model: Model,
    folder: Path,
    n: int,
    output: Path,
    *,
    review: Path | None,
    on_error: str,
    say: Callable[[str], None],
) -> Outcome:
    """Select images of a folder to be marked, and write a report on them."""
    check_place(output, model.path)
    data = load_unlabelled(model, folder, on_error)
    say(data.summary)
    paths = data.images.paths
    inside = folder.is_dir() and all(path.is_relative_to(folder) for path in paths)
    names = below(paths, folder if inside else None)
    free = _without_mark(names, review)
    if not len(free):
        raise ValueError(
            f"All images of {str(folder)!r} already have a mark. Pass a folder with "
            "other images."
        )
    left = ImageFiles([paths[row] for row in free], **model.options)
    chosen = free[select_images(model.estimator, left, n)]
    shown = ImageFiles([paths[row] for row in chosen], **model.options)
    info = write_known(
        model.estimator,
        shown,
        output,
        None,
        names=[names[row] for row in chosen],
        kinds=None,
        title=f"{many(len(chosen), 'image')} to mark",
        review=None,
        n_images=None,
        max_side=None,
        quality=None,
        max_bytes=None,
        masks=None,
    )
    record: dict[str, Any] = {
        "n_images": len(paths),
        "n_without_mark": len(free),
        "chosen": [names[row] for row in chosen],
        "report": str(info.path),
    }
    sentences = [
        f"Selected {len(chosen)} of {many(len(free), 'image')} without a mark. Mark "
        f"them in {info.path}, then export the marks as JSON."
    ]
    after = [
        command(
            *("update", model.path, folder, "--review", "review.json"),
            *("--train", "FOLDER_OF_TRAINING_IMAGES", "-o", "new.skfcdd"),
        )
    ]
    return Outcome(record, sentences, after)


def _without_mark(names: list[str], review: Path | None) -> Any:
    if review is None:
        return np.arange(len(names))
    marks = read_review(review)
    known = {n for n, mark in zip(marks.names, marks.marks, strict=True) if mark}
    return np.array([k for k, name in enumerate(names) if name not in known], dtype=int)
