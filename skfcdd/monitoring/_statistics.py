"""Statistics of images for detecting drift."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import check_model, count, take
from skfcdd.inspection._images import read_stack

__all__ = ["STATISTICS", "image_numbers", "image_statistics"]

STATISTICS = ("score", "brightness", "contrast", "sharpness")
# Number of images in memory at the same time.
_AT_ONCE = 64


def image_statistics(estimator: Any, X: Any) -> npt.NDArray[np.float64]:
    """Compute anomaly score, brightness, contrast and sharpness of each image.

    Normalisation can make the score insensitive to a change of lighting. The statistics
    of the image itself show such a change before it affects the score.

    Parameters
    ----------
    estimator : estimator
        Fitted FCDDClassifier, FCDDSegmenter or FCDDDetector, another estimator with
        ``anomaly_score``, or an :class:`~skfcdd.onnx.OnnxFCDD`.
    X : array-like
        Images, as for ``anomaly_score``.

    Returns
    -------
    ndarray of shape (n, 4), float64
        Columns in the order of ``skfcdd.monitoring.STATISTICS``: the anomaly score, and
        the mean, the standard deviation, and the mean absolute difference between
        neighbouring pixels, of the pixel values in X. If the estimator has a region of
        interest, only the pixels inside are used.

    Raises
    ------
    TypeError
        If `estimator` has no ``anomaly_score``.
    NotFittedError
        If it is not fitted.
    ImageShapeError
        If the shape of the images differs from that in ``fit``.

    Examples
    --------
    >>> from skfcdd import FCDDDetector
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.monitoring import DriftMonitor, image_statistics
    >>> images = make_defects(
    ...     120, image_size=32, anomaly_fraction=0.0, random_state=0
    ... ).images
    >>> model = FCDDDetector(max_epochs=1, precision="float32", random_state=0)
    >>> model = model.fit(images[:40])
    >>> monitor = DriftMonitor(random_state=0)
    >>> monitor = monitor.fit(image_statistics(model, images[40:80]))
    >>> monitor.update(image_statistics(model, images[80:])).alarm_
    False
    >>> darker = (0.7 * images[80:]).astype("uint8")
    >>> monitor.update(image_statistics(model, darker)).alarm_
    True
    """
    check_model(estimator, "anomaly_score")
    parts = [_of_part(estimator, part) for part in _parts(X)]
    return np.concatenate(parts) if parts else np.empty((0, len(STATISTICS)))


def _parts(X: Any) -> Iterator[Any]:
    n = count(X)
    for start in range(0, n, _AT_ONCE):
        yield take(X, np.arange(start, min(n, start + _AT_ONCE)))


def _of_part(estimator: Any, X: Any) -> npt.NDArray[np.float64]:
    score = np.asarray(estimator.anomaly_score(X), dtype=np.float64)
    return np.column_stack([score, image_numbers(estimator, X)])


def image_numbers(estimator: Any, X: Any) -> npt.NDArray[np.float64]:
    """Compute brightness, contrast and sharpness of images, of shape (n, 3)."""
    images = read_stack(estimator, X).images.astype(np.float64)
    roi = getattr(estimator, "roi_", None)
    if roi is not None:
        return _numbers_inside(images, roi)
    axes = (1, 2, 3)
    edges = [
        np.abs(np.diff(images, axis=axis)).mean(axis=axes)
        for axis in (1, 2)
        if images.shape[axis] > 1
    ]
    sharpness = sum(edges) / max(1, len(edges)) + np.zeros(len(images))
    return np.column_stack([images.mean(axis=axes), images.std(axis=axes), sharpness])


def _numbers_inside(
    images: npt.NDArray[np.float64], roi: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Compute the same statistics of the pixels in a region of interest (h, w)."""
    pixels, axes = images[:, roi], (1, 2)
    edges = []
    for axis, both in ((1, roi[1:] & roi[:-1]), (2, roi[:, 1:] & roi[:, :-1])):
        if both.any():  # at least one pair of neighbours is inside
            edges.append(np.abs(np.diff(images, axis=axis))[:, both].mean(axis=axes))
    sharpness = sum(edges) / max(1, len(edges)) + np.zeros(len(images))
    return np.column_stack([pixels.mean(axis=axes), pixels.std(axis=axes), sharpness])
