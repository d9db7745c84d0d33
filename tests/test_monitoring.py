"""Drift is found, and the stated probability of a false alarm is kept."""

from __future__ import annotations

import itertools
import json
import math
import pickle
from collections import Counter

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from _small import make_images, quick
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom, kstest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skfcdd import FCDDDetector, FCDDSegmenter
from skfcdd.display import DriftDisplay
from skfcdd.exceptions import CalibrationError
from skfcdd.export import to_onnx
from skfcdd.monitoring import DriftMonitor, image_statistics, n_scores_required
from skfcdd.monitoring._martingale import Martingale, kept_until, log_bets
from skfcdd.monitoring._ranks import Ranks, Trace, coarse
from skfcdd.onnx import OnnxFCDD

# Points and weights of an integral over (0, 1), dense at both ends.
_T = np.linspace(-60, 60, 6001)
POINTS = 1 / (1 + np.exp(-_T))
WEIGHTS = POINTS * (1 - POINTS) * (_T[1] - _T[0])


def normal(seed, n, shift=0.0, scale=1.0):
    return shift + scale * np.random.RandomState(seed).standard_normal(n)


class Chosen:
    """Random numbers that are chosen beforehand."""

    def __init__(self, uniform=(), integers=()):
        self.uniform, self.given = iter(uniform), iter(integers)

    def random(self):
        return next(self.uniform, 0.5)

    def integers(self, n):
        return next(self.given)


def test_every_bet_is_fair():
    """But for what floats cannot tell from 1, which is lost."""
    integrals = WEIGHTS @ np.exp([log_bets(p) for p in POINTS])
    assert_allclose(integrals, 1, rtol=5e-3)
    assert (integrals < 1 + 1e-6).all()


def test_wealth_is_a_martingale():
    """Its mean over the next p-value is what it is now."""
    game = Martingale()
    for p in (0.3, 0.01, 0.9, 0.002):
        game.bet(p)
    state = game.state()
    following = [math.exp(Martingale.restored(state).bet(p)) for p in POINTS]
    assert_allclose(WEIGHTS @ following, math.exp(game.log_wealth), rtol=2e-3)


def test_wealth_agrees_with_its_definition():
    """A gambler who starts at each step, on each bet, with a stake fixed beforehand."""
    p_values = np.random.RandomState(0).uniform(size=40)
    bets = np.exp([log_bets(p) for p in p_values])
    game = Martingale()
    for t, p in enumerate(p_values, start=1):
        wealth = kept_until(t)
        for start in range(t):
            stake = kept_until(start) - kept_until(start + 1)
            wealth += stake * bets[start:t].prod(axis=0).mean()
        assert game.bet(p) == pytest.approx(math.log(wealth), abs=1e-10)
    assert kept_until(0) == 1


