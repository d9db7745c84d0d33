"""Weights of images and classes: what they change, and where they must reach."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import AdaBoostClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfcdd import FCDDClassifier, FCDDDetector, FCDDSegmenter
from skfcdd._engine.batches import BatchTarget, TrainingData
from skfcdd._engine.preprocessing import Preprocess
from skfcdd._inputs.images import ImageArray
from skfcdd.datasets import make_defects

DATA = make_defects(40, image_size=28, anomaly_fraction=0.3, random_state=0)
X, Y = DATA.images, DATA.target


def quick(cls=FCDDClassifier, **params):
    params = {
        "backbone": "fcdd28",
        "max_epochs": 1,
        "batch_size": 32,
        "validation_fraction": 0.1,
        **params,
    }
    return cls(random_state=0, **params)


@pytest.mark.parametrize("cls", [FCDDClassifier, FCDDSegmenter, FCDDDetector])
def test_a_weight_of_zero_leaves_an_image_out(cls):
    y = np.where(Y == 1, -1, 1) if cls is FCDDDetector else Y
    rng = np.random.RandomState(0)
    weight = rng.randint(0, 2, size=len(X)).astype(float)
    changed = X.copy()
    changed[weight == 0] = 255 - changed[weight == 0]
    models = [quick(cls).fit(x, y, sample_weight=weight) for x in (X, changed)]
    assert_array_equal(*(m.anomaly_score(X) for m in models))
    assert models[0].threshold_ == models[1].threshold_
    known = models[0]._fitted.used.known
    digests = ImageArray(X[..., None]).digests()
    assert not known(digests[weight == 0]).any()


def test_outliers_are_found_with_weights():
    normal, weight = X[Y == 0], np.arange(1.0, 1 + (Y == 0).sum())
    found = quick(FCDDDetector).fit_predict(normal, sample_weight=weight)
    fitted = quick(FCDDDetector).fit(normal, sample_weight=weight)
    assert_array_equal(found, fitted.predict(normal))
    with pytest.raises(TypeError, match="weights"):
        quick(FCDDDetector).fit_predict(normal, weights=weight)


def test_one_weight_for_all_says_nothing():
    plain = quick().fit(X, Y)
    for weight in (np.ones(40), np.full(40, 0.1), [3] * 40):
        weighted = quick().fit(X, Y, sample_weight=weight)
        assert_array_equal(weighted.anomaly_score(X), plain.anomaly_score(X))


def test_images_are_shown_as_their_weights_ask():
    """On average exactly so, and in each epoch within 1."""
    n = 12
    weights = np.random.RandomState(0).gamma(1, size=n)
    images = ImageArray(np.zeros((n, 8, 8, 1), np.uint8))
    data = TrainingData(
        images,
        np.arange(n),
        np.empty(0, dtype=int),
        Preprocess(0, 255, [0.0], [1.0]),
        torch.Generator().manual_seed(0),
        weights=weights,
    )
    rows = [data._drawn(data.normal, n) for _ in range(4000)]
    counts = np.stack([np.bincount(r, minlength=n) for r in rows])
    expected = n * weights / weights.sum()
    assert (np.abs(counts - expected) < 1).all()
    assert_allclose(counts.mean(axis=0), expected, atol=0.04)


def test_weights_turn_what_is_learnt():
    """Of two kinds of good images, the one that hardly counts becomes strange."""
    rng = np.random.RandomState(0)
    noise = rng.randint(0, 40, size=(60, 28, 28))
    bright = np.arange(60) % 2 == 1
    images = (noise + 150 * bright[:, None, None]).astype(np.uint8)
    scores = {}
    for favoured in (False, True):
        weight = np.where(bright == favoured, 1, 1e-6)
        model = quick(normalize="standard", max_epochs=15, synthetic="gaussian")
        scores[favoured] = model.fit(images, sample_weight=weight).anomaly_score(images)
    ratio = [s[bright].mean() / s[~bright].mean() for s in scores.values()]
    assert ratio[0] > ratio[1]


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.zeros(40), "weight.*zero"),
        (np.where(Y == 1, 1.0, 0.0), "all images of the normal class"),
        (-np.ones(40), "[Nn]egative values"),
        (np.full(40, np.nan), "sample_weight contains NaN"),
        (np.ones(39), r"sample_weight.shape == \(39,\)"),
        (np.ones((40, 2)), "must be 1D"),
    ],
)
def test_wrong_weights(weight, message):
    with pytest.raises(ValueError, match=message):
        quick().fit(X, Y, sample_weight=weight)


def test_weights_reach_through_the_tools_of_scikit_learn():
    flat = X.reshape(40, -1)
    weight = np.random.RandomState(0).uniform(0, 2, size=40)
    alone = quick(image_shape=(28, 28)).fit(flat, Y, sample_weight=weight)
    piped = make_pipeline("passthrough", quick(image_shape=(28, 28)))
    piped.fit(flat, Y, fcddclassifier__sample_weight=weight)
    assert_array_equal(piped[-1].anomaly_score(flat), alone.anomaly_score(flat))
    # Boosting asks for a learner better than chance, which takes clear defects.
    clear = np.where(Y[:, None] == 1, 255, flat // 2)
    weak = quick(
        image_shape=(28, 28), normalize=None, max_epochs=30, batch_size=8, lr=0.01
    )
    boosted = AdaBoostClassifier(weak, n_estimators=2, random_state=0)
    assert boosted.fit(clear, Y).score(clear, Y) > 0.9
    with sklearn.config_context(enable_metadata_routing=True):
        model = quick(image_shape=(28, 28)).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        search = GridSearchCV(
            make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model),
            {"fcddclassifier__batch_size": [16, 32]},
            cv=2,
            error_score="raise",
        )
        search.fit(flat, Y, sample_weight=weight)
        assert search.best_score_ > 0


def test_class_weights_change_only_the_loss():
    """Factors of the losses with a mean of 1, computed by hand beside the net."""
    model = quick(anomaly_fraction=0.25, class_weight={0: 1, 1: 3}).fit(X, Y)
    net = model.net_
    assert net.class_weight == pytest.approx((2 / 3, 2))
    images = torch.rand(8, 1, 28, 28)
    anomalous = torch.arange(8) >= 6
    masks = anomalous[:, None, None, None].expand(8, 1, 28, 28)
    target = BatchTarget(anomalous, masks, torch.zeros(8, dtype=torch.bool))
    maps = net.infer(images)
    s = maps.mean(dim=(1, 2)).double()
    by_hand = s[:6].sum() * 2 / 3 - 2 * torch.log(-torch.expm1(-s[6:])).sum()
    assert_allclose(net.get_loss(maps, target).item(), by_hand.item() / 8, rtol=1e-5)


def test_class_weights_move_the_balance_between_the_classes():
    scores = [
        quick(max_epochs=5, class_weight={"good": good, "bad": 1})
        .fit(X, np.where(Y == 1, "bad", "good"))
        .anomaly_score(X)
        .mean()
        for good in (100, 1, 0.01)
    ]
    assert scores == sorted(scores)


def test_class_weights_that_say_nothing():
    plain = quick().fit(X, Y).anomaly_score(X)
    for weights in ("balanced", {0: 7, 1: 7}, {}):
        assert_array_equal(
            quick(class_weight=weights).fit(X, Y).anomaly_score(X), plain
        )
    uneven = {"anomaly_fraction": 0.25}
    balanced = quick(class_weight="balanced", **uneven).fit(X, Y)
    by_hand = quick(class_weight={0: 1, 1: 3}, **uneven).fit(X, Y)
    assert_array_equal(balanced.anomaly_score(X), by_hand.anomaly_score(X))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({0: 1, 2: 1}, r"\[1\], are not in class_weight"),
        ({0: 0, 1: 1}, "class_weight=.*positive"),
        ({0: 1, 1: np.inf}, "class_weight=.*finite"),
        ("even", "class_weight"),
        (3, "class_weight"),
    ],
)
def test_wrong_class_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        quick(class_weight=weights).fit(X, Y)
