"""What becomes of the score as pixels are taken away or brought in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skfcdd.display._common import (
    ANOMALOUS,
    NORMAL,
    figure_of,
    foreground,
    matplotlib,
    style,
)

if TYPE_CHECKING:
    from skfcdd.inspection import PerturbationCurve

__all__ = ["PerturbationCurveDisplay"]


class PerturbationCurveDisplay:
    """Scores while pixels are exchanged between images and normal content.

    Made by :meth:`from_estimator` or :meth:`from_curve`. Drawn are scores divided by
    that of the untouched image, on average over the images. The farther the curve of
    the hottest pixels is from that of random orders, the more the heatmap tells: below
    it in a deletion, above it in an insertion.

    Parameters
    ----------
    curve : PerturbationCurve
        Of :func:`~skfcdd.inspection.deletion_curve` or
        :func:`~skfcdd.inspection.insertion_curve`.
    name : str, default=None
        Of the model.

    Attributes
    ----------
    figure_ : matplotlib Figure
        That which is drawn on.
    ax_ : matplotlib Axes
        The axes.
    lines_ : dict of str to matplotlib Line2D
        The curves of the "hottest", the "coldest", and "random" pixels.
    band_ : matplotlib PolyCollection or None
        Between the quarters of the images, the hottest pixels first.

    Examples
    --------
    >>> import numpy as np
    >>> from skfcdd.display import PerturbationCurveDisplay
    >>> from skfcdd.inspection import PerturbationCurve
    >>> curve = PerturbationCurve(
    ...     kind="deletion",
    ...     shares=np.array([0, 0.5, 1]),
    ...     scores=np.array([[4.0, 0, 0]]),
    ...     coldest=np.array([[4.0, 4, 0]]),
    ...     random=np.array([[4.0, 2, 0]]),
    ... )
    >>> display = PerturbationCurveDisplay.from_curve(curve)
    >>> sorted(display.lines_)
    ['coldest', 'hottest', 'random']
    """

    def __init__(self, *, curve: PerturbationCurve, name: str | None = None) -> None:
        self.curve = curve
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        kind: str = "deletion",
        name: str | None = None,
        ax: Any = None,
        fill_between: bool = True,
        **kwargs: Any,
    ) -> PerturbationCurveDisplay:
        """Take the curve of a fitted model, and draw it.

        Parameters
        ----------
        estimator : estimator
            A fitted model with ``anomaly_score`` and ``explain``.
        X : array-like
            Images, as for its ``explain``; anomalies are best.
        kind : {"deletion", "insertion"}, default="deletion"
            Whether pixels are taken away or brought in.
        name : str, default=None
            For the legend. None takes that of the class.
        ax : matplotlib Axes, default=None
            Where to draw. None makes a figure.
        fill_between : bool, default=True
            Whether to shade the middle half of the images.
        **kwargs
            As for :func:`~skfcdd.inspection.deletion_curve`.

        Returns
        -------
        PerturbationCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        TypeError, ValueError
            As for :func:`~skfcdd.inspection.deletion_curve`.
        """
        from skfcdd.inspection import deletion_curve, insertion_curve

        matplotlib()
        ways = {"deletion": deletion_curve, "insertion": insertion_curve}
        if kind not in ways:
            raise ValueError(f"Got kind={kind!r}, but expected one of {list(ways)}.")
        curve = ways[kind](estimator, X, **kwargs)
        name = type(estimator).__name__ if name is None else name
        return cls(curve=curve, name=name).plot(ax=ax, fill_between=fill_between)

    @classmethod
    def from_curve(
        cls,
        curve: PerturbationCurve,
        *,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> PerturbationCurveDisplay:
        """Draw a curve that is there already.

        Parameters
        ----------
        curve : PerturbationCurve
            What to draw.
        name : str, default=None
            For the legend.
        ax : matplotlib Axes, default=None
            Where to draw. None makes a figure.
        **kwargs
            As for :meth:`plot`.

        Returns
        -------
        PerturbationCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        return cls(curve=curve, name=name).plot(ax=ax, **kwargs)

    def plot(
        self,
        *,
        ax: Any = None,
        name: str | None = None,
        fill_between: bool = True,
        fill_kw: dict[str, Any] | None = None,
        baseline_kw: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> PerturbationCurveDisplay:
        """Draw the curve, and those of random orders and of the coldest pixels.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None makes a figure.
        name : str, default=None
            For the legend. None takes that of the display.
        fill_between : bool, default=True
            Whether to shade the middle half of the images.
        fill_kw, baseline_kw : dict, default=None
            Further arguments of `matplotlib.axes.Axes.fill_between`, and of ``plot``
            for the two other curves.
        **kwargs
            Further arguments of `matplotlib.axes.Axes.plot`, for the curve.

        Returns
        -------
        self : PerturbationCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        self.figure_, self.ax_ = figure_of(ax)
        curve = self.curve
        x = 100 * curve.shares
        name = self.name if name is None else name
        main = f"{name}: hottest first" if name else "hottest first"
        plain = {"linestyle": "--", "linewidth": 1.2, "color": foreground()}
        cold = {"linestyle": ":", "color": NORMAL}
        orders: dict[str, tuple[Any, ...]] = {
            "hottest": (curve.scores, curve.area, main, {"color": ANOMALOUS}, kwargs),
            "random": (
                curve.random,
                curve.random_area,
                "random order",
                plain,
                baseline_kw,
            ),
            "coldest": (
                curve.coldest,
                curve.coldest_area,
                "coldest first",
                cold,
                baseline_kw,
            ),
        }
        self.lines_ = {}
        for order, (scores, area, label, look, given) in orders.items():
            label = f"{label} (area {area.mean():.2f})"
            look = style(given, "lines.Line2D", label=label, **look)
            y = curve.relative(scores).mean(axis=0)
            (self.lines_[order],) = self.ax_.plot(x, y, **look)
        self.band_ = None
        if fill_between and len(curve.scores) > 1:
            self.band_ = self._shade(x, fill_kw)
        done = "replaced" if curve.kind == "deletion" else "brought back"
        self.ax_.set(xlabel=f"pixels {done} (%)", ylabel="score / score of the image")
        self.ax_.set_ylim(bottom=min(0.0, self.ax_.get_ylim()[0]))
        self.ax_.legend(loc="best")
        return self

    def _shade(self, x: npt.NDArray[np.float64], given: dict[str, Any] | None) -> Any:
        """The middle half of the images."""
        values = self.curve.relative(self.curve.scores)
        colour = self.lines_["hottest"].get_color()
        look = {"color": colour, "alpha": 0.2, "linewidth": 0}
        look = style(given, "collections.PolyCollection", **look)
        ends = np.quantile(values, (0.25, 0.75), axis=0)
        return self.ax_.fill_between(x, *ends, **look)
