"""Plot of the evidence for drift along a stream."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skfcdd.display._common import (
    ANOMALOUS,
    NORMAL,
    as_numbers,
    figure_of,
    foreground,
    matplotlib,
    style,
)

if TYPE_CHECKING:
    from skfcdd.monitoring import DriftMonitor

__all__ = ["DriftDisplay"]

# The axis ends at this multiple of the logarithm that raises the alarm, as values far
# beyond it carry no further information.
_BEYOND = 5


class DriftDisplay:
    """Evidence that the images of a stream are no longer those of calibration.

    Made by :meth:`from_monitor` or :meth:`from_evidence`. The alarm is raised when the
    curve first reaches the dashed line.

    Parameters
    ----------
    images : ndarray of shape (n_points,), int
        Numbers of images of the stream, counted from 1.
    log10_evidence : ndarray of shape (n_points,), float64
        Decimal logarithm of the evidence after them.
    false_alarm_probability : float
        The alarm is raised when the evidence reaches 1 divided by it.
    alarm_at : int, default=None
        The image that raised the alarm.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure containing the plot.
    ax_ : matplotlib Axes
        The axes.
    line_ : matplotlib Line2D
        The evidence.
    level_line_ : matplotlib Line2D
        The evidence that raises the alarm.
    alarm_line_ : matplotlib Line2D or None
        The image that raised it.

    Examples
    --------
    >>> from skfcdd.display import DriftDisplay
    >>> display = DriftDisplay.from_evidence([0.0, 0.5, 2.5])
    >>> display.alarm_at
    3
    """

    def __init__(
        self,
        *,
        images: npt.NDArray[np.intp],
        log10_evidence: npt.NDArray[np.float64],
        false_alarm_probability: float,
        alarm_at: int | None = None,
    ) -> None:
        self.images = images
        self.log10_evidence = log10_evidence
        self.false_alarm_probability = false_alarm_probability
        self.alarm_at = alarm_at

    @classmethod
    def from_monitor(
        cls, monitor: DriftMonitor, *, ax: Any = None, **kwargs: Any
    ) -> DriftDisplay:
        """Draw what a monitor has seen so far.

        Parameters
        ----------
        monitor : DriftMonitor
            Fitted.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.
        **kwargs
            As for :meth:`plot`.

        Returns
        -------
        DriftDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        NotFittedError
            If the monitor is not fitted.
        """
        matplotlib()
        images, evidence = monitor.course_
        display = cls(
            images=images,
            log10_evidence=evidence,
            false_alarm_probability=monitor.alarm_probability_,
            alarm_at=monitor.alarm_at_,
        )
        return display.plot(ax=ax, **kwargs)

    @classmethod
    def from_evidence(
        cls,
        log10_evidence: Any,
        *,
        false_alarm_probability: float = 0.01,
        ax: Any = None,
        **kwargs: Any,
    ) -> DriftDisplay:
        """Draw evidence that is there already.

        Parameters
        ----------
        log10_evidence : array-like of shape (n,)
            Decimal logarithm of the evidence after each image.
        false_alarm_probability : float, default=0.01
            In (0, 1).
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.
        **kwargs
            As for :meth:`plot`.

        Returns
        -------
        DriftDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If a number is not finite, or the probability is not in (0, 1).
        """
        matplotlib()
        if not 0 < false_alarm_probability < 1:
            raise ValueError(
                f"Got false_alarm_probability={false_alarm_probability!r}, but "
                f"expected it between 0 and 1."
            )
        evidence = as_numbers(log10_evidence, "log10_evidence")
        reached = np.flatnonzero(evidence >= -math.log10(false_alarm_probability))
        display = cls(
            images=np.arange(1, len(evidence) + 1),
            log10_evidence=evidence,
            false_alarm_probability=false_alarm_probability,
            alarm_at=int(reached[0]) + 1 if len(reached) else None,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(
        self,
        *,
        ax: Any = None,
        line_kw: dict[str, Any] | None = None,
        level_kw: dict[str, Any] | None = None,
        alarm_kw: dict[str, Any] | None = None,
    ) -> DriftDisplay:
        """Draw the evidence image by image, on a logarithmic scale.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.
        line_kw : dict, default=None
            Further arguments of `matplotlib.axes.Axes.plot`.
        level_kw : dict, default=None
            Further arguments of `matplotlib.axes.Axes.axhline`.
        alarm_kw : dict, default=None
            Further arguments of `matplotlib.axes.Axes.axvline`.

        Returns
        -------
        self : DriftDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        self.figure_, self.ax_ = figure_of(ax)
        level = -math.log10(self.false_alarm_probability)
        look = style(line_kw, "lines.Line2D", color=NORMAL, label="evidence for drift")
        (self.line_,) = self.ax_.plot(
            np.append(0, self.images), np.append(0.0, self.log10_evidence), **look
        )
        look = style(
            level_kw,
            "lines.Line2D",
            color=foreground(),
            linestyle="--",
            linewidth=1.2,
            label=f"alarm, false with probability {self.false_alarm_probability:g}",
        )
        self.level_line_ = self.ax_.axhline(level, **look)
        self.alarm_line_ = None
        if self.alarm_at is not None:
            look = style(
                alarm_kw,
                "lines.Line2D",
                color=ANOMALOUS,
                linewidth=1.5,
                label=f"alarm at image {self.alarm_at}",
            )
            self.alarm_line_ = self.ax_.axvline(self.alarm_at, **look)
        self._label()
        return self

    def _label(self) -> None:
        ticker = matplotlib("ticker")
        self.ax_.yaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
        self.ax_.yaxis.set_major_formatter(
            ticker.FuncFormatter(lambda value, _: f"$10^{{{value:.0f}}}$")
        )
        self.ax_.set(xlabel="images of the stream", ylabel="evidence")
        self.ax_.legend(fontsize="small", loc="upper left")
        low, high = self.ax_.get_ylim()
        level = -math.log10(self.false_alarm_probability)
        high = min(high, _BEYOND * level)
        self.ax_.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
