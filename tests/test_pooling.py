"""From cells to scores."""

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

from skfcdd._engine.inference import pool_maps

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
    scores = pool_maps(cells, pooling)
    assert scores.dtype == np.float64
    assert_allclose(scores, flat[:, -count:].mean(axis=1), rtol=1e-12)


@pytest.mark.parametrize("percent", range(1, 101))
def test_shares_are_not_rounded_up(percent):
    cells = np.arange(100.0).reshape(1, 10, 10)
    expected = np.arange(100 - percent, 100).mean()
    assert pool_maps(cells, percent / 100)[0] == pytest.approx(expected, rel=1e-12)


def test_pooling_does_not_depend_on_the_place():
    cells = np.random.RandomState(0).uniform(size=(5, 8, 8)).astype(np.float32)
    turned = cells[:, ::-1].transpose(0, 2, 1)
    for pooling in (0.1, "max"):
        assert_array_equal(pool_maps(cells, pooling), pool_maps(turned, pooling))


def test_training_that_diverges_is_no_model():
    images, _, _ = make_images(20)
    model = quick(optimizer="sgd", lr=1e12, lr_schedule=None)
    with pytest.raises(ValueError, match=r"diverged.*lower lr than 1000000000000\.0"):
        model.fit(images)
    assert not hasattr(model, "threshold_")
