"""Verdicts that rest on images held out of training: thresholds and p-values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.validation import check_is_fitted

from skfcdd._engine.inference import Runner, in_batches
from skfcdd._inputs.images import ImageArray
from skfcdd._inputs.labels import Truth
from skfcdd.anomalies import mixed
from skfcdd.conformal import conformal_p_values, select_discoveries
from skfcdd.exceptions import CalibrationError
from skfcdd.thresholds import resolve_threshold

if TYPE_CHECKING:
    from typing import Self

__all__ = ["CalibratedMixin"]

# So many heatmaps, with so many pixels each, are enough for the scale of colours.
_SCALE_IMAGES, _SCALE_PIXELS = 256, 1 << 14
# So many planted defects tell how hot a defect is.
_PLANTED_IMAGES = 64


class CalibratedMixin:
    """Methods of a fitted estimator that leave its network as it is."""

    threshold: Any
    contamination: Any
    threshold_: float
    calibration_scores_: npt.NDArray[np.float64]
    heatmap_scale_: tuple[float, float]

    if TYPE_CHECKING:

        def anomaly_score(self, X: Any) -> npt.NDArray[np.float64]: ...
        def _check_images(self, X: Any) -> ImageArray: ...
        def _read_truth(self, y: Any, images: ImageArray) -> Truth: ...
        def _all_or_nothing(self) -> AbstractContextManager[None]: ...
        def _scores(
            self, images: ImageArray, rows: npt.NDArray[np.intp] | None = None
        ) -> npt.NDArray[np.float64]: ...
        def _heatmaps(
            self, images: ImageArray, rows: npt.NDArray[np.intp] | None = None
        ) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]: ...
        def _runner(self) -> Runner: ...
        def _heatmap_maker(self) -> torch.nn.Module: ...

    def calibrate(self, X: Any, y: Any = None) -> Self:
        """Set the threshold anew, on other images, and leave the network as it is.

        The rule is that of ``threshold=``, which may be changed before. The scores of
        the normal images replace those held out in ``fit``, and :meth:`p_values` rest
        on them.

        Parameters
        ----------
        X : array-like
            Images that were not trained on; as for ``fit``.
        y : array-like, default=None
            Their labels (or masks), as for ``fit``. None means that all are normal.

        Returns
        -------
        self : estimator

        Raises
        ------
        ~skfcdd.exceptions.CalibrationError
            If all images are anomalies, or they are too few, or of the wrong kind, for
            the rule. The threshold is left as it was.
        """
        check_is_fitted(self)
        images = self._check_images(X)
        truth = self._read_truth(y, images)
        normal, anomalous = (np.flatnonzero(truth.anomalous == k) for k in (0, 1))
        if len(normal) == 0:
            raise CalibrationError(
                f"Calibration needs normal images. Got {len(anomalous)} anomalies "
                f"alone."
            )
        with self._all_or_nothing():
            self._set_threshold(images, truth, normal, anomalous)
        return self

    def p_values(
        self, X: Any, *, smoothed: bool = False, random_state: Any = None
    ) -> npt.NDArray[np.float64]:
        r"""How surprising each image would be if it were normal.

        Conformal p-values: :math:`(1 + k) / (n + 1)` where :math:`k` of :math:`n`
        normal images that took no part in training have at least this score. For a
        new image of the same kind as those, a p-value of at most :math:`\alpha` has a
        probability of at most :math:`\alpha`, whatever the network has learned. See
        :func:`skfcdd.conformal.conformal_p_values`.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.
        smoothed : bool, default=False
            Break ties by chance, which makes p-values of normal images uniform.
        random_state : int, RandomState instance or None, default=None
            Chance of `smoothed`.

        Returns
        -------
        ndarray of shape (n,), float64
            Small means anomalous.
        """
        scores = self.anomaly_score(X)
        return conformal_p_values(
            self.calibration_scores_,
            scores,
            smoothed=smoothed,
            random_state=random_state,
        )

    def select_anomalies(self, X: Any, *, rate: float = 0.1) -> npt.NDArray[np.bool_]:
        """Anomalies among a batch, with a stated share of false ones among them.

        Benjamini and Hochberg's procedure on :meth:`p_values`. Where ``predict`` asks
        how often a good image is called anomalous, this asks how many of those called
        anomalous are good.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``; they are judged together.
        rate : float, default=0.1
            False discovery rate: greatest expected share of normal images among the
            selected.

        Returns
        -------
        ndarray of shape (n,), bool

        Raises
        ------
        ~skfcdd.exceptions.CalibrationError
            If the calibration images are too few for anything to be selected.
        """
        p = self.p_values(X)
        return select_discoveries(p, len(self.calibration_scores_), rate=rate)

    def _set_threshold(
        self,
        images: ImageArray,
        truth: Truth,
        normal: npt.NDArray[np.intp],
        anomalous: npt.NDArray[np.intp],
    ) -> None:
        """Set what rests on the rows `normal` and `anomalous`."""
        self.calibration_scores_ = np.sort(self._scores(images, normal))
        self.threshold_ = self._choose_threshold(images, truth, normal, anomalous)
        self.heatmap_scale_ = self._choose_scale(images, normal)

    def _choose_scale(
        self, images: ImageArray, normal: npt.NDArray[np.intp]
    ) -> tuple[float, float]:
        """Colours of heatmaps: from what few normal pixels reach, to what defects do.

        Defects are planted ones, as there may be no others.
        """
        low = float(np.quantile(self._normal_pixels(images, normal), 0.99))
        if not low > 0:  # a network without any answer to normal images
            low = self.threshold_
        return low, max(5 * low, self._planted_peak(images, normal[:_PLANTED_IMAGES]))

    def _planted_peak(self, images: ImageArray, rows: npt.NDArray[np.intp]) -> float:
        """Median peak of the heatmaps of normal images with a defect planted."""
        runner = self._runner()
        maker = self._heatmap_maker().to(runner.device).eval()
        generator = torch.Generator(runner.device).manual_seed(0)

        def peaks(unit: torch.Tensor) -> torch.Tensor:
            heatmaps: torch.Tensor = maker(mixed(unit, generator)[0])
            return heatmaps.amax(dim=(1, 2))

        parts = [part for _, part in in_batches(runner, images, rows, peaks)]
        return float(np.median(np.concatenate(parts)))

    def _normal_pixels(
        self, images: ImageArray, normal: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float32]:
        """Some pixels of the heatmaps of some of the rows `normal`."""
        rows = normal[:: -(-len(normal) // _SCALE_IMAGES)]
        h, w = images.image_shape[:2]
        step = max(1, math.isqrt(h * w // _SCALE_PIXELS))
        pixels = [m[:, ::step, ::step].ravel() for _, m in self._heatmaps(images, rows)]
        return np.concatenate(pixels)

    def _check_rule(self, n_normal: int, truth: Truth) -> None:
        """Refuse a rule that so many images cannot support, before any training."""
        if not isinstance(self.threshold, Real):
            rule = resolve_threshold(self.threshold)
            rule.check(n_normal, self._n_anomalous(truth))

    def _n_anomalous(self, truth: Truth) -> int:
        return int(truth.anomalous.sum())

    def _choose_threshold(
        self,
        images: ImageArray,
        truth: Truth,
        normal: npt.NDArray[np.intp],
        anomalous: npt.NDArray[np.intp],
    ) -> float:
        """Threshold of image scores."""
        if isinstance(self.threshold, Real):
            return float(self.threshold)
        share = 0.05 if self.contamination == "auto" else self.contamination
        rule = resolve_threshold(self.threshold, share)
        scores = [self.calibration_scores_, self._scores(images, anomalous)]
        labels = np.repeat([0, 1], [len(normal), len(anomalous)])
        return rule(labels, np.concatenate(scores))
