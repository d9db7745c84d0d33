"""Common names of normal images and of defects in folders, tables and y.

All of these share the same lists, so that a name has the same meaning as a folder and
as a label.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

__all__ = ["anomaly_of_pair", "is_missing", "label_text", "meaning", "same"]

# Names with the same meaning at any depth of a folder tree.
_CLEARLY_GOOD = {
    "good",
    "normal",
    "ok",
    "okay",
    "healthy",
    "pass",
    "passed",
    "defect free",
    "anomaly free",
    "no defect",
    "no defects",
    "no anomaly",
    "no anomalies",
    "not defective",
    "non defective",
    "nondefective",
    "not anomalous",
    "non anomalous",
    "without defect",
    "without defects",
}
# Names that have this meaning only next to an opposite or to another kind of defect.
_GOOD = _CLEARLY_GOOD | {"free", "negative", "false", "no", "inlier", "0"}
_CLEARLY_BAD = {
    "bad",
    "ng",
    "nok",
    "defect",
    "defects",
    "defective",
    "anomaly",
    "anomalies",
    "anomalous",
    "abnormal",
    "fail",
    "failed",
    "faulty",
    "reject",
    "rejected",
    "unhealthy",
    "no good",
    "not good",
    "non good",
    "not normal",
    "non normal",
    "not ok",
    "non ok",
    "no ok",
    "not okay",
}
_BAD = _CLEARLY_BAD | {"positive", "true", "yes", "outlier", "1", "-1"}
# Words that do not change the meaning of a name, as in "good parts".
_FILLERS = {
    *("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures"),
    *("part", "parts", "piece", "pieces", "sample", "samples", "item", "items"),
    *("product", "products", "unit", "units", "train", "test", "val"),
}
_MISSING = {"", "nan", "none", "null", "na", "n/a", "<na>", "nat", "?"}
# These separate letters from digits, and split "GoodParts" into two words.
_WORDS = re.compile(r"[^\W\d_]+|\d+")
_HUMPS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def label_text(value: Any) -> str:
    """Convert a label to text, without surrounding blanks or a trailing ".0"."""
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    # Python also accepts "1_000" and digits of other scripts as numbers.
    plain = text.isascii() and "_" not in text
    return str(int(number)) if plain and number.is_integer() else text


def is_missing(value: Any) -> bool:
    """Whether a table cell is empty or marks a missing value."""
    return str(value).strip().casefold() in _MISSING


def meaning(name: Any, *, clearly: bool = False) -> bool | None:
    """Return True if a name means "good", False if it means "defect", else None.

    Parameters
    ----------
    name : str, number or bool
        Name of a folder, or a label. Case, separators and words such as "parts" are
        ignored: "Good images", "OK_parts" and "defectFree" mean good.
    clearly : bool, default=False
        Whether to accept only unambiguous names. "0", for example, is ambiguous because
        it may be the number of a lot.
    """
    text = label_text(name)
    good, bad = (_CLEARLY_GOOD, _CLEARLY_BAD) if clearly else (_GOOD, _BAD)
    for phrase in (text.casefold(), _phrase(text)):
        if phrase in good:
            return True
        if phrase in bad:
            return False
    return None


def _phrase(text: str) -> str:
    words = [word.casefold() for word in _WORDS.findall(_HUMPS.sub(" ", text))]
    # Numbers next to words are lot numbers.
    return " ".join(w for w in words if w not in _FILLERS and not w.isdigit())


def same(name: Any, other: Any) -> bool:
    """Whether two names are equal, ignoring case and blanks; 1 equals 1.0."""
    return label_text(name).casefold() == label_text(other).casefold()


def anomaly_of_pair(labels: list[Any]) -> tuple[int, bool] | None:
    """Return which of two labels means "anomaly", and whether this is certain.

    It is certain if the other label means "good". If only "defect" is known, the other
    label may be another kind of defect. Of -1 and 1, as numbers or as text, -1 means
    "anomaly", as in scikit-learn's outlier detectors. The result is None if neither
    label is known, or if both have the same meaning.
    """
    texts = [label_text(label) for label in labels]
    if set(texts) == {"-1", "1"}:
        return texts.index("-1"), True
    # Other numbers have no known meaning.
    if not all(isinstance(label, (str, np.str_)) for label in labels):
        return None
    found = [meaning(text) for text in texts]
    if found[0] == found[1]:
        return None
    if True in found:
        return 1 - found.index(True), True
    bad = found.index(False)
    return None if texts[bad] in ("1", "-1") else (bad, False)
