"""Display of the influence of regions that should not matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from skfcdd.display._common import (
    ANOMALOUS,
    NORMAL,
    foreground,
    matplotlib,
    new_figure,
    style,
)

if TYPE_CHECKING:
    from skfcdd.inspection import RegionAudit

__all__ = ["RegionAuditDisplay"]

_COLOURS = {"normal": NORMAL, "anomaly": ANOMALOUS, "all": "0.5"}
# Positions of the two groups relative to the row of a region.
_BAR = 0.38


class RegionAuditDisplay:
    """Visualisation of the heat of each region and of the score without it.

    Create it with :meth:`from_estimator` or :meth:`from_audit`. Left: heat of a region
    relative to the image average. Right: change of the score if the region is replaced
    by normal content; marks show the limits above which a change counts. If a model
    depends on a region, its bar extends beyond the mark. Names of flagged regions are
    bold.

    Parameters
    ----------
    audit : RegionAudit
        Result of :func:`~skfcdd.inspection.audit_regions`.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure containing the plot.
    axes_ : ndarray of shape (2,) of matplotlib Axes
        Axes of the heat, and of the scores.
    bars_ : dict of str to tuple of matplotlib BarContainer
        Bars of each group of images, in both axes.
    limits_ : matplotlib LineCollection
        Limits above which an image counts as affected.

    Examples
    --------
    >>> from skfcdd.display import RegionAuditDisplay
    >>> from skfcdd.inspection import RegionAudit, RegionFinding
    >>> found = RegionFinding(
    ...     region="border", group="all", n_images=20, area=0.2, share=0.3, ratio=1.5,
    ...     change=-0.02, limit=-0.4, affected=0.1, flagged=False,
    ... )
    >>> display = RegionAuditDisplay.from_audit(RegionAudit((found,)))
    >>> list(display.bars_)
    ['all']
    """

    def __init__(self, *, audit: RegionAudit) -> None:
        self.audit = audit

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        regions: Any = None,
        *,
        ax: Any = None,
        **kwargs: Any,
    ) -> RegionAuditDisplay:
        """Audit a fitted model and plot the result.

        Parameters
        ----------
        estimator, X, y, regions
            See :func:`~skfcdd.inspection.audit_regions`.
        ax : array of two matplotlib Axes, default=None
            Axes to plot on. None creates a new figure.
        **kwargs
            Passed to :func:`~skfcdd.inspection.audit_regions`.

        Returns
        -------
        RegionAuditDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        TypeError, ValueError
            As for :func:`~skfcdd.inspection.audit_regions`.
        """
        from skfcdd.inspection import audit_regions

        matplotlib()
        return cls.from_audit(audit_regions(estimator, X, y, regions, **kwargs), ax=ax)

    @classmethod
    def from_audit(
        cls, audit: RegionAudit, *, ax: Any = None, **kwargs: Any
    ) -> RegionAuditDisplay:
        """Plot an existing audit.

        Parameters
        ----------
        audit : RegionAudit
            The audit to plot.
        ax : array of two matplotlib Axes, default=None
            Axes to plot on. None creates a new figure.
        **kwargs
            Passed to :meth:`plot`.

        Returns
        -------
        RegionAuditDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        return cls(audit=audit).plot(ax=ax, **kwargs)

    def plot(
        self, *, ax: Any = None, limit_kw: dict[str, Any] | None = None, **kwargs: Any
    ) -> RegionAuditDisplay:
        """Plot two bars for each region and group.

        Parameters
        ----------
        ax : array of two matplotlib Axes, default=None
            Axes to plot on. None creates a new figure.
        limit_kw : dict, default=None
            Keyword arguments passed to `matplotlib.axes.Axes.vlines`.
        **kwargs
            Keyword arguments passed to `matplotlib.axes.Axes.barh`.

        Returns
        -------
        self : RegionAuditDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If `ax` does not contain two axes.
        """
        names = list(dict.fromkeys(f.region for f in self.audit.findings))
        groups = list(dict.fromkeys(f.group for f in self.audit.findings))
        self._take_axes(ax, len(names))
        self.bars_ = {}
        for g, group in enumerate(groups):
            found = {f.region: f for f in self.audit.findings if f.group == group}
            place = np.array([names.index(name) for name in found], dtype=float)
            place += (g - (len(groups) - 1) / 2) * _BAR
            look = style(
                kwargs, "patches.Rectangle", color=_COLOURS[group], label=group
            )
            values = (
                [f.ratio for f in found.values()],
                [100 * f.change for f in found.values()],
            )
            self.bars_[group] = tuple(
                axis.barh(place, value, height=0.9 * _BAR, **look)
                for axis, value in zip(self.axes_, values, strict=True)
            )
        self.limits_ = self._mark_limits(names, limit_kw)
        self._label_regions(names, len(groups))
        return self

    def _take_axes(self, ax: Any, n: int) -> None:
        if ax is None:
            figure = new_figure(layout="constrained", figsize=(7.5, 1.2 + 0.42 * n))
            ax = figure.subplots(1, 2, sharey=True)
        self.axes_ = np.asarray(ax, dtype=object)
        if self.axes_.shape != (2,):
            raise ValueError(
                f"ax must be an array of two axes. Got shape {self.axes_.shape}."
            )
        self.figure_ = self.axes_[0].figure

    def _mark_limits(self, names: list[str], given: dict[str, Any] | None) -> Any:
        limits = {f.region: 100 * f.limit for f in self.audit.findings}
        line = style(
            given, "collections.LineCollection", colors=foreground(), linestyles=":"
        )
        place = np.arange(len(names))
        self.axes_[0].axvline(1, color=foreground(), linewidth=0.8)
        self.axes_[1].axvline(0, color=foreground(), linewidth=0.8)
        return self.axes_[1].vlines(
            [limits[name] for name in names], place - _BAR, place + _BAR, **line
        )

    def _label_regions(self, names: list[str], n_groups: int) -> None:
        left, right = self.axes_
        for axis in self.axes_:
            axis.set_yticks(range(len(names)), names)
            axis.set_ylim(len(names) - 0.4, -0.6)
        for axis in (left, right):
            for text in axis.get_yticklabels():
                bold = text.get_text() in self.audit.flagged
                text.set_fontweight("bold" if bold else "normal")
        left.set_xlabel("heat / average of the image")
        right.set_xlabel("change of the score without it (%)")
        if n_groups > 1:
            left.legend(loc="best")  # where it does not cover the marks
