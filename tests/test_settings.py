"""Settings do what they say, or are refused before any training."""

from __future__ import annotations

import copy
import functools
import re

import numpy as np
import pytest
import sklearn
import torch
from _small import make_images
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

from skfcdd import FCDDClassifier, FCDDSegmenter
from skfcdd.datasets import make_defects
from skfcdd.exceptions import AnomalyLabelWarning, CheckpointError
from skfcdd.persistence import load, save
from skfcdd.thresholds import Auto, FalseAlarmRate, MaxFNR, MaxFPR, Quantile

pytestmark = [
    pytest.mark.filterwarnings("ignore::skfcdd.exceptions.CollapseWarning"),
    pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning"),
]

DATA = make_defects(60, image_size=32, random_state=0)
NORMAL = DATA.images[DATA.target == 0]
STAGED = {"backbone": "squeezenet1_1", "cut": 2, "stages": None}


def quick(estimator=FCDDClassifier, **params):
    defaults = {
        "max_epochs": 1,
        "random_state": 0,
        "validation_fraction": 0.1,
        "device": "cpu",
    }
    return estimator(**defaults | {"precision": "float32"} | params)


def tiny_network():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())


class Watch(Callback):
    """Notes the size of each batch, and its learning rate."""

    def __init__(self):
        self.sizes, self.rates = [], []

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        if training:
            self.sizes.append(len(batch[0]))
            self.rates.append(net.optimizer_.param_groups[0]["lr"])


# -- going on, and files -----------------------------------------------------------


@pytest.fixture(scope="module")
def staged():
    return quick(**STAGED, warm_start=True, resize=28).fit(NORMAL)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss", "bce"),
        ("backbone", "fcdd32_s"),
        ("resize", 24),
        ("normalize", "standard"),
        ("cut", 1),
        ("frozen", 1),
    ],
)
def test_going_on_refuses_another_network(staged, name, value):
    model = copy.deepcopy(staged)
    before, n_epochs = model.explain(NORMAL), len(model.history_)
    model.set_params(**{name: value})
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        model.fit(NORMAL)
    assert_array_equal(model.explain(NORMAL), before)
    assert len(model.history_) == n_epochs
    model.set_params(**{name: getattr(staged, name)}).fit(NORMAL)
    assert len(model.history_) == 2 * n_epochs


@pytest.fixture(scope="module")
def fitted():
    return quick(**STAGED).fit(NORMAL)


@pytest.mark.parametrize(
    "later",
    [
        {"loss": "bce"},
        {"loss": "hsc"},
        {"stages": (1, 2)},
        {"cut": 1},
        {"frozen": 2},
        {"backbone": "fcdd32_s", "cut": None},
        {"heatmap_sigma": 6},
        {"score_pooling": "max"},
        {"normalize": "standard"},
        {"resize": 24},
    ],
    ids=str,
)
def test_files_hold_the_fitted_network_and_the_present_parameters(
    fitted, later, tmp_path
):
    model = copy.deepcopy(fitted).set_params(**later)
    loaded = load(save(model, tmp_path / "m.skfcdd"), device="cpu")
    assert_array_equal(loaded.anomaly_score(NORMAL), fitted.anomaly_score(NORMAL))
    assert_array_equal(loaded.explain(NORMAL), fitted.explain(NORMAL))
    assert_array_equal(loaded.predict(NORMAL), fitted.predict(NORMAL))
    params = loaded.get_params()
    assert {name: params[name] for name in later} == later


def test_files_of_models_with_requests_for_metadata(tmp_path):
    with sklearn.config_context(enable_metadata_routing=True):
        model = quick().set_fit_request(masks=True)
        model.fit(DATA.images, DATA.target, masks=DATA.masks)
        loaded = load(save(model, tmp_path / "m.skfcdd"), device="cpu")
    assert_array_equal(loaded.explain(NORMAL), model.explain(NORMAL))


@pytest.mark.parametrize("remark", ["x", {"of": ["mine"]}, np.arange(3), object()])
def test_files_hold_no_attribute_of_others(remark, tmp_path):
    model = quick().fit(NORMAL)
    model.remark = remark
    loaded = load(save(model, tmp_path / "m.skfcdd"), device="cpu")
    assert not hasattr(loaded, "remark")
    assert_array_equal(loaded.explain(NORMAL), model.explain(NORMAL))


