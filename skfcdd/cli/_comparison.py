"""What ``skfcdd compare`` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skfcdd.cli._model import Model
from skfcdd.cli._reading import check_folder, load_part
from skfcdd.comparison import Comparison, compare_models, write_comparison
from skfcdd.report._write import below

__all__ = ["Compared", "compare"]


@dataclass
class Compared:
    """A comparison, and what could not be shown with the tolerance."""

    comparison: Comparison
    tolerance: float | None

    @property
    def open_figures(self) -> list[str]:
        """Figures in which the second model may be worse by more than the tolerance."""
        return [] if self.tolerance is None else self.comparison.worse(self.tolerance)


def compare(
    first: Path,
    second: Path,
    folder: Path,
    output: Path | None,
    *,
    tolerance: float | None,
    device: str,
    on_error: str,
    say: Callable[[str], None],
) -> Compared:
    """Score the labelled images of a folder with both models, and compare."""
    if output is not None:
        check_folder(output)
    models = [Model(path, device) for path in (first, second)]
    data = _read(models[0], folder, on_error)
    say(data.summary)
    # Each model reads the files as it has learned to: its size, its colours.
    other = _read(models[1], folder, on_error)
    found = compare_models(
        models[0].estimator,
        models[1].estimator,
        data.images,
        data.target,
        X_second=other.images,
        names=below(data.images.paths),
        random_state=0,
    )
    result = Compared(found, tolerance)
    if output is not None:
        titles = _titles(first, second)
        write_comparison(found, output, titles=titles, tolerance=tolerance)
    return result


def _read(model: Model, folder: Path, on_error: str) -> Any:
    return load_part(folder, "test", masks=None, on_error=on_error, **model.options)


def _titles(first: Path, second: Path) -> tuple[str, str]:
    """Names of the files, or where these are alike, their paths."""
    if first.name == second.name:
        return str(first), str(second)
    return first.name, second.name
