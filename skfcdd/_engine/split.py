"""Split of the images into rows to train on and rows to hold out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

__all__ = ["Split", "UsedImages", "resolve_validation"]

Rows = npt.NDArray[np.intp]

# Anomalies are also held out if there are at least this many of them.
_MIN_ANOMALIES_TO_SPLIT = 10
# "auto" holds out this fraction of the normal images, and at least this many: the
# smallest number that allows a threshold with 5 % of false alarms.
_SHARE, _LEAST = 0.1, 20
# With fewer normal images, "auto" augments them and calibrates on out-of-fold scores.
MANY_IMAGES = 100


def resolve_validation(
    fraction: float | str, n_normal: int, *, once: bool
) -> float | None:
    """Return the fraction of normal images to hold out; None for out-of-fold scores.

    Parameters
    ----------
    fraction : float or "auto"
    n_normal : int
        Number of normal images.
    once : bool
        Whether only a single training is possible.
    """
    if not isinstance(fraction, str):
        return float(fraction)
    if n_normal >= MANY_IMAGES:
        return max(_SHARE, _LEAST / n_normal)
    return _SHARE if once else None


def _nothing() -> npt.NDArray[np.uint64]:
    return np.empty(0, dtype=np.uint64)


@dataclass(frozen=True)
class UsedImages:
    """Digests of the images that a network knows, and that cannot calibrate it.

    Parameters
    ----------
    trained : ndarray of uint64
        Digests of the images that were trained on.
    selected : ndarray of uint64
        Digests of the images used for early stopping.
    """

    trained: npt.NDArray[np.uint64] = field(default_factory=_nothing)
    selected: npt.NDArray[np.uint64] = field(default_factory=_nothing)

    def known(self, digests: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Return which of the images with these digests the network knows."""
        return np.isin(digests, self.trained) | np.isin(digests, self.selected)

    def joined(self, split: Split, digests: npt.NDArray[np.uint64]) -> UsedImages:
        """Return the union of these images and the training images of a split."""
        trained = np.concatenate([split.normal, split.anomalous])
        selected = np.concatenate([split.stop_normal, split.stop_anomalous])
        return UsedImages(
            np.union1d(self.trained, digests[trained]),
            np.union1d(self.selected, digests[selected]),
        )