# -- labels and thresholds ---------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_threshold_of_pixels_with_few_masks(seed):
    """Two of 24 anomalies have a mask, wherever chance puts them."""
    data = make_defects(60, image_size=32, anomaly_fraction=0.4, random_state=seed)
    masked = np.flatnonzero(data.target)[[3, 11]]
    known = data.target == 0
    known[masked] = True
    masks = [mask if k else None for mask, k in zip(data.masks, known, strict=True)]
    model = quick(FCDDSegmenter, threshold="f1", random_state=seed)
    model.fit(data.images, data.target, masks=masks)
    assert 0 < model.threshold_ < np.inf


WORDS = np.where(DATA.target == 1, "bad", "good")


def test_segmenter_is_told_which_label_means_anomaly():
    by_number = quick(FCDDSegmenter).fit(DATA.images, DATA.target)
    expected = by_number.score(DATA.images, DATA.target)
    for words in (WORDS, WORDS.tolist()):
        model = quick(FCDDSegmenter, anomaly_label="bad").fit(DATA.images, words)
        assert_array_equal(model.explain(NORMAL), by_number.explain(NORMAL))
        assert model.score(DATA.images, words) == expected
    assert model.score(DATA.images, DATA.masks) == by_number.score(
        DATA.images, DATA.masks
    )
    fresh = make_defects(30, image_size=32, random_state=1)
    fresh_words = np.where(fresh.target == 1, "bad", "good")
    model.calibrate(fresh.images, fresh_words)
    assert len(model.calibration_scores_) == (fresh.target == 0).sum()


def test_segmenter_says_which_label_it_takes():
    words = np.where(DATA.target == 1, "red", "blue")  # of no known meaning
    with pytest.warns(AnomalyLabelWarning, match="'red' is assumed to mean anomaly"):
        quick(FCDDSegmenter).fit(DATA.images, words)


@pytest.mark.parametrize("estimator", [FCDDClassifier, FCDDSegmenter])
@pytest.mark.parametrize(
    ("label", "y"),
    [
        ("bad", np.zeros(48, dtype=int)),
        ("1", np.zeros(48, dtype=int)),
        (1, np.repeat("good", 48)),
    ],
)
def test_anomaly_label_is_of_the_type_of_the_labels(estimator, label, y):
    model = quick(estimator, anomaly_label=label)
    with pytest.raises(ValueError, match="anomaly_label") as info:
        model.fit(NORMAL, y)
    assert "type" in str(info.value)
    assert not hasattr(model, "net_")


@pytest.mark.parametrize(
    ("rule", "numbers"),
    [
        (MaxFPR, [5, -0.1]),
        (MaxFNR, [-1, 1.1]),
        (FalseAlarmRate, [2, 0, 1]),
        (functools.partial(FalseAlarmRate, 0.1), [2, 0, 1]),  # the confidence
        (Quantile, [1.5, -0.1]),
        (Auto, [-1, 1.5]),
    ],
)
def test_rules_refuse_numbers_that_mean_nothing(rule, numbers):
    for number in numbers:
        with pytest.raises(ValueError):
            rule(number)


@pytest.mark.parametrize(
    "rule",
    [
        *(MaxFPR(0), MaxFPR(1), MaxFNR(0.0), MaxFNR(1.0), MaxFNR(np.float32(0.25))),
        *(FalseAlarmRate(0.1), FalseAlarmRate(0.1, confidence=0.9)),
        *(Quantile(0), Quantile(0.3), Auto(), Auto(0.2)),
    ],
    ids=str,
)
def test_rules_take_numbers_that_mean_something(rule):
    model = clone(quick(threshold=rule))
    assert model.threshold == rule
    chosen = rule(np.repeat([0, 1], 30), np.linspace(0.1, 2, 60))
    assert 0 < chosen < np.inf


