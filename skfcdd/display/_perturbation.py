"""Display of scores while pixels are removed or inserted."""

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
    """Visualisation of scores while pixels are exchanged with normal content.

    Create it with :meth:`from_estimator` or :meth:`from_curve`. Curves show scores
    divided by the score of the original image, averaged over the images. The larger the
    distance between the curve of the hottest pixels and that of random orders, the more
    faithful the heatmap: below it for a deletion, above it for an insertion.

    Parameters
    ----------
    curve : PerturbationCurve
        Result of :func:`~skfcdd.inspection.deletion_curve` or
        :func:`~skfcdd.inspection.insertion_curve`.
    name : str, default=None
        Name of the model.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure containing the plot.
    ax_ : matplotlib Axes
        Axes containing the curves.
    lines_ : dict of str to matplotlib Line2D
        Curves of the "hottest", the "coldest" and "random" pixels.
    band_ : matplotlib PolyCollection or None
        Interquartile range of the images for the hottest pixels first.

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
        """Compute the curve of a fitted model and plot it.

        Parameters
        ----------
        estimator : estimator
            A fitted model with ``anomaly_score`` and ``explain``.
        X : array-like
            Images, as for its ``explain``; preferably anomalies.
        kind : {"deletion", "insertion"}, default="deletion"
            Whether pixels are removed or inserted.
        name : str, default=None
            Name in the legend. None uses the class name.
        ax : matplotlib Axes, default=None
            Axes to plot on. None creates a new figure.
        fill_between : bool, default=True
            Whether to shade the interquartile range of the images.
        **kwargs
            Passed to :func:`~skfcdd.inspection.deletion_curve`.

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
        """Plot an existing curve.

        Parameters
        ----------
        curve : PerturbationCurve
            The curve to plot.
        name : str, default=None
            Name in the legend.
        ax : matplotlib Axes, default=None
            Axes to plot on. None creates a new figure.
        **kwargs
            Passed to :meth:`plot`.

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
        """Plot the curve, and those of random orders and of the coldest pixels.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on. None creates a new figure.
        name : str, default=None
            Name in the legend. None uses that of the display.
        fill_between : bool, default=True
            Whether to shade the interquartile range of the images.
        fill_kw, baseline_kw : dict, default=None
            Keyword arguments passed to `matplotlib.axes.Axes.fill_between`, and to
            ``plot`` for the two other curves.
        **kwargs
            Keyword arguments passed to `matplotlib.axes.Axes.plot` for the curve.

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
        done = "replaced" if curve.kind == "deletion" else "restored"
        self.ax_.set(xlabel=f"pixels {done} (%)", ylabel="score / score of the image")
        self.ax_.set_ylim(bottom=min(0.0, self.ax_.get_ylim()[0]))
        self.ax_.legend(loc="best")
        return self

    def _shade(self, x: npt.NDArray[np.float64], given: dict[str, Any] | None) -> Any:
        """Shade the interquartile range of the images."""
        values = self.curve.relative(self.curve.scores)
        colour = self.lines_["hottest"].get_color()
        look = {"color": colour, "alpha": 0.2, "linewidth": 0}
        look = style(given, "collections.PolyCollection", **look)
        ends = np.quantile(values, (0.25, 0.75), axis=0)
        return self.ax_.fill_between(x, *ends, **look)
