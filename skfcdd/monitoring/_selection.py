"""Selection of images to label next."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import check_model, count, iter_heatmaps, take
from skfcdd._verdicts import convention_of
from skfcdd.inspection._images import read_stack

__all__ = ["select_images"]

Floats = npt.NDArray[np.float64]
# Images are compared by the means of their pixels and heatmaps over the cells of a grid
# with this many cells per side.
_GRID = 6
# Number of candidates per image to select, from which diverse ones are chosen.
_CANDIDATES = 4
# Number of images per batch.
_AT_ONCE = 64


def select_images(estimator: Any, X: Any, n: int) -> npt.NDArray[np.intp]:
    """Select the images whose labels are likely to improve a model most.

    Most images of a production line are normal, and the model predicts them correctly,
    so that labelling images drawn at random is mostly wasted effort. This function
    selects images that are predicted as anomalous, or nearly so, and that differ from
    one another: each next image is the farthest from those selected so far, in its
    appearance and its heatmap, weighted by how close its score is to the threshold. All
    scores above the threshold have the same weight.

    The selection is not a random sample: metrics measured on it are not representative
    of all images.

    Parameters
    ----------
    estimator : estimator
        Fitted FCDDClassifier, FCDDSegmenter or FCDDDetector, or an
        :class:`~skfcdd.onnx.OnnxFCDD`.
    X : array-like
        Unlabelled images, as for ``explain``.
    n : int
        Number of images to select, at least 1.

    Returns
    -------
    ndarray of shape (min(n, n_images),), int
        Rows of the selected images, most informative first.

    Raises
    ------
    TypeError
        If `estimator` has no ``anomaly_score`` or ``explain``.
    NotFittedError
        If it is not fitted.
    ValueError
        If `n` is below 1, or X is empty.

    Examples
    --------
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.monitoring import select_images
    >>> data = make_defects(60, image_size=32, random_state=0)
    >>> model = FCDDClassifier(max_epochs=1, random_state=0).fit(data.images[:20])
    >>> select_images(model, data.images[20:], 5).shape
    (5,)
    """
    check_model(estimator, "anomaly_score", "explain")
    n_images = count(X)
    if n_images == 0:
        raise ValueError("X has no images to choose from.")
    if n < 1:
        raise ValueError(f"Got n={n!r}, but expected at least 1.")
    strength, looks = _describe(estimator, X)
    weight = np.minimum(1.0, strength)
    order = np.argsort(-strength, kind="stable")
    candidates = order[: max(n, min(n_images, _CANDIDATES * n))]
    chosen = _farthest(looks[candidates], weight[candidates], min(n, n_images))
    rows: npt.NDArray[np.intp] = candidates[chosen]
    return rows


def _farthest(looks: Floats, weight: Floats, n: int) -> list[int]:
    """Select the first row, then repeatedly the row farthest from those selected."""
    chosen, distance = [0], np.linalg.norm(looks - looks[0], axis=1)
    while len(chosen) < n:
        value = distance * weight
        value[chosen] = -1.0
        row = int(np.argmax(value))
        chosen.append(row)
        distance = np.minimum(distance, np.linalg.norm(looks - looks[row], axis=1))
    return chosen


def _describe(estimator: Any, X: Any) -> tuple[Floats, Floats]:
    """Return the score of each image relative to the threshold, and its features."""
    threshold, pixels = (
        float(estimator.threshold_),
        convention_of(estimator).judges_pixels,
    )
    strength, heat, grey = [], [], []
    for start in range(0, count(X), _AT_ONCE):
        part = take(X, np.arange(start, min(count(X), start + _AT_ONCE)))
        maps = np.concatenate(list(iter_heatmaps(estimator, part))).astype(np.float64)
        score = maps.max(axis=(1, 2)) if pixels else estimator.anomaly_score(part)
        strength.append(np.asarray(score, dtype=np.float64) / threshold)
        heat.append(_means(maps))
        grey.append(_means(read_stack(estimator, part).images.mean(axis=3)))
    heats = np.log1p(np.concatenate(heat) / estimator.heatmap_scale_[0])
    return (
        np.concatenate(strength),
        np.hstack([_even(heats), _even(np.concatenate(grey).astype(np.float64))]),
    )


def _means(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the means over the cells of a grid, of shape (n, n_cells)."""
    rows = [part.mean(axis=1) for part in _split(images, 1)]
    cells = [cell.mean(axis=1) for row in rows for cell in _split(row, 1)]
    return np.stack(cells, axis=1)


def _split(images: npt.NDArray[Any], axis: int) -> list[npt.NDArray[Any]]:
    parts = np.array_split(images, min(_GRID, images.shape[axis]), axis=axis)
    return [part for part in parts if part.shape[axis]]


def _even(values: Floats) -> Floats:
    """Centre features, and scale them to a total variance of 1."""
    spread = float(np.sqrt(values.var(axis=0).sum()))
    return (values - values.mean(axis=0)) / (spread or 1.0)
