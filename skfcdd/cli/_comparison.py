"""Implementation of ``skfcdd compare``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from skfcdd.cli._console import Outcome
from skfcdd.cli._model import Model
from skfcdd.cli._reading import Source, load_part
from skfcdd.cli._writing import check_place
from skfcdd.comparison import compare_models, write_comparison
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
    """Score the labelled images of a folder with both models, and compare.

    Returns
    -------
    outcome : Outcome
    not_shown : list of str
        Metrics in which the second may be worse by more than the tolerance.
    """
    if output is not None:
        check_place(output, first.path, second.path)
    data = load_part(source, "test", said=True, **first.options)
    say(data.summary)
    # Each model reads the files as it has learned to: its size, its colours.
    other = load_part(source, "test", said=True, **second.options)
    found = compare_models(
        first.estimator,
        second.estimator,
        data.images,
        data.target,
        X_second=other.images,
        names=below(data.images.paths),
        random_state=0,
    )
    not_shown = [] if tolerance is None else found.worse(tolerance)
    record: dict[str, Any] = {"first": str(first.path), "second": str(second.path)}
    record |= found.to_dict()
    sentences = str(found).splitlines()
    if tolerance is not None:
        record |= {"not_worse_by": tolerance, "not_shown": not_shown}
    if output is not None:
        titles = _titles(first.path, second.path)
        write_comparison(found, output, titles=titles, tolerance=tolerance)
        record["page"] = str(output)
        sentences.append(f"Wrote {output}.")
    return Outcome(record, sentences), not_shown


def _titles(first: Path, second: Path) -> tuple[str, str]:
    """Names of the files, or where these are alike, their paths."""
    if first.name == second.name:
        return str(first), str(second)
    return first.name, second.name
