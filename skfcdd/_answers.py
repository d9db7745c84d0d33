"""Helpers that work with any fitted estimator or exported model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skfcdd._inputs.labels import as_truth, image_labels, is_masks, masks_to_labels
from skfcdd._inputs.lazy_arrays import is_lazy, read
from skfcdd._inputs.mask_arrays import as_plane
from skfcdd._verdicts import Convention, convention_of, is_above
from skfcdd.exceptions import ImageShapeError

__all__ = [
    "check_model",
    "count",
    "has_memory",
    "iter_heatmaps",
    "judge",
    "named_axes",
    "pick_masks",
    "read_truth",
    "take",
]

# Number of images per batch for estimators without a batch size.
_SLICE = 64


def check_model(estimator: Any, *methods: str) -> None:
    """Check that `estimator` is a fitted model of this package.

    Raises
    ------
    TypeError
        If it lacks one of `methods`.
    NotFittedError
        If it is not fitted.
    """
    missing = [name for name in methods if not hasattr(estimator, name)]
    if missing:
        raise TypeError(
            "Expected a fitted estimator of skfcdd, or an OnnxFCDD. Got "
            f"{type(estimator).__name__}, which has no {' and no '.join(missing)}. "
            "Instead of a search or a pipeline, pass the estimator inside it, such as "
            "best_estimator_."
        )
    if hasattr(estimator, "fit"):
        check_is_fitted(estimator)


def has_memory(estimator: Any) -> bool:
    """Return whether heatmaps include the distance to a memory bank."""
    model = getattr(estimator, "_fitted", None)
    return getattr(model, "memory", None) is not None


def count(X: Any) -> int:
    """Return the number of images."""
    shape = getattr(X, "shape", None)
    return int(shape[0]) if shape else len(X)


def take(X: Any, rows: npt.NDArray[np.intp]) -> Any:
    """Return the given rows of X, which may have any form that estimators accept."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if isinstance(X, (list, tuple)):
        return [X[row] for row in rows]
    return read(X, rows) if is_lazy(X) else X[rows]


def _slices(X: Any) -> Iterator[Any]:
    n = count(X)
    for start in range(0, n, _SLICE):
        yield take(X, np.arange(start, min(n, start + _SLICE)))


def iter_heatmaps(estimator: Any, X: Any) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the heatmaps of all images in order, batch by batch."""
    if hasattr(estimator, "iter_explain"):
        yield from estimator.iter_explain(X)
    else:
        for part in _slices(X):
            yield estimator.explain(part)


def judge(
    estimator: Any, X: Any, scores: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Predict which images are anomalous; for a segmenter, in any pixel."""
    if not convention_of(estimator).judges_pixels:
        above: npt.NDArray[np.bool_] = is_above(scores, estimator.threshold_)
        return above
    parts = [estimator.predict(part).any(axis=(1, 2)) for part in _slices(X)]
    return np.concatenate([np.empty(0, dtype=bool), *parts])


def read_truth(estimator: Any, y: Any, n: int) -> npt.NDArray[np.bool_] | None:
    """Convert labels or masks to one boolean per image.

    Parameters
    ----------
    estimator : estimator
        Fitted estimator, which defines the meaning of the labels.
    y : array-like of shape (n,) or (n, h, w), or None
        Labels or masks.
    n : int
        Number of images.

    Returns
    -------
    ndarray of shape (n,), bool, or None
        True for anomalies; None if `y` is None.

    Raises
    ------
    ValueError
        If `y` does not have `n` entries, or has a label unknown to the estimator.
    """
    if y is None:
        return None
    if is_masks(y):
        roi = getattr(estimator, "roi_", None)
        inside = y if roi is None else [m if m is None else _within(m, roi) for m in y]
        truth = masks_to_labels(inside).astype(bool)
    elif convention_of(estimator).judges_pixels:
        truth = image_labels(y, convention_of(estimator).image_anomaly_label)
    else:
        labels = column_or_1d(y)
        known, anomaly = _labels(estimator)
        unseen = np.setdiff1d(labels, known)
        if len(unseen):
            raise ValueError(
                f"y has the label(s) {unseen[:10].tolist()}, but the labels of the "
                f"estimator are {list(known)}, where {anomaly!r} means anomaly."
            )
        truth = labels == anomaly
    if len(truth) != n:
        raise ValueError(f"X has {n} images, but y has {len(truth)} labels.")
    return truth


def _within(mask: Any, roi: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the anomalous pixels of a mask, without those outside a region."""
    plane = as_plane(mask, roi.shape)
    return (plane > 0) & roi if plane.shape == roi.shape else plane > 0


def _labels(estimator: Any) -> tuple[list[Any], Any]:
    """Return both labels, and which of them means anomaly."""
    convention = getattr(estimator, "convention_", None)
    if convention is None:  # an estimator from another package
        classes = getattr(estimator, "classes_", None)
        if classes is None:
            return [-1, 1], -1  # scikit-learn's convention of outlier detectors
        convention = Convention(classes=classes)
    known = convention.classes.tolist()
    return known, known[int(convention.anomaly_sign > 0)]


def pick_masks(
    masks: Any, rows: npt.NDArray[np.intp], n: int, size: tuple[int, int]
) -> npt.NDArray[np.bool_] | None:
    """Select the masks of some images; an image without a mask gets an empty one.

    Raises
    ------
    ImageShapeError
        If there are not `n` masks, or a mask does not have the size `size`.
    ValueError
        If they contain values other than 0 and 1 (or 255).
    """
    if masks is None:
        return None
    if len(masks) != n:
        raise ImageShapeError(f"There are {n} images, but {len(masks)} masks.")
    picked = np.zeros((len(rows), *size), dtype=bool)
    for k, row in enumerate(rows):
        mask = masks[row]
        if mask is None:
            continue
        mask = as_plane(mask, size)
        if np.shape(mask) != size:
            raise ImageShapeError(
                f"Masks must have the size of the heatmaps, (h, w) = {size}. Got "
                f"{np.shape(mask)} in row {row}."
            )
        picked[k] = as_truth(np.asarray(mask))
    return picked


def named_axes(estimator: Any) -> tuple[str | None, tuple[int, ...] | None]:
    """Return the `channels` and `image_shape` that the estimator was fitted with."""
    model = getattr(estimator, "_fitted", None)
    if model is not None:
        return model.images.channels, model.images.layout
    return getattr(estimator, "channels", None), getattr(estimator, "image_shape", None)
