"""Out-of-fold scores: each image is scored by a network that was not trained on it.

As in cross-conformal prediction (Vovk 2015) and the jackknife+ (Barber, Candes, Ramdas
and Tibshirani 2021), a network is trained for each fold, on the images of the other
folds. Its scores of the images in the fold then represent scores of new images. They
are multiplied by a factor that maps them to the scale of the final network, which is
trained on all images: the median of the ratios of the scores of both networks, on
images that both were trained on. The map of a memory bank is scaled by its own spread
in every training, and has the same weight in all models as in the final one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from skfcdd._engine.model import FittedModel
from skfcdd._engine.settings import Settings
from skfcdd._engine.split import Split
from skfcdd._engine.training import Trained, train
from skfcdd._inputs.groups import units
from skfcdd._inputs.images import ImageArray
from skfcdd._inputs.labels import Targets
from skfcdd._utils.warnings import silenced

__all__ = ["CrossFitted", "Fold", "cross_fit"]

Rows = npt.NDArray[np.intp]
Scores = npt.NDArray[np.float64]

# The training for each fold takes about two thirds of the time of the final training.
_FOLDS = 3
# Maximum number of images on which the scale of heatmaps is measured.
_SCALE_IMAGES = 32
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Fold:
    """Model of a fold, and the images that it was and was not trained on.

    Parameters
    ----------
    model : FittedModel
    held : ndarray of int
        Rows of the images of the fold, which the model was not trained on.
    normal : ndarray of int
        Rows of the normal images that the model was trained on.
    """

    model: FittedModel
    held: Rows
    normal: Rows


def deal_folds(rows: Rows, together: Rows, rng: np.random.RandomState) -> list[Rows]:
    """Split images into folds of nearly equal size, without splitting groups.

    Parameters
    ----------
    rows : ndarray of int
        Rows of the images to split.
    together : ndarray of int
        The group of each image of ``fit``.
    rng : RandomState

    Returns
    -------
    list of ndarray of int
        Rows of each fold: at most three folds, and at most one per group.
    """
    names, unit, sizes = np.unique(
        together[rows], return_inverse=True, return_counts=True
    )
    if len(names) == 1:  # a single group has to be split
        unit, sizes = np.arange(len(rows)), np.ones(len(rows), dtype=int)
    n_folds = min(_FOLDS, len(sizes))
    filled, fold_of = np.zeros(n_folds, dtype=int), np.empty(len(sizes), dtype=int)
    order = rng.permutation(len(sizes))
    for k in order[np.argsort(-sizes[order], kind="stable")]:
        fold_of[k] = filled.argmin()
        filled[fold_of[k]] += sizes[k]
    return [rows[fold_of[unit] == k] for k in range(n_folds)]


def cross_fit(
    settings: Settings,
    images: ImageArray,
    targets: Targets,
    split: Split,
    seed: int,
    digests: npt.NDArray[np.uint64],
    fitted: Callable[[Trained], FittedModel],
) -> list[Fold]:
    """Train a network for each fold, on the images of the other folds.

    Parameters
    ----------
    settings : Settings
        Callbacks without the attribute `every_training` are ignored.
    images : ImageArray
    targets : Targets
    split : Split
        Its held-out images are split into folds.
    seed : int
        Seed of the folds and of all trainings.
    digests : ndarray of shape (n,), uint64
        Digests of the images.
    fitted : callable
        Builds a model from the result of a training.

    Returns
    -------
    list of Fold

    Raises
    ------
    KeyboardInterrupt
        If a training was interrupted, because the threshold depends on all folds.
    """
    own = replace(
        settings,
        callbacks=[
            callback
            for callback in settings.callbacks or ()
            if getattr(callback, "every_training", False)
        ],
        checkpoint=None,
        compile=False,
        random_state=seed,
        verbose=0,
    )
    together = units(digests, targets.groups)
    rng = np.random.RandomState(seed)
    normal = deal_folds(split.held_normal, together, rng)
    anomalous = [split.held_anomalous[:0]] * len(normal)
    if len(split.held_anomalous):
        dealt = deal_folds(split.held_anomalous, together, rng)
        anomalous = (dealt + anomalous)[: len(normal)]
    folds = []
    for number, (good, bad) in enumerate(zip(normal, anomalous, strict=True), 1):
        if settings.verbose:
            print(f"calibration: training {number} of {len(normal)}", flush=True)
        part = split.without(good, bad)
        with silenced():  # the final training issues these warnings
            trained = train(own, images, targets, given=(part, digests))
            model = fitted(trained)
        if trained.net.interrupted_:
            raise KeyboardInterrupt
        folds.append(Fold(model, np.concatenate([good, bad]), part.normal))
    return folds


class CrossFitted:
    """Out-of-fold scores and heatmaps of the images that a model was trained on.

    Calibration uses it in place of the model.

    Parameters
    ----------
    final : FittedModel
        Model that defines the scale, and scores images that are not in any fold.
    folds : list of Fold
    images : ImageArray
        Images of ``fit``.
    """

    def __init__(
        self, final: FittedModel, folds: list[Fold], images: ImageArray
    ) -> None:
        self.final, self.folds, self.images = final, folds, images

    def scores(self, images: ImageArray, rows: Rows) -> Scores:
        """Compute the scores of the images at `rows`."""
        found = np.empty(len(rows))
        for judge, places in self._dealt(rows, self._for_scores):
            found[places] = judge.ratio * judge.model.scores(images, rows[places])
        return found

    def heatmaps(
        self, images: ImageArray, rows: Rows
    ) -> Iterator[tuple[Rows, npt.NDArray[np.float32]]]:
        """Yield positions in `rows`, and heatmaps of these images, batch by batch."""
        for judge, places in self._dealt(rows, self._for_heatmaps):
            for part, maps in judge.model.heatmaps(images, rows[places]):
                yield places[part], np.float32(judge.ratio) * maps

    def _dealt(self, rows: Rows, judges: list[_Judge]) -> Iterator[tuple[_Judge, Rows]]:
        """Yield each judge with the positions in `rows` of the images it scores."""
        rest = np.ones(len(rows), dtype=bool)
        for fold, judge in zip(self.folds, judges, strict=True):
            held = np.isin(rows, fold.held)
            rest &= ~held
            if held.any():
                yield judge, np.flatnonzero(held)
        if rest.any():
            yield _Judge(self.final, 1.0), np.flatnonzero(rest)

    @cached_property
    def _for_scores(self) -> list[_Judge]:
        every = np.unique(np.concatenate([fold.normal for fold in self.folds]))
        own = _bare(self.final).scores(self.images, every)
        found = []
        for fold in self.folds:
            seen = _bare(fold.model).scores(self.images, fold.normal)
            shared = own[np.searchsorted(every, fold.normal)]
            found.append(_judge(fold.model, self.final, _ratio(shared, seen)))
        return found

    @cached_property
    def _for_heatmaps(self) -> list[_Judge]:
        found = []
        for fold in self.folds:
            rows = fold.normal[:: -(-len(fold.normal) // _SCALE_IMAGES)]
            hot = [
                _peaks(_bare(m), self.images, rows) for m in (self.final, fold.model)
            ]
            found.append(_judge(fold.model, self.final, _ratio(*hot)))
        return found


@dataclass(frozen=True)
class _Judge:
    """Model, and the factor that maps its scores to the scale of the final model."""

    model: FittedModel
    ratio: float


def _judge(model: FittedModel, final: FittedModel, ratio: float) -> _Judge:
    """Create a judge whose memory bank has the same weight as in the final model."""
    if model.memory is None or final.memory is None:
        return _Judge(model, ratio)
    memory = model.memory.with_factor(final.memory.factor / ratio)
    return _Judge(replace(model, memory=memory), ratio)


def _bare(model: FittedModel) -> FittedModel:
    """Return the model without its memory bank, whose map is 0 on known images."""
    return model if model.memory is None else replace(model, memory=None)


def _ratio(one: Scores, other: Scores) -> float:
    """Return the median ratio of positive scores; 1 if there are none."""
    kept = (one > _TINY) & (other > _TINY)
    if not kept.any():
        return 1.0
    return float(np.exp(np.median(np.log(one[kept] / other[kept]))))


def _peaks(model: FittedModel, images: ImageArray, rows: Rows) -> Scores:
    """Return the maximum of each heatmap."""
    parts = [maps.max(axis=(1, 2)) for _, maps in model.heatmaps(images, rows)]
    return np.concatenate(parts).astype(np.float64)
