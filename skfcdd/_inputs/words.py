"""Names that people give to good images and to defects, in folders, tables and y.

One list for all of them: a name that means "good" as a folder means it as a label too.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

__all__ = ["anomaly_of_pair", "is_missing", "label_text", "meaning", "same"]

# Names that mean the same at any depth of a folder.
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
# These do so only beside their opposites or other kinds.
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
# Words that add nothing: "good parts" are good.
_FILLERS = {
    *("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures"),
    *("part", "parts", "piece", "pieces", "sample", "samples", "item", "items"),
    *("product", "products", "unit", "units", "train", "test", "val"),
}
_MISSING = {"", "nan", "none", "null", "na", "n/a", "<na>", "nat", "?"}
# Letters apart from digits, and "GoodParts" as two words.
_WORDS = re.compile(r"[^\W\d_]+|\d+")
_HUMPS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def label_text(value: Any) -> str:
    """A label as a text: without blanks around it, whole numbers without a point."""
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    # Digits of other scripts and "1_000" are numbers to Python alone.
    plain = text.isascii() and "_" not in text
    return str(int(number)) if plain and number.is_integer() else text


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: empty, or what tools write for nothing."""
    return str(value).strip().casefold() in _MISSING


def meaning(name: Any, *, clearly: bool = False) -> bool | None:
    """True if a name means "good", False if "defect", None if it says neither.

    Parameters
    ----------
    name : str, number or bool
        Of a folder, or a label. Capitals, separators and words such as "parts" do not
        matter: "Good images", "OK_parts" and "defectFree" are good.
    clearly : bool, default=False
        Whether to know only names that mean the same wherever they stand: not "0",
        which may be the number of a lot.
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
    # Numbers of lots stand beside other words.
    return " ".join(w for w in words if w not in _FILLERS and not w.isdigit())


def same(name: Any, other: Any) -> bool:
    """Whether two names are equal, up to capitals and blanks; 1 and 1.0 are."""
    return label_text(name).casefold() == label_text(other).casefold()


def anomaly_of_pair(labels: list[Any]) -> tuple[int, bool] | None:
    """Position of the label that means "anomaly" among two, and whether that is sure.

    It is if the other one means "good": beside "good", everything is a defect, but
    beside "defect" there may be another kind of it. Of -1 and 1, as numbers or as
    texts, -1 means an anomaly, as in scikit-learn's detectors. None if neither says
    anything.
    """
    texts = [label_text(label) for label in labels]
    if set(texts) == {"-1", "1"}:
        return texts.index("-1"), True
    # Numbers other than these mean nothing by themselves.
    if not all(isinstance(label, (str, np.str_)) for label in labels):
        return None
    found = [meaning(text) for text in texts]
    if found[0] == found[1]:
        return None
    if True in found:
        return 1 - found.index(True), True
    bad = found.index(False)
    return None if texts[bad] in ("1", "-1") else (bad, False)
