"""What a training run tells of its epochs, and how it ends early."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
from _small import make_images, quick
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from skfcdd import FCDDDetector, FCDDSegmenter
from skfcdd._callbacks import CallbackBridge
from skfcdd.exceptions import InterruptedTrainingWarning
from skfcdd.persistence import load, save

IMAGES, Y, MASKS = make_images(40, n_anomalous=12)


@pytest.fixture
def listener():
    """A callback of scikit-learn that notes what it hears."""
    pytest.importorskip("sklearn.callback", reason="scikit-learn is older than 1.9")

    class Listener:
        max_propagation_depth = None

        def __init__(self, stop_after=None):
            self.heard, self.stop_after, self.scores = [], stop_after, []

        def setup(self, estimator, context):
            self.heard.append("setup")

        def teardown(self, estimator, context):
            self.heard.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            self.heard.append(f"{context.task_name} begins")

        def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
            self.heard.append(f"{context.task_name} ends")
            if fitted_estimator is not None:
                self.scores.append(fitted_estimator.anomaly_score(X))
            return context.task_id + 1 == self.stop_after

    return Listener


def test_a_line_for_each_epoch(capsys):
    quick(max_epochs=3, verbose=1, early_stopping=True).fit(IMAGES)
    lines = capsys.readouterr().out.splitlines()
    pattern = (
        r"epoch {}/3  train_loss \d\.\d{{4}}  valid_loss \d\.\d{{4}}( \*)?  "
        r"\d+\.\d s  \d+:\d\d left"
    )
    assert len(lines) == 3
    for k, line in enumerate(lines, 1):
        assert re.fullmatch(pattern.format(k), line)
    assert lines[-1].endswith("0:00 left")
    quick(max_epochs=2).fit(IMAGES)
    assert capsys.readouterr().out == ""


def test_callbacks_hear_of_every_epoch_and_change_nothing(listener):
    heard = listener()
    model = quick(max_epochs=2).set_callbacks(heard).fit(IMAGES, Y)
    epoch = ["epoch begins", "epoch ends"]
    assert heard.heard == [
        "setup",
        "fit begins",
        *epoch,
        *epoch,
        "fit ends",
        "teardown",
    ]
    plain = quick(max_epochs=2).fit(IMAGES, Y)
    assert_array_equal(model.anomaly_score(IMAGES), plain.anomaly_score(IMAGES))
    # After an epoch, and at the end, callbacks get an estimator that answers.
    assert len(heard.scores) == 3
    assert_array_equal(heard.scores[-1], model.anomaly_score(IMAGES))
    assert (heard.scores[0] != heard.scores[-1]).any()


@pytest.mark.parametrize("estimator", [FCDDDetector, FCDDSegmenter])
def test_other_estimators_take_part(estimator, listener):
    heard = listener()
    estimator("tiny", max_epochs=1, random_state=0).set_callbacks(heard).fit(IMAGES)
    assert heard.heard.count("epoch ends") == 1
    assert heard.heard[-1] == "teardown"


def test_scores_of_scikit_learns_monitor():
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn < 1.9")
    monitor = callback.ScoringMonitor(scoring="roc_auc")
    model = quick(max_epochs=2).set_callbacks(monitor).fit(IMAGES, Y)
    log = monitor.get_logs(select="most_recent")
    assert sorted(row["task_name"] for row in log.data) == ["epoch", "epoch", "fit"]
    expected = roc_auc_score(Y, model.anomaly_score(IMAGES))
    whole = next(row for row in log.data if row["task_name"] == "fit")
    assert whole["roc_auc"] == pytest.approx(expected)


def test_progress_bars_inside_search_and_pipeline(capsys):
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn < 1.9")
    pytest.importorskip("rich")
    bar = callback.ProgressBar(max_propagation_depth=None)
    search = GridSearchCV(quick(max_epochs=2), {"lr": [1e-3, 1e-4]}, cv=2)
    make_pipeline(search).set_callbacks(bar).fit(IMAGES, Y)
    assert "FCDDClassifier - fit #1" in capsys.readouterr().out


def test_a_callback_ends_the_training(listener):
    model = quick(max_epochs=5).set_callbacks(listener(stop_after=2)).fit(IMAGES)
    assert len(model.history_) == 2


def test_callbacks_are_let_go_where_fit_fails(listener):
    heard = listener()
    model = quick(max_epochs=1, lr=1e30).set_callbacks(heard)
    with pytest.raises(ValueError, match=r"diverged"):
        model.fit(IMAGES)
    assert heard.heard[-1] == "teardown"
    assert not hasattr(model, "net_")
    model.set_params(lr=1e-3).fit(IMAGES)


def test_callbacks_stay_out_of_copies_and_files(listener, tmp_path):
    model = quick(max_epochs=1).set_callbacks(listener()).fit(IMAGES)
    for name in ("callbacks", "callbacks_"):
        known = [callback for _, callback in getattr(model.net_, name)]
        assert not any(isinstance(callback, CallbackBridge) for callback in known)
    loaded = load(save(model, tmp_path / "m.skfcdd"))
    assert not hasattr(loaded, "_skl_callbacks")
    clone(model).fit(IMAGES)
    model.set_callbacks()
    pickle.loads(pickle.dumps(model))


class Interrupt(Callback):
    """Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("early_stopping", "epoch"), [(False, 3), (True, 3), (False, 1)]
)
def test_an_interrupted_training_leaves_a_usable_estimator(early_stopping, epoch):
    model = quick(
        max_epochs=5, callbacks=[Interrupt(epoch)], early_stopping=early_stopping
    )
    with pytest.warns(InterruptedTrainingWarning, match=rf"epoch {epoch} of 5"):
        model.fit(IMAGES)
    assert len(model.history_) == epoch - 1
    assert np.isfinite(model.anomaly_score(IMAGES)).all()
    model.set_params(warm_start=True, callbacks=None, max_epochs=2).fit(IMAGES)
    assert len(model.history_) == epoch + 1
