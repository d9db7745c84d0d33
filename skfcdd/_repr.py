"""HTML summary of a fitted estimator, shown below scikit-learn's diagram."""

from __future__ import annotations

import html
import importlib.util
import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skfcdd._verdicts import convention_of, is_above
from skfcdd.exceptions import CalibrationError
from skfcdd.thresholds import FalseAlarmRate

__all__ = ["ReprMixin"]

# Placeholder colour that is used for nothing else. It is replaced by the text colour of
# the page, which is dark on a light page and light on a dark one.
_INK = "#010203"
_RC = {
    "font.size": 8.0,
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],
    "svg.fonttype": "none",
    "hatch.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color"), _INK
    ),
    "ytick.color": _INK,
}
_CSS = """
.skfcdd-summary {display: flex; flex-wrap: wrap; gap: 0.8em 2em; margin: 0.5em 0.4em;
  align-items: flex-start; color: inherit; font-size: 0.85em; line-height: 1.5;}
.skfcdd-summary dl {display: grid; grid-template-columns: max-content auto;
  gap: 0 1em; margin: 0;}
.skfcdd-summary dt {font-weight: normal; opacity: 0.7; margin: 0; float: none;
  width: auto;}
.skfcdd-summary dd {margin: 0; padding: 0; font-variant-numeric: tabular-nums;}
.skfcdd-summary svg {width: 24em; max-width: 100%; height: auto;}
"""


class ReprMixin:
    """Mixin that displays key facts and plots of a fitted estimator in notebooks.

    It must precede scikit-learn's BaseEstimator in the list of base classes, because it
    appends them to the diagram of BaseEstimator.
    """

    def _repr_html_inner(self) -> str:
        diagram: str = super()._repr_html_inner()  # type: ignore[misc]
        return diagram + summary(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        if "text/html" in bundle:  # not with set_config(display="text")
            bundle["text/html"] = self._repr_html_inner()
        return bundle


def summary(estimator: Any) -> str:
    """Return the key facts as HTML; an empty string before ``fit``.

    A part that cannot be created is replaced by its error, because displaying an
    estimator must never stop a notebook.
    """
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return ""
    makers = [_table]
    if importlib.util.find_spec("matplotlib") is not None:
        makers += [_scores, _curves]
    body = "".join(_attempt(make, estimator) for make in makers)
    return f'<style>{_CSS}</style><div class="skfcdd-summary">{body}</div>'


def _attempt(make: Callable[[Any], str], estimator: Any) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make(estimator)
    except Exception as error:
        what = html.escape(f"{type(error).__name__}: {error}")
        return f"<div>This could not be shown ({what}).</div>"


def _table(estimator: Any) -> str:
    lines = [
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>"
        for name, value in facts(estimator).items()
    ]
    return f"<dl>{''.join(lines)}</dl>"


def facts(estimator: Any) -> dict[str, str]:
    """Return the key facts about a fitted estimator as text."""
    rows = _threshold_facts(estimator)
    h, w, c = estimator.image_shape_
    rows["images"] = f"{h} x {w} pixels, {c} channel{'s' * (c > 1)}"
    roi = getattr(estimator, "roi_", None)
    if roi is not None:
        rows["region of interest"] = f"{roi.mean():.1%} of the pixels"
    backbone = getattr(estimator, "backbone_", None)
    if backbone is not None:
        weights = estimator.weights_ or "random"
        rows["network"] = f"{backbone}, initial weights: {weights}"
    field = getattr(estimator, "receptive_field_", None)
    if field is not None:
        extent, stride = (_pair(v) for v in (field.extent, field.stride))
        rows["receptive field"] = f"{extent} pixels, stride {stride}"
    low, high = estimator.heatmap_scale_
    rows["heatmap colours"] = f"{low:.3g} to {high:.3g}"
    history = getattr(estimator, "history_", None)
    if history is not None:
        rows["epochs"] = str(len(history))
    if hasattr(estimator, "net_") and hasattr(estimator, "precision_"):
        rows["computed in"] = f"{estimator.precision_} on {estimator.net_.device}"
    return rows


def _threshold_facts(estimator: Any) -> dict[str, str]:
    """Describe the threshold and the expected rate of false alarms."""
    held, threshold = estimator.calibration_scores_, float(estimator.threshold_)
    found = estimator.calibration_
    images = f"{len(held)} normal images"
    if found is not None and found.grouped:
        images += f" in {found.n_groups} groups"
    if found is not None and found.source == "out-of-fold":
        images += ", scored out of fold"
    if convention_of(estimator).judges_pixels:
        rows = {"pixel threshold": f"{threshold:.4g}", "calibrated on": images}
    else:
        above = int(is_above(held, threshold).sum())
        images += f", {above} of them above"
        rows = {"threshold": f"{threshold:.4g}", "calibrated on": images}
        promise = _promise(estimator._fitted)
        if promise:
            rows["false alarms"] = promise
    if found is not None and not found.supported:
        low, high = (100 * end for end in found.range)
        rows["false alarms"] = (
            f"between {low:.0f} and {high:.0f} %; {100 * found.rate:.3g} % needs at "
            f"least {found.n_required} images, but there are {found.n_groups}"
        )
    return rows


def _promise(model: Any) -> str | None:
    """Describe the guaranteed rate; None if the threshold has no guarantee."""
    rule, held, found = (
        model.judging.threshold,
        model.calibration_scores,
        model.calibration,
    )
    if not isinstance(rule, FalseAlarmRate):
        return None
    try:
        expected = rule(np.zeros(len(held)), held, groups=model.calibration_groups)
    except CalibrationError:
        return None
    if expected != model.threshold:  # not set by this rule, as in old files
        return None
    share = f"at most {100 * rule.rate:.3g} % of normal images"
    if found is not None and found.source == "out-of-fold":
        share = f"about {share}"
    if rule.confidence is None:
        return f"{share}, on average"
    return f"{share}, with {100 * rule.confidence:.3g} % confidence"


def _pair(values: Any) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _scores(estimator: Any) -> str:
    """Plot the threshold and the scores of the normal images that set it."""
    from skfcdd.display import ScoreDistributionDisplay

    scores = estimator.calibration_scores_
    pixels = convention_of(estimator).judges_pixels
    threshold = None if pixels else estimator.threshold_

    def draw(ax: Any) -> None:
        ScoreDistributionDisplay.from_predictions(
            np.zeros(len(scores)),
            scores,
            threshold=threshold,
            score_name="anomaly score of these images",
            ax=ax,
            bins=20,
            normal_kw={"alpha": 1},
        )

    return _figure(draw, "Scores of the normal images that set the threshold")


def _curves(estimator: Any) -> str:
    """Plot the loss of each epoch."""
    from skfcdd.display import HistoryDisplay

    if not getattr(estimator, "history_", None):
        return ""

    def draw(ax: Any) -> None:
        HistoryDisplay.from_estimator(estimator, ax=ax, secondary=None)

    return _figure(draw, "Loss of each epoch of training")


def _figure(draw: Callable[[Any], None], name: str) -> str:
    """Return a figure as inline SVG, in the text colour of the page."""
    import matplotlib.figure
    import matplotlib.style

    with matplotlib.style.context(["default", _RC]):
        figure = matplotlib.figure.Figure(figsize=(3.6, 2.2), layout="constrained")
        ax = figure.add_subplot()
        draw(ax)
        # Above the plot, because without a frame it would blend into the data.
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize="small")
        stream = io.StringIO()
        no_notes = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=no_notes)
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(name)}"', 1)
