"""Marks made in a report, and functions that read and apply them."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import column_or_1d

__all__ = ["MARKS", "Review", "plain_name", "read_review", "repeated"]

# The label of each mark; -1 means unknown.
MARKS = {"": -1, "unsure": -1, "good": 0, "defect": 1}
_FORMAT, _VERSION = "skfcdd-review", 1


@dataclass(frozen=True, eq=False)
class Review:
    """Marks of images, and the chosen threshold.

    Parameters
    ----------
    names : list of str
        Names of all images in the report, as passed to :func:`write_report` or taken
        from the files.
    marks : list of str
        "defect", "good", "unsure", or "" for no mark.
    scores : ndarray of shape (n,), float64
        Scores of the images.
    threshold : float
        Threshold set with the slider; images with higher scores are anomalous.
    model_threshold : float
        Original threshold of the model.

    Examples
    --------
    >>> from skfcdd.report import Review
    >>> review = Review(
    ...     names=["a.png", "b.png", "c.png"],
    ...     marks=["good", "", "defect"],
    ...     scores=[0.1, 0.2, 0.9],
    ...     threshold=0.5,
    ...     model_threshold=0.4,
    ... )
    >>> review.labels.tolist()
    [0, -1, 1]
    >>> review.apply(["a.png", "b.png", "c.png"], [0, 0, 0]).tolist()
    [0, 0, 1]
    >>> rows, labels = review.marked(["a.png", "b.png", "c.png"])
    >>> rows.tolist(), labels.tolist()
    ([0, 2], [0, 1])
    """

    names: list[str]
    marks: list[str]
    scores: npt.NDArray[np.float64]
    threshold: float
    model_threshold: float

    @property
    def labels(self) -> npt.NDArray[np.int_]:
        """Labels of shape (n,): 1 for a defect, 0 for a good image, -1 if unknown."""
        return np.array([MARKS[mark] for mark in self.marks], dtype=int)

    def marked(
        self,
        names: Iterable[Any],
        *,
        classes: Sequence[Any] = (0, 1),
        on_missing: str = "raise",
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[Any]]:
        """Return the rows of images marked as good or as defects, with their labels.

        Parameters
        ----------
        names : iterable of str or path
            Names of your images, as passed to :func:`write_report`.
        classes : sequence of two labels, default=(0, 1)
            Labels of good images and of defects: ``(1, -1)`` for FCDDDetector.
        on_missing : {"raise", "ignore"}, default="raise"
            How to handle marked images that are not among `names`.

        Returns
        -------
        rows : ndarray of shape (k,), int
            Indices into `names`, in increasing order.
        labels : ndarray of shape (k,)

        Raises
        ------
        ValueError
            If `classes` does not have two labels, a name occurs twice, or marked images
            are not among `names`.
        """
        if len(classes) != 2:
            raise ValueError(
                "classes must be two labels: that of good images and that of defects. "
                f"Got {classes!r}."
            )
        if on_missing not in ("raise", "ignore"):
            raise ValueError(
                f"Got on_missing={on_missing!r}, but expected 'raise' or 'ignore'."
            )
        given = [plain_name(name) for name in names]
        twice = repeated(given)
        if twice is not None:
            raise ValueError(f"names must be unique, but {twice!r} occurs twice.")
        place = {name: row for row, name in enumerate(given)}
        known = {
            name: label
            for name, label in zip(self.names, self.labels.tolist(), strict=True)
            if label >= 0
        }
        missing = [name for name in known if name not in place]
        if missing and on_missing == "raise":
            raise ValueError(
                f"{len(missing)} of {len(known)} marked images are not among names, "
                f"for example {missing[0]!r}. Pass the names used in the report, "
                "or skip these images with on_missing='ignore'."
            )
        pairs = sorted((place[k], label) for k, label in known.items() if k in place)
        rows = np.array([row for row, _ in pairs], dtype=np.intp)
        chosen = np.array([label for _, label in pairs], dtype=int)
        return rows, np.asarray(classes)[chosen]

    def apply(
        self,
        names: Iterable[Any],
        y: Any,
        *,
        classes: Sequence[Any] = (0, 1),
        on_missing: str = "raise",
    ) -> npt.NDArray[Any]:
        """Replace the labels of marked images, for use in ``fit``.

        Parameters
        ----------
        names, classes, on_missing
            See :meth:`marked`.
        y : array-like of shape (n,)
            Current labels, one per name. Images without a mark, or marked as "unsure",
            keep their label.

        Returns
        -------
        ndarray of shape (n,)
            A copy of `y` with the changed labels.

        Raises
        ------
        ValueError
            As for :meth:`marked`; also if `y` and `names` differ in length, or if a
            label is not in `classes`.
        """
        given = list(names)
        labels = column_or_1d(y)
        if len(labels) != len(given):
            raise ValueError(f"There are {len(given)} names, but {len(labels)} labels.")
        unknown = np.setdiff1d(labels, np.asarray(classes))
        if len(unknown):
            raise ValueError(
                f"y has the label(s) {unknown[:10].tolist()}, which are not among "
                f"classes={tuple(classes)!r}. Pass the labels of good images and of "
                "defects as classes=."
            )
        rows, marked = self.marked(given, classes=classes, on_missing=on_missing)
        corrected = labels.astype(np.result_type(labels, np.asarray(classes)))
        corrected[rows] = marked
        return corrected


def plain_name(name: Any) -> str:
    """Convert a name to valid Unicode.

    File names may contain invalid Unicode, which is replaced by escape sequences.
    """
    text = os.fspath(name) if isinstance(name, os.PathLike) else str(name)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def repeated(names: Sequence[str]) -> str | None:
    """Return the first name that occurs twice, or None."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def read_review(path: str | os.PathLike[str]) -> Review:
    """Read the marks and the threshold exported from a report.

    Parameters
    ----------
    path : path
        JSON or CSV file exported from the report.

    Returns
    -------
    Review

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is damaged or was not exported from a report.

    Examples
    --------
    >>> import json, tempfile
    >>> from skfcdd.report import read_review
    >>> exported = {
    ...     "format": "skfcdd-review",
    ...     "version": 1,
    ...     "threshold": 0.5,
    ...     "model_threshold": 0.4,
    ...     "images": [
    ...         {"name": "a.png", "score": 0.1, "mark": "good"},
    ...         {"name": "b.png", "score": 0.9, "mark": "defect"},
    ...     ],
    ... }
    >>> with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
    ...     json.dump(exported, file)
    ...     file.flush()
    ...     review = read_review(file.name)
    >>> review.names, review.labels.tolist(), review.threshold
    (['a.png', 'b.png'], [0, 1], 0.5)
    """
    text = Path(path).read_bytes()
    try:
        content = text.decode("utf-8-sig")
        is_json = content.lstrip().startswith("{")
        review = _from_json(content) if is_json else _from_csv(content)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
        csv.Error,
    ) as error:
        raise ValueError(
            f"{str(path)!r} is damaged or was not exported from a report: {error}"
        ) from error
    return review


