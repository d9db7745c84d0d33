"""Rows that are trained on, and rows that are held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Split"]

# Anomalies are held out too where there are at least this many of them.
_MIN_ANOMALIES_TO_SPLIT = 10


@dataclass(frozen=True)
class Split:
    """Rows to train on, and rows that the network never sees.

    Parameters
    ----------
    normal, anomalous : ndarray of int
        To train on.
    held_normal, held_anomalous : ndarray of int
        Held out to set the threshold.
    stop_normal, stop_anomalous : ndarray of int
        Held out to stop early: images that have chosen the weights can promise
        nothing about others.
    """

    normal: npt.NDArray[np.intp]
    anomalous: npt.NDArray[np.intp]
    held_normal: npt.NDArray[np.intp]
    held_anomalous: npt.NDArray[np.intp]
    stop_normal: npt.NDArray[np.intp]
    stop_anomalous: npt.NDArray[np.intp]

    @classmethod
    def draw(
        cls,
        anomalous: npt.NDArray[np.bool_],
        fraction: float,
        rng: np.random.RandomState,
        *,
        stop_early: bool = False,
    ) -> Split:
        """Hold out a share of the normal images, at least one, and of the anomalies.

        As many again to stop early, where that is wanted.
        """
        parts: list[npt.NDArray[np.intp]] = []
        for rows, least in (
            (rng.permutation(np.flatnonzero(~anomalous)), 1),
            (rng.permutation(np.flatnonzero(anomalous)), 0),
        ):
            count = max(least, round(fraction * len(rows)))
            if least == 0 and len(rows) < _MIN_ANOMALIES_TO_SPLIT:
                count = 0
            ends = np.cumsum([count, count * stop_early])
            parts += [np.sort(part) for part in np.split(rows, ends)]
        held_normal, stop_normal, normal, held_anomalous, stop_anomalous, rest = parts
        if len(normal) == 0:
            n_normal = int((~anomalous).sum())
            raise ValueError(
                f"At least {2 + stop_early} normal images are needed, one of them to "
                f"set the threshold. Got n_samples = {len(anomalous)} with {n_normal} "
                f"normal, {2 + stop_early - n_normal} sample too few."
            )
        return cls(
            normal, rest, held_normal, held_anomalous, stop_normal, stop_anomalous
        )
