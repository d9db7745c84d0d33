"""What ``skfcdd report`` does: which images, and what is known of them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd.cli import _commands
from skfcdd.datasets import load_images
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
    model: _commands.Model,
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
    progress: Callable[[int], Callable[[], None]],
) -> ReportInfo:
    """Write a report on the images of a folder."""
    _commands.check_folder(output)
    images = _find(model, folder, masks, on_error)
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
    model: _commands.Model, folder: Path, masks: Path | None, on_error: str
) -> _Images:
    known = _is_labelled(folder, masks)
    if not known and folder.suffix.lower() != ".csv":
        paths = _commands.image_paths(folder)
        found = _commands._readable(paths, on_error, model)
        return _Images(found, _names(found.paths, folder))
    split = "test" if (folder / "test").is_dir() else None
    data = load_images(
        folder, split=split, masks=masks, on_error=on_error, **model.options
    )
    names = _names(data.images.paths, folder)
    if not known:  # a table of paths alone
        return _Images(data.images, names)
    return _Images(data.images, names, data.target == 1, data.masks, data.kind.tolist())


def _is_labelled(folder: Path, masks: Path | None) -> bool:
    """Whether folders, or a table, say which images are good.

    A folder of images says nothing: here they need not be good, as they are in ``fit``.
    """
    from skfcdd.datasets._folders import _GOOD

    if folder.is_file():
        if folder.suffix.lower() != ".csv":
            return False
        with folder.open(newline="", encoding="utf-8-sig") as file:
            return "label" in (csv.DictReader(file).fieldnames or ())
    if not folder.is_dir() or masks is not None or (folder / "test").is_dir():
        return True
    return any(p.is_dir() and p.name.lower() in _GOOD for p in folder.iterdir())


def _names(paths: list[Path], folder: Path) -> list[str]:
    """Paths below the folder, or else below whatever holds them all."""
    inside = folder.is_dir() and all(path.is_relative_to(folder) for path in paths)
    return below(paths, folder if inside else None)
