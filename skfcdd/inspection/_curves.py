"""What becomes of the score as the hottest pixels are taken away, or brought in."""

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

    Made by :func:`deletion_curve` and :func:`insertion_curve`.

    Parameters
    ----------
    kind : {"deletion", "insertion"}
        Whether pixels of the image are taken away, or brought in.
    shares : ndarray of shape (k,), float64
        Shares of the pixels that are exchanged, from 0 on.
    scores : ndarray of shape (n, k), float64
        Of each image, the hottest pixels first.
    coldest : ndarray of shape (n, k), float64
        The coldest pixels first.
    random : ndarray of shape (n, k), float64
        In the order of heatmaps that know nothing.

    Attributes
    ----------
    area, coldest_area, random_area : ndarray of shape (n,), float64
        Areas below the curves, of scores divided by that of the untouched image and of
        shares divided by the last: 1 where nothing changes. Of a deletion, less is
        better; of an insertion, more.
    gain : ndarray of shape (n,), float64
        By how much the area is better than that of random orders: above 0, the heatmap
        points at what makes the score.

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
        """Scores (n, k) of the curve, divided by those of the untouched images."""
        whole = self.scores[:, 0 if self.kind == "deletion" else -1]
        return scores / whole[:, None]

    @property
    def area(self) -> Scores:
        """Area below the curve, the hottest pixels first."""
        return self._area(self.scores)

    @property
    def coldest_area(self) -> Scores:
        """Area below the curve, the coldest pixels first."""
        return self._area(self.coldest)

    @property
    def random_area(self) -> Scores:
        """Area below the curve of heatmaps that know nothing."""
        return self._area(self.random)

    @property
    def gain(self) -> Scores:
        """By how much the area is better than that of random orders."""
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
    """Scores while the hottest pixels are replaced by normal content.

    Where a heatmap tells the truth, few of its pixels hold up the score [1]_: it falls
    fast when they are replaced, and hardly when others are. Of normal images no pixel
    holds up much; give anomalies as X.

    Two things are other than for classifiers of objects. What takes the place of pixels
    must be normal, or it is an anomaly itself and the curve rises: see `fill`. And a
    defect is small, so that all is decided within a few per cent of the pixels: see
    `shares`. Judge by the comparison with random orders (``gain``), which suffer from
    unsuitable content alike. These are the image's own heatmap, moved by a random
    distance and mirrored at random: patches are of the same size, and only their place
    tells nothing.

    Parameters
    ----------
    estimator : estimator
        A fitted model with ``anomaly_score`` and ``explain``.
    X : array-like
        Images, as for its ``explain``; read into memory.
    heatmaps : array-like of shape (n, h, w), default=None
        The explanation to be tested. None takes ``estimator.explain(X)``.
    fill : {"clone", "harmonic", "blur", "mean"} or array, default="clone"
        What takes the place of pixels, as for :func:`counterfactual`. "blur" is what
        is usual for photographs of objects, and fast; on a surface with a texture the
        score then rises, as blurred texture is anomalous.
    shares : array-like of shape (k,), default=None
        Shares of the pixels at which scores are taken, increasing from 0. None takes 9
        from 0 to 0.16, the first ones closely spaced. Beyond, little may be left of
        which normal content could be made. Up to 1 with "blur" and "mean" alone.
    n_random : int, default=3
        Random orders to average.
    batch_size : int, default=64
        Changed images in memory at a time.
    random_state : int, RandomState instance or None, default=None
        Chance of the random orders.

    Returns
    -------
    PerturbationCurve

    Raises
    ------
    TypeError, ~sklearn.exceptions.NotFittedError
        If `estimator` is no fitted model.
    ~skfcdd.exceptions.ImageShapeError
        If heatmaps or `fill` are of another size than the images.
    ValueError
        If an image has a score of 0, which nothing holds up; or values cannot be used.

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
    """Scores while the hottest pixels of an image are brought back.

    The reverse of :func:`deletion_curve`. It begins with images whose hottest part, the
    last of `shares`, is replaced by normal content, and brings that part back, the
    hottest pixels first. Where a heatmap tells the truth, the first of them bring the
    score about. The other orders bring back the same pixels. Part of a defect may score
    more than the whole, as its edges are cut: curves above 1 are nothing unusual.

    Parameters
    ----------
    estimator, X, heatmaps, fill, shares, n_random, batch_size, random_state
        As for :func:`deletion_curve`.

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
    # What is cloned must not depend on the explanation that is tested.
    filler = Filler(stack, fill, hot_pixels(estimator, own))
    counts = np.rint(at * heat[0].size).astype(np.int64)
    _check_counts(counts, heat[0].size, filler)
    hottest = _ranks(heat) < counts[-1]

    def run(maps: npt.NDArray[Any]) -> Scores:
        if kind == "insertion":  # whatever the order, the hottest part is exchanged
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
    """What makes changed images, all steps of the first one first; number of steps."""
    # Pixels whose place in the order lies from the first to the last are replaced.
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
    """Place of every pixel (n, h, w) in the order of heat, 0 for the hottest."""
    flat = heat.reshape(len(heat), -1)
    ranks = np.empty(flat.shape, dtype=np.int64)
    order = np.argsort(-flat, axis=1, kind="stable")
    np.put_along_axis(ranks, order, np.arange(flat.shape[1])[None], axis=1)
    return ranks.reshape(heat.shape)


def _displaced(heat: npt.NDArray[Any], rng: Any) -> npt.NDArray[Any]:
    """Heatmaps (n, h, w), each moved around in a circle, and mirrored."""
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
        raise ValueError(f"shares must go from 0 to 1 at most. Got {shares!r}.")
    if not (np.diff(at) > 0).all():
        raise ValueError(f"shares must increase. Got {shares!r}.")
    return at


def _check_counts(counts: Ranks, n_pixels: int, filler: Filler) -> None:
    if counts[-1] == n_pixels and filler.needs_border:
        raise ValueError(
            "shares goes up to all pixels, and then there is no border left to which "
            "content could be fitted. Stop at 0.5, or use fill='blur' or 'mean'."
        )


def _check_scores(scores: Any) -> Scores:
    scores = np.asarray(scores, dtype=np.float64)
    zero = np.flatnonzero(~(scores > 0))
    if len(zero):
        raise ValueError(
            f"X has {len(zero)} image(s) with a score of 0, the first in row "
            f"{zero[0]}: there is nothing that pixels could hold up. Leave them out."
        )
    return scores
