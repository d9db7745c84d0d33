"""Deletion and insertion curves of the hottest pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state

from skfcdd._answers import check_model
from skfcdd.inspection._checks import check_heatmaps, check_int, hot_pixels
from skfcdd.inspection._fill import Filler
from skfcdd.inspection._images import read_stack, score_changed

__all__ = ["PerturbationCurve", "deletion_curve", "insertion_curve"]

Ranks = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PerturbationCurve:
    """Scores while pixels are exchanged between an image and normal content.

    Returned by :func:`deletion_curve` and :func:`insertion_curve`.

    Parameters
    ----------
    kind : {"deletion", "insertion"}
        Whether pixels of the image are removed or inserted.
    shares : ndarray of shape (k,), float64
        Fractions of the pixels that are exchanged, starting from 0.
    scores : ndarray of shape (n, k), float64
        Scores of each image, with the hottest pixels first.
    coldest : ndarray of shape (n, k), float64
        Scores with the coldest pixels first.
    random : ndarray of shape (n, k), float64
        Scores with pixels in the order of uninformative heatmaps.

    Attributes
    ----------
    area, coldest_area, random_area : ndarray of shape (n,), float64
        Areas under the curves of scores divided by that of the original image, over
        shares divided by the last: 1 if nothing changes. Lower is better for a
        deletion, higher for an insertion.
    gain : ndarray of shape (n,), float64
        Improvement of the area over that of random orders: if positive, the heatmap
        points at the cause of the score.

    Examples
    --------
    >>> import numpy as np
    >>> from skfcdd.inspection import PerturbationCurve
    >>> curve = PerturbationCurve(
    ...     kind="deletion",
    ...     shares=np.array([0, 0.5, 1]),
    ...     scores=np.array([[4.0, 0, 0]]),
    ...     coldest=np.array([[4.0, 4, 0]]),
    ...     random=np.array([[4.0, 2, 0]]),
    ... )
    >>> curve.area, curve.gain
    (array([0.25]), array([0.25]))
    """

    kind: str
    shares: Scores
    scores: Scores
    coldest: Scores
    random: Scores

    def relative(self, scores: Scores) -> Scores:
        """Divide scores (n, k) of the curve by those of the original images."""
        whole = self.scores[:, 0 if self.kind == "deletion" else -1]
        return scores / whole[:, None]

    @property
    def area(self) -> Scores:
        """Area under the curve with the hottest pixels first."""
        return self._area(self.scores)

    @property
    def coldest_area(self) -> Scores:
        """Area under the curve with the coldest pixels first."""
        return self._area(self.coldest)

    @property
    def random_area(self) -> Scores:
        """Area under the curve of uninformative heatmaps."""
        return self._area(self.random)

    @property
    def gain(self) -> Scores:
        """Improvement of the area over that of random orders."""
        better = self.random_area - self.area
        return better if self.kind == "deletion" else -better

    def _area(self, scores: Scores) -> Scores:
        values = self.relative(scores)
        heights = (values[:, 1:] + values[:, :-1]) / 2
        area: Scores = heights @ np.diff(self.shares) / self.shares[-1]
        return area


def deletion_curve(
    estimator: Any,
    X: Any,
    *,
    heatmaps: Any = None,
    fill: Any = "clone",
    shares: Any = None,
    n_random: int = 3,
    batch_size: int = 64,
    random_state: Any = None,
) -> PerturbationCurve:
    """Compute scores while the hottest pixels are replaced by normal content.

    If a heatmap is faithful, the score depends on few of its pixels [1]_: it falls
    quickly if they are replaced, and hardly if others are. The scores of normal images
    depend little on any pixel, so pass anomalies as X.

    There are two differences from classifiers of objects. The replacement must look
    normal, or it is itself an anomaly and the curve rises: see `fill`. And a defect is
    small, so that only the first few per cent of the pixels matter: see `shares`. Judge
    a heatmap by the comparison with random orders (``gain``), which are equally
    affected by unsuitable content. They are the image's own heatmap, cyclically shifted
    by a random distance and mirrored at random: patches have the same size, but their
    position is uninformative.

    Parameters
    ----------
    estimator : estimator
        A fitted model with ``anomaly_score`` and ``explain``.
    X : array-like
        Images, as for its ``explain``; loaded into memory.
    heatmaps : array-like of shape (n, h, w), default=None
        The explanation to test. None uses ``estimator.explain(X)``.
    fill : {"clone", "harmonic", "blur", "mean"} or array, default="clone"
        Replacement of pixels, as for :func:`counterfactual`. "blur" is common for
        photographs of objects, and fast; on a textured surface it raises the score,
        because a blurred texture is anomalous.
    shares : array-like of shape (k,), default=None
        Fractions of the pixels at which scores are computed, increasing from 0. None
        uses 9 values from 0 to 0.16, the first ones closely spaced. Beyond, too little
        may be left to create normal content. Values up to 1 are useful only with "blur"
        and "mean".
    n_random : int, default=3
        Number of random orders to average over.
    batch_size : int, default=64
        Number of modified images in memory at a time.
    random_state : int, RandomState instance or None, default=None
        Controls the random orders.

    Returns
    -------
    PerturbationCurve

    Raises
    ------
    TypeError, NotFittedError
        If `estimator` is not a fitted model.
    ImageShapeError
        If heatmaps or `fill` differ in size from the images.
    ValueError
        If an image has a score of 0, to which no pixel contributes, or a value is
        invalid.

    References
    ----------
    .. [1] Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box
       Models", BMVC 2018.

    Examples
    --------
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.inspection import deletion_curve
    >>> data = make_defects(40, image_size=32, random_state=0)
    >>> model = FCDDClassifier(max_epochs=1, random_state=0)
    >>> model = model.fit(data.images[data.target == 0])
    >>> curve = deletion_curve(model, data.images[data.target == 1], random_state=0)
    >>> curve.scores.shape, curve.area.shape
    ((8, 9), (8,))
    """
    options = (heatmaps, fill, shares, n_random, batch_size, random_state)
    return _curve("deletion", estimator, X, *options)


def insertion_curve(
    estimator: Any,
    X: Any,
    *,
    heatmaps: Any = None,
    fill: Any = "clone",
    shares: Any = None,
    n_random: int = 3,
    batch_size: int = 64,
    random_state: Any = None,
) -> PerturbationCurve:
    """Compute scores while the hottest pixels of an image are restored.

    The reverse of :func:`deletion_curve`. It begins with images whose hottest part, the
    last of `shares`, is replaced by normal content, and restores that part, the hottest
    pixels first. If a heatmap is faithful, the first of them restore most of the score.
    The other orders restore the same pixels. Part of a defect may have a higher score
    than the whole, because its edges are cut: curves above 1 are not unusual.

    Parameters
    ----------
    estimator, X, heatmaps, fill, shares, n_random, batch_size, random_state
        See :func:`deletion_curve`.

    Returns
    -------
    PerturbationCurve

    Raises
    ------
    TypeError, ValueError
        As for :func:`deletion_curve`.

    Examples
    --------
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.inspection import insertion_curve
    >>> data = make_defects(40, image_size=32, random_state=0)
    >>> model = FCDDClassifier(max_epochs=1, random_state=0)
    >>> model = model.fit(data.images[data.target == 0])
    >>> curve = insertion_curve(
    ...     model, data.images[data.target == 1], shares=[0, 0.05, 0.1]
    ... )
    >>> curve.scores.shape
    (8, 3)
    """
    options = (heatmaps, fill, shares, n_random, batch_size, random_state)
    return _curve("insertion", estimator, X, *options)


def _curve(
    kind: str,
    estimator: Any,
    X: Any,
    heatmaps: Any,
    fill: Any,
    shares: Any,
    n_random: int,
    batch_size: int,
    random_state: Any,
) -> PerturbationCurve:
    check_model(estimator, "anomaly_score", "explain")
    at = _check_shares(shares)
    n_random = check_int("n_random", n_random, 1)
    rng = check_random_state(random_state)
    whole = _check_scores(estimator.anomaly_score(X))
    stack = read_stack(estimator, X)
    own = estimator.explain(X)
    heat = own if heatmaps is None else heatmaps
    heat = check_heatmaps(heat, (len(stack), *stack.size))
    # The cloned content must not depend on the explanation under test.
    filler = Filler(stack, fill, hot_pixels(estimator, own))
    counts = np.rint(at * heat[0].size).astype(np.int64)
    _check_counts(counts, heat[0].size, filler)
    hottest = _ranks(heat) < counts[-1]

    def run(maps: npt.NDArray[Any]) -> Scores:
        if kind == "insertion":  # in all orders, the hottest part is exchanged
            maps = np.where(hottest, maps, -np.inf)
        make, n_steps = _changed(kind, filler, _ranks(maps), counts)
        n = len(stack) * n_steps
        found, _ = score_changed(estimator, stack, n, make, batch_size)
        found = found.reshape(len(stack), n_steps)
        columns = [whole, found] if kind == "deletion" else [found, whole]
        return np.column_stack(columns)

    return PerturbationCurve(
        kind=kind,
        shares=at,
        scores=run(heat),
        coldest=run(-heat),
        random=np.mean([run(_displaced(heat, rng)) for _ in range(n_random)], axis=0),
    )


def _changed(
    kind: str, filler: Filler, ranks: Ranks, counts: Ranks
) -> tuple[Callable[[slice], npt.NDArray[Any]], int]:
    """Return the function that creates modified images, and the number of steps.

    All steps of the first image come first.
    """
    # Pixels whose rank is in this interval are replaced.
    first, last = np.zeros_like(counts[1:]), counts[1:]
    if kind == "insertion":
        first, last = counts[:-1], np.full_like(counts[:-1], counts[-1])

    def make(rows: slice) -> npt.NDArray[Any]:
        image, step = np.divmod(np.arange(rows.start, rows.stop), len(first))
        place = ranks[image]
        holes = place >= first[step, None, None]
        return filler(image, holes & (place < last[step, None, None]))

    return make, len(first)


def _ranks(heat: npt.NDArray[Any]) -> Ranks:
    """Rank all pixels (n, h, w) by heat, 0 for the hottest."""
    flat = heat.reshape(len(heat), -1)
    ranks = np.empty(flat.shape, dtype=np.int64)
    order = np.argsort(-flat, axis=1, kind="stable")
    np.put_along_axis(ranks, order, np.arange(flat.shape[1])[None], axis=1)
    return ranks.reshape(heat.shape)


def _displaced(heat: npt.NDArray[Any], rng: Any) -> npt.NDArray[Any]:
    """Shift heatmaps (n, h, w) cyclically and mirror them, at random."""
    moved = np.empty_like(heat)
    _, h, w = heat.shape
    for k, image in enumerate(heat):
        flipped = image[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
        moved[k] = np.roll(flipped, (rng.randint(h), rng.randint(w)), axis=(0, 1))
    return moved


def _check_shares(shares: Any) -> Scores:
    if shares is None:
        return np.linspace(0, 0.4, 9) ** 2
    at = np.asarray(shares, dtype=np.float64)
    if at.ndim != 1 or len(at) < 2 or at[0] != 0 or not at[-1] <= 1:
        raise ValueError(f"shares must be between 0 and 1. Got {shares!r}.")
    if not (np.diff(at) > 0).all():
        raise ValueError(f"shares must increase. Got {shares!r}.")
    return at


def _check_counts(counts: Ranks, n_pixels: int, filler: Filler) -> None:
    if counts[-1] == n_pixels and filler.needs_border:
        raise ValueError(
            "shares goes up to all pixels, which leaves no border from which to fill "
            "them. Stop at 0.5, or use fill='blur' or 'mean'."
        )


def _check_scores(scores: Any) -> Scores:
    scores = np.asarray(scores, dtype=np.float64)
    zero = np.flatnonzero(~(scores > 0))
    if len(zero):
        raise ValueError(
            f"X has {len(zero)} image(s) with a score of 0, the first in row "
            f"{zero[0]}: removing pixels cannot lower it. Exclude these images."
        )
    return scores