@pytest.mark.parametrize(
    ("normal", "anomaly"), [(0, 1), (1, -1), ("good", "bad"), ("fine", "worn")]
)
def test_a_score_on_the_threshold_is_normal(normal, anomaly):
    y = np.where(DATA.target == 1, anomaly, normal)
    model = quick(anomaly_label=anomaly).fit(DATA.images, y)
    fresh = make_defects(20, image_size=32, anomaly_fraction=0, random_state=1).images
    scores = model.anomaly_score(DATA.images)
    for row in np.argsort(scores)[[20, 40]]:
        score = float(scores[row])
        model.set_params(threshold=score).calibrate(fresh)
        assert model.threshold_ == score
        labels = model.predict(DATA.images)
        assert labels[row] == normal
        assert len(set(labels.tolist())) == 2
        positive = model.decision_function(DATA.images) > 0
        assert_array_equal(labels, model.classes_[positive.astype(int)])


# -- batches -----------------------------------------------------------------------


@settings(max_examples=10)
@given(
    n=st.integers(3, 40),
    batch_size=st.integers(2, 40),
    fraction=st.floats(0.02, 0.99),
)
@example(n=26, batch_size=32, fraction=0.5)
@example(n=30, batch_size=2, fraction=0.99)
@example(n=30, batch_size=2, fraction=0.02)
def test_no_batch_is_larger_than_asked(n, batch_size, fraction):
    images = make_images(n, size=(8, 8))[0]
    watch, seen = Watch(), []

    def note(images, masks, generator):
        seen.extend((255 * image).round().numpy().tobytes() for image in images)
        return images, masks

    model = quick(
        backbone=tiny_network,
        augment=note,
        batch_size=batch_size,
        anomaly_fraction=fraction,
        callbacks=[watch],
    ).fit(images)
    assert 0 < max(watch.sizes) <= batch_size
    n_trained = n - len(model.calibration_scores_)
    assert len(seen) == len(set(seen)) == n_trained


@pytest.mark.parametrize(
    ("batch_size", "fraction"), [(8, 0.5), (8, 0.25), (10, 0.2), (10, 0.6), (16, 0.75)]
)
def test_share_of_anomalies_is_as_asked(batch_size, fraction):
    n_normal = round(batch_size * (1 - fraction))
    images, watch = make_images(5 * n_normal + 4, size=(8, 8))[0], Watch()
    model = quick(
        backbone=tiny_network,
        batch_size=batch_size,
        anomaly_fraction=fraction,
        validation_fraction=4 / len(images),
        callbacks=[watch],
    ).fit(images)
    assert len(model.calibration_scores_) == 4
    assert watch.sizes == [batch_size] * 5


# -- training ----------------------------------------------------------------------

SMALL = make_images(40, size=(8, 8))[0]


def watched(images=SMALL, skorch_params=None, **params):
    watch = Watch()
    given = {"backbone": tiny_network, "callbacks": [watch], **params}
    return quick(**given, skorch_params=skorch_params).fit(images), watch


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", None])
def test_number_of_epochs_may_come_from_skorch_params(schedule):
    for n_epochs in (1, "auto"):
        model, watch = watched(
            skorch_params={"max_epochs": 3}, max_epochs=n_epochs, lr_schedule=schedule
        )
        assert len(model.history_) == 3
        expected, other = watched(max_epochs=3, lr_schedule=schedule)
        assert watch.rates == other.rates
        assert_array_equal(model.anomaly_score(SMALL), expected.anomaly_score(SMALL))


def test_batch_size_may_come_from_skorch_params():
    _, watch = watched(skorch_params={"batch_size": 8}, max_epochs=2)
    _, other = watched(batch_size=8, max_epochs=2)
    assert max(watch.sizes) <= 8
    assert watch.sizes == other.sizes
    assert watch.rates == other.rates


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", None])
def test_learning_rate_may_come_from_skorch_params(schedule):
    params = {"max_epochs": 4, "lr_schedule": schedule}
    _, watch = watched(skorch_params={"lr": 0.01}, **params)
    assert 0.005 < max(watch.rates) <= 0.01 + 1e-9
    assert watch.rates == watched(lr=0.01, **params)[1].rates


