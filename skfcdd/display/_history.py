"""Display of the training history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import check_model
from skfcdd.display._common import (
    ANOMALOUS,
    NORMAL,
    figure_of,
    foreground,
    matplotlib,
    style,
)

__all__ = ["HistoryDisplay"]

# Entries of an epoch that are not curves.
_NO_CURVES = ("epoch", "dur")
_NAMES = {"train_loss": "training loss", "valid_loss": "loss on held-out images"}
_LOOKS = {
    "train_loss": {"color": NORMAL, "linestyle": "-"},
    "valid_loss": {"color": ANOMALOUS, "linestyle": "--"},
}
# Up to this number of epochs, each is marked.
_MOST_MARKED = 20


class HistoryDisplay:
    """Visualisation of the losses, scores and learning rate of each epoch.

    Create it with :meth:`from_estimator` or :meth:`from_history`.

    Parameters
    ----------
    curves : dict of str to ndarray of shape (n_epochs,)
        Values of each epoch, NaN if missing: "train_loss"; "valid_loss" with early
        stopping; "lr", the learning rate at the end of the epoch; and values recorded
        by callbacks.
    starts : ndarray of int
        Epochs, counted from 0, in which a run of training started: more than one with
        ``warm_start``.
    kept_epoch : int, default=None
        The epoch, counted from 1, whose weights were kept. None if it is the last.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure containing the plot.
    ax_ : matplotlib Axes
        Axes of the losses.
    secondary_ax_ : matplotlib Axes or None
        Right axes, for scores or the learning rate.
    lines_ : dict of str to matplotlib Line2D
        The plotted curves.
    kept_line_ : matplotlib Line2D or None
        Marks the epoch whose weights were kept.

    Examples
    --------
    >>> from skfcdd.display import HistoryDisplay
    >>> history = [
    ...     {"epoch": 1, "train_loss": 0.9, "valid_loss": 0.8},
    ...     {"epoch": 2, "train_loss": 0.5, "valid_loss": 0.9},
    ... ]
    >>> display = HistoryDisplay.from_history(history, kept_epoch=1)
    >>> display.curves["train_loss"]
    array([0.9, 0.5])
    """

    def __init__(
        self,
        *,
        curves: Mapping[str, npt.NDArray[np.float64]],
        starts: npt.NDArray[np.intp],
        kept_epoch: int | None = None,
    ) -> None:
        self.curves = curves
        self.starts = starts
        self.kept_epoch = kept_epoch

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, **kwargs: Any
    ) -> HistoryDisplay:
        """Plot the training history of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            A fitted FCDDClassifier, FCDDSegmenter or FCDDDetector, or another estimator
            with a ``history_``.
        ax : matplotlib Axes, default=None
            Axes to plot on. None creates a new figure.
        **kwargs
            Passed to :meth:`plot`.

        Returns
        -------
        HistoryDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        TypeError
            If `estimator` has no history.
        NotFittedError
            If `estimator` is not fitted.
        """
        matplotlib()
        check_model(estimator, "fit", "explain")
        history = getattr(estimator, "history_", None)
        if history is None:
            raise TypeError(
                f"A {type(estimator).__name__} is not trained in epochs: it has no "
                f"history_."
            )
        kept = _best_epoch(history) if _has_stopped_early(estimator) else None
        return cls.from_history(history, kept_epoch=kept, ax=ax, **kwargs)

    @classmethod
    def from_history(
        cls,
        history: Sequence[Mapping[str, Any]],
        *,
        kept_epoch: int | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> HistoryDisplay:
        """Plot an existing history.

        Parameters
        ----------
        history : sequence of dict
            ``history_`` of an estimator, or of a skorch net.
        kept_epoch : int, default=None
            The epoch, counted from 1 over all runs, whose weights were kept.
        ax : matplotlib Axes, default=None
            Axes to plot on. None creates a new figure.
        **kwargs
            Passed to :meth:`plot`.

        Returns
        -------
        HistoryDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If the history is empty, or `kept_epoch` does not exist.
        """
        matplotlib()
        rows = list(history)
        if not rows:
            raise ValueError("history holds no epochs, so there is nothing to show.")
        if kept_epoch is not None and not 1 <= kept_epoch <= len(rows):
            raise ValueError(
                f"Got kept_epoch={kept_epoch}, but there are {len(rows)} epochs."
            )
        display = cls(curves=_curves(rows), starts=_starts(rows), kept_epoch=kept_epoch)
        return display.plot(ax=ax, **kwargs)

    def plot(
        self,
        *,
        ax: Any = None,
        secondary: str | Sequence[str] | None = "auto",
        kept_kw: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> HistoryDisplay:
        """Plot the losses on the left axis, and other curves on the right axis.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on. None creates a new figure.
        secondary : "auto", str, sequence of str, or None, default="auto"
            Names of `curves` for the right axis. "auto" shows the values recorded by
            callbacks, or otherwise the learning rate. None omits the axis.
        kept_kw : dict, default=None
            Keyword arguments passed to `matplotlib.axes.Axes.axvline`, for the epoch
            whose weights were kept.
        **kwargs
            Keyword arguments passed to `matplotlib.axes.Axes.plot` for all curves.

        Returns
        -------
        self : HistoryDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If a curve does not exist.
        """
        right = self._secondary(secondary)
        self.figure_, self.ax_ = figure_of(ax)
        self.secondary_ax_ = self.ax_.twinx() if right else None
        self.lines_: dict[str, Any] = {}
        left = [name for name in self.curves if name.endswith("_loss")]
        for name in left:
            if name not in right:
                self._draw(self.ax_, name, len(self.lines_), kwargs)
        for name in right:
            self._draw(self.secondary_ax_, name, len(self.lines_), kwargs)
        for start in self.starts[1:]:
            self.ax_.axvline(start + 0.5, color=foreground(), lw=0.8, ls=":", alpha=0.6)
        self.kept_line_ = self._mark_kept(kept_kw)
        self._name_axes(right)
        return self

    def _secondary(self, secondary: str | Sequence[str] | None) -> list[str]:
        if secondary is None:
            return []
        if secondary == "auto":
            others = [n for n in self.curves if n != "lr" and not n.endswith("_loss")]
            return others or [name for name in ("lr",) if name in self.curves]
        names = [secondary] if isinstance(secondary, str) else list(secondary)
        unknown = [name for name in names if name not in self.curves]
        if unknown:
            raise ValueError(
                f"Got secondary={secondary!r}, but the history has no {unknown}. Its "
                f"curves: {list(self.curves)}."
            )
        return names

    def _draw(self, ax: Any, name: str, number: int, given: dict[str, Any]) -> None:
        values = self.curves[name]
        few = len(values) <= _MOST_MARKED
        look: dict[str, Any] = dict(_LOOKS.get(name, {"color": f"C{number + 2}"}))
        if name == "lr":
            look = {
                "color": foreground(),
                "linestyle": ":",
                "linewidth": 1,
                "alpha": 0.7,
            }
        look |= {"marker": "." if few else "", "label": _title(name)}
        epochs = np.arange(1, len(values) + 1)
        (line,) = ax.plot(epochs, values, **style(given, "lines.Line2D", **look))
        self.lines_[name] = line

    def _mark_kept(self, given: dict[str, Any] | None) -> Any:
        if self.kept_epoch is None:
            return None
        look = style(
            given,
            "lines.Line2D",
            color=foreground(),
            linewidth=1.2,
            linestyle="-.",
            label=f"kept: epoch {self.kept_epoch}",
        )
        return self.ax_.axvline(self.kept_epoch, **look)

    def _name_axes(self, right: list[str]) -> None:
        self.ax_.set(xlabel="epoch", ylabel="loss")
        locator = matplotlib("ticker").MaxNLocator(integer=True, min_n_ticks=1)
        self.ax_.xaxis.set_major_locator(locator)
        handles = list(self.lines_.values())
        if self.kept_line_ is not None:
            handles.append(self.kept_line_)
        upper = self.ax_
        if self.secondary_ax_ is not None:
            upper = self.secondary_ax_
            upper.set_ylabel(_title(right[0]) if len(right) == 1 else "")
            if right == ["lr"]:
                upper.set_ylim(bottom=0)
        upper.legend(handles=handles, fontsize="small")


def _title(name: str) -> str:
    if name == "lr":
        return "learning rate"
    return _NAMES.get(name, name.replace("_", " "))


def _curves(rows: list[Mapping[str, Any]]) -> dict[str, npt.NDArray[np.float64]]:
    """Return all numbers of the epochs by name, in order of appearance."""
    rates = [_learning_rate(row) for row in rows]
    names = dict.fromkeys(name for row in rows for name in row if _is_curve(row, name))
    curves = {
        name: np.array([float(row.get(name, np.nan)) for row in rows]) for name in names
    }
    if any(rate is not None for rate in rates):
        curves["lr"] = np.array([np.nan if r is None else r for r in rates])
    return curves


def _is_curve(row: Mapping[str, Any], name: str) -> bool:
    value = row[name]
    number = isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
    counted = name in _NO_CURVES or name.endswith("_batch_count") or name == "event_lr"
    return number and not counted


def _learning_rate(row: Mapping[str, Any]) -> float | None:
    """Return the last learning rate of the epoch, if recorded by a schedule."""
    steps = [row, *row.get("batches", [])]
    rates = [step["event_lr"] for step in steps if "event_lr" in step]
    return float(rates[-1]) if rates else None


def _starts(rows: list[Mapping[str, Any]]) -> npt.NDArray[np.intp]:
    """Return the rows in which the epoch count starts again."""
    numbers = np.array([row.get("epoch", k + 1) for k, row in enumerate(rows)])
    return np.r_[0, 1 + np.flatnonzero(np.diff(numbers) <= 0)].astype(np.intp)


def _has_stopped_early(estimator: Any) -> bool:
    return bool(getattr(estimator, "early_stopping", False))


def _best_epoch(history: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the epoch of the last run with the lowest validation loss."""
    rows = list(history)
    start = int(_starts(rows)[-1])
    best = [k for k in range(start, len(rows)) if rows[k].get("valid_loss_best")]
    return best[-1] + 1 if best else None
