"""What a fitted model keeps to itself, and what going on from it may use."""

from __future__ import annotations

import gc
import pickle
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skorch.callbacks import Callback

from skfcdd import FCDDClassifier, FCDDDetector, FCDDSegmenter
from skfcdd._answers import read_truth
from skfcdd._engine.split import Split
from skfcdd.baselines import PatchCoreDetector
from skfcdd.datasets import make_defects
from skfcdd.exceptions import (
    CheckpointError,
    ImageShapeError,
    InterruptedTrainingWarning,
    RandomFeaturesWarning,
)
from skfcdd.persistence import load, save

DATA = make_defects(60, image_size=32, random_state=0)
NORMAL = DATA.images[DATA.target == 0]
FRESH = make_defects(30, image_size=32, anomaly_fraction=0, random_state=7).images


def quick(estimator=FCDDClassifier, **params):
    given = {
        "max_epochs": 1,
        "random_state": 0,
        "validation_fraction": 0.1,
        "device": "cpu",
    }
    return estimator(**given | {"precision": "float32"} | params)


def test_a_share_of_outliers_is_one_of_images_that_were_not_trained_on():
    model = quick(FCDDDetector, contamination=0.1).fit(NORMAL)
    every = np.quantile(model.anomaly_score(NORMAL), 0.9)
    assert model.threshold_ == pytest.approx(every)
    with pytest.warns(UserWarning, match="used for training"):
        model.calibrate(np.concatenate([FRESH, NORMAL]))
    held = model.calibration_scores_
    assert len(held) < len(FRESH) + len(NORMAL) // 2
    assert model.threshold_ == pytest.approx(np.quantile(held, 0.9))


def test_a_segmenter_remembers_which_label_means_anomaly(tmp_path):
    y = np.where(DATA.target == 1, "bad", "good")
    model = quick(FCDDSegmenter, anomaly_label="bad").fit(DATA.images, y)
    score = model.score(DATA.images, y)
    model.set_params(anomaly_label=None)
    assert model.score(DATA.images, y) == score
    loaded = load(save(model, tmp_path / "m.skfcdd"))
    for fitted in (model, loaded):
        truth = read_truth(fitted, y, len(y))
        np.testing.assert_array_equal(truth, DATA.target == 1)


def test_files_of_another_kind_are_not_made_to_fit(tmp_path):
    """Only a size that was asked for in ``fit`` is given to other files."""
    paths = []
    for i, image in enumerate(NORMAL[:20]):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    model = quick().fit(paths)
    assert model.reading_["resize"] is None
    large, colour = tmp_path / "large.png", tmp_path / "colour.png"
    Image.fromarray(NORMAL[0]).resize((64, 64)).save(large)
    Image.fromarray(np.stack([NORMAL[0]] * 2 + [255 - NORMAL[0]], -1)).save(colour)
    for path in (large, colour):
        with pytest.raises(ImageShapeError):
            model.predict([path])
    np.testing.assert_array_equal(
        model.anomaly_score(paths), model.anomaly_score(NORMAL[:20])
    )


@pytest.mark.parametrize("stop_early", [False, True])
def test_no_copy_crosses_the_split(stop_early):
    digests = np.repeat(np.arange(24, dtype=np.uint64), 5)
    anomalous = np.repeat(np.arange(24) % 3 == 0, 5)
    rng = np.random.RandomState(0)
    split = Split.draw(anomalous, 0.2, rng, stop_early=stop_early, digests=digests)
    for held, stop, rest in (
        (split.held_normal, split.stop_normal, split.normal),
        (split.held_anomalous, split.stop_anomalous, split.anomalous),
    ):
        parts = [set(digests[rows]) for rows in (held, stop, rest)]
        assert len(held) % 5 == 0 and len(rest) >= 20
        assert parts[0] and parts[2]
        assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.RandomFeaturesWarning")
def test_neighbours_and_pooling_are_checked_when_calibrating():
    model = PatchCoreDetector(n_neighbors=3, random_state=0).fit(NORMAL)
    model.set_params(score_pooling="mean")
    with pytest.raises(ValueError, match="n_neighbors=3"):
        model.calibrate(FRESH)


def test_warnings_point_at_the_caller():
    with pytest.warns(RandomFeaturesWarning) as found:
        PatchCoreDetector(random_state=0).fit_predict(NORMAL[:10])
    assert found[0].filename == __file__


def test_going_on_from_an_earlier_format_refuses_another_network():
    model = load(Path(__file__).parent / "data" / "model_v2_detector.skfcdd")
    model.set_params(warm_start=True, loss="hsc")
    with pytest.raises(ValueError, match="loss changed"):
        model.fit(NORMAL)