@pytest.mark.parametrize("values", [(1, 2, 3, 4), (1, 1, 2, 2), (1, 2, 2, 2)])
def test_p_values_are_exactly_independent_and_uniform(values):
    """All orders of four scores, two of calibration and two of a stream."""
    uniform = (np.arange(12) + 0.5) / 12
    cells = Counter()
    for order in itertools.permutations(values):
        for chance in itertools.product(uniform, repeat=2):
            ranks = Ranks(order[:2], 10, Chosen(chance))
            first, second = ranks(order[2]), ranks(order[3])
            cells[math.ceil(3 * first), math.ceil(4 * second)] += 1
    assert len(cells) == 12
    assert set(cells.values()) == {24 * 144 // 12}


def test_p_values_stay_independent_if_scores_are_forgotten():
    """All orders of six scores, and all that may be left out."""
    cells = Counter()
    for order in itertools.permutations(range(6)):
        for left_out in itertools.product(range(4), repeat=2):
            ranks = Ranks(order[:3], 3, Chosen(integers=(*left_out, 0)))
            cells[tuple(math.ceil(4 * ranks(score)) for score in order[3:])] += 1
    assert len(cells) == 64
    assert set(cells.values()) == {720 * 16 // 64}


def test_p_values_of_a_long_stream_are_uniform():
    ranks = Ranks(normal(0, 30), 200, np.random.default_rng(0))
    p_values = np.array([ranks(score) for score in normal(1, 3000)])
    assert kstest(p_values, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(p_values[:-1], p_values[1:])[0, 1]) < 0.06
    assert len(ranks.kept) == 200
    assert ranks.kept == sorted(ranks.kept)


def test_false_alarms_are_as_rare_as_stated():
    """Over the whole stream; benchmarks/drift.py has more and longer streams."""
    n_alarms = 0
    for seed in range(120):
        scores = np.random.RandomState(seed).lognormal(size=230)
        monitor = DriftMonitor(0.1, random_state=seed).fit(scores[:30])
        n_alarms += monitor.update(scores[30:]).alarm_
    assert n_alarms <= binom.ppf(0.9999, 120, 0.1)


@pytest.mark.parametrize("kind", ["higher", "lower", "wider", "narrower"])
@pytest.mark.parametrize("n_before", [10, 300])
def test_changes_of_all_kinds_are_found(kind, n_before):
    shift, scale = {
        "higher": (1.5, 1.0),
        "lower": (-1.5, 1.0),
        "wider": (0.0, 5.0),
        "narrower": (0.0, 0.02),
    }[kind]
    monitor = DriftMonitor(random_state=0).fit(normal(0, 100))
    assert not monitor.update(normal(1, n_before)).alarm_
    monitor.update(normal(2, 60, shift, scale))
    assert monitor.alarm_
    assert n_before < monitor.alarm_at_ <= n_before + 60
    assert monitor.alarm_column_ == 0
    assert monitor.p_value_ <= 0.01


def test_an_alarm_stays_and_the_next_fit_begins_again():
    monitor = DriftMonitor(random_state=0).fit(normal(0, 100)).update(np.full(30, 9.0))
    at = monitor.alarm_at_
    monitor.update(normal(1, 2000))
    assert monitor.alarm_
    assert monitor.alarm_at_ == at
    monitor.fit(normal(0, 100))
    assert not monitor.alarm_
    assert monitor.alarm_at_ is None
    assert monitor.alarm_column_ is None
    assert (monitor.n_seen_, monitor.evidence_, monitor.p_value_) == (0, 1.0, 1.0)


def test_a_late_change_is_still_found():
    """The wealth that is kept back falls slowly."""
    monitor = DriftMonitor(random_state=0).fit(normal(0, 100))
    monitor.update(normal(1, 5000)).update(normal(2, 40, 2.0))
    assert monitor.alarm_
    assert monitor.alarm_at_ > 5000


def test_the_parts_of_a_stream_do_not_matter():
    scores = normal(1, 50)
    whole = DriftMonitor(random_state=3).fit(normal(0, 40)).update(scores)
    parts = DriftMonitor(random_state=3).fit(normal(0, 40))
    for part in np.split(scores, [1, 7, 7, 30]):
        parts.update(part)
    assert_array_equal(whole.course_[1], parts.course_[1])


def test_columns_share_the_stated_probability():
    """The evidence is that of the best column, divided by the number of columns."""
    X, stream = normal(0, 60), normal(1, 30, 3.0)
    one = DriftMonitor(random_state=0).fit(X).update(stream)
    constant = np.zeros((60, 1))
    two = DriftMonitor(random_state=0).fit(np.hstack([constant, X[:, None]]))
    two.update(np.column_stack([np.zeros(30), stream]))
    assert two.alarm_column_ == 1
    assert two.alarm_at_ >= one.alarm_at_
    other = [martingale.log_wealth for martingale in two._martingales]
    assert two.evidence_ == pytest.approx(math.exp(max(other)) / 2)


def test_equal_images_are_no_drift_though_rounding_differs():
    noise = 1 + 1e-8 * normal(0, 300)
    monitor = DriftMonitor(random_state=0).fit(noise[:50])
    assert not monitor.update(noise[50:]).alarm_
    assert len(set(coarse(1.2345 * noise))) <= 2


def test_rounding_keeps_five_digits():
    scores = np.array([0.0, 1e-12, 0.123456, 7.0, 1e9])
    assert_allclose(coarse(scores), scores, rtol=4e-6)
    assert_array_equal(coarse(-scores), -coarse(scores))


def test_states_go_on_after_a_restart(tmp_path):
    path = tmp_path / "drift.json"
    rng = np.random.RandomState(0)
    X, before, after = (rng.standard_normal((n, 2)) for n in (50, 70, 80))
    monitor = DriftMonitor(0.02, max_scores=60, random_state=0).fit(X).update(before)
    monitor.save(path)
    again = DriftMonitor.load(path)
    kept = pickle.loads(pickle.dumps(monitor))
    for other in (again, kept):
        other.update(after)
    monitor.update(after)
    for other in (again, kept):
        assert_array_equal(other.course_[1], monitor.course_[1])
        assert other.evidence_ == monitor.evidence_
        assert (other.n_seen_, other.n_calibration_) == (150, 50)
        assert other.get_params()["max_scores"] == 60
    assert again.update(after + 5).alarm_at_ == monitor.update(after + 5).alarm_at_
    again.save(path)
    assert DriftMonitor.load(path).alarm_at_ == monitor.alarm_at_


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format": "x", "version": 1}'])
def test_damaged_states_are_refused(tmp_path, content):
    path = tmp_path / "drift.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"drift\.json.*not written by DriftMonitor"):
        DriftMonitor.load(path)


def test_states_with_wrong_values_are_refused(tmp_path):
    path = tmp_path / "drift.json"
    DriftMonitor(random_state=0).fit(normal(0, 40)).update([1.0]).save(path)
    good = json.loads(path.read_text())
    changes = [
        {"columns": []},
        {"false_alarm_probability": 2},
        {"columns": [{**good["columns"][0], "scores": [float("nan")]}]},
        {"columns": [{**good["columns"][0], "log_stakes": [0.0]}]},
        {"generator": {"bit_generator": "MT19937"}},
    ]
    for change in changes:
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(ValueError, match="is damaged"):
            DriftMonitor.load(path)


def test_bad_input_is_refused_and_changes_nothing(tmp_path):
    monitor = DriftMonitor(random_state=0).fit(normal(0, 40)).update(normal(1, 5))
    before = monitor.evidence_
    for wrong in ([[1.0, 2.0]], [1.0, np.nan], [np.inf], np.zeros((2, 2, 2))):
        with pytest.raises(ValueError, match=r"column|NaN|infinity|shape|dim"):
            monitor.update(wrong)
    assert (monitor.n_seen_, monitor.evidence_) == (5, before)
    assert monitor.update([]).n_seen_ == 5
    with pytest.raises(OSError, match="Cannot write"):
        monitor.save(tmp_path / "missing" / "drift.json")
    for probability in (0, 1, -1, "x"):
        with pytest.raises(ValueError, match="false_alarm_probability"):
            DriftMonitor(probability).fit(normal(0, 40))


def test_too_few_scores_are_refused_with_the_number_needed():
    needed = n_scores_required(0.001)
    with pytest.raises(CalibrationError, match=f"fewer than {needed}"):
        DriftMonitor(0.001).fit(normal(0, needed - 1))
    DriftMonitor(0.001).fit(normal(0, needed))
    found = [
        DriftMonitor(0.001, random_state=seed)
        .fit(normal(seed, needed))
        .update(np.full(2 * needed, 99.0) + normal(seed, 2 * needed))
        .alarm_
        for seed in range(20)
    ]
    assert np.mean(found) > 0.4
    with pytest.raises(ValueError, match="between 0 and 1"):
        n_scores_required(0)


def test_an_unfitted_monitor_says_so():
    monitor = DriftMonitor()
    for ask in ("alarm_", "evidence_", "p_value_", "n_seen_", "course_"):
        with pytest.raises(NotFittedError):
            getattr(monitor, ask)
    with pytest.raises(NotFittedError):
        monitor.update([1.0])
    assert clone(DriftMonitor(0.2)).false_alarm_probability == 0.2


def test_courses_of_any_length_have_few_points():
    trace = Trace()
    for step in range(1, 10_001):
        trace.add(step, float(step))
    assert 1024 <= len(trace.values) <= 2048
    assert trace.values == [trace.stride * k for k in range(1, len(trace.values) + 1)]


@pytest.fixture(scope="module")
def model():
    return quick().fit(make_images(40)[0])


def test_statistics_are_those_of_the_image(model):
    X = make_images(70, seed=1)[0]
    found = image_statistics(model, X)
    assert found.shape == (70, 4)
    assert_allclose(found[:, 0], model.anomaly_score(X), rtol=1e-5)
    image = X[69].astype(float)
    steps = [abs(np.diff(image, axis=axis)).mean() for axis in (0, 1)]
    expected = [image.mean(), image.std(), np.mean(steps)]
    assert_allclose(found[69, 1:], expected)
    assert image_statistics(model, X[:0]).shape == (0, 4)


def test_statistics_of_an_exported_model_and_a_segmenter(model, tmp_path):
    X, _, masks = make_images(12, seed=1, n_anomalous=4)
    to_onnx(model, tmp_path / "model.onnx")
    served = image_statistics(OnnxFCDD(tmp_path / "model.onnx"), X)
    assert_allclose(served, image_statistics(model, X), rtol=1e-4)
    segmenter = FCDDSegmenter(max_epochs=1, random_state=0).fit(X, masks)
    found = image_statistics(segmenter, X)
    assert_allclose(found[:, 1:], served[:, 1:])
    with pytest.raises(TypeError, match="anomaly_score"):
        image_statistics(object(), X)


def test_a_darker_lamp_is_found(model):
    images = make_images(260, seed=2)[0]
    monitor = DriftMonitor(random_state=0).fit(image_statistics(model, images[:100]))
    assert not monitor.update(image_statistics(model, images[100:200])).alarm_
    darker = (0.9 * images[200:]).astype(np.uint8)
    assert monitor.update(image_statistics(model, darker)).alarm_
    assert monitor.alarm_at_ <= 150


def test_exposures_of_real_tiles_are_found(shared_data):
    """Nine of ten changes to another exposure, within 50 images."""
    with np.load(shared_data / "magnetic_tile.npz", allow_pickle=False) as file:
        free = file["kind"] == "free"
        X, tile, name = (file[k][free] for k in ("X", "tile", "name"))
    X, exposure = X[:, ::4, ::4], np.array([int(text[3]) for text in name])
    trained = np.random.RandomState(0).permutation(np.unique(tile))[:40]
    new = ~np.isin(tile, trained)
    model = FCDDDetector(max_epochs=2, random_state=0)
    model.fit(X[~new & (exposure == 3)])
    numbers = {
        e: image_statistics(model, X[new & (exposure == e)]) for e in range(1, 7)
    }
    found, false = [], 0
    for other, seed in itertools.product((1, 2, 4, 5, 6), range(6)):
        chance = np.random.RandomState(seed)
        usual, changed = (chance.permutation(numbers[e]) for e in (3, other))
        monitor = DriftMonitor(random_state=seed).fit(usual[:90]).update(usual[90:])
        false += monitor.alarm_
        found.append(monitor.update(changed[:50]).alarm_)
    assert false <= 2
    assert np.mean(found) >= 0.9


def test_display_shows_the_evidence_and_the_alarm():
    monitor = DriftMonitor(0.05, random_state=0).fit(normal(0, 50))
    calm = DriftDisplay.from_monitor(monitor.update(normal(1, 20)))
    assert calm.alarm_line_ is None
    assert calm.line_.get_xdata()[-1] == 20
    monitor.update(normal(2, 30, 4.0))
    display = DriftDisplay.from_monitor(monitor, line_kw={"color": "red"})
    assert display.line_.get_color() == "red"
    assert_allclose(display.line_.get_ydata()[1:], monitor.course_[1])
    assert display.level_line_.get_ydata()[0] == pytest.approx(math.log10(20))
    assert display.alarm_line_.get_xdata()[0] == monitor.alarm_at_
    with pytest.raises(NotFittedError):
        DriftDisplay.from_monitor(DriftMonitor())
    with pytest.raises(ValueError, match="between 0 and 1"):
        DriftDisplay.from_evidence([0.0], false_alarm_probability=1)
    with pytest.raises(ValueError, match="NaN"):
        DriftDisplay.from_evidence([np.nan])
    plt.close("all")
