"""Implementation of ``skfcdd compare``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd.cli._console import Outcome, many
from skfcdd.cli._model import Model
from skfcdd.cli._reading import Source, defects_outside, load_part
from skfcdd.cli._writing import check_place
from skfcdd.comparison import Comparison, compare_models, write_comparison
from skfcdd.datasets import ImageFiles
from skfcdd.report._write import below

__all__ = ["compare"]


def compare(
    first: Model,
    second: Model,
    source: Source,
    output: Path | None,
    *,
    tolerance: float | None,
    say: Callable[[str], None],
) -> tuple[Outcome, list[str]]:
    """Compare two models on the labelled images of a folder.

    Returns
    -------
    outcome : Outcome
    not_shown : list of str
        Metrics for which it was not shown that the second model is worse by at most
        `tolerance`.
    """
    if output is not None:
        check_place(output, first.path, second.path)
    found, counts = _compared(first, second, source, say)
    not_shown = [] if tolerance is None else found.worse(tolerance)
    record: dict[str, Any] = {"first": str(first.path), "second": str(second.path)}
    record |= counts | found.to_dict()
    sentences = [*_about_regions(counts), *str(found).splitlines()]
    if tolerance is not None:
        record |= {"not_worse_by": tolerance, "not_shown": not_shown}
    if output is not None:
        titles = _titles(first.path, second.path)
        write_comparison(found, output, titles=titles, tolerance=tolerance)
        record["page"] = str(output)
        sentences.append(f"Wrote {output}.")
    return Outcome(record, sentences), not_shown


def _compared(
    first: Model, second: Model, source: Source, say: Callable[[str], None]
) -> tuple[Comparison, dict[str, int]]:
    """Compare two models, each within its region of interest.

    An image whose defects are outside both regions counts as good. If they are outside
    only one of them, no label is right for both models, and the image is excluded. The
    number of images is also returned for each of these cases, unless it is 0.
    """
    data = load_part(source, "test", said=True, **first.options)
    say(data.summary)
    # Each model reads the files in its own image size and colour mode.
    other = load_part(source, "test", said=True, **second.options)
    outside = [
        defects_outside(images, model.estimator)
        for images, model in ((data, first), (other, second))
    ]
    both, kept = outside[0] & outside[1], outside[0] == outside[1]
    if not kept.any():
        raise ValueError(
            f"In all {len(kept)} images, the defects are outside the region of "
            "interest of only one of the models, so no images can be compared. Add "
            "good images."
        )
    images = _rows(data.images, kept)
    found = compare_models(
        first.estimator,
        second.estimator,
        images,
        np.where(both, 0, data.target)[kept],
        X_second=_rows(other.images, kept),
        names=below(images.paths),
        random_state=0,
    )
    counts = {"n_outside": int(both.sum()), "n_left_out": int((~kept).sum())}
    return found, {name: count for name, count in counts.items() if count}


def _rows(images: ImageFiles, kept: npt.NDArray[np.bool_]) -> ImageFiles:
    """Return the selected images, without reading them."""
    if kept.all():
        return images
    return ImageFiles([images.paths[k] for k in np.flatnonzero(kept)], **images.reading)


def _about_regions(counts: dict[str, int]) -> list[str]:
    ends = {
        "n_outside": "outside the region of interest of both models, counted as good.",
        "n_left_out": "outside the region of interest of one model, excluded.",
    }
    return [
        f"{many(count, 'image')} with defects only {ends[name]}"
        for name, count in counts.items()
    ]


def _titles(first: Path, second: Path) -> tuple[str, str]:
    """Return the names of the files or, if they are equal, the paths."""
    if first.name == second.name:
        return str(first), str(second)
    return first.name, second.name
