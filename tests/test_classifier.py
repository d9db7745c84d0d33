"""FCDDClassifier: what it learns, answers and explains."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from _small import make_images, quick
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import accuracy_score, roc_auc_score
from torch import nn

from skfcdd.backbones import list_backbones
from skfcdd.exceptions import AnomalyLabelWarning, CollapseWarning
from skfcdd.objectives import FCDD, HSC, OBJECTIVES


@pytest.fixture(scope="module")
def fitted():
    images, y, _ = make_images(60, n_anomalous=20)
    return quick(max_epochs=10).fit(images[:40]), images, y


def test_finds_and_locates_defects(fitted):
    model, images, y = fitted
    masks = make_images(60, n_anomalous=20)[2]
    assert roc_auc_score(y, model.anomaly_score(images)) > 0.95
    assert roc_auc_score(masks.ravel(), model.explain(images).ravel()) > 0.9


def test_answers_agree_with_the_score(fitted):
    model, images, _ = fitted
    s, t = model.anomaly_score(images), model.threshold_
    assert s.dtype == np.float64 and s.shape == (60,) and (s >= 0).all()
    assert_array_equal(model.decision_function(images), s - t)
    assert_array_equal(model.predict(images), (s > t).astype(int))
    proba = model.predict_proba(images)
    assert_allclose(proba[:, 1], 1 - 2 ** (-s / t), rtol=1e-12)
    assert_allclose(proba.sum(axis=1), 1, rtol=1e-15)
    assert_array_equal(proba[:, 1] > 0.5, s > t)


def test_probability_is_one_half_at_the_threshold(fitted):
    model, images, _ = fitted
    s = float(model.anomaly_score(images[-1:])[0])
    model_at = quick(max_epochs=10, threshold=s).fit(images[:40])
    assert model_at.threshold_ == s
    assert_allclose(model_at.predict_proba(images[-1:]), [[0.5, 0.5]])
    assert model_at.predict(images[-1:]) == [0]


def test_pixels_of_the_heatmap_add_up_to_the_score(fitted):
    model, images, _ = fitted
    heatmaps = model.explain(images)
    assert heatmaps.dtype == np.float32 and heatmaps.shape == images.shape
    assert (heatmaps >= 0).all()
    assert_allclose(heatmaps.mean(axis=(1, 2)), model.anomaly_score(images), rtol=1e-5)


@pytest.mark.parametrize("loss", sorted(OBJECTIVES))
def test_every_objective_scores_and_explains(loss):
    images, _, _ = make_images(30)
    model = quick(loss=loss).fit(images)
    scores, heatmaps = model.anomaly_score(images), model.explain(images)
    assert np.ptp(scores) > 0
    assert heatmaps.shape == images.shape and np.isfinite(heatmaps).all()
    assert np.ptp(heatmaps, axis=(1, 2)).min() > 0
    assert_allclose(heatmaps.mean(axis=(1, 2)), scores, rtol=1e-5)


def test_objective_may_be_a_class_or_an_instance():
    images, _, _ = make_images(20)
    by_name = quick(loss="hsc").fit(images).anomaly_score(images)
    assert_array_equal(quick(loss=HSC).fit(images).anomaly_score(images), by_name)
    mine = HSC(n_components=64)
    assert_array_equal(quick(loss=mine).fit(images).anomaly_score(images), by_name)
    assert isinstance(mine.head, nn.Identity)  # the parameter is left as given


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning")
@pytest.mark.parametrize("name", list_backbones())
def test_every_paper_network_trains(name):
    images, _, _ = make_images(12, size=(32, 36))
    model = quick(backbone=name, max_epochs=1, batch_size=32).fit(images)
    assert model.explain(images).shape == images.shape


def make_backbone_without_padding():
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 6, 3))


@pytest.mark.parametrize(
    "backbone", [make_backbone_without_padding, make_backbone_without_padding()]
)
def test_any_module_is_a_backbone(backbone):
    images, _, _ = make_images(20)
    before = None
    if isinstance(backbone, nn.Module):
        before = {k: v.clone() for k, v in backbone.state_dict().items()}
    model = quick(backbone=backbone).fit(images)
    assert model.receptive_field_.extent == (7.0, 7.0)
    assert model.receptive_field_.stride == (2.0, 2.0)
    assert model.explain(images).shape == images.shape
    if before is not None:  # the parameter is left as given
        for key, value in backbone.state_dict().items():
            assert torch.equal(value, before[key])


def test_forms_of_input_give_the_same_model():
    images, _, _ = make_images(24, size=(12, 10))
    colour = np.repeat(images[..., None], 3, axis=3)
    colour[..., 1] //= 2
    expected = quick().fit(colour).anomaly_score(colour)
    first = np.ascontiguousarray(colour.transpose(0, 3, 1, 2))
    flat = colour.reshape(24, -1)
    assert_allclose(quick().fit(first).anomaly_score(first), expected, rtol=1e-6)
    model = quick(image_shape=(12, 10, 3)).fit(flat)
    assert_array_equal(model.anomaly_score(flat), expected)
    assert_array_equal(model.anomaly_score(colour), expected)
    assert_allclose(model.anomaly_score(first), expected, rtol=1e-6)
    tensors = torch.from_numpy(colour)
    assert_array_equal(quick().fit(tensors).anomaly_score(list(tensors)), expected)
    assert_array_equal(quick().fit(list(colour)).anomaly_score(colour), expected)


def test_grey_flat_rows_equal_images():
    images, _, _ = make_images(24, size=(12, 10))
    expected = quick().fit(images).explain(images)
    flat = images.reshape(24, -1)
    model = quick(image_shape=(12, 10)).fit(flat)
    assert_array_equal(model.explain(flat), expected)
    assert model.n_features_in_ == 120 and model.image_shape_ == (12, 10, 1)


@pytest.mark.parametrize(
    "dtype", [np.uint16, np.int32, bool, np.float16, np.float32, np.float64, ">f4"]
)
def test_types_of_values(dtype):
    images, _, _ = make_images(20)
    images = (images > 110).astype(dtype) if dtype is bool else images.astype(dtype)
    before = images.copy()
    scores = quick().fit(images).anomaly_score(images)
    assert np.isfinite(scores).all() and np.ptp(scores) > 0
    assert_array_equal(images, before)


def test_float_and_integer_images_of_one_range_are_scored_alike(fitted):
    model, images, _ = fitted
    expected = model.anomaly_score(images)
    assert_allclose(model.anomaly_score(images.astype(float)), expected, rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 2), (2, 1), (1, 30), (7, 9), (8, 40)])
def test_any_image_size(size):
    images = np.random.RandomState(0).uniform(size=(20, *size))
    model = quick().fit(images)
    assert model.explain(images).shape == images.shape


@pytest.mark.parametrize("n_channels", [1, 2, 4, 7])
def test_any_number_of_channels(n_channels):
    images = np.random.RandomState(0).uniform(size=(20, 12, 14, n_channels))
    model = quick(channels="last").fit(images)
    assert model.image_shape_ == (12, 14, n_channels)
    assert model.explain(images).shape == (20, 12, 14)


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning")
def test_resized_images_get_heatmaps_of_their_own_size():
    images, y, masks = make_images(60, size=(30, 40), n_anomalous=15)
    model = quick(resize=(20, 24), max_epochs=12).fit(images[:45])
    heatmaps = model.explain(images)
    assert heatmaps.shape == images.shape
    assert_allclose(heatmaps.mean(axis=(1, 2)), model.anomaly_score(images), rtol=1e-5)
    assert roc_auc_score(masks[45:].ravel(), heatmaps[45:].ravel()) > 0.85
    trained = quick(resize=16, max_epochs=2).fit(images, y, masks)
    assert trained.net_.module_.preprocess.size == (16, 16)


@pytest.mark.parametrize(
    ("normal", "anomaly", "label"),
    [
        (0, 1, None),
        (False, True, None),
        (1, -1, None),
        (1, 0, 0),
        ("good", "bad", "bad"),
        ("bad", "good", "good"),
        (3, 7, 7),
    ],
)
def test_meaning_of_labels(normal, anomaly, label):
    images, truth, _ = make_images(40, n_anomalous=15)
    y = np.where(truth == 1, anomaly, normal)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = quick(anomaly_label=label, max_epochs=8).fit(images, y)
    assert_array_equal(model.classes_, np.unique(y))
    scores = model.anomaly_score(images)
    assert roc_auc_score(truth, scores) > 0.95
    flags = scores > model.threshold_
    assert_array_equal(model.predict(images), np.where(flags, anomaly, normal))
    column = list(model.classes_).index(anomaly)
    assert_array_equal(model.predict_proba(images)[:, column] > 0.5, flags)
    sign = 1 if column == 1 else -1
    assert_array_equal(sign * model.decision_function(images) > 0, flags)
    accuracy = accuracy_score(y, model.predict(images))
    assert model.score(images, y) == accuracy > 0.8


def test_guessed_label_is_named():
    images, truth, _ = make_images(30, n_anomalous=10)
    y = np.where(truth == 1, "scratched", "fine")
    with pytest.warns(
        AnomalyLabelWarning, match=r"'scratched' is assumed to mean anomaly"
    ):
        quick().fit(images, y)


def test_no_labels_and_zeros_are_the_same():
    images, _, _ = make_images(20)
    without = quick().fit(images)
    zeros = quick().fit(images, np.zeros(20, dtype=int))
    assert_array_equal(without.classes_, [0, 1])
    assert_array_equal(zeros.classes_, [0, 1])
    assert_array_equal(without.anomaly_score(images), zeros.anomaly_score(images))


def test_lone_label_with_a_name_for_the_other():
    images, _, _ = make_images(20)
    model = quick(anomaly_label="bad").fit(images, ["good"] * 20)
    assert_array_equal(model.classes_, ["bad", "good"])
    assert (model.decision_function(images) > 0).mean() > 0.5


def test_masks_show_where(fitted):
    images, y, masks = make_images(60, n_anomalous=20)
    params = {"synthetic": None, "augment": None, "max_epochs": 12}
    with_masks = quick(**params).fit(images, y, masks=masks)
    test, _, truth = make_images(20, n_anomalous=20, seed=1)
    assert roc_auc_score(truth.ravel(), with_masks.explain(test).ravel()) > 0.9
    scaled = quick(**params).fit(images, y, masks=masks * 255)
    assert_array_equal(scaled.explain(test), with_masks.explain(test))
    unlabelled = quick(**params).fit(images, masks=masks)
    assert_array_equal(unlabelled.explain(test), with_masks.explain(test))
    absent = [m if m.any() else None for m in masks]
    listed = quick(**params).fit(images, y, masks=absent)
    assert_array_equal(listed.explain(test), with_masks.explain(test))


def test_empty_masks_of_anomalies_leave_the_label():
    images, y, masks = make_images(40, n_anomalous=15)
    params = {"synthetic": None, "max_epochs": 6}
    labels_only = quick(**params).fit(images, y)
    empty = quick(**params).fit(images, y, masks=np.zeros_like(masks))
    assert_allclose(
        empty.anomaly_score(images), labels_only.anomaly_score(images), rtol=1e-4
    )


def test_threshold_without_anomalies_is_a_quantile_of_held_out_scores():
    images, _, _ = make_images(80)
    model = quick(contamination=0.1, validation_fraction=0.5).fit(images)
    assert 0 < (model.anomaly_score(images) > model.threshold_).mean() < 0.35
    strict = quick(contamination=0.0, validation_fraction=0.5).fit(images)
    assert strict.threshold_ > model.threshold_


def test_warm_start_goes_on():
    images, _, _ = make_images(30)
    model = quick(warm_start=True, max_epochs=2).fit(images)
    first = model.anomaly_score(images)
    model.fit(images)
    assert len(model.history_) == 4
    assert not np.array_equal(model.anomaly_score(images), first)
    fresh = quick(max_epochs=2).fit(images)
    assert_array_equal(fresh.anomaly_score(images), first)
    fresh.fit(images)
    assert_array_equal(fresh.anomaly_score(images), first)


def test_training_on_normals_alone_is_seen_to_collapse():
    images, _, _ = make_images(60)
    with pytest.warns(CollapseWarning, match="nearly the same score"):
        quick(synthetic=None, max_epochs=60, lr=1e-2).fit(images)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        quick(max_epochs=10).fit(images)


def test_every_parameter_of_the_network_is_trained():
    images, _, _ = make_images(30)
    for loss in OBJECTIVES:
        start = quick(loss=loss, max_epochs=1, lr=1e-12, weight_decay=0.0).fit(images)
        end = quick(loss=loss, max_epochs=1, weight_decay=0.0).fit(images)
        before = dict(start.net_.module_.named_parameters())
        for name, value in end.net_.module_.named_parameters():
            assert not torch.allclose(value, before[name], atol=1e-7), (loss, name)


def test_scores_in_training_and_evaluation_mode_agree_in_rank():
    from scipy.stats import spearmanr

    images, _, _ = make_images(64, n_anomalous=32)
    model = quick(max_epochs=12, precision="float32").fit(images[:32])
    module = model.net_.module_
    batch = torch.from_numpy(images).float()[:, None]
    with torch.no_grad():
        cells = module.train()(module.preprocess.unit(batch))
        module.eval()
    in_training = cells.mean(dim=(1, 2)).numpy()
    assert spearmanr(in_training, model.anomaly_score(images)).statistic > 0.9


def test_early_stopping_keeps_the_best():
    images, _, _ = make_images(40)
    model = quick(early_stopping=True, max_epochs=40, lr=0.02).fit(images)
    losses = [row["valid_loss"] for row in model.history_]
    assert len(losses) <= 40 and np.isfinite(losses).all()


@pytest.mark.parametrize("kind", ["confetti", "perlin", ("blobs", "cutpaste"), "mixed"])
def test_kinds_of_synthetic_anomalies(kind):
    images, _, _ = make_images(20)
    model = quick(synthetic=kind, pixel_loss="anomalous").fit(images)
    assert np.ptp(model.anomaly_score(images)) > 0


def test_outlier_exposure():
    images, _, _ = make_images(60, n_anomalous=20)
    others = np.random.RandomState(1).randint(0, 255, (30, 9, 11, 3)).astype(np.uint8)
    model = quick(outlier_exposure=others, oe_limit=10, synthetic=None, max_epochs=8)
    model.fit(images[:40])
    scores = model.anomaly_score(images)
    noise = np.random.RandomState(2).randint(0, 255, (20, 16, 20)).astype(np.uint8)
    assert model.anomaly_score(noise).min() > scores[:40].max()


def test_exposed_images_of_another_type():
    """0..1 or 0..255: they mean the same."""
    images, _, _ = make_images(40)
    others = np.random.RandomState(1).randint(0, 255, (30, 9, 11)).astype(np.uint8)
    others[0, 0, :2] = 0, 255
    settings = {"synthetic": None, "max_epochs": 2}
    whole = quick(outlier_exposure=others, **settings).fit(images)
    parts = quick(outlier_exposure=others / 255, **settings).fit(images)
    assert_allclose(parts.anomaly_score(images), whole.anomaly_score(images), rtol=1e-3)


def test_threshold_belongs_to_the_pooling_of_fit():
    images, _, _ = make_images(40)
    model = quick(score_pooling="max").fit(images)
    expected = model.predict_proba(images)
    model.set_params(score_pooling="mean")
    assert_array_equal(model.predict_proba(images), expected)


def test_support_vector_description_sees_normal_images_alone():
    images, y, _ = make_images(40, n_anomalous=10)
    alone = quick(loss="dsvdd", synthetic=None).fit(images, y)
    among = quick(loss="dsvdd").fit(images, y)
    assert_array_equal(alone.anomaly_score(images), among.anomaly_score(images))


def test_objective_base_class_is_an_instance_parameter():
    images, _, _ = make_images(20)
    assert quick(loss=FCDD()).fit(images).predict(images).shape == (20,)
