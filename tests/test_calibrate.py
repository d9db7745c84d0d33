"""A fitted classifier gets another threshold, and keeps its network."""

from __future__ import annotations

import numpy as np
import pytest
from _small import make_images, quick
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError

from skfcdd.exceptions import CalibrationError, ImageShapeError
from skfcdd.thresholds import FalseAlarmRate, MaxFNR


@pytest.fixture(scope="module")
def labelled():
    images, y, _ = make_images(100, n_anomalous=30)
    order = np.random.RandomState(0).permutation(100)
    return images[order], y[order]


@pytest.mark.parametrize("names", [(0, 1), (1, -1), ("fine", "worn"), (False, True)])
def test_labels_mean_what_they_meant_in_fit(labelled, names):
    images, y = labelled
    labels = np.array(names)[y]
    model = quick(anomaly_label=names[1], threshold=MaxFNR(0.0))
    model.fit(images[:50], labels[:50])
    scores = model.anomaly_score(images[50:])
    assert model.calibrate(images[50:], labels[50:]) is model
    assert_array_equal(model.anomaly_score(images[50:]), scores)
    assert (scores[y[50:] == 1] > model.threshold_).all()
    assert_array_equal(model.calibration_scores_, np.sort(scores[y[50:] == 0]))


def test_normal_images_alone(labelled):
    images, y = labelled
    model = quick(threshold=FalseAlarmRate(0.1), validation_fraction=0.2).fit(images, y)
    fresh = make_images(60, seed=1)[0]
    model.calibrate(fresh)
    assert (model.anomaly_score(fresh) > model.threshold_).sum() == 5  # of 60, 61 / 10
    before = model.threshold_
    with pytest.raises(CalibrationError, match=r"at least 9 .*there are 4"):
        model.calibrate(fresh[:4])
    assert model.threshold_ == before
    assert len(model.calibration_scores_) == 60


@pytest.mark.filterwarnings("ignore:.*used for training:UserWarning")
def test_what_cannot_be_calibrated_on(labelled):
    images, y = labelled
    model = quick(validation_fraction=0.1).fit(images, y)
    before, scores = model.threshold_, model.anomaly_score(images)
    held = np.isin(scores, model.calibration_scores_)
    assert held.sum() == 7
    for X, labels, error, message in (
        (images[y == 1], y[y == 1], CalibrationError, "Got 30 anomalies and 0 normal"),
        (images[~held], y[~held], CalibrationError, "30 anomalies and 63 normal"),
        (images, y + 5, ValueError, r"label\(s\) .*5"),
        (images, y[:-1], ValueError, "100 images, but y has 99"),
        (images[:, :-1], y, ImageShapeError, "fitted"),
    ):
        with pytest.raises(error, match=message):
            model.calibrate(X, labels)
    assert model.threshold_ == before
    with pytest.raises(NotFittedError):
        quick().calibrate(images, y)


def test_colours_begin_where_few_normal_pixels_are(labelled):
    images, y = labelled
    model = quick().fit(images, y)
    fresh = make_images(60, seed=1)[0]
    low, high = model.calibrate(fresh).heatmap_scale_
    heatmaps = model.explain(fresh)
    assert (heatmaps > low).mean() == pytest.approx(0.01, abs=1e-4)
    assert high >= 5 * low


def test_colours_end_where_planted_defects_are(labelled):
    images, y = labelled
    model = quick(max_epochs=15).fit(images, y)
    fresh = make_images(60, seed=1)[0]
    low, high = model.calibrate(fresh).heatmap_scale_
    real = make_images(60, n_anomalous=60, seed=2)[0]
    peaks = model.explain(real).max(axis=(1, 2))
    assert 5 * low <= high < 2 * np.median(peaks)
    assert model.explain(fresh).max() < high


def test_colours_of_many_images_rest_on_some_of_them(labelled, monkeypatch):
    images, y = labelled
    model = quick().fit(images, y)
    monkeypatch.setattr("skfcdd._calibration._SCALE_IMAGES", 8)
    monkeypatch.setattr("skfcdd._calibration._SCALE_PIXELS", 64)
    fresh = make_images(60, seed=1)[0]
    low, _ = model.calibrate(fresh).heatmap_scale_
    step = max(1, int((fresh[0].size / 64) ** 0.5))
    seen = model.explain(fresh[::8])[:, ::step, ::step]
    assert low == pytest.approx(np.quantile(seen, 0.99))
