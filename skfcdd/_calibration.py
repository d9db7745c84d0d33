"""From cells to scores, and from scores of held-out images to a threshold."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

__all__ = ["choose_threshold", "pool_cells"]

Scores = npt.NDArray[np.float64]

# The natural threshold is kept unless another one is better by this much in the mean
# of sensitivity and specificity.
_TOLERANCE = 0.05


def pool_cells(
    cells: npt.NDArray[np.floating], pooling: str | float
) -> npt.NDArray[np.float64]:
    """Scores (n,), float64, from cells (n, u, v).

    Parameters
    ----------
    cells : ndarray of shape (n, u, v)
        Non-negative cells of the network.
    pooling : {"mean", "max"} or float
        A float is the share of greatest cells to average, at least one cell.
    """
    flat = cells.reshape(len(cells), -1).astype(np.float64)
    n_cells = flat.shape[1]
    if pooling == "mean":
        return flat.mean(axis=1)
    # 7 % of 100 cells are 7 cells, although 0.07 * 100 is a little more than 7.
    count = 1 if pooling == "max" else math.ceil(float(pooling) * n_cells - 1e-9)
    if count >= n_cells:
        return flat.mean(axis=1)
    top = np.partition(flat, n_cells - count, axis=1)[:, n_cells - count :]
    # Summing in sort order makes the result independent of where the cells stand.
    scores: Scores = np.sort(top, axis=1).mean(axis=1)
    return scores


def choose_threshold(
    normal: Scores, anomalous: Scores, *, contamination: float
) -> float:
    """Threshold from scores of images that the network was not fitted on.

    Without anomalies: the quantile ``1 - contamination`` of the normal scores. With
    anomalies: the natural threshold ln 2, at which p = 0.5, unless the threshold that
    maximises Youden's J (sensitivity + specificity - 1) does better by more than 0.05
    in the mean of the two.

    Parameters
    ----------
    normal : ndarray of shape (n_normal,)
        Scores of held-out normal images.
    anomalous : ndarray of shape (n_anomalous,)
        Scores of anomalies; may be empty.
    contamination : float
        Share of normal images that may be called anomalous.

    Returns
    -------
    float
        Greater than 0, and equal to no score in `normal`.
    """
    if len(anomalous) == 0:
        quantile = np.quantile(normal, 1 - contamination, method="higher")
        return just_above(float(quantile))
    natural = math.log(2)
    best = _youden_threshold(normal, anomalous)
    gain = _balanced_accuracy(normal, anomalous, best) - _balanced_accuracy(
        normal, anomalous, natural
    )
    return best if gain > _TOLERANCE else natural


def just_above(score: float) -> float:
    """The next number above a score, so that an image with this score is normal."""
    return max(np.nextafter(score, np.inf), float(np.finfo(np.float32).tiny))


def _youden_threshold(normal: Scores, anomalous: Scores) -> float:
    """Threshold of the greatest Youden's J, in the middle of the gap it stands in."""
    scores = np.concatenate([normal, anomalous])
    truth = np.repeat([0, 1], [len(normal), len(anomalous)])
    false_alarms, detections, thresholds = roc_curve(
        truth, scores, drop_intermediate=False
    )
    best = int(np.argmax(detections - false_alarms))
    if best == 0:  # nothing beats calling everything normal
        return just_above(float(scores.max()))
    below = scores[scores < thresholds[best]]
    lower = below.max() if len(below) else 0.0
    return just_above(float((thresholds[best] + lower) / 2))


def _balanced_accuracy(normal: Scores, anomalous: Scores, threshold: float) -> float:
    return float(((normal <= threshold).mean() + (anomalous > threshold).mean()) / 2)
