"""Model card: summary of a model, its guarantees, and its limits."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import check_model, count, read_truth
from skfcdd._inputs.labels import is_masks
from skfcdd._utils.files import written_at_once
from skfcdd.report import _static as static
from skfcdd.report._card_facts import (
    Facts,
    calibration_facts,
    data_facts,
    figures,
    limits,
    network_facts,
    version_facts,
)
from skfcdd.report._review import plain_name

__all__ = ["ModelCard", "card_of", "model_card"]

# Characters to escape in Markdown.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~$&])")


@dataclass(frozen=True)
class ModelCard:
    """Summary of a model, in sections.

    Parameters
    ----------
    title : str
    facts : dict of str to dict of str to str
        Names and values by section.
    notes : dict of str to list of str
        Sentences by section, including the limits of use.

    Examples
    --------
    >>> from skfcdd.report import ModelCard
    >>> card = ModelCard(
    ...     "Parts", {"Model": {"kind": "classifier"}}, {"Limits": ["Not for food."]}
    ... )
    >>> print(card.to_markdown())
    # Parts
    <BLANKLINE>
    ## Model
    <BLANKLINE>
    | | |
    |---|---|
    | kind | classifier |
    <BLANKLINE>
    ## Limits
    <BLANKLINE>
    - Not for food.
    <BLANKLINE>
    """

    title: str
    facts: dict[str, dict[str, str]]
    notes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def _sections(self) -> list[str]:
        return list(dict.fromkeys([*self.facts, *self.notes]))

    def to_markdown(self) -> str:
        """Return the card as Markdown, for example for a repository."""
        lines = [f"# {_plain(self.title)}", ""]
        for name in self._sections:
            lines += [f"## {_plain(name)}", ""]
            if self.facts.get(name):
                lines += ["| | |", "|---|---|"]
                lines += [
                    f"| {_plain(key)} | {_plain(value)} |"
                    for key, value in self.facts[name].items()
                ]
                lines.append("")
            if self.notes.get(name):
                lines += [f"- {_plain(note)}" for note in self.notes[name]]
                lines.append("")
        return "\n".join(lines)

    def to_html(self) -> str:
        """Return the card as an HTML page without scripts, which works offline."""
        parts = []
        for name in self._sections:
            rows = [
                [static.escaped(key), static.escaped(value)]
                for key, value in self.facts.get(name, {}).items()
            ]
            notes = "".join(
                f"<li>{static.escaped(note)}</li>\n"
                for note in self.notes.get(name, [])
            )
            inner = [static.table([], rows)] if rows else []
            inner += [f"<ul>\n{notes}</ul>"] if notes else []
            parts.append(static.panel(name, *inner))
        return static.page(self.title, *parts)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the card to a file, as HTML or Markdown depending on its suffix.

        Parameters
        ----------
        path : path
            File to write, with the suffix ``.html``, ``.htm`` or ``.md``. It appears
            only when it is complete.

        Returns
        -------
        Path

        Raises
        ------
        ValueError
            If `path` has another suffix.
        OSError
            If `path` cannot be written.
        """
        target = Path(path)
        makers = {".html": self.to_html, ".htm": self.to_html, ".md": self.to_markdown}
        make = makers.get(target.suffix.lower())
        if make is None:
            raise ValueError(
                "A card is written as HTML or Markdown: expected a file that ends in "
                f".html or .md. Got {str(target)!r}."
            )
        with written_at_once(target) as temporary:
            temporary.write_text(make(), encoding="utf-8")
        return target


