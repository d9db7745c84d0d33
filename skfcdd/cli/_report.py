"""What ``skfcdd report`` does: which images, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd.cli._model import Model
from skfcdd.cli._reading import check_folder, load_part, load_unlabelled
from skfcdd.datasets._found import SUFFIXES
from skfcdd.datasets._layout import says_what_is_good
from skfcdd.datasets._tables import has_labels
from skfcdd.report import ReportInfo
from skfcdd.report._write import below, write_known

__all__ = ["report"]


@dataclass
class _Images:
    """Images of a folder; labels, masks and kinds are None where nothing tells them."""

    X: Any
    names: list[str]
    truth: npt.NDArray[np.bool_] | None = None
    masks: Any = None
    kinds: list[str] | None = None


def report(
    model: Model,
    folder: Path,
    output: Path,
    *,
    masks: Path | None,
    title: str | None,
    review: Path | None,
    n_images: int | None,
    max_side: int,
    quality: int | None,
    on_error: str,
    say: Callable[[str], None],
    progress: Callable[[int], Callable[[], None]],
) -> ReportInfo:
    """Write a report on the images of a folder."""
    check_folder(output)
    images = _find(model, folder, masks, on_error, say)
    step, told = None, 0

    def tell(done: int, total: int) -> None:
        nonlocal step, told
        step = progress(total) if step is None else step
        for _ in range(done - told):
            step()
        told = done

    return write_known(
        model.estimator,
        images.X,
        output,
        images.truth,
        masks=images.masks,
        names=images.names,
        kinds=images.kinds,
        title=title,
        review=review,
        n_images=n_images,
        max_side=max_side,
        quality=quality,
        progress=tell,
    )


def _find(
    model: Model,
    folder: Path,
    masks: Path | None,
    on_error: str,
    say: Callable[[str], None],
) -> _Images:
    if not _is_labelled(folder, masks):
        data = load_unlabelled(model, folder, on_error)
        say(data.summary)
        return _Images(data.images, _names(data.images.paths, folder))
    data = load_part(folder, "test", masks=masks, on_error=on_error, **model.options)
    say(data.summary)
    names = _names(data.images.paths, folder)
    return _Images(data.images, names, data.target == 1, data.masks, data.kind.tolist())


def _is_labelled(folder: Path, masks: Path | None) -> bool:
    """Whether folders, or a table, say which images are good.

    A folder of images says nothing: here they need not be good, as they are in ``fit``.
    """
    if folder.is_file():
        return folder.suffix.lower() not in SUFFIXES and has_labels(folder)
    return not folder.is_dir() or masks is not None or says_what_is_good(folder)


def _names(paths: list[Path], folder: Path) -> list[str]:
    """Paths below the folder, or else below whatever holds them all."""
    inside = folder.is_dir() and all(path.is_relative_to(folder) for path in paths)
    return below(paths, folder if inside else None)