@dataclass(frozen=True)
class Split:
    """Rows to train on, and rows that the network never sees.

    Parameters
    ----------
    normal, anomalous : ndarray of int
        Rows to train on.
    held_normal, held_anomalous : ndarray of int
        Rows held out to set the threshold.
    stop_normal, stop_anomalous : ndarray of int
        Rows held out for early stopping. Images used for model selection cannot also
        calibrate the threshold.
    """

    normal: Rows
    anomalous: Rows
    held_normal: Rows
    held_anomalous: Rows
    stop_normal: Rows
    stop_anomalous: Rows

    @classmethod
    def draw(
        cls,
        anomalous: npt.NDArray[np.bool_],
        fraction: float,
        rng: np.random.RandomState,
        *,
        stop_early: bool = False,
        digests: npt.NDArray[np.uint64] | None = None,
        used: UsedImages | None = None,
        kept: npt.NDArray[np.bool_] | None = None,
        together: Rows | None = None,
    ) -> Split:
        """Hold out a fraction of the normal images, at least one, and of the anomalies.

        Parameters
        ----------
        anomalous : ndarray of shape (n,), bool
        fraction : float
        rng : RandomState
        stop_early : bool, default=False
            Whether to hold out as many images again for early stopping.
        digests : ndarray of shape (n,), uint64, default=None
            Digests of the images; copies of an image have the same digest.
        used : UsedImages, default=None
            Images used by an earlier training, which are never held out.
        kept : ndarray of shape (n,), bool, default=None
            Which images to use. None means all.
        together : ndarray of shape (n,), int, default=None
            Equal for images that stay together. None uses `digests`.
        """
        if digests is None:
            digests = np.arange(len(anomalous), dtype=np.uint64)
        used = used or UsedImages()
        if kept is None:
            kept = np.ones(len(anomalous), dtype=bool)
        normal = rng.permutation(np.flatnonzero(~anomalous & kept))
        bad = rng.permutation(np.flatnonzero(anomalous & kept))
        n_normal = _n_held(len(normal), fraction, stop_early, int(kept.sum()))
        n_bad = round(fraction * len(bad)) * (len(bad) >= _MIN_ANOMALIES_TO_SPLIT)
        apart = digests if together is None else together
        if len(np.unique(digests[normal])) == 1:  # copies of one image must be split
            apart = np.arange(len(anomalous))
        known = used.known(digests), np.isin(digests, used.trained)
        parts = [
            *_part(normal, n_normal, n_normal * stop_early, apart, known, least=1),
            *_part(bad, n_bad, n_bad * stop_early, apart, known, least=0),
        ]
        held, stop, rest, bad_held, bad_stop, bad_rest = map(np.sort, parts)
        if not len(rest):
            raise ValueError(
                f"Only {len(np.unique(apart[normal]))} of the {len(normal)} normal "
                "images are distinct, or in distinct groups, so none is left for "
                "training after the hold-out. Add more images."
            )
        return cls(rest, bad_rest, held, bad_held, stop, bad_stop)

    @classmethod
    def whole(
        cls, anomalous: npt.NDArray[np.bool_], kept: npt.NDArray[np.bool_]
    ) -> Split:
        """Create the split for out-of-fold scores, with all images in both parts.

        Anomalies are held out only if there are ten or more.

        Parameters
        ----------
        anomalous : ndarray of shape (n,), bool
        kept : ndarray of shape (n,), bool
            Which images to use.
        """
        normal, bad = (np.flatnonzero((anomalous == k) & kept) for k in (0, 1))
        _n_held(len(normal), 0.0, False, int(kept.sum()))
        dealt = bad if len(bad) >= _MIN_ANOMALIES_TO_SPLIT else bad[:0]
        nothing = normal[:0]
        return cls(normal, bad, normal, dealt, nothing, nothing)

    def without(self, normal: Rows, anomalous: Rows) -> Split:
        """Return a split that holds out the given images and trains on the rest."""
        return replace(
            self,
            normal=np.setdiff1d(self.normal, normal),
            anomalous=np.setdiff1d(self.anomalous, anomalous),
            held_normal=normal,
            held_anomalous=anomalous,
        )


def _n_held(n: int, fraction: float, stop_early: bool, n_samples: int) -> int:
    """Return the number of normal images to hold out for the threshold.

    Raises
    ------
    ValueError
        If none are left to train on.
    """
    if n < 2 + stop_early:
        raise ValueError(
            f"At least {2 + stop_early} normal images are needed, one of them to set "
            f"the threshold. Got n_samples = {n_samples} with {n} normal: "
            f"{2 + stop_early - n} sample too few."
        )
    count = max(1, round(fraction * n))
    if count * (1 + stop_early) >= n:
        more = f" and {count} to stop early" if stop_early else ""
        raise ValueError(
            f"validation_fraction={fraction} holds out {count} of {n} normal images "
            f"for the threshold{more}, which leaves none to train on. Choose a "
            "smaller fraction."
        )
    return count


def _part(
    rows: Rows,
    n_held: int,
    n_stop: int,
    apart: Rows | npt.NDArray[np.uint64],
    known: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    *,
    least: int,
) -> tuple[Rows, Rows, Rows]:
    """Split rows into those to hold out, to use for early stopping, and to train on.

    `known` has masks of the images known to the network and of those it was trained on.
    """
    held = _first(rows[~known[0][rows]], n_held, apart)
    if len(held) < least:
        raise ValueError(
            f"All {len(rows)} normal images were already used for training, so none "
            "of them can set the threshold. Add images that the network has not seen, "
            "or fit from scratch with warm_start=False."
        )
    rest = rows[~np.isin(rows, held)]
    stop = _first(rest[~known[1][rest]], n_stop, apart)
    if len(stop) < min(least, n_stop):
        raise ValueError(
            "early_stopping=True needs normal images that were not used for training "
            "before. Add images that the network has not seen, or set "
            "early_stopping=False."
        )
    return held, stop, rest[~np.isin(rest, stop)]


def _first(rows: Rows, count: int, apart: Rows | npt.NDArray[np.uint64]) -> Rows:
    """Return the first `count` rows, and the rest of their groups."""
    _, first, image, sizes = np.unique(
        apart[rows], return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    before = np.cumsum(sizes[order]) - sizes[order]
    return rows[np.isin(image, order[before < count])]
