"""Equal images get equal verdicts, whatever is beside them and whoever computes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skfcdd import FCDDClassifier, FCDDDetector, FCDDSegmenter
from skfcdd._verdicts import SLACK, Convention, is_above, settled
from skfcdd.conformal import conformal_p_values
from skfcdd.datasets import make_defects
from skfcdd.export import to_onnx
from skfcdd.onnx import OnnxFCDD
from skfcdd.persistence import load, save
from skfcdd.thresholds import FalseAlarmRate

DATA = make_defects(60, image_size=32, anomaly_fraction=0.2, random_state=0)
GOOD = DATA.images[DATA.target == 0]
# None of them is trained on; all of them calibrate, so that each can be a tie.
POOL = np.concatenate([GOOD[-10:], np.full((1, 32, 32), 90, np.uint8), GOOD[-1:]])


def fitted(cls, **params):
    # Exported models compute in float32.
    params = {"precision": "float32", "batch_size": 32, "random_state": 0, **params}
    rule = FalseAlarmRate(0.2)
    model = cls(threshold="quantile", max_epochs=2, **params).fit(GOOD[:-10])
    return model.set_params(threshold=rule).calibrate(POOL)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Each kind of estimator, as it is, as it was saved, and exported."""
    folder = tmp_path_factory.mktemp("models")
    forms = {}
    for cls in (FCDDClassifier, FCDDDetector, FCDDSegmenter):
        model = fitted(cls)
        path = folder / f"{cls.__name__}.onnx"
        to_onnx(model, path)
        loaded = load(save(model, folder / "m.skfcdd"))
        forms[cls.__name__] = (model, loaded, OnnxFCDD(path))
    return forms


def test_verdicts_depend_on_nothing_but_the_image(models):
    for number in range(24):
        check_a_set(models, number)


@pytest.mark.nightly
def test_verdicts_of_a_thousand_sets(models):
    for number in range(24, 1000):
        check_a_set(models, number)


def check_a_set(models, number):
    """All batch sizes and orders of a set with ties, in every form of a model."""
    rng = np.random.RandomState(number)
    name = list(models)[number % len(models)]
    rows = rng.randint(len(POOL), size=rng.randint(2, 7))
    rows = np.concatenate([rows, rows[:1]])

    verdicts = call(models[name][0], POOL)
    for model in models[name]:
        for size in range(1, len(rows) + 1):
            order = rng.permutation(rows)
            parts = [order[i : i + size] for i in range(0, len(order), size)]
            found = np.concatenate([call(model, POOL[part]) for part in parts])
            assert_array_equal(found, verdicts[order])


def call(model, X):
    """Which images are called anomalous, pixels and all."""
    labels = model.predict(X)
    if labels.ndim > 1:
        return labels.any(axis=(1, 2))
    return labels == model.convention_.anomaly_label


def test_a_frozen_camera(models):
    """The same image over and over, on the threshold itself."""
    for model in (forms[0] for forms in models.values()):
        still = np.repeat(GOOD[-1:], 120, axis=0)
        model = fitted(type(model))
        model.calibrate(still[:40])
        for n in (1, 2, 3, 7, 16, 100, 120):
            assert not call(model, still[:n]).any()
            assert_array_equal(model.p_values(still[:n]), 1)
            assert not model.select_anomalies(still[:n]).any()
        assert (model.decision_function(still) <= 0).all() or model.predict(
            still
        ).min() == 1


def test_probability_and_distance_agree_with_the_verdict():
    threshold = 0.37
    near = threshold * (1 + SLACK * np.array([-2, -0.5, 0, 0.5, 0.99, 1.5, 3]))
    anomalous = np.array([0, 0, 0, 0, 0, 1, 1], dtype=bool)
    assert_array_equal(is_above(near, threshold), anomalous)
    for sign in (1, -1):
        judge = Convention("classifier", np.array([0, 1]), sign)
        index = judge.index(near, threshold)
        assert_array_equal(index == (sign > 0), anomalous)
        assert_array_equal(judge.decision(near, threshold) > 0, index == 1)
        p = judge.probabilities(near, threshold)[:, int(sign > 0)]
        assert_array_equal(p > 0.5, anomalous)
    heatmaps = near.astype(np.float32)[None, None]
    masks = Convention("segmenter").masks(heatmaps, threshold)
    p = Convention("segmenter").pixel_probabilities(heatmaps, threshold)
    assert_array_equal(masks, p > 0.5)


def test_only_what_is_on_the_threshold_is_moved():
    scores = np.random.RandomState(0).gamma(2, size=1000)
    moved = settled(scores, 1.5)
    assert_allclose(moved, scores, rtol=1.1 * SLACK)
    clear = np.abs(scores / 1.5 - 1) > SLACK
    assert_array_equal(moved[clear], scores[clear])
    assert settled([0.0, 2.0], 0.0).tolist() == [0.0, 2.0]
    assert not is_above([math.nextafter(1.0, 2)], 1.0)[0]


def test_p_values_of_ties_are_those_of_equal_scores():
    rng = np.random.RandomState(0)
    for _ in range(200):
        values = rng.choice([0.0, 0.1, 0.7, 3.0, 900.0], size=12)
        noisy = values * (1 + 2e-7 * rng.uniform(-1, 1, size=12))
        for smoothed in (False, True):
            exact, found = (
                conformal_p_values(s[:8], s[8:], smoothed=smoothed, random_state=0)
                for s in (values, noisy)
            )
            assert_allclose(found, exact, rtol=1e-12)


def test_an_image_without_contrast_has_one_score():
    """What is rounded off its mean is no pattern."""
    model = fitted(FCDDClassifier, normalize="contrast")
    flat = [np.full((1, 32, 32), v, np.uint8) for v in range(1, 255, 7)]
    scores = model.anomaly_score(np.concatenate(flat))
    assert np.ptp(scores) == 0
    for a, b in itertools.pairwise(flat):
        assert model.predict(a) == model.predict(b)
