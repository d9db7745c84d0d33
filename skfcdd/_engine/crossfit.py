"""Scores of all normal images by networks that were not trained on them.

As in cross-conformal prediction (Vovk 2015) and the jackknife+ (Barber, Candes, Ramdas
and Tibshirani 2021), a network is trained for each fold, on the images of the others.
Its scores of the fold it has not seen then represent those of new images. The final
network is trained on all images. Its scores have a different scale; the factor is the
median of the ratios of their scores on images that both networks were trained on. The
map of a memory is in units of its own spread in every training, and gets the weight
that it has in the final model.
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

# Each network more takes as long as two thirds of the final training.
_FOLDS = 3
# The scale of heatmaps is measured on at most this many images.
_SCALE_IMAGES = 32
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Fold:
    """A network, and which images it has seen.

    Parameters
    ----------
    model : FittedModel
    held : ndarray of int
        Rows of the images that it was not trained on.
    normal : ndarray of int
        Rows of the normal images that it was trained on.
    """

    model: FittedModel
    held: Rows
    normal: Rows


def deal_folds(rows: Rows, together: Rows, rng: np.random.RandomState) -> list[Rows]:
    """Split images into folds of nearly equal size, without splitting groups.

    Parameters
    ----------
    rows : ndarray of int
        The images to split.
    together : ndarray of int
        The unit of each image of ``fit``.
    rng : RandomState

    Returns
    -------
    list of ndarray of int
        Rows of each fold: at most three folds, and at most one per unit.
    """
    names, unit, sizes = np.unique(
        together[rows], return_inverse=True, return_counts=True
    )
    if len(names) == 1:  # copies of one image: nothing else could be held out
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
    """Train a network for each fold, on the images of the others.

    Parameters
    ----------
    settings : Settings
        Callbacks without the attribute `every_training` are not used.
    images : ImageArray
    targets : Targets
    split : Split
        Its images are split into folds; of the anomalies, only those held out.
    seed : int
        Seed of the split, and of all trainings.
    digests : ndarray of shape (n,), uint64
        Hashes of the images.
    fitted : callable
        Builds a model from the result of a training.

    Returns
    -------
    list of Fold

    Raises
    ------
    KeyboardInterrupt
        If a training was interrupted, as there is no threshold without it.
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
        with silenced():  # the last training tells
            trained = train(own, images, targets, given=(part, digests))
            model = fitted(trained)
        if trained.net.interrupted_:
            raise KeyboardInterrupt
        folds.append(Fold(model, np.concatenate([good, bad]), part.normal))
    return folds


class CrossFitted:
    """Scores and heatmaps of images that a model was trained on, as if they were new.

    Stands where calibration would ask the model itself.

    Parameters
    ----------
    final : FittedModel
        Model that defines their scale, and scores images that no fold holds out.
    folds : list of Fold
    images : ImageArray
        Images of ``fit``.
    """

    def __init__(
        self, final: FittedModel, folds: list[Fold], images: ImageArray
    ) -> None:
        self.final, self.folds, self.images = final, folds, images

    def scores(self, images: ImageArray, rows: Rows) -> Scores:
        """Scores of some rows of the images."""
        found = np.empty(len(rows))
        for judge, places in self._dealt(rows, self._for_scores):
            found[places] = judge.ratio * judge.model.scores(images, rows[places])
        return found

    def heatmaps(
        self, images: ImageArray, rows: Rows
    ) -> Iterator[tuple[Rows, npt.NDArray[np.float32]]]:
        """Heatmaps of some rows of the images, by batches, and which they are."""
        for judge, places in self._dealt(rows, self._for_heatmaps):
            for part, maps in judge.model.heatmaps(images, rows[places]):
                yield places[part], np.float32(judge.ratio) * maps

    def _dealt(self, rows: Rows, judges: list[_Judge]) -> Iterator[tuple[_Judge, Rows]]:
        """Each judge with the rows that it scores."""
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
    """A model, and the factor between its scores and those of the final one."""

    model: FittedModel
    ratio: float


def _judge(model: FittedModel, final: FittedModel, ratio: float) -> _Judge:
    """A model of a fold, with the weight of the memory that the final model has."""
    if model.memory is None or final.memory is None:
        return _Judge(model, ratio)
    memory = model.memory.with_factor(final.memory.factor / ratio)
    return _Judge(replace(model, memory=memory), ratio)


def _bare(model: FittedModel) -> FittedModel:
    """The model without its memory, whose map is 0 on known images."""
    return model if model.memory is None else replace(model, memory=None)


def _ratio(one: Scores, other: Scores) -> float:
    """The median of the ratios of scores; 1 if there are none above 0."""
    kept = (one > _TINY) & (other > _TINY)
    if not kept.any():
        return 1.0
    return float(np.exp(np.median(np.log(one[kept] / other[kept]))))


def _peaks(model: FittedModel, images: ImageArray, rows: Rows) -> Scores:
    """The hottest pixel of each heatmap."""
    parts = [maps.max(axis=(1, 2)) for _, maps in model.heatmaps(images, rows)]
    return np.concatenate(parts).astype(np.float64)
