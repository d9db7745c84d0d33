"""The classifier among scikit-learn's tools."""

from __future__ import annotations

import pickle
import random
from inspect import signature

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from _small import make_images, quick
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import make_scorer, roc_auc_score
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skfcdd import FCDDClassifier, FCDDDetector, FCDDSegmenter
from skfcdd.backbones import make_backbone
from skfcdd.baselines import AutoencoderDetector, PatchCoreDetector, PCADetector

# Weights decide how often an image is shown, in an order that chance decides.
_BY_CHANCE = "repeated rows are split and shuffled otherwise than weighted ones"


# The checks use labels such as {1, 2} and train on a handful of random rows. One of the
# estimators calibrates out of fold, with four trainings in each fit.
@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.AnomalyLabelWarning")
@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.CollapseWarning")
@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.RandomFeaturesWarning")
@parametrize_with_checks(
    [
        FCDDClassifier(),
        FCDDDetector(validation_fraction=0.1),
        FCDDSegmenter(validation_fraction=0.1),
        PCADetector(),
        AutoencoderDetector(max_epochs=2),
        PatchCoreDetector(),
    ],
    expected_failed_checks=lambda estimator: (
        {"check_sample_weight_equivalence_on_dense_data": _BY_CHANCE}
        if "sample_weight" in signature(estimator.fit).parameters
        else {}
    ),
)
def test_scikit_learn_checks(estimator, check):
    if check.func.__name__ == "check_array_api_input":
        pytest.importorskip("array_api_strict", reason="array API is not asked for")
    check(estimator)


@pytest.fixture(scope="module")
def labelled():
    images, y, masks = make_images(60, n_anomalous=20)
    order = np.random.RandomState(0).permutation(60)
    return images[order], y[order], masks[order]


def test_pipeline_after_a_scaler(labelled):
    images, y, _ = labelled
    model = make_pipeline(StandardScaler(), quick(image_shape=(16, 20), max_epochs=10))
    flat = images.reshape(60, -1)
    model.fit(flat, y)
    assert roc_auc_score(y, model.decision_function(flat)) > 0.95
    assert model[-1].explain(model[0].transform(flat)).shape == images.shape


def test_grid_search_over_backbone_and_loss(labelled):
    images, y, _ = labelled
    search = GridSearchCV(
        quick(max_epochs=4),
        {"backbone": ["fcdd28", "tiny"], "loss": ["fcdd", "hsc"]},
        scoring="roc_auc",
        cv=2,
        n_jobs=2,
        error_score="raise",
    ).fit(images, y)
    assert search.cv_results_["mean_test_score"].max() > 0.9
    alone = clone(search.best_estimator_).fit(images, y)
    assert_array_equal(
        alone.anomaly_score(images), search.best_estimator_.anomaly_score(images)
    )


def test_cross_validation_and_own_scorers(labelled):
    images, y, _ = labelled
    proba = cross_val_predict(
        quick(max_epochs=8), images, y, cv=2, method="predict_proba"
    )
    assert roc_auc_score(y, proba[:, 1]) > 0.9
    scorer = make_scorer(roc_auc_score, response_method="decision_function")
    assert (
        cross_val_score(quick(max_epochs=8), images, y, cv=2, scoring=scorer).min()
        > 0.8
    )


def test_thresholds_tuned_and_fixed(labelled):
    images, y, _ = labelled
    tuned = TunedThresholdClassifierCV(quick(max_epochs=8), cv=2).fit(images, y)
    assert tuned.score(images, y) > 0.8
    model = quick(max_epochs=8).fit(images, y)
    fixed = FixedThresholdClassifier(
        model, threshold=0.5, response_method="predict_proba"
    ).fit(images, y)
    assert (fixed.predict(images) == model.predict(images)).mean() > 0.95


def test_probabilities_calibrated(labelled):
    images, y, _ = labelled
    calibrated = CalibratedClassifierCV(quick(max_epochs=8), cv=2).fit(images, y)
    assert roc_auc_score(y, calibrated.predict_proba(images)[:, 1]) > 0.9


def test_masks_are_routed(labelled):
    images, y, masks = labelled
    with sklearn.config_context(enable_metadata_routing=True):
        model = quick(max_epochs=3).set_fit_request(masks=True)
        with_masks = cross_val_score(
            model, images, y, cv=2, scoring="roc_auc", params={"masks": masks}
        )
        search = GridSearchCV(model, {"lr": [1e-3]}, cv=2, error_score="raise")
        search.fit(images, y, masks=masks)
    assert with_masks.shape == (2,)
    direct = quick(max_epochs=3).fit(images, y, masks=masks)
    assert_array_equal(search.predict_proba(images), direct.predict_proba(images))


