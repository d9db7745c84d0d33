"""Displays of scores, of training and of overlaps."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from _small import make_images, quick
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial import KDTree
from skorch.callbacks import EpochScoring

from skfcdd import FCDDDetector, FCDDSegmenter
from skfcdd.display import (
    HistoryDisplay,
    RegionOverlapDisplay,
    ScoreDistributionDisplay,
    _region_overlap,
)
from skfcdd.display._bars import bar_edges
from skfcdd.metrics import aupro_score, region_overlap_curve

X, Y, MASKS = make_images(40, n_anomalous=12)
SMALL = {"max_epochs": 2, "random_state": 0, "device": "cpu"}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def model():
    return quick().fit(X, Y)


@pytest.fixture(scope="module")
def stopped():
    return quick(early_stopping=True, max_epochs=6, lr=0.03).fit(X)


# -- scores --------------------------------------------------------------------------


def shares(artist):
    """Heights and edges of a histogram that is drawn as an outline."""
    corners = artist.get_xy()
    upper = corners[: len(corners) // 2 + 1]
    return upper[1::2, 1], upper[::2, 0]


def test_rates_are_those_of_the_verdicts(model):
    display = ScoreDistributionDisplay.from_estimator(model, X, Y)
    called = model.predict(X) == 1
    assert display.false_alarm_rate == called[Y == 0].mean()
    assert display.detection_rate == called[Y == 1].mean()
    assert_array_equal(display.calibration_scores, model.calibration_scores_)
    assert display.threshold_line_.get_xdata()[0] == model.threshold_
    found, missed = called[Y == 1].mean(), 1 - called[Y == 1].mean()
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert f"anomalous (n=12)\n{found:.1%} found, {missed:.1%} missed" in texts
    assert f"normal (n=28)\n{called[Y == 0].mean():.1%} false alarms" in texts
    assert f"threshold {model.threshold_:.3g}" in texts
    assert_allclose(display.marks_.get_xdata(), model.anomaly_score(X)[Y == 1])


def test_rates_of_a_detector_and_a_segmenter():
    y = np.where(Y == 1, -1, 1)
    detector = FCDDDetector(**SMALL).fit(X[Y == 0])
    display = ScoreDistributionDisplay.from_estimator(detector, X, y)
    outlying = detector.predict(X) == -1
    assert display.detection_rate == outlying[Y == 1].mean()
    assert display.false_alarm_rate == outlying[Y == 0].mean()
    segmenter = FCDDSegmenter(**SMALL).fit(X, MASKS)
    display = ScoreDistributionDisplay.from_estimator(segmenter, X, MASKS)
    marked = segmenter.predict(X).any(axis=(1, 2))
    assert display.detection_rate == marked[Y == 1].mean()
    assert display.calibration_scores is None  # they are scores of images
    assert "pixel" in display.ax_.get_xlabel()


def test_good_images_alone(model):
    display = ScoreDistributionDisplay.from_estimator(model, X[Y == 0], Y[Y == 0])
    assert display.detection_rate is None and display.anomalous_ is None
    assert display.false_alarm_rate == (model.predict(X[Y == 0]) == 1).mean()
    unknown = ScoreDistributionDisplay.from_estimator(model, X, calibration=False)
    assert unknown.false_alarm_rate is None and unknown.normal_ is None
    assert unknown.calibration_ is None
    (text, *_) = unknown.ax_.get_legend().get_texts()
    share = (model.predict(X) == 1).mean()
    assert text.get_text() == f"images (n=40)\n{share:.1%} above the threshold"


@given(
    st.lists(st.floats(0, 100, width=32), min_size=1, max_size=30),
    st.data(),
    st.booleans(),
    st.integers(1, 40),
)
def test_no_bar_holds_both_sides_of_the_threshold(values, data, log, bins):
    scores = np.array(values, dtype=float)
    if log:
        scores = scores + 1e-3
    threshold = data.draw(
        st.one_of(st.sampled_from(scores.tolist()), st.floats(1e-3, 120))
    )
    assume(threshold > 0)
    edges = bar_edges(np.append(scores, threshold), bins, threshold, log)
    assert (np.diff(edges) > 0).all()
    assert edges[0] <= scores.min() and scores.max() <= edges[-1]
    bar = np.searchsorted(edges, scores, side="right")
    above = scores > threshold
    assert set(bar[above]).isdisjoint(bar[~above])


def test_scores_that_hardly_differ():
    near = np.nextafter(1.0, 2)
    edges = bar_edges(np.array([1.0, near, near]), 30, near, False)
    assert (np.diff(edges) > 0).all()
    ScoreDistributionDisplay.from_predictions([0, 1], [1, near], threshold=near)


def test_heights_are_shares_of_each_kind():
    y = np.repeat([0, 1], [300, 3])
    scores = np.random.default_rng(0).normal(10, 1, 303) + 5 * y
    display = ScoreDistributionDisplay.from_predictions(y, scores, threshold=13)
    for artist in (display.normal_, display.anomalous_):
        heights, edges = shares(artist)
        assert heights.sum() == pytest.approx(1)
        assert np.isclose(edges, 13).any()
    assert display.ax_.get_xscale() == "linear"


def test_scores_that_span_decades():
    scores = np.geomspace(0.01, 100, 50)
    y = scores > 1
    display = ScoreDistributionDisplay.from_predictions(y, scores, threshold=1)
    assert display.ax_.get_xscale() == "log"
    few = ScoreDistributionDisplay.from_predictions(y, scores**0.5, log_scale=True)
    few.figure_.canvas.draw()
    labels = [text.get_text() for text in few.ax_.get_xticklabels()]
    assert {"0.2", "0.5", "1", "2", "5"} <= set(labels)
    assert display.plot(log_scale=False).ax_.get_xscale() == "linear"
    zero = ScoreDistributionDisplay.from_predictions(y, scores - 0.01, threshold=1)
    assert zero.ax_.get_xscale() == "linear"
    with pytest.raises(ValueError, match="needs positive scores"):
        zero.plot(log_scale=True)
    with pytest.raises(ValueError, match="log_scale='no'"):
        zero.plot(log_scale="no")


def test_one_score_and_no_threshold():
    display = ScoreDistributionDisplay.from_predictions([0], [0.0])
    assert display.threshold_line_ is None and display.false_alarm_rate is None
    heights, _ = shares(display.normal_)
    assert heights.max() == 1


def test_looks_are_the_callers():
    display = ScoreDistributionDisplay.from_predictions(
        [0, 1],
        [1, 2],
        threshold=1.5,
        calibration_scores=[1.0, 1.2],
        normal_kw={"fc": "green"},
        anomalous_kw={"ec": "black"},
        threshold_kw={"c": "red", "ls": ":"},
    )
    assert display.threshold_line_.get_color() == "red"
    assert display.threshold_line_.get_linestyle() == ":"
    assert display.normal_.get_facecolor()[:3] == (0, 128 / 255, 0)
    assert display.marks_.get_color() == "black"
    _, ax = plt.subplots()
    assert display.plot(ax=ax).ax_ is ax and display.figure_ is ax.figure


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": []}, "scores is empty"),
        ({"scores": [[1.0, 2.0]]}, r"scores must be of shape \(n,\)"),
        ({"scores": [1.0, np.inf]}, "scores holds NaN or infinity, first in row 1"),
        ({"y_true": [0, 1, 1]}, "2 images, but y_true has 3"),
        ({"y_true": [-1, 1]}, r"y_true must hold.*\[-1, 1\]"),
        ({"calibration_scores": [np.nan]}, "calibration_scores holds NaN"),
        ({"bins": 0}, "bins=0"),
    ],
)
def test_scores_that_cannot_be_shown(arguments, message):
    good = {"y_true": [0, 1], "scores": [1.0, 2.0]}
    with pytest.raises(ValueError, match=message):
        ScoreDistributionDisplay.from_predictions(**good | arguments)


# -- training -------------------------------------------------------------------------


def test_losses_and_learning_rate(model):
    display = HistoryDisplay.from_estimator(model)
    losses = [row["train_loss"] for row in model.history_]
    assert_array_equal(display.lines_["train_loss"].get_ydata(), losses)
    assert_array_equal(display.lines_["train_loss"].get_xdata(), [1, 2, 3])
    rates = [row["batches"][-1]["event_lr"] for row in model.history_]
    assert_array_equal(display.lines_["lr"].get_ydata(), rates)
    assert display.lines_["lr"].axes is display.secondary_ax_
    assert display.kept_line_ is None
    assert display.plot(secondary=None).secondary_ax_ is None


def test_epoch_that_was_kept(stopped):
    display = HistoryDisplay.from_estimator(stopped)
    losses = [row["valid_loss"] for row in stopped.history_]
    assert display.kept_epoch == np.argmin(losses) + 1
    stopping = dict(stopped.net_.callbacks_)["early_stopping"]
    assert display.kept_epoch == stopping.best_epoch_
    assert display.kept_line_.get_xdata()[0] == display.kept_epoch
    assert set(display.lines_) == {"train_loss", "valid_loss", "lr"}


def test_runs_that_went_on():
    model = quick(max_epochs=2, warm_start=True).fit(X).fit(X)
    model.set_params(max_epochs=3).fit(X)
    display = HistoryDisplay.from_estimator(model)
    assert display.starts.tolist() == [0, 2, 4]
    assert len(display.curves["train_loss"]) == 7
    assert [line.get_xdata()[0] for line in display.ax_.lines[1:]] == [2.5, 4.5]


def test_what_callbacks_record(stopped):
    def spread(net, X, y=None):
        return 0.25

    scoring = EpochScoring(spread, name="spread", use_caching=False)
    model = quick(callbacks=[("spread", scoring)], early_stopping=True).fit(X)
    display = HistoryDisplay.from_estimator(model, lw=3)
    assert_array_equal(display.lines_["spread"].get_ydata(), [0.25] * 3)
    assert display.lines_["spread"].axes is display.secondary_ax_
    assert display.lines_["spread"].get_linewidth() == 3
    chosen = display.plot(secondary="valid_loss")
    assert chosen.lines_["valid_loss"].axes is chosen.secondary_ax_
    assert chosen.lines_["train_loss"].axes is chosen.ax_


def test_history_by_itself():
    rows = [{"train_loss": 1.0}, {"train_loss": 0.5, "valid_acc": 1}]
    display = HistoryDisplay.from_history(rows)
    assert_array_equal(display.curves["valid_acc"], [np.nan, 1])
    with pytest.raises(ValueError, match="no epoch"):
        HistoryDisplay.from_history([])
    with pytest.raises(ValueError, match="kept_epoch=3, but there are 2"):
        HistoryDisplay.from_history(rows, kept_epoch=3)
    with pytest.raises(ValueError, match=r"no \['auroc'\].*train_loss"):
        display.plot(secondary=["auroc"])


# -- overlaps --------------------------------------------------------------------------


@pytest.mark.parametrize("max_fpr", [0.05, 0.3, 1.0])
def test_area_is_the_metric(model, max_fpr):
    heatmaps = model.explain(X)
    display = RegionOverlapDisplay.from_estimator(model, X, MASKS, max_fpr=max_fpr)
    assert display.aupro == aupro_score(MASKS, heatmaps, max_fpr=max_fpr)
    fpr, overlap, thresholds = region_overlap_curve(MASKS, heatmaps)
    assert_array_equal(display.fpr, fpr)
    assert_array_equal(display.overlap, overlap)
    assert_array_equal(display.thresholds, thresholds)
    label = display.ax_.get_legend().get_texts()[0].get_text()
    assert label.endswith(f"AUPRO = {display.aupro:.3f} (up to {max_fpr:g})")
    corners = display.area_.get_paths()[0].vertices
    assert corners[:, 0].max() == pytest.approx(max_fpr)
    # What is shaded is what is stated.
    x, y = corners[:, 0], corners[:, 1]
    shaded = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    assert shaded / max_fpr == pytest.approx(display.aupro, abs=2e-3)


def test_many_pixels_are_counted_in_batches(model, monkeypatch):
    exact = RegionOverlapDisplay.from_estimator(model, X, MASKS).aupro
    monkeypatch.setattr(_region_overlap, "MOST_EXACT", 100)
    monkeypatch.setattr(model, "explain", None)  # never all at once
    counted = RegionOverlapDisplay.from_estimator(model, X, MASKS)
    assert counted.aupro == pytest.approx(exact, abs=1e-3)
    assert counted.aupro == pytest.approx(
        aupro_score(
            MASKS, np.concatenate(list(model.iter_explain(X))), method="histogram"
        )
    )


def test_curve_of_many_points_is_drawn_with_few():
    rng = np.random.default_rng(0)
    masks = rng.random((4, 100, 100)) < 0.1
    heatmaps = rng.random(masks.shape) + 0.3 * masks
    display = RegionOverlapDisplay.from_predictions(masks, heatmaps)
    line = display.line_.get_xydata()
    assert len(line) < len(display.fpr) / 2
    assert_array_equal(line[[0, -1]], [[0, 0], [1, 1]])
    distance, _ = KDTree(line).query(np.c_[display.fpr, display.overlap])
    assert distance.max() < 2e-3


def test_curves_on_one_axes(model):
    first = RegionOverlapDisplay.from_estimator(model, X, MASKS, name="one")
    second = RegionOverlapDisplay.from_predictions(
        MASKS, MASKS, ax=first.ax_, name="two", fill=False, plot_chance_level=True
    )
    assert second.aupro == 1 and second.area_ is None
    assert second.line_.get_color() != first.line_.get_color()
    assert_array_equal(second.chance_level_.get_xydata(), [[0, 0], [1, 1]])
    assert len(first.ax_.get_legend().get_texts()) == 3


def test_overlaps_that_cannot_be_shown(model):
    with pytest.raises(ValueError, match="max_fpr=0"):
        RegionOverlapDisplay.from_estimator(model, X, MASKS, max_fpr=0)
    with pytest.raises(ValueError, match=r"n = 40.*\(3, 16, 20\)"):
        RegionOverlapDisplay.from_estimator(model, X, MASKS[:3])
    with pytest.raises(ValueError, match="no anomalous pixels"):
        RegionOverlapDisplay.from_predictions(0 * MASKS, MASKS)
