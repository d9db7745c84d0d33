"""Display of the distribution of scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import (
    check_model,
    count,
    iter_heatmaps,
    read_truth,
)
from skfcdd._verdicts import convention_of, is_above
from skfcdd.display._bars import bar_edges, choose_log
from skfcdd.display._common import (
    ANOMALOUS,
    NORMAL,
    as_flags,
    as_numbers,
    figure_of,
    foreground,
    matplotlib,
    style,
)

__all__ = ["ScoreDistributionDisplay"]

# Up to this number of anomalies, each is marked.
_MOST_MARKED = 60


class ScoreDistributionDisplay:
    """Visualisation of the distribution of image scores, with the threshold.

    Create it with :meth:`from_estimator` or :meth:`from_predictions`. Heights are
    fractions of each kind of images, so that a few defects are visible next to many
    good images. No bin contains scores on both sides of the threshold.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Greater values are more anomalous.
    truth : ndarray of shape (n,), bool, default=None
        Which images are anomalous. None if unknown.
    threshold : float, default=None
        Images with a higher score are anomalous.
    calibration_scores : ndarray of shape (n_calibration,), default=None
        Scores of normal images that were held out to set the threshold.
    score_name : str, default="anomaly score"
        Name of the scores.

    Attributes
    ----------
    false_alarm_rate : float or None
        Fraction of the normal images above the threshold.
    detection_rate : float or None
        Fraction of the anomalous images above the threshold.
    figure_ : matplotlib Figure
        Figure containing the plot.
    ax_ : matplotlib Axes
        Axes containing the plot.
    normal_, anomalous_, unknown_, calibration_ : matplotlib Polygon or None
        Distributions; `unknown_` is that of all images if the truth is unknown.
    marks_ : matplotlib Line2D or None
        The scores of the individual anomalous images, if there are few.
    threshold_line_ : matplotlib Line2D or None
        The threshold.

    Examples
    --------
    >>> from skfcdd.display import ScoreDistributionDisplay
    >>> display = ScoreDistributionDisplay.from_predictions(
    ...     [0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.4, 0.9], threshold=0.5
    ... )
    >>> display.false_alarm_rate, display.detection_rate
    (0.25, 0.5)
    """

    def __init__(
        self,
        *,
        scores: npt.NDArray[np.float64],
        truth: npt.NDArray[np.bool_] | None = None,
        threshold: float | None = None,
        calibration_scores: npt.NDArray[np.float64] | None = None,
        score_name: str = "anomaly score",
    ) -> None:
        self.scores = scores
        self.truth = truth
        self.threshold = threshold
        self.calibration_scores = calibration_scores
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        calibration: bool = True,
        ax: Any = None,
        **kwargs: Any,
    ) -> ScoreDistributionDisplay:
        """Score images with a fitted model and plot the distribution.

        Parameters
        ----------
        estimator : estimator
            A fitted FCDDClassifier, FCDDSegmenter or FCDDDetector, or an
            :class:`~skfcdd.onnx.OnnxFCDD`. For a segmenter, whose threshold is for
            pixels, the plot shows the hottest pixel of each image.
        X : array-like
            Images, as for its ``anomaly_score``.
        y : array-like of shape (n,) or (n, h, w), default=None
            True labels, as for its ``fit``, or masks. None if unknown.
        calibration : bool, default=True
            Whether to also show ``calibration_scores_``, if available.
        ax : matplotlib Axes, default=None
            Axes to plot on. None creates a new figure.
        **kwargs
            Passed to :meth:`plot`.

        Returns
        -------
        ScoreDistributionDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        TypeError
            If `estimator` is of another type.
        NotFittedError
            If `estimator` is not fitted.
        ValueError
            If the number of labels differs from that of images, or a label is unknown.
        """
        matplotlib()
        check_model(estimator, "anomaly_score", "explain")
        truth = read_truth(estimator, y, count(X))
        held, name = getattr(estimator, "calibration_scores_", None), "anomaly score"
        if convention_of(estimator).judges_pixels:
            peaks = [part.max(axis=(1, 2)) for part in iter_heatmaps(estimator, X)]
            scores, held = np.concatenate(peaks).astype(np.float64), None
            name = "hottest pixel of the heatmap"
        else:
            scores = estimator.anomaly_score(X)
        display = cls(
            scores=scores,
            truth=truth,
            threshold=estimator.threshold_,
            calibration_scores=held if calibration else None,
            score_name=name,
        )
        return display.plot(ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        scores: Any,
        *,
        threshold: float | None = None,
        calibration_scores: Any = None,
        score_name: str = "anomaly score",
        ax: Any = None,
        **kwargs: Any,
    ) -> ScoreDistributionDisplay:
        """Plot the distribution of existing scores.

        Parameters
        ----------
        y_true : array-like of shape (n,), bool, or None
            Which images are anomalous. None if unknown.
        scores : array-like of shape (n,)
            Greater values are more anomalous; for a detector, ``-score_samples(X)``.
        threshold : float, default=None
            ``threshold_`` of the model.
        calibration_scores : array-like of shape (n_calibration,), default=None
            ``calibration_scores_`` of the model.
        score_name : str, default="anomaly score"
            Name of the scores.
        ax : matplotlib Axes, default=None
            Axes to plot on. None creates a new figure.
        **kwargs
            Passed to :meth:`plot`.

        Returns
        -------
        ScoreDistributionDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If there are no scores, a score is not finite, or the number of labels
            differs.
        """
        matplotlib()
        values = as_numbers(scores, "scores")
        if len(values) == 0:
            raise ValueError("scores is empty, so there is nothing to show.")
        held = calibration_scores
        display = cls(
            scores=values,
            truth=None if y_true is None else as_flags(y_true, "y_true", len(values)),
            threshold=None if threshold is None else float(threshold),
            calibration_scores=(
                None if held is None else as_numbers(held, "calibration_scores")
            ),
            score_name=score_name,
        )
        return display.plot(ax=ax, **kwargs)

    @property
    def false_alarm_rate(self) -> float | None:
        """Fraction of the normal images above the threshold; None if unknown."""
        return None if self.truth is None else self._share(self.scores[~self.truth])

    @property
    def detection_rate(self) -> float | None:
        """Fraction of the anomalous images above the threshold; None if unknown."""
        return None if self.truth is None else self._share(self.scores[self.truth])

    def _share(self, scores: npt.NDArray[np.float64]) -> float | None:
        if self.threshold is None or len(scores) == 0:
            return None
        return float(is_above(scores, self.threshold).mean())

    def plot(
        self,
        *,
        ax: Any = None,
        bins: int = 30,
        log_scale: bool | str = "auto",
        normal_kw: dict[str, Any] | None = None,
        anomalous_kw: dict[str, Any] | None = None,
        calibration_kw: dict[str, Any] | None = None,
        threshold_kw: dict[str, Any] | None = None,
    ) -> ScoreDistributionDisplay:
        """Plot a histogram of each kind of images, and the threshold.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on. None creates a new figure.
        bins : int, default=30
            Approximate number of bins from the smallest to the largest score.
        log_scale : bool or "auto", default="auto"
            Whether the axis of the scores is logarithmic. With "auto", it is if scores
            are positive and the largest is at least 30 times the smallest.
        normal_kw, anomalous_kw, calibration_kw : dict, default=None
            Keyword arguments passed to `matplotlib.axes.Axes.hist`. Those of the normal
            images also apply to images of unknown truth.
        threshold_kw : dict, default=None
            Keyword arguments passed to `matplotlib.axes.Axes.axvline`.

        Returns
        -------
        self : ScoreDistributionDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If a logarithmic axis is requested but a score is not positive.
        """
        values = self._values()
        log = choose_log(values, log_scale)
        self._edges = bar_edges(values, bins, self.threshold, log)
        self.figure_, self.ax_ = figure_of(ax)
        if log:
            self._make_log()
        solid = style(normal_kw, "patches.Polygon", color=NORMAL, alpha=0.55)
        striped = style(
            anomalous_kw,
            "patches.Polygon",
            facecolor="none",
            edgecolor=ANOMALOUS,
            hatch="////",
            linewidth=1.4,
        )
        outline = style(
            calibration_kw,
            "patches.Polygon",
            facecolor="none",
            edgecolor=foreground(),
            linewidth=1,
        )
        normal, anomalous, unknown = self._kinds()
        self.unknown_ = self._hist(unknown, "images", solid)
        self.normal_ = self._hist(normal, "normal", solid)
        self.anomalous_ = self._hist(anomalous, "anomalous", striped)
        held = self.calibration_scores
        self.calibration_ = self._hist(held, "held-out normal", outline)
        self.marks_ = self._mark(anomalous, striped["edgecolor"])
        self.threshold_line_ = self._draw_threshold(threshold_kw)
        self.ax_.set(xlabel=self.score_name, ylabel="share of images")
        # Leave room for the legend above the bars.
        self.ax_.set_ylim(0, 1.2 * self.ax_.get_ylim()[1])
        self.ax_.legend(fontsize="small")
        return self

    def _kinds(self) -> tuple[npt.NDArray[np.float64], ...]:
        """Return the scores of normal, anomalous and unlabelled images."""
        if self.truth is None:
            return self.scores[:0], self.scores[:0], self.scores
        return self.scores[~self.truth], self.scores[self.truth], self.scores[:0]

    def _make_log(self) -> None:
        """Make the axis logarithmic, with minor labels if it spans few decades."""
        self.ax_.set_xscale("log")
        if self._edges[-1] < 1e3 * self._edges[0]:
            ticker = matplotlib("ticker")
            self.ax_.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            self.ax_.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
            self.ax_.xaxis.set_minor_formatter(ticker.NullFormatter())

    def _values(self) -> npt.NDArray[np.float64]:
        """Return all values shown on the axis."""
        parts = [self.scores]
        if self.calibration_scores is not None:
            parts.append(self.calibration_scores)
        if self.threshold is not None:
            parts.append(np.array([self.threshold]))
        return np.concatenate(parts)

    def _hist(
        self, scores: npt.NDArray[np.float64] | None, name: str, look: dict[str, Any]
    ) -> Any:
        """Draw the distribution of one kind of images; None if there are none."""
        if scores is None or len(scores) == 0:
            return None
        label, share = f"{name} (n={len(scores)})", self._share(scores)
        if share is not None and name == "anomalous":
            label += f"\n{share:.1%} found, {1 - share:.1%} missed"
        elif share is not None:
            what = "above the threshold" if name == "images" else "false alarms"
            label += f"\n{share:.1%} {what}"
        weights = np.full(len(scores), 1 / len(scores))
        options = {"histtype": "stepfilled", "label": label} | look
        _, _, patches = self.ax_.hist(
            scores, bins=self._edges, weights=weights, **options
        )
        return patches[0]

    def _mark(self, scores: npt.NDArray[np.float64], colour: Any) -> Any:
        """Mark individual anomalies on the axis, if there are few."""
        if not 0 < len(scores) <= _MOST_MARKED:
            return None
        (marks,) = self.ax_.plot(
            scores,
            np.full(len(scores), 0.02),
            transform=self.ax_.get_xaxis_transform(),
            linestyle="none",
            marker="|",
            markersize=9,
            color=colour,
        )
        return marks

    def _draw_threshold(self, given: dict[str, Any] | None) -> Any:
        if self.threshold is None:
            return None
        look = style(
            given,
            "lines.Line2D",
            color=foreground(),
            linestyle="--",
            linewidth=1.5,
            label=f"threshold {self.threshold:.3g}",
        )
        return self.ax_.axvline(self.threshold, **look)