def model_card(
    estimator: Any,
    X: Any = None,
    y: Any = None,
    *,
    masks: Any = None,
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
    intended_use: str | None = None,
    random_state: Any = None,
) -> ModelCard:
    """Summarise a model, its guarantees, and its limits.

    Parameters
    ----------
    estimator : estimator
        Fitted FCDDClassifier, FCDDSegmenter or FCDDDetector, or an
        :class:`~skfcdd.onnx.OnnxFCDD`.
    X : array-like, default=None
        Images not used for training, for computing metrics. None omits metrics.
    y : array-like of shape (n,) or (n, h, w), default=None
        Labels of X, as for ``fit``, or masks. Required with X.
    masks : array-like of shape (n, h, w), or list with None, default=None
        True masks of X; adds pixel-wise metrics.
    path : path-like, default=None
        Model file; adds its hash, size and note to the card.
    title : str, default=None
        Title of the card. None uses the class of the model.
    intended_use : str, default=None
        Intended use of the model.
    random_state : int, RandomState instance or None, default=None
        Random state of the bootstrap intervals.

    Returns
    -------
    ModelCard

    Raises
    ------
    TypeError
        If `estimator` is not of one of these classes.
    NotFittedError
        If `estimator` is not fitted.
    ValueError
        If X is given without y, or y does not match X.
    OSError
        If there is no file at `path`.

    Examples
    --------
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.report import model_card
    >>> data = make_defects(80, image_size=32, random_state=0)
    >>> normal = data.images[:40][data.target[:40] == 0]
    >>> model = FCDDClassifier(max_epochs=1, random_state=0).fit(normal)
    >>> card = model_card(model, data.images[40:], data.target[40:], random_state=0)
    >>> sorted(card.facts["Metrics"])
    ['false alarms', 'image AUROC', 'images', 'misses']
    """
    check_model(estimator, "anomaly_score", "explain")
    if (X is None) != (y is None):
        raise ValueError(
            "Metrics need images and labels: pass both X and y, or neither."
        )
    truth = None if X is None else read_truth(estimator, y, count(X))
    return card_of(
        estimator,
        X,
        truth,
        masks=y if masks is None and truth is not None and is_masks(y) else masks,
        path=path,
        title=title,
        intended_use=intended_use,
        random_state=random_state,
    )


def card_of(
    estimator: Any,
    X: Any,
    truth: npt.NDArray[np.bool_] | None,
    *,
    masks: Any,
    path: str | os.PathLike[str] | None,
    title: str | None,
    intended_use: str | None,
    random_state: Any,
) -> ModelCard:
    """Make a card as `model_card` does, from boolean labels: True for anomalies."""
    facts: dict[str, Facts] = {
        "Model": network_facts(estimator),
        "Data": data_facts(estimator),
        "Threshold": calibration_facts(estimator),
    }
    if truth is not None:
        facts["Metrics"] = figures(estimator, X, truth, masks, random_state)
    facts["Versions"] = version_facts(estimator)
    if path is not None:
        facts["File"] = _file_facts(Path(path))
    notes = {"Limits of use": limits(estimator)}
    if truth is not None:
        notes["Metrics"] = ["In brackets: 95 % intervals."]
    if intended_use is not None:
        notes = {"Intended use": [plain_name(intended_use)], **notes}
    if title is None:
        title = f"Model card: {facts['Model']['kind']}"
    kept = {name: told for name, told in facts.items() if told}
    return ModelCard(plain_name(title), _ordered(kept, notes), notes)


def _ordered(facts: Mapping[str, Facts], notes: Mapping[str, Any]) -> dict[str, Facts]:
    """Order the sections: intended use, facts and metrics, limits, technical data."""
    last = {"Versions", "File"}
    order = [
        *(name for name in notes if name == "Intended use"),
        *(name for name in facts if name not in last),
        "Limits of use",
        *(name for name in facts if name in last),
    ]
    return {name: dict(facts.get(name, {})) for name in order}


def _file_facts(path: Path) -> Facts:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    found = {
        "name": plain_name(path.name),
        "size": f"{path.stat().st_size / 1e6:.1f} MB",
        "SHA-256": digest,
    }
    if path.suffix.lower() != ".onnx":
        from skfcdd.persistence import read_info

        info = read_info(path)
        if info["note"]:
            found["note"] = plain_name(info["note"])
        found |= {
            f"recorded at training: {plain_name(name)}": f"{value:.4f}"
            for name, value in (info["metrics"] or {}).items()
        }
    return found


def _plain(text: str) -> str:
    """Escape a text for Markdown, and join its lines."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
