"""Promises about false alarms, kept in simulation."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from _small import make_images, quick
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skfcdd._engine.split import Split
from skfcdd.conformal import (
    conformal_p_values,
    false_alarm_threshold,
    n_calibration_required,
    select_discoveries,
)
from skfcdd.exceptions import CalibrationError

TIED = arrays(np.float64, st.integers(1, 30), elements=st.integers(0, 9).map(float))


@given(TIED, TIED)
def test_p_values_are_counts(calibration, scores):
    p = conformal_p_values(calibration, scores)
    slow = [
        (1 + sum(c >= s for c in calibration)) / (len(calibration) + 1) for s in scores
    ]
    assert_allclose(p, slow)
    smoothed = conformal_p_values(calibration, scores, smoothed=True, random_state=0)
    assert (smoothed <= p).all()
    assert (smoothed >= 0).all()


@given(TIED, TIED, st.integers(1, 5), st.floats(0.05, 0.9))
def test_groups_are_shares(calibration, scores, n_groups, rate):
    """Against sums over groups, written out; one image a group is no group."""
    groups = np.arange(len(calibration)) % n_groups
    n = len(set(groups))

    def above(s):
        return sum((calibration[groups == g] > s).mean() for g in range(n))

    def at_least(s):
        return sum((calibration[groups == g] >= s).mean() for g in range(n))

    p = conformal_p_values(calibration, scores, groups=groups)
    assert_allclose(p, [(1 + at_least(s)) / (n + 1) for s in scores])
    alone = conformal_p_values(calibration, scores, groups=np.arange(len(calibration)))
    assert_allclose(alone, conformal_p_values(calibration, scores))
    if n >= n_calibration_required(rate):
        lowest = false_alarm_threshold(calibration, rate, groups=groups)
        kept = [c for c in calibration if 1 + above(c) <= (n + 1) * rate + 1e-6]
        assert lowest == min(kept)
        sure = false_alarm_threshold(calibration, 0.9, confidence=0.5, groups=groups)
        greatest = [calibration[groups == g].max() for g in range(n)]
        assert sure == false_alarm_threshold(greatest, 0.9, confidence=0.5)


def test_groups_of_another_length():
    with pytest.raises(ValueError, match="each of the 3 calibration scores"):
        conformal_p_values([1, 2, 3], [1], groups=[0, 1])


@pytest.mark.parametrize("tied", [False, True])
def test_p_values_of_normal_images_are_valid(tied):
    """P(p <= a) <= a for every a; uniform exactly if smoothed, ties or none."""
    rng = np.random.default_rng(0)
    n, repeats = 19, 20_000
    draw = rng.exponential(size=(repeats, n + 1))
    if tied:
        draw = np.ceil(2 * draw)
    p = np.array([conformal_p_values(row[:n], row[n:])[0] for row in draw])
    smoothed = np.array(
        [
            conformal_p_values(row[:n], row[n:], smoothed=True, random_state=i)[0]
            for i, row in enumerate(draw[:4000])
        ]
    )
    for a in np.arange(1, 20) / 20:
        spread = 4 * np.sqrt(a * (1 - a) / repeats)
        assert (p <= a + 1e-12).mean() <= a + spread
        if not tied:
            assert (p <= a + 1e-12).mean() >= a - spread
    assert stats.kstest(smoothed, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(("n", "rate"), [(9, 0.1), (50, 0.1), (99, 0.01), (30, 0.29)])
def test_false_alarm_rate_is_kept_on_average(n, rate):
    rng = np.random.default_rng(1)
    draw = rng.normal(size=(20_000, n + 1))
    alarms = np.mean([row[n] > false_alarm_threshold(row[:n], rate) for row in draw])
    spread = 4 * np.sqrt(rate / len(draw))
    assert rate - 1 / (n + 1) - spread <= alarms <= rate + spread


@pytest.mark.parametrize(
    ("n", "rate", "confidence"), [(59, 0.05, 0.95), (200, 0.05, 0.9), (22, 0.1, 0.9)]
)
def test_false_alarm_rate_is_kept_with_confidence(n, rate, confidence):
    """Of uniform scores, the rate of a threshold t is 1 - t."""
    rng = np.random.default_rng(2)
    draw = rng.uniform(size=(4000, n))
    kept = np.mean(
        [
            1 - false_alarm_threshold(row, rate, confidence=confidence) <= rate
            for row in draw
        ]
    )
    assert kept >= confidence - 4 * np.sqrt(confidence * (1 - confidence) / len(draw))
    # The next lower score would not keep it: the threshold is the lowest.
    position = round(false_alarm_threshold(np.arange(n), rate, confidence=confidence))
    assert stats.beta.cdf(rate, n - position, position + 1) >= confidence - 1e-9
    if position > 0:
        assert stats.beta.cdf(rate, n - position + 1, position) < confidence


@given(st.integers(1, 400), st.floats(0.005, 0.9))
def test_required_number_is_the_least(n, rate):
    for confidence in (None, 0.9):
        needed = n_calibration_required(rate, confidence=confidence)
        if n >= needed:
            false_alarm_threshold(np.arange(n), rate, confidence=confidence)
        else:
            with pytest.raises(CalibrationError, match=f"at least {needed} "):
                false_alarm_threshold(np.arange(n), rate, confidence=confidence)
    if n_calibration_required(rate) > 1:
        fewer = n_calibration_required(rate) - 1
        assert 1 / (fewer + 1) > rate  # not even the highest score would do


@pytest.mark.parametrize("bad", [0, 1, -0.1, 2])
def test_rates_that_are_none(bad):
    with pytest.raises(ValueError, match="rate="):
        n_calibration_required(bad)
    with pytest.raises(ValueError, match="confidence="):
        n_calibration_required(0.1, confidence=bad)


def test_false_discoveries_are_limited():
    """Benjamini and Hochberg on p-values that share one calibration set."""
    rng = np.random.default_rng(3)
    shares, found = [], []
    for _ in range(400):
        scores = np.concatenate([rng.normal(size=90), rng.normal(3.5, size=10)])
        p = conformal_p_values(rng.normal(size=200), scores)
        selected = select_discoveries(p, 200, rate=0.2)
        shares.append(selected[:90].sum() / max(1, selected.sum()))
        found.append(selected[90:].mean())
    assert np.mean(shares) <= 0.2 * 0.9 + 4 * np.std(shares) / 20
    assert np.mean(found) > 0.5


def slow_benjamini_hochberg(p, rate):
    order = np.argsort(p)
    passing = [k for k in range(1, len(p) + 1) if p[order[k - 1]] <= rate * k / len(p)]
    chosen = np.zeros(len(p), dtype=bool)
    chosen[order[: max(passing, default=0)]] = True
    return chosen


@given(
    arrays(
        np.float64,
        st.integers(1, 30),
        elements=st.integers(1, 50).map(lambda k: k / 50),
    )
)
def test_discoveries_by_definition(p):
    selected = select_discoveries(p, 49, rate=0.13)
    assert_array_equal(selected, slow_benjamini_hochberg(p, 0.13))


def test_discoveries_that_cannot_be():
    with pytest.raises(CalibrationError, match="At least 19 are needed"):
        select_discoveries([0.1], 9, rate=0.05)
    with pytest.raises(ValueError, match="p_values"):
        select_discoveries([np.nan], 99)
    assert select_discoveries([], 99).shape == (0,)


@pytest.mark.parametrize("bad", [[], [np.nan], [[0.1]]])
def test_scores_that_are_none(bad):
    with pytest.raises(ValueError, match=r"calibration_scores|0 sample"):
        conformal_p_values(bad, [0.1])


def test_an_estimator_gives_p_values():
    images, y, _ = make_images(120, n_anomalous=20)
    model = quick(max_epochs=6, validation_fraction=0.2).fit(images[y == 0])
    held = model.calibration_scores_
    assert held.shape == (20,)
    assert (np.diff(held) >= 0).all()
    p = model.p_values(images)
    assert_array_equal(p, conformal_p_values(held, model.anomaly_score(images)))
    assert np.median(p[y == 1]) < 0.1 < np.median(p[y == 0])
    selected = model.select_anomalies(images, rate=0.2)
    assert_array_equal(selected, select_discoveries(p, 20, rate=0.2))
    with pytest.raises(CalibrationError, match="At least 99"):
        model.select_anomalies(images, rate=0.01)


@given(st.integers(3, 60), st.integers(0, 40), st.floats(0.05, 0.6), st.booleans())
def test_every_image_has_one_part(n_normal, n_anomalous, fraction, stop_early):
    """Images that choose the weights are not those that the promise rests on."""
    anomalous = np.arange(n_normal + n_anomalous) >= n_normal
    chance = np.random.RandomState(0)
    if max(1, round(fraction * n_normal)) * (1 + stop_early) >= n_normal:
        enough = n_normal >= 2 + stop_early
        message = "leaves none to train on" if enough else "normal images are needed"
        with pytest.raises(ValueError, match=message):
            Split.draw(anomalous, fraction, chance, stop_early=stop_early)
        return
    split = Split.draw(anomalous, fraction, chance, stop_early=stop_early)
    parts = [getattr(split, field.name) for field in fields(split)]
    assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(anomalous)))
    assert not anomalous[split.held_normal].any()
    assert anomalous[split.held_anomalous].all()
    assert len(split.held_normal) == max(1, round(fraction * n_normal))
    assert len(split.stop_normal) == stop_early * len(split.held_normal)


def test_going_on_never_trains_on_what_was_held_out():
    """Also without a seed: the same images are held out as long as training goes on."""
    images, _, _ = make_images(60)
    model = quick(warm_start=True, random_state=None, max_epochs=1).fit(images)
    first = model._fitted.split_seed
    scores = model.anomaly_score(images)
    held = np.isin(scores, model.calibration_scores_)
    model.fit(images)
    assert model._fitted.split_seed == first
    again = np.isin(model.anomaly_score(images), model.calibration_scores_)
    assert_array_equal(again, held)
