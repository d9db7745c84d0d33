"""What ``skfcdd predict`` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from skfcdd._answers import has_memory
from skfcdd.cli._heatmaps import HeatmapFiles, printable
from skfcdd.cli._model import AT_ONCE, Model
from skfcdd.cli._reading import load_unlabelled

__all__ = ["predict"]


def predict(
    model: Model,
    folder: Path,
    *,
    on_error: str,
    heatmaps: Path | None,
    layout: str,
    say: Callable[[str], None],
    progress: Callable[[int], Any],
) -> Iterator[dict[str, Any]]:
    """Score the images of a folder, batch by batch; heatmaps go to files."""
    if layout == "parts" and not has_memory(model.estimator):
        raise ValueError(
            "--layout parts: this model has no memory of normal features, so that its "
            "heatmaps have no parts. Choose overlay or side-by-side."
        )
    data = load_unlabelled(model, folder, on_error, heatmaps)
    images = data.images
    say(data.summary)
    files = None
    if heatmaps is not None:
        files = HeatmapFiles(heatmaps, folder, images, model.estimator, layout)
    step = progress(len(images))
    for start in range(0, len(images), AT_ONCE):
        batch = images[start : start + AT_ONCE]
        found = model.judge(batch, files is not None)
        for k, row in enumerate(found.rows()):
            if files is not None:
                files.write(start + k, found.finding(k))
            yield {"path": printable(images.paths[start + k])} | row
            step()
