"""Report of metrics for each kind of defect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_consistent_length, column_or_1d

from skfcdd._verdicts import is_above
from skfcdd.metrics._pixels import aupro_score, pixel_roc_auc_score

__all__ = ["defect_report"]

_COLUMNS = {
    "images": "images",
    "image_auroc": "image AUROC",
    "found": "found",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
}


def defect_report(
    kinds: Any,
    scores: Any,
    *,
    normal: Any,
    threshold: float | None = None,
    masks: Any = None,
    heatmaps: Any = None,
    output_dict: bool = False,
) -> str | dict[str, dict[str, float]]:
    """Build a report of metrics that compare each kind of defect with normal images.

    Parameters
    ----------
    kinds : array-like of shape (n,)
        Kind of defect of each image, or `normal`.
    scores : array-like of shape (n,)
        Anomaly scores; higher values are more anomalous.
    normal : label
        The kind that means "no defect".
    threshold : float, default=None
        If given, the report also states the fraction of images above this threshold:
        detected defects, or false alarms for normal images.
    masks, heatmaps : array-like of shape (n, h, w), default=None
        If given, the report also states pixel AUROC and AUPRO. These ignore defects
        whose mask is None or empty, because their location is unknown.
    output_dict : bool, default=False
        If True, return a dict of dicts instead of text.

    Returns
    -------
    str or dict
        A table, or metrics by kind and name. The kind "all" (or "all defects", if there
        is a kind named "all") stands for all defects together.

    Raises
    ------
    ValueError
        If there are no normal images or no defects, lengths differ, or only one of
        masks and heatmaps is given.

    Examples
    --------
    >>> from skfcdd.metrics import defect_report
    >>> kinds = ["good", "good", "crack", "hole", "hole"]
    >>> print(defect_report(kinds, [1, 3, 2, 4, 5], normal="good", threshold=3.5))
               images  image AUROC  found
    good            2            -  0.000
    crack           1        0.500  0.000
    hole            2        1.000  1.000
    all             3        0.833  0.667
    """
    kind, score = column_or_1d(kinds), column_or_1d(scores).astype(np.float64)
    check_consistent_length(kind, score)
    good = kind == normal
    if good.all() or not good.any():
        raise ValueError(
            f"kinds must contain {normal!r}, for normal images, and at least one "
            f"other kind. Got {np.unique(kind).tolist()[:10]}."
        )
    if (masks is None) != (heatmaps is None):
        raise ValueError("Pass both masks and heatmaps, or neither.")
    rows = {str(normal): {"images": float(good.sum())}}
    if threshold is not None:
        rows[str(normal)]["found"] = float(is_above(score[good], threshold).mean())
    chosen = {str(k): kind == k for k in np.unique(kind[~good])}
    chosen[_free_name("all", [*rows, *chosen])] = ~good
    marked = None if masks is None else _marked(masks, len(kind))
    for name, defect in chosen.items():
        row = {"images": float(defect.sum())}
        both = good | defect
        row["image_auroc"] = float(roc_auc_score(defect[both], score[both]))
        if threshold is not None:
            row["found"] = float(is_above(score[defect], threshold).mean())
        if marked is not None:
            known = np.flatnonzero(good | (defect & marked))
            row |= _pixel_figures(masks, heatmaps, known)
        rows[name] = row
    return rows if output_dict else _table(rows)


def _free_name(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += " defects"
    return name


def _marked(masks: Any, n: int) -> npt.NDArray[np.bool_]:
    """Return which images have a mask with an anomalous pixel."""
    if len(masks) != n:
        raise ValueError(f"kinds has {n} images, but there are {len(masks)} masks.")
    return np.array([mask is not None and np.any(np.asarray(mask)) for mask in masks])


def _pixel_figures(
    masks: Any, heatmaps: Any, rows: npt.NDArray[np.intp]
) -> dict[str, float]:
    """Compute pixel metrics of images with known masks; normal images need none."""
    check_consistent_length(masks, heatmaps)
    values = np.asanyarray(heatmaps)[rows]
    empty = np.zeros(values.shape[1:], dtype=bool)
    truth: Any = [empty if masks[row] is None else masks[row] for row in rows]
    if isinstance(masks, np.ndarray):
        truth = masks[rows]
    if not any(np.any(np.asarray(mask)) for mask in truth):
        return {}
    return {
        "pixel_auroc": pixel_roc_auc_score(truth, values),
        "aupro": aupro_score(truth, values),
    }


def _table(rows: dict[str, dict[str, float]]) -> str:
    names = [c for c in _COLUMNS if any(c in row for row in rows.values())]
    first = max(8, *(len(name) for name in rows))
    lines = [" " * first + "".join(f"  {_COLUMNS[c]}" for c in names)]
    for name, row in rows.items():
        cells = ""
        for c in names:
            text = "-" if c not in row else f"{row[c]:.{0 if c == 'images' else 3}f}"
            cells += f"  {text:>{len(_COLUMNS[c])}}"
        lines.append(f"{name:<{first}}{cells}")
    return "\n".join(lines)