def _from_json(text: str) -> Review:
    found = json.loads(text)
    if found.get("format") != _FORMAT or found.get("version") != _VERSION:
        raise ValueError(
            f"expected format {_FORMAT!r}, version {_VERSION}; got "
            f"{found.get('format')!r}, {found.get('version')!r}."
        )
    images = found["images"]
    return _checked(
        [image["name"] for image in images],
        [image["mark"] for image in images],
        [image["score"] for image in images],
        found["threshold"],
        found["model_threshold"],
    )


def _from_csv(text: str) -> Review:
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    needed = ("name", "score", "mark", "threshold", "model_threshold")
    if not rows or not all(isinstance(rows[0].get(name), str) for name in needed):
        raise ValueError(f"expected rows with the columns {', '.join(needed)}.")
    if any(None in row for row in rows):
        raise ValueError("a row has more values than there are columns.")
    thresholds = {(row["threshold"], row["model_threshold"]) for row in rows}
    if len(thresholds) != 1:
        raise ValueError(
            f"expected the same threshold in all rows, got {len(thresholds)} "
            "thresholds."
        )
    threshold, model_threshold = (float(value) for value in thresholds.pop())
    return _checked(
        [_unquoted(row["name"]) for row in rows],
        [row["mark"] for row in rows],
        [float(row["score"]) for row in rows],
        threshold,
        model_threshold,
    )


def _unquoted(name: str) -> str:
    """Remove the character that prevents a spreadsheet from evaluating a name."""
    return name.removeprefix("'")


def _checked(
    names: list[Any],
    marks: list[Any],
    scores: list[Any],
    threshold: Any,
    model_threshold: Any,
) -> Review:
    for name, mark in zip(names, marks, strict=True):
        if not isinstance(name, str) or mark not in MARKS:
            raise ValueError(
                f"{name!r} has the mark {mark!r}, but expected one of {list(MARKS)}."
            )
    twice = repeated(names)
    if twice is not None:
        raise ValueError(f"the name {twice!r} occurs twice.")
    numbers = [*scores, threshold, model_threshold]
    if not all(type(x) in (int, float) and math.isfinite(x) for x in numbers):
        raise ValueError("scores and thresholds must be finite numbers.")
    values = np.array(scores, dtype=np.float64)
    return Review(names, marks, values, float(threshold), float(model_threshold))
