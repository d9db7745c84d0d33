"""Histograms of pixel scores, for any number of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import digamma

from skfcdd.metrics import _curves as curves
from skfcdd.metrics._checks import blocks, check_maps, check_region
from skfcdd.metrics._curves import PixelSample, need_both, overlap_weights

__all__ = ["PixelHistogram"]


class PixelHistogram:
    r"""Histogram of the scores of normal and anomalous pixels, of constant size.

    The bin of a score is given by the leading bits of its float32 representation.
    Therefore, the range of scores need not be known in advance, the relative difference
    between scores in the same bin is less than :math:`2^{9 - b}` with :math:`b` bits,
    and memory use does not depend on the number of pixels (24 MB for 20 bits). Every
    metric comes with a bound on its error, computed from the number of pixels whose
    order within a bin is unknown.

    Parameters
    ----------
    n_bits : int, default=20
        Number of leading bits, between 10 and 24.
    regions : bool, default=True
        Whether to also collect data for :meth:`aupro`, for which the connected regions
        of the masks must be found.

    Examples
    --------
    >>> import numpy as np
    >>> from skfcdd.metrics import PixelHistogram
    >>> rng = np.random.default_rng(0)
    >>> histogram = PixelHistogram()
    >>> for _ in range(3):
    ...     masks = rng.random((4, 32, 32)) > 0.9
    ...     heatmaps = rng.random((4, 32, 32)) + masks
    ...     histogram = histogram.update(masks, heatmaps)
    >>> round(histogram.roc_auc(), 3), histogram.roc_auc_error() < 1e-3
    (1.0, True)
    """

    def __init__(self, n_bits: int = 20, *, regions: bool = True) -> None:
        if not 10 <= n_bits <= 24:
            raise ValueError(f"Got n_bits={n_bits!r}, but expected 10 to 24.")
        self.n_bits = n_bits
        self.regions = regions
        self.normal = np.zeros(1 << n_bits, dtype=np.int64)
        self.anomalous = np.zeros(1 << n_bits, dtype=np.int64)
        self.overlap = np.zeros(1 << n_bits) if regions else None

    def update(self, masks: Any, heatmaps: Any, roi: Any = None) -> PixelHistogram:
        """Add images to the histogram.

        Parameters
        ----------
        masks : array-like of shape (n, h, w)
            1 (or 255) at anomalous pixels.
        heatmaps : array-like of shape (n, h, w)
            Scores of the pixels.
        roi : array-like of shape (h, w), bool, default=None
            Region of interest; pixels outside are ignored.

        Returns
        -------
        self : PixelHistogram

        Raises
        ------
        ValueError
            If the shapes differ, or a value is invalid.
        """
        masks, heatmaps = check_maps(masks, heatmaps)
        inside = check_region(roi, masks.shape)
        for truth, values in blocks(masks, heatmaps):
            keys = self._keys(values)
            size = len(self.normal)
            normal = ~truth
            if inside is not None:
                truth, normal = truth & inside, normal & inside
            self.normal += np.bincount(keys[normal], minlength=size)
            self.anomalous += np.bincount(keys[truth], minlength=size)
            if self.overlap is not None:
                weights = overlap_weights(truth)[truth]
                self.overlap += np.bincount(keys[truth], weights, minlength=size)
        return self

    def _keys(self, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return the bins of scores, in the order of the scores."""
        single = np.ascontiguousarray(values, dtype=np.float32) + np.float32(
            0
        )  # turns -0.0 into 0.0
        bits = single.view(np.uint32)
        ordered = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(1 << 31))
        return (ordered >> np.uint32(32 - self.n_bits)).astype(np.int64)

    def _edges(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the lowest score of each bin."""
        ordered = keys.astype(np.uint32) << np.uint32(32 - self.n_bits)
        bits = np.where(ordered >> 31 == 1, ordered & ~np.uint32(1 << 31), ~ordered)
        return bits.astype(np.uint32).view(np.float32).astype(np.float64)

    def sample(self) -> PixelSample:
        """Return the bins as weighted scores, for scikit-learn's metrics.

        Returns
        -------
        PixelSample

        Raises
        ------
        ValueError
            If no normal or no anomalous pixel has been added.
        """
        p = int(self.anomalous.sum())
        need_both(p, p + int(self.normal.sum()))
        low, high = np.flatnonzero(self.normal), np.flatnonzero(self.anomalous)
        weights = np.concatenate([self.normal[low], self.anomalous[high]])
        overlap = None
        if self.overlap is not None:
            overlap = np.concatenate([self.normal[low], self.overlap[high]])
        return PixelSample(
            np.repeat([False, True], [len(low), len(high)]),
            self._edges(np.concatenate([low, high])),
            weights.astype(np.float64),
            overlap,
        )

    def roc_auc(self) -> float:
        """Compute the area under the ROC curve, see :func:`pixel_roc_auc_score`."""
        return curves.roc_auc(self.sample())

    def roc_auc_error(self) -> float:
        r"""Bound the error of :meth:`roc_auc`.

        The bound is half the proportion of pairs of a normal and an anomalous pixel
        that share a bin.
        """
        pairs = float((self.normal.astype(float) * self.anomalous).sum())
        return 0.5 * pairs / float(self.normal.sum()) / float(self.anomalous.sum())

    def average_precision(self) -> float:
        """Compute the average precision, see :func:`pixel_average_precision_score`."""
        return curves.average_precision(self.sample())

    def average_precision_error(self) -> float:
        """Bound the error of :meth:`average_precision`.

        The bound is computed from the best and the worst order of the pixels within
        each bin.
        """
        p, n = self.anomalous[::-1].astype(float), self.normal[::-1].astype(float)
        occupied = p > 0
        true_before = (np.cumsum(p) - p)[occupied]
        false_after = np.cumsum(n)[occupied]
        p, n = p[occupied], n[occupied]
        best = _sum_of_precisions(true_before, false_after - n, p)
        worst = _sum_of_precisions(true_before, false_after, p)
        value = self.average_precision()
        total = p.sum()
        return float(max(best.sum() / total - value, value - worst.sum() / total))

    def aupro(self, max_fpr: float = 0.3) -> float:
        """Compute the area under the overlap curve, see :func:`aupro_score`."""
        return curves.aupro(self.sample(), max_fpr)

    def aupro_error(self, max_fpr: float = 0.3) -> float:
        """Bound the error of :meth:`aupro`."""
        if self.overlap is None:
            raise ValueError(
                "AUPRO needs a histogram created with regions=True. Got regions=False."
            )
        pairs = float((self.normal * self.overlap).sum())
        # The exact curve stays inside the bounding box of each step of this curve.
        return pairs / float(self.normal.sum()) / float(self.overlap.sum()) / max_fpr

    def f1_max(self) -> tuple[float, float]:
        """Compute the maximum F1 and its threshold, see :func:`f1_max_score`."""
        return curves.f1_max(self.sample())

    def f1_max_error(self) -> float:
        """Bound the error of the maximum F1 of :meth:`f1_max`."""
        p, n = self.anomalous[::-1].astype(float), self.normal[::-1].astype(float)
        true_after, false_before = np.cumsum(p), np.cumsum(n) - n
        best = 2 * true_after / (true_after + false_before + p.sum())
        return float(max(0.0, best.max() - self.f1_max()[0]))


def _sum_of_precisions(
    true_before: npt.NDArray[np.float64],
    false_before: npt.NDArray[np.float64],
    count: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Sum the precisions at `count` consecutive anomalous pixels.

    The terms (t + i) / (t + i + f) for i = 1 .. count are 1 - f / (t + f + i), and
    sums of inverses are differences of the digamma function.
    """
    before = true_before + false_before
    inverses = digamma(before + count + 1) - digamma(before + 1)
    sums: npt.NDArray[np.float64] = count - false_before * inverses
    return sums