def test_tables_keep_their_names(labelled):
    images, y, _ = labelled
    table = pd.DataFrame(images.reshape(60, -1)).rename(columns="pixel{}".format)
    model = quick(image_shape=(16, 20)).fit(table, y)
    assert_array_equal(model.feature_names_in_, table.columns)
    assert np.isfinite(model.anomaly_score(table)).all()


@pytest.mark.parametrize("copy", [clone, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies_of_an_unfitted_estimator(copy):
    model = quick(loss="hsc", augment=("shift",))
    assert copy(model).get_params() == model.get_params()


def test_fitted_estimator_survives_pickle_and_joblib(labelled, tmp_path):
    images, y, _ = labelled
    model = quick().fit(images, y)
    joblib.dump(model, tmp_path / "model.joblib")
    for loaded in (
        pickle.loads(pickle.dumps(model)),
        joblib.load(tmp_path / "model.joblib"),
    ):
        assert_array_equal(loaded.anomaly_score(images), model.anomaly_score(images))
        assert_array_equal(loaded.explain(images), model.explain(images))
        assert_array_equal(loaded.predict(images), model.predict(images))


def test_model_fitted_on_cuda_loads_on_a_cpu(labelled, monkeypatch):
    """As written by a machine with CUDA: storages and device say "cuda"."""
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    images, y, _ = labelled
    model = quick().fit(images, y)
    expected = model.anomaly_score(images)
    model.net_.device = "cuda"
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        written = pickle.dumps(model)
    with pytest.warns(UserWarning, match="cuda|CUDA"):
        loaded = pickle.loads(written)
    assert_array_equal(loaded.anomaly_score(images), expected)
    assert_allclose(loaded.explain(images).mean(axis=(1, 2)), expected, rtol=1e-5)


def test_same_seed_same_bits(labelled):
    images, y, masks = labelled
    params = {"pixel_loss": "anomalous", "synthetic": "mixed"}
    first = quick(**params).fit(images, y, masks)
    second = quick(**params).fit(images, y, masks)
    assert_array_equal(first.explain(images), second.explain(images))
    assert first.threshold_ == second.threshold_
    other = quick(**params).set_params(random_state=1).fit(images, y, masks)
    assert not np.array_equal(other.explain(images), first.explain(images))


def test_unseeded_fits_differ_and_leave_numpy_alone(labelled):
    images, _, _ = labelled
    state = np.random.get_state()[1].copy()
    scores = [quick(random_state=None).fit(images).anomaly_score(images) for _ in "ab"]
    assert not np.array_equal(*scores)
    assert_array_equal(np.random.get_state()[1], state)


def random_states():
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.random.get_rng_state().tolist(),
    )


def test_global_random_state_is_left_as_found(labelled):
    images, y, _ = labelled
    before = random_states()
    model = quick(synthetic="mixed").fit(images, y)
    assert random_states() == before
    model.predict(images)
    model.explain(images)
    assert random_states() == before


def make_dropout_network():
    return torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.Dropout(0.5))


def test_own_chance_of_a_backbone_is_seeded(labelled):
    images, _, _ = labelled
    before = random_states()
    params = {"backbone": make_dropout_network}
    first = quick(**params).fit(images).anomaly_score(images)
    torch.rand(3)
    assert_array_equal(quick(**params).fit(images).anomaly_score(images), first)
    assert random_states()[:2] == before[:2]


# Tiny images are computed in double precision; of others, single precision may round
# the last digit otherwise in batches of another size.
@pytest.mark.parametrize(
    ("size", "rtol"), [((1, 12), 1e-7), ((16, 20), 1e-7), ((32, 40), 5e-7)]
)
def test_scores_do_not_depend_on_the_company(size, rtol):
    images = np.random.RandomState(0).uniform(size=(40, *size))
    model = quick().fit(images)
    expected = model.anomaly_score(images)
    order = np.random.RandomState(1).permutation(40)
    assert_allclose(model.anomaly_score(images[order]), expected[order], rtol=rtol)
    assert_allclose(model.anomaly_score(images[3:4]), expected[3:4], rtol=rtol)
    model.set_params(batch_size=7)
    model.net_.set_params(batch_size=7)
    assert_allclose(model.anomaly_score(images), expected, rtol=rtol)


def test_parameters_can_be_set_and_are_kept(labelled):
    images, _, _ = labelled
    model = quick()
    given = model.get_params()
    model.fit(images)
    assert model.get_params() == given
    model.set_params(backbone=make_backbone("tiny", (16, 20, 1)), max_epochs=1)
    assert len(model.fit(images).history_) == 1


def test_heatmaps_feed_the_pixel_metrics_of_scikit_learn(labelled):
    images, y, masks = labelled
    model = quick(max_epochs=8).fit(images, y)
    assert roc_auc_score(masks.ravel(), model.explain(images).ravel()) > 0.8
