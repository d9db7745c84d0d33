"""Implementation of ``skfcdd card``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from skfcdd.cli._model import Model
from skfcdd.cli._reading import Source, leave_outside, load_part
from skfcdd.cli._writing import check_place
from skfcdd.report import ModelCard
from skfcdd.report._card import card_of

__all__ = ["card"]


def card(
    model: Model,
    source: Source | None,
    outputs: Sequence[Path],
    *,
    title: str | None,
    intended_use: str | None,
    say: Callable[[str], None],
) -> ModelCard:
    """Create the model card, and write it to each output file."""
    for output in outputs:
        check_place(output, model.path)
    X: Any = None
    truth = masks = None
    if source is not None:
        data = load_part(source, "test", said=True, **model.options)
        say(data.summary)
        leave_outside(data, model.estimator)
        X, truth, masks = data.images, data.target == 1, data.masks
    made = card_of(
        model.estimator,
        X,
        truth,
        masks=masks,
        path=model.path,
        title=title,
        intended_use=intended_use,
        random_state=0,
    )
    for output in outputs:
        made.write(output)
    return made
