"""Images in, scores and heatmaps out: what all estimators share, however they learn."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skfcdd._calibration import CalibratedMixin
from skfcdd._engine.inference import Runner, in_batches
from skfcdd._engine.pooling import pool_cells
from skfcdd._inputs.images import ImageArray, check_images
from skfcdd._inputs.lazy_arrays import check_out
from skfcdd._repr import ReprMixin
from skfcdd.exceptions import ValueRangeWarning

__all__ = ["ScoringMixin"]

# What scikit-learn notes in an estimator while callbacks listen to its ``fit``.
_OF_CALLBACKS = {"_callback_fit_ctx", "_skl_callbacks_to_teardown"}


class ScoringMixin(CalibratedMixin, ReprMixin):
    """Scores and heatmaps from a network that makes cells of images.

    Whoever uses it says in `_runner` what makes the cells, and in `_heatmap_maker` what
    makes heatmaps of images.
    """

    channels: str | None
    image_shape: tuple[int, ...] | None
    image_shape_: tuple[int, int, int]
    # The threshold holds for this pooling, whatever set_params says later.
    _pooling: str | float

    def _runner(self) -> Runner:
        """The network, and how it is to be run."""
        raise NotImplementedError

    def _heatmap_maker(self) -> nn.Module:
        """Heatmaps (n, h, w) of images (n, c, h, w) in the unit range."""
        raise NotImplementedError

    def anomaly_score(self, X: Any) -> npt.NDArray[np.float64]:
        """Anomaly score of each image; greater is more anomalous.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        ndarray of shape (n,), float64
            Mean of the cells of the network's map, or of the greatest of them where
            `score_pooling` says so. Non-negative.

        Raises
        ------
        ~skfcdd.exceptions.ImageShapeError
            If the images have another shape than those of ``fit``.
        """
        return self._scores(self._check_images(X))

    def explain(self, X: Any, out: Any = None) -> Any:
        """Heatmap of each image: where it is anomalous, and how much.

        The mean of a heatmap is the mean of the image's cells: with
        ``score_pooling="mean"`` its pixels add up to the anomaly score.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.
        out : array of shape (n, h, w), default=None
            Where to write the heatmaps: an array of NumPy, a file mapped by it, or any
            other array that takes slices, such as one of zarr. None makes an array.

        Returns
        -------
        ndarray of shape (n, h, w), float32
            Heatmaps at the resolution of X; `out` where it is given. Non-negative.

        Raises
        ------
        ~skfcdd.exceptions.ImageShapeError
            If the images have another shape than those of ``fit``.
        ValueError
            If `out` has another shape, no floating type, or cannot be written to.
        """
        return self._write_heatmaps(self._check_images(X), out)

    def iter_explain(self, X: Any) -> Iterator[npt.NDArray[np.float32]]:
        """Heatmaps batch by batch, so that they need not fit into memory.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``. They are checked at once, before the first batch is
            asked for.

        Returns
        -------
        iterator of ndarray of shape (k, h, w), float32
            The heatmaps of ``explain(X)`` in order.

        Raises
        ------
        ~skfcdd.exceptions.ImageShapeError
            If the images have another shape than those of ``fit``.
        """
        images = self._check_images(X)
        return (batch for _, batch in self._heatmaps(images))

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Where ``fit`` fails, an earlier fit is left as it was."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            # Callbacks of scikit-learn are to hear of the end.
            kept = {n: v for n, v in vars(self).items() if n in _OF_CALLBACKS}
            self.__dict__.clear()
            self.__dict__.update(before | kept)
            raise

    def _check_images(self, X: Any) -> ImageArray:
        """Validate images to be scored."""
        check_is_fitted(self)
        images = check_images(
            self,
            X,
            channels=self.channels,
            image_shape=self.image_shape,
            fitted_shape=self.image_shape_,
        )
        self._warn_about_range(images)
        return images

    def _warn_about_range(self, images: ImageArray) -> None:
        """Say so where images of 0 to 255 are now given as 0 to 1, or the reverse."""
        preprocess = self._runner().module_.preprocess
        width = preprocess.high - preprocess.low
        if images.data.dtype == np.uint8 and width == 255:
            return
        largest = images.limits()[1]
        if largest > preprocess.low + 50 * width or (
            images.data.dtype.kind == "f" and width >= 100 and 0 < largest <= 1
        ):
            warnings.warn(
                f"X has values up to {largest:.4g}, but the images given to fit "
                f"ranged from {preprocess.low:.4g} to {preprocess.high:.4g}: are "
                f"they on another scale? Scores are meaningless then.",
                ValueRangeWarning,
                stacklevel=4,
            )

    def _scores(
        self, images: ImageArray, rows: npt.NDArray[np.intp] | None = None
    ) -> npt.NDArray[np.float64]:
        """Scores of validated images, or of some rows of them."""
        parts = [pool_cells(c, self._pooling) for _, c in self._cells(images, rows)]
        return np.concatenate([np.empty(0), *parts])

    def _cells(
        self, images: ImageArray, rows: npt.NDArray[np.intp] | None = None
    ) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Cells of validated images, or of some rows of them, batch by batch."""
        runner = self._runner()
        return in_batches(runner, images, rows, runner.module_)

    def _heatmaps(
        self, images: ImageArray, rows: npt.NDArray[np.intp] | None = None
    ) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Heatmaps of validated images, or of some rows of them, batch by batch."""
        runner = self._runner()
        maker = self._heatmap_maker().to(runner.device).eval()
        # Networks may compute in double precision; all methods see the same pixels.
        return in_batches(runner, images, rows, lambda unit: maker(unit).float())

    def _write_heatmaps(self, images: ImageArray, out: Any) -> Any:
        """Heatmaps of validated images in one array, or written into `out`."""
        shape = (len(images), *images.image_shape[:2])
        heatmaps = np.empty(shape, dtype=np.float32) if out is None else out
        check_out(heatmaps, shape)
        for rows, batch in self._heatmaps(images):
            heatmaps[rows] = batch
        return heatmaps
