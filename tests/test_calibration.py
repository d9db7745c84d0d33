"""From cells to scores, and from scores to thresholds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from skfcdd._calibration import choose_threshold, pool_cells

CELLS = arrays(
    np.float32, st.tuples(*[st.integers(1, 6)] * 3), elements=st.floats(0, 9, width=32)
)


@given(CELLS, st.one_of(st.sampled_from(["mean", "max"]), st.floats(0.01, 1)))
def test_pooling_against_sorting(cells, pooling):
    flat = np.sort(cells.reshape(len(cells), -1).astype(float), axis=1)
    count = {"mean": flat.shape[1], "max": 1}.get(pooling)
    if count is None:
        count = min(flat.shape[1], math.ceil(pooling * flat.shape[1]))
    scores = pool_cells(cells, pooling)
    assert scores.dtype == np.float64
    assert_allclose(scores, flat[:, -count:].mean(axis=1), rtol=1e-12)


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


@pytest.mark.parametrize("seed", range(6))
def test_threshold_with_anomalies(seed):
    rng = np.random.RandomState(seed)
    normal = rng.gamma(2, 0.02, 30)
    anomalous = 0.05 + rng.gamma(2, 0.03, 12)
    threshold = choose_threshold(normal, anomalous, contamination=0.05)
    reached = ((normal <= threshold).mean() + (anomalous > threshold).mean()) / 2
    assert reached == pytest.approx(best_balanced_accuracy(normal, anomalous))
    assert threshold not in set(normal) | set(anomalous)


def test_natural_threshold_is_kept_where_it_does():
    normal, anomalous = np.linspace(0, 0.5, 20), np.linspace(0.8, 3, 20)
    threshold = choose_threshold(normal, anomalous, contamination=0.05)
    assert threshold == math.log(2)


def test_scores_that_tell_nothing():
    same = np.full(10, 0.3)
    assert choose_threshold(same, same, contamination=0.05) == math.log(2)
    zeros = choose_threshold(np.zeros(5), np.empty(0), contamination=0.0)
    assert 0 < zeros < 1e-30
    reversed_ = choose_threshold(same + 0.1, same, contamination=0.05)
    assert reversed_ > 0
