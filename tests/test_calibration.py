"""From cells to scores, and from scores to thresholds."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from _small import make_images, quick
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from skfcdd._calibration import choose_threshold, pool_cells

CELLS = arrays(
    np.float32, st.tuples(*[st.integers(1, 6)] * 3), elements=st.floats(0, 9, width=32)
)
POOLINGS = st.one_of(
    st.sampled_from(["mean", "max"]), st.integers(1, 1000).map(lambda n: n / 1000)
)


@given(CELLS, POOLINGS)
def test_pooling_against_sorting(cells, pooling):
    flat = np.sort(cells.reshape(len(cells), -1).astype(float), axis=1)
    count = {"mean": flat.shape[1], "max": 1}.get(pooling)
    if count is None:
        share = Fraction(pooling).limit_denominator(10**6)  # as it was meant
        count = math.ceil(share * flat.shape[1])
    scores = pool_cells(cells, pooling)
    assert scores.dtype == np.float64
    assert_allclose(scores, flat[:, -count:].mean(axis=1), rtol=1e-12)


@pytest.mark.parametrize("percent", range(1, 101))
def test_shares_are_not_rounded_up(percent):
    cells = np.arange(100.0).reshape(1, 10, 10)
    expected = np.arange(100 - percent, 100).mean()
    assert pool_cells(cells, percent / 100)[0] == pytest.approx(expected, rel=1e-12)


def test_pooling_does_not_depend_on_the_place():
    cells = np.random.RandomState(0).uniform(size=(5, 8, 8)).astype(np.float32)
    turned = cells[:, ::-1].transpose(0, 2, 1)
    for pooling in (0.1, "max"):
        assert_array_equal(pool_cells(cells, pooling), pool_cells(turned, pooling))


@given(
    arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 5)),
    st.sampled_from([0.0, 0.05, 0.3]),
)
def test_quantile_of_normal_scores(normal, contamination):
    threshold = choose_threshold(normal, np.empty(0), contamination=contamination)
    quantile = np.quantile(normal, 1 - contamination, method="higher")
    assert threshold > quantile
    assert threshold <= np.nextafter(quantile, 9) or quantile < 1e-37
    assert (normal > threshold).mean() <= contamination


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
    threshold = choose_threshold(normal, anomalous, contamination=0.05)
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
    threshold = choose_threshold(normal, anomalous, contamination=0.05)
    assert threshold == pytest.approx(0.4)


def test_natural_threshold_is_kept_where_it_does():
    normal, anomalous = np.linspace(0, 0.5, 20), np.linspace(0.8, 3, 20)
    threshold = choose_threshold(normal, anomalous, contamination=0.05)
    assert threshold == math.log(2)


def test_training_that_diverges_is_no_model():
    images, _, _ = make_images(20)
    model = quick(optimizer="sgd", lr=1e12, lr_schedule=None)
    with pytest.raises(ValueError, match=r"diverged.*lower lr than 1000000000000\.0"):
        model.fit(images)
    assert not hasattr(model, "threshold_")


def test_scores_that_tell_nothing():
    same = np.full(10, 0.3)
    assert choose_threshold(same, same, contamination=0.05) == math.log(2)
    zeros = choose_threshold(np.zeros(5), np.empty(0), contamination=0.0)
    assert 0 < zeros < 1e-30
    reversed_ = choose_threshold(same + 0.1, same, contamination=0.05)
    assert reversed_ > 0