def test_callbacks_may_come_from_skorch_params():
    watch = Watch()
    watched(skorch_params={"callbacks": [watch]}, max_epochs=3)
    assert watch.rates == watched(max_epochs=3)[1].rates
    assert len(set(watch.rates)) > 3


def test_printing_may_come_from_skorch_params(capsys):
    watched(skorch_params={"verbose": 0}, max_epochs=2, verbose=1)
    assert capsys.readouterr().out == ""
    watched(skorch_params={"verbose": 1}, max_epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert sum("epoch" in line for line in lines) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("lr", -1), ("lr", 0), ("max_epochs", 0), ("batch_size", 1), ("batch_size", "x")],
)
def test_skorch_params_are_checked_like_parameters(name, value):
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        watched(skorch_params={name: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("module", nn.Identity),
        ("criterion", nn.MSELoss),
        ("iterator_train", torch.utils.data.DataLoader),
        ("train_split", None),
        ("dataset", torch.utils.data.TensorDataset),
        ("module__x", 1),
        ("criterion__x", 1),
        ("iterator_train__x", 1),
    ],
)
def test_skorch_params_that_have_no_place_are_named(key, value):
    with pytest.raises(ValueError, match=rf"\b{key}\b"):
        watched(skorch_params={key: value})


@pytest.mark.parametrize(
    ("n", "fraction", "early_stopping"),
    [(100, 0.6, True), (100, 0.5, True), (100, 0.99, True), (40, 0.99, False)],
)
def test_holding_out_too_much_is_refused(n, fraction, early_stopping):
    images = make_images(n, size=(8, 8))[0]
    with pytest.raises(ValueError, match="validation_fraction") as info:
        watched(images, validation_fraction=fraction, early_stopping=early_stopping)
    told, count = str(info.value), round(n * fraction)
    assert re.search(rf"\b({count}|{2 * count})\b", told)
    assert not re.search(r"(?<![\w.])-\d", told)


@pytest.mark.parametrize("schedule", ["onecycle", "cosine"])
@pytest.mark.parametrize(
    "name", ["Rprop", "Adagrad", "Adadelta", "RMSprop", "NAdam", "RAdam", "Adamax"]
)
def test_optimizers_of_torch_train(name, schedule):
    optimizer = getattr(torch.optim, name)
    model, watch = watched(optimizer=optimizer, lr_schedule=schedule, max_epochs=2)
    assert np.isfinite(model.anomaly_score(SMALL)).all()
    assert len(set(watch.rates)) > 1
    assert isinstance(model.net_.optimizer_, optimizer)


# -- trainings that are broken off -------------------------------------------------


class PowerCut(Exception):
    pass


class Cut(Callback):
    """The end of everything in the middle of the third epoch."""

    def on_batch_end(self, net, training, **kwargs):
        if len(net.history) == 3 and training:
            raise PowerCut


def test_frozen_batch_normalisation_is_resumed_as_it_was(tmp_path):
    params = {"backbone": "resnet18", "frozen": 1, "max_epochs": 4}
    path = tmp_path / "training"
    with pytest.raises(PowerCut):
        quick(**params, checkpoint=path, callbacks=[Cut()]).fit(NORMAL[:16])
    resumed = quick(**params, checkpoint=path).fit(NORMAL[:16])
    plain = quick(**params).fit(NORMAL[:16])
    assert len(resumed.history_) == 4
    assert_array_equal(resumed.anomaly_score(NORMAL), plain.anomaly_score(NORMAL))
    assert_array_equal(resumed.explain(NORMAL), plain.explain(NORMAL))


@pytest.mark.parametrize("estimator", [FCDDClassifier, FCDDSegmenter])
def test_another_blur_is_another_training_of_pixels(estimator, tmp_path):
    params = {"max_epochs": 4, "pixel_loss": "anomalous", "backbone": tiny_network}
    path = tmp_path / "training"
    with pytest.raises(PowerCut):
        quick(estimator, **params, checkpoint=path, callbacks=[Cut()]).fit(SMALL)
    with pytest.raises(CheckpointError):
        quick(estimator, **params, checkpoint=path, heatmap_sigma=6).fit(SMALL)
    quick(estimator, **params, checkpoint=path).fit(SMALL)