@pytest.mark.parametrize(
    ("name", "y"),
    [
        ("v1", DATA.target),
        ("v3_classifier", np.where(DATA.target == 1, "bad", "good")),
        ("v3_detector", None),
        ("v3_segmenter", DATA.masks),
    ],
)
def test_going_on_from_earlier_formats(name, y):
    """Also where "auto" stood for another network than it does now."""
    model = load(Path(__file__).parent / "data" / f"model_{name}.skfcdd", device="cpu")
    model.set_params(warm_start=True, max_epochs=1)
    n_epochs, before = len(model.history_), model.anomaly_score(DATA.images)
    model.fit(DATA.images, y)
    assert len(model.history_) == n_epochs + 1
    assert (model.anomaly_score(DATA.images) != before).any()
    model.set_params(backbone="fcdd32")
    with pytest.raises(ValueError, match="backbone changed"):
        model.fit(DATA.images, y)


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning")
def test_the_same_network_may_be_written_in_another_way():
    model = quick(backbone="resnet18", stages=[1, 2], warm_start=True).fit(NORMAL)
    model.set_params(stages=(1, 2)).fit(NORMAL)
    assert len(model.history_) == 2


class Stop(Callback):
    """Breaks a training off in an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_begin(self, net, training=False, **kwargs):
        if training and len(net.history) == self.epoch:
            raise KeyboardInterrupt


def test_epochs_are_told_once_where_a_checkpoint_goes_on(tmp_path):
    path = tmp_path / "c.ckpt"
    model = quick(max_epochs=2, warm_start=True).fit(NORMAL)
    model.set_params(max_epochs=4, checkpoint=path, callbacks=[Stop(3)])
    with pytest.warns(InterruptedTrainingWarning):
        model.fit(NORMAL)
    assert len(model.history_) == 4
    model.set_params(callbacks=None).fit(NORMAL)
    assert len(model.history_) == 6


def test_checkpoints_do_not_mind_other_callbacks_of_skorch(tmp_path):
    path = tmp_path / "c.ckpt"
    params = {"max_epochs": 3, "checkpoint": path}
    with pytest.warns(InterruptedTrainingWarning):
        quick(skorch_params={"callbacks": [Stop(2)]}, **params).fit(NORMAL)
    quick(skorch_params={"callbacks": []}, **params).fit(NORMAL)
    assert not path.exists()
    with pytest.warns(InterruptedTrainingWarning):
        quick(callbacks=[Stop(2)], **params).fit(NORMAL)
    with pytest.raises(CheckpointError):
        quick(skorch_params={"lr": 0.1}, **params).fit(NORMAL)


def test_a_fitted_estimator_lets_go_of_its_images():
    X = NORMAL.copy()
    alive = weakref.ref(X)
    model = quick(early_stopping=True, max_epochs=2).fit(X)
    size = len(pickle.dumps(model))
    del X
    gc.collect()
    assert alive() is None
    assert size < len(pickle.dumps(quick().fit(NORMAL))) + NORMAL.nbytes // 2


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning")
def test_save_refuses_what_load_would(tmp_path):
    model = quick(frozen=np.int64(1), backbone="resnet18").fit(NORMAL)
    loaded = load(save(model, tmp_path / "m.skfcdd"))
    np.testing.assert_array_equal(
        loaded.anomaly_score(NORMAL), model.anomaly_score(NORMAL)
    )
    with pytest.raises(ValueError, match="lr"):
        save(model.set_params(lr=-1), tmp_path / "m.skfcdd")


def test_what_is_learned_cannot_be_written_to():
    model = quick(FCDDDetector).fit(NORMAL)
    with pytest.raises(ValueError, match="read-only"):
        model.convention_.classes[:] = 5
    with pytest.raises(ValueError, match="read-only"):
        model.calibration_scores_[:] = 0
    model.history_[0]["train_loss"] = 99
    assert model.history_[0]["train_loss"] != 99


def test_zeros_of_both_signs_are_one_value():
    X = NORMAL[:20].astype(np.float32)
    X[:, :4] = 0.0
    model = quick().fit(X)
    assert model._fitted.used.known(model._check_images(X).digests()).sum() == 18
    X[:, :4] = -0.0
    assert model._fitted.used.known(model._check_images(X).digests()).sum() == 18


def test_how_a_model_judges_is_settled_before_training():
    class Meddle(Callback):
        def on_epoch_end(self, net, **kwargs):
            model.set_params(threshold=123.0)

    model = quick(callbacks=[Meddle()])
    model.fit(NORMAL)
    assert model.threshold_ != 123.0
