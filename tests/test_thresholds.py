"""Rules for thresholds, against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from _small import make_images, quick
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from skfcdd import thresholds
from skfcdd.conformal import false_alarm_threshold, n_calibration_required
from skfcdd.exceptions import CalibrationError
from skfcdd.thresholds import (
    THRESHOLDS,
    Auto,
    Calibration,
    Closest,
    FalseAlarmRate,
    MaxF1,
    MaxFNR,
    MaxFPR,
    Natural,
    Quantile,
    Threshold,
    Youden,
    resolve_threshold,
)
from skfcdd.thresholds._labelled import _balanced_accuracy


def apply(rule, normal, anomalous):
    labels = np.repeat([0, 1], [len(normal), len(anomalous)])
    return rule(labels, np.concatenate([normal, anomalous]))


def auto(normal, anomalous, contamination=0.05):
    return apply(Auto(contamination), normal, anomalous)


@given(
    arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 5)),
    st.sampled_from([0.0, 0.05, 0.3]),
)
def test_quantile_of_normal_scores(normal, contamination):
    threshold = auto(normal, [], contamination)
    if 0 < contamination < 1 / (len(normal) + 1) and normal.min() > 0:
        return  # the scores have no such quantile, see below
    place = (len(normal) + 1) * (1 - contamination) - 1
    places = np.arange(len(normal))
    quantile = float(np.interp(place, places, np.sort(normal)))
    assert threshold > quantile - 1e-12
    assert threshold <= np.nextafter(quantile, 9) + 1e-12 or quantile < 1e-37
    assert (normal > threshold).sum() <= contamination * (len(normal) + 1)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 18])
def test_few_scores_give_a_quantile_beyond_them(n):
    """Of log-normal scores, as many exceed it as the distribution of Student says."""
    rng = np.random.default_rng(0)
    normal = np.exp(0.4 * rng.standard_normal((4000, n)))
    chosen = np.array([Quantile(0.05).choose(x, x, None) for x in normal])
    rates = stats.norm.sf(np.log(chosen) / 0.4)
    expected = min(0.1, stats.t.sf(stats.norm.isf(0.05), n - 1))
    assert rates.mean() == pytest.approx(expected, abs=4 * rates.std() / 4000**0.5)


def test_the_plain_maximum_is_exceeded_more_often():
    """Ten scores: one image in eleven is above the greatest of them."""
    normal = np.exp(0.3 * np.random.default_rng(1).standard_normal((4000, 10)))
    above = [
        (Quantile(0.05).choose(x[:9], x, None) < x[9], x[:9].max() < x[9])
        for x in normal
    ]
    estimated, plain = np.mean(above, axis=0)
    assert plain == pytest.approx(0.1, abs=0.02)
    assert 0.05 < estimated < 0.085


def test_few_scores_without_a_spread():
    assert Quantile(0.05).choose(np.array([0.3]), np.empty(0), None) > 0.3
    zeros = np.array([0.0, 0.2, 0.1])
    assert Quantile(0.05).choose(zeros, zeros, None) == np.nextafter(0.2, 1)
    same = np.full(4, 0.7)
    assert Quantile(0.05).choose(same, same, None) == pytest.approx(0.7)


def test_groups_count_as_one_image():
    """One photograph of each part, or many alike: the same threshold."""
    rng = np.random.default_rng(2)
    for n in (6, 40):
        alone = rng.exponential(size=n) + 0.1
        many, groups = np.repeat(alone, 3), np.repeat(np.arange(n), 3)
        for rule in (Quantile(0.05), Auto(0.05), FalseAlarmRate(0.2)):
            one = rule(np.zeros(n), alone, groups=np.arange(n))
            assert rule(np.zeros(3 * n), many, groups=groups) == pytest.approx(one)
    with pytest.raises(CalibrationError, match=r"at least 19 .*there are 8"):
        FalseAlarmRate(0.05)(np.zeros(40), np.arange(1, 41), groups=np.arange(40) % 8)


def test_rules_that_ask_for_a_rate():
    assert Quantile(0.1).asked_rate(0) == Auto(0.1).asked_rate(0) == 0.1
    assert FalseAlarmRate(0.02).asked_rate(3) == 0.02
    for rule, n in (
        (Auto(0.1), 3),
        (Quantile(0.0), 0),
        (MaxFPR(0.1), 3),
        (Natural(), 0),
    ):
        assert rule.asked_rate(n) is None


def test_a_calibration_says_what_images_support():
    """Ranges after Clopper and Pearson: exact binomial probabilities of 5 %."""
    few = Calibration("held-out", 4, 4, rate=0.05, n_above=0)
    low, high = few.range
    assert low == 0 and stats.binom.pmf(0, 4, high) == pytest.approx(0.05)
    assert "at least 19 normal images" in few.warning and "53 %" in few.warning
    many = Calibration("out-of-fold", 60, 60, rate=0.05, n_above=3.0)
    low, high = many.range
    assert stats.binom.cdf(3, 60, high) == pytest.approx(0.05)
    assert stats.binom.sf(2, 60, low) == pytest.approx(0.05)
    assert many.supported and many.warning is None and "approximate" in str(many)
    parts = Calibration("given", 60, 12, rate=0.05, n_above=0.5)
    assert (
        not parts.supported and "groups" in parts.warning and "12 groups" in str(parts)
    )
    unknown = Calibration("held-out", 9, 9, rate=None, n_above=None)
    assert unknown.supported and unknown.range == (0, 1)
    assert str(unknown) == (
        "Calibrated on 9 normal images that were held out of training."
    )


def best_balanced_accuracy(normal, anomalous):
    candidates = np.concatenate([[-1.0], normal, anomalous])
    return max(((normal <= t).mean() + (anomalous > t).mean()) / 2 for t in candidates)


def reached(normal, anomalous, threshold):
    return ((normal <= threshold).mean() + (anomalous > threshold).mean()) / 2


SCORES = arrays(
    np.float64,
    st.integers(1, 30),
    elements=st.integers(0, 40).map(lambda number: number / 20),  # many ties
)


@given(SCORES, SCORES)
def test_threshold_with_anomalies(normal, anomalous):
    """ln 2 is kept unless brute force finds one that is better by more than 0.05."""
    threshold = auto(normal, anomalous)
    best = best_balanced_accuracy(normal, anomalous)
    natural = reached(normal, anomalous, math.log(2))
    if best - natural > 0.05 + 1e-9:
        assert reached(normal, anomalous, threshold) == pytest.approx(best)
        assert threshold not in set(normal) | set(anomalous)
    elif best - natural < 0.05 - 1e-9:
        assert threshold == math.log(2)
    assert threshold > 0


def test_threshold_stands_in_the_middle_of_its_gap():
    normal, anomalous = np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.6])
    threshold = auto(normal, anomalous)
    assert threshold == pytest.approx(0.4)


def test_natural_threshold_is_kept_where_it_does():
    normal, anomalous = np.linspace(0, 0.5, 20), np.linspace(0.8, 3, 20)
    threshold = auto(normal, anomalous)
    assert threshold == math.log(2)


def test_scores_that_tell_nothing():
    same = np.full(10, 0.3)
    assert auto(same, same) == math.log(2)
    zeros = auto(np.zeros(5), [], 0.0)
    assert 0 < zeros < 1e-30
    reversed_ = auto(same + 0.1, same)
    assert reversed_ > 0


def rates(normal, anomalous, threshold):
    return (normal > threshold).mean(), (anomalous <= threshold).mean()


def every_threshold(normal, anomalous):
    scores = np.concatenate([normal, anomalous])
    return np.concatenate([[np.inf], np.unique(scores) - 1e-6])


def f1(normal, anomalous, threshold):
    found, false = (anomalous > threshold).sum(), (normal > threshold).sum()
    return 2 * found / (found + false + len(anomalous))


# A threshold is greater than 0, so a score of 0 is never anomalous.
POSITIVE = SCORES.map(lambda scores: scores + 0.05)


@given(POSITIVE, POSITIVE)
def test_youden_and_closest_against_every_threshold(normal, anomalous):
    found = {
        "j": [
            1 - sum(rates(normal, anomalous, t))
            for t in every_threshold(normal, anomalous)
        ],
        "d": [
            np.hypot(*rates(normal, anomalous, t))
            for t in every_threshold(normal, anomalous)
        ],
    }
    j = 1 - sum(rates(normal, anomalous, apply(Youden(), normal, anomalous)))
    assert j == pytest.approx(max(found["j"]), abs=1e-9)
    d = np.hypot(*rates(normal, anomalous, apply(Closest(), normal, anomalous)))
    assert d == pytest.approx(min(found["d"]), abs=1e-9)


@given(POSITIVE, POSITIVE)
def test_f1_against_every_threshold(normal, anomalous):
    reached = f1(normal, anomalous, apply(MaxF1(), normal, anomalous))
    best = max(f1(normal, anomalous, t) for t in every_threshold(normal, anomalous))
    assert reached == pytest.approx(best)


@given(POSITIVE, POSITIVE, st.sampled_from([0.0, 0.1, 0.25, 0.5]))
def test_limited_rates_against_every_threshold(normal, anomalous, rate):
    pairs = [rates(normal, anomalous, t) for t in every_threshold(normal, anomalous)]
    fpr, fnr = rates(normal, anomalous, apply(MaxFPR(rate), normal, anomalous))
    assert fpr <= rate
    assert fnr == pytest.approx(min(b for a, b in pairs if a <= rate))
    fpr, fnr = rates(normal, anomalous, apply(MaxFNR(rate), normal, anomalous))
    assert fnr <= rate
    assert fpr == pytest.approx(min(a for a, b in pairs if b <= rate))


@given(POSITIVE, POSITIVE)
def test_weights_count_like_repetitions(normal, anomalous):
    labels = np.repeat([0, 1], [len(normal), len(anomalous)])
    scores = np.concatenate([normal, anomalous])
    times = np.arange(len(scores)) % 3 + 1
    for rule in (Youden(), Closest(), MaxF1(), MaxFPR(0.2), MaxFNR(0.2)):
        repeated = rule(np.repeat(labels, times), np.repeat(scores, times))
        assert rule(labels, scores, sample_weight=times) == repeated


def test_weights_change_what_is_chosen():
    """Few images of great weight count for more than many of small weight."""
    labels, scores = np.repeat([0, 1], 3), np.array([0.1, 0.2, 1.0, 0.5, 2.0, 3.0])
    for heavy in (2, 3):
        times = np.ones(6, dtype=int)
        times[heavy] = 50
        chosen = MaxF1()(labels, scores, sample_weight=times)
        assert chosen == MaxF1()(np.repeat(labels, times), np.repeat(scores, times))
        assert (chosen > 1.0) == (heavy == 2)


def test_scores_on_the_threshold_are_normal():
    scores = np.array([1.0]), np.array([1.0])
    assert _balanced_accuracy(*scores, 1.0) == 0.5
    assert _balanced_accuracy(*scores, 0.9) == 0.5
    assert _balanced_accuracy(np.array([1.0]), np.array([1.1]), 1.0) == 1.0


def test_false_alarm_rate_keeps_its_confidence():
    scores = np.random.RandomState(0).exponential(size=200)
    for confidence in (None, 0.9):
        rule = FalseAlarmRate(0.1, confidence)
        least = n_calibration_required(0.1, confidence=confidence)
        for n in (least, 200):  # as few as can support it, and more
            bound = false_alarm_threshold(scores[:n], 0.1, confidence=confidence)
            chosen = rule(np.zeros(n), scores[:n])
            assert bound < chosen <= np.nextafter(bound, np.inf)
        with pytest.raises(CalibrationError, match=str(least)):
            rule(np.zeros(least - 1), scores[: least - 1])
    sure, on_average = (apply(FalseAlarmRate(0.1, c), scores, []) for c in (0.9, None))
    assert sure > on_average
    with pytest.raises(CalibrationError, match=r"got 7 anomalous and 0 normal"):
        FalseAlarmRate(0.1)(np.ones(7), scores[:7])


def test_labels_and_scores_of_other_lengths():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        Youden()([0, 0, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="Quantile does not support sample_weight"):
        Quantile()([0, 0], [0.1, 0.2], sample_weight=[1, 2])


def test_natural_and_numbers():
    assert apply(Natural(), np.ones(3), np.zeros(2)) == math.log(2)
    images, _, _ = make_images()
    assert quick(threshold=0.25).fit(images).threshold_ == 0.25
    assert quick(threshold="natural").fit(images).threshold_ == math.log(2)


def test_names_and_rules():
    for name, rule in THRESHOLDS.items():
        assert resolve_threshold(name) == rule()
    assert resolve_threshold("auto", 0.2) == Auto(0.2)
    assert resolve_threshold("quantile", 0.2) == Quantile(0.2)
    with pytest.raises(ValueError, match=r"threshold='youdens'.*'youden'"):
        resolve_threshold("youdens")


def test_every_rule_in_fit():
    images, y, _ = make_images(60, n_anomalous=20)
    for rule in (*THRESHOLDS, MaxFPR(0.1), MaxFNR(0.1), FalseAlarmRate(0.25)):
        model = quick(threshold=rule).fit(images, y)
        assert np.isfinite(model.threshold_)
        assert model.get_params()["threshold"] == rule


def test_own_rule_in_fit():
    class Twice(Threshold):
        def choose(self, normal, anomalous, weights):
            return 2 * normal.max()

    images, _, _ = make_images()
    model = quick(threshold=Twice()).fit(images)
    assert model.threshold_ == 2 * model.calibration_scores_[-1]


def test_rules_that_cannot_be_supported():
    images, y, _ = make_images(60, n_anomalous=20)
    for rule in ("youden", "f1", "closest", MaxFPR(0.1), MaxFNR(0.1)):
        model = quick(threshold=rule)
        with pytest.raises(CalibrationError, match="needs labelled anomalies"):
            model.fit(images[y == 0])
        assert not hasattr(model, "net_")  # said before an hour of training
    with pytest.raises(
        CalibrationError, match=r"rate=0\.01.*at least 99 .*there are 4"
    ):
        quick(threshold=FalseAlarmRate(0.01)).fit(images[y == 0])
    with pytest.raises(CalibrationError, match="anomalies only"):
        Youden()([1, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="does not support sample_weight"):
        Quantile()([0, 0], [0.1, 0.2], sample_weight=[1, 2])

    class Broken(Threshold):
        def choose(self, normal, anomalous, weights):
            return math.nan

    with pytest.raises(CalibrationError, match="gives nan"):
        Broken()([0], [1.0])


def test_every_export_is_a_rule_or_resolves_one():
    rules = [getattr(thresholds, name) for name in thresholds.__all__]
    assert sum(isinstance(r, type) and issubclass(r, Threshold) for r in rules) == 10
