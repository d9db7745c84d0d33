"""scikit-learn's outlier convention."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from _small import make_images
from numpy.testing import assert_array_equal
from sklearn.base import is_outlier_detector
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfcdd import FCDDClassifier, FCDDDetector
from skfcdd.exceptions import CalibrationError
from skfcdd.thresholds import FalseAlarmRate


def quick(**params):
    defaults = {
        "max_epochs": 6,
        "random_state": 0,
        "validation_fraction": 0.1,
        "device": "cpu",
    }
    return FCDDDetector(**{**defaults, **params})


@pytest.fixture(scope="module")
def data():
    images, y, _ = make_images(90, n_anomalous=20)
    order = np.random.RandomState(0).permutation(90)
    return images[order], y[order]


def test_outlier_convention(data):
    images, y = data
    model = quick().fit(images[y == 0])
    assert is_outlier_detector(model)
    scores = model.score_samples(images)
    assert_array_equal(scores, -model.anomaly_score(images))
    assert roc_auc_score(y == 0, scores) > 0.95
    decision = model.decision_function(images)
    assert_array_equal(decision, scores - model.offset_)
    assert_array_equal(model.predict(images), np.where(decision >= 0, 1, -1))
    assert model.explain(images).shape == images.shape


def test_it_is_the_classifier_with_another_face(data):
    images, y = data
    params = {"max_epochs": 3, "random_state": 0, "device": "cpu"}
    detector = FCDDDetector(**params).fit(images, np.where(y, -1, 1))
    classifier = FCDDClassifier(**params).fit(images, np.where(y, -1, 1))
    assert_array_equal(detector.anomaly_score(images), classifier.anomaly_score(images))
    assert_array_equal(detector.predict(images), classifier.predict(images))


@pytest.mark.parametrize("contamination", [0.1, 0.2, 0.5])
def test_contamination_is_the_share_of_outliers_in_x(data, contamination):
    images, _ = data
    model = quick(max_epochs=2, contamination=contamination)
    found = model.fit_predict(images)
    assert (found == -1).sum() == round(contamination * 90)
    assert_array_equal(found, model.predict(images))


def test_known_outliers_help(data):
    images, y = data
    known = np.where(y == 1, -1, 1)
    taught = quick(synthetic=None).fit(images[:60], known[:60])
    assert roc_auc_score(y[60:] == 0, taught.score_samples(images[60:])) > 0.9
    # Anything but -1 is normal, whatever it is.
    other = np.where(y == 1, -1, np.arange(90) % 5)
    again = quick(synthetic=None).fit(images[:60], other[:60])
    assert_array_equal(again.score_samples(images), taught.score_samples(images))


def test_threshold_with_a_guarantee(data):
    images, y = data
    model = quick(threshold=FalseAlarmRate(0.25), validation_fraction=0.2)
    model.fit(images[y == 0])
    assert (model.calibration_scores_ > model.threshold_).sum() <= 0.25 * 15
    with pytest.raises(CalibrationError, match="at least 999"):
        quick(threshold=FalseAlarmRate(0.001)).fit(images)


def test_calibration(data):
    images, y = data
    model = quick(max_epochs=2).fit(images[:40], np.where(y[:40], -1, 1))
    scores, fresh = model.score_samples(images), make_images(90, seed=7)[0]
    model.set_params(contamination=0.2).calibrate(fresh)
    assert (model.predict(fresh) == -1).sum() == 18
    assert_array_equal(model.score_samples(images), scores)
    with pytest.raises(ValueError, match="only -1"):
        model.calibrate(fresh, -np.ones(90))
    with pytest.raises(ValueError, match="90 images, but y has 3"):
        model.calibrate(images, [1, 1, -1])


def test_pipeline_and_pickle(data):
    images, _ = data
    flat = images.reshape(90, -1)
    model = make_pipeline(StandardScaler(), quick(image_shape=(16, 20), max_epochs=2))
    assert set(model.fit_predict(flat)) <= {-1, 1}
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.predict(flat), model.predict(flat))


@pytest.mark.parametrize("bad", [0, 0.6, -0.1, "often"])
def test_contamination_that_is_none(data, bad):
    with pytest.raises(ValueError, match="contamination"):
        quick(contamination=bad).fit(data[0])


def test_not_fitted_has_no_offset():
    assert not hasattr(quick(), "offset_")
