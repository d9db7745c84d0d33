"""Thresholds from few images: out-of-fold scores, groups, and what they support."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field

import numpy as np
import pytest
import sklearn
from _small import make_images, quick
from numpy.testing import assert_array_equal
from sklearn.model_selection import cross_val_score
from skorch.callbacks import Callback

from skfcdd import FCDDDetector, FCDDSegmenter
from skfcdd._engine import settings
from skfcdd._engine.crossfit import CrossFitted, Fold, deal_folds
from skfcdd._engine.split import Split, resolve_validation
from skfcdd._inputs.groups import check_groups, units
from skfcdd._inputs.images import ImageArray
from skfcdd.conformal import conformal_p_values, false_alarm_threshold
from skfcdd.exceptions import CalibrationError, CheckpointError, FewImagesWarning
from skfcdd.persistence import load, save
from skfcdd.thresholds import FalseAlarmRate, Quantile

IMAGES, LABELS, MASKS = make_images(36, n_anomalous=12, size=(32, 32))
GOOD, PARTS = IMAGES[:24], np.repeat(np.arange(8), 3)
EVERY = {"validation_fraction": "auto", "max_epochs": 2}


@pytest.fixture(scope="module", autouse=True)
def _short_trainings():
    """Folds of a few epochs each: these tests are about who scores which image."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "LEAST_EPOCHS", 1)
        yield


@pytest.fixture(scope="module")
def grouped():
    return quick(**EVERY).fit(GOOD, groups=PARTS)


@pytest.mark.parametrize("n_units", [1, 2, 3, 7])
def test_folds_hold_whole_groups_and_each_image_once(n_units):
    rng = np.random.RandomState(0)
    together = rng.permutation(np.arange(40) % n_units)
    rows = rng.permutation(40)[:33]
    folds = deal_folds(rows, together, rng)
    assert_array_equal(np.sort(np.concatenate(folds)), np.sort(rows))
    assert len(folds) == (3 if n_units in (1, 3, 7) else 2)
    if n_units > 1:
        parts = [set(together[fold]) for fold in folds]
        assert sum(map(len, parts)) == len(set.union(*parts)) == n_units
    assert max(map(len, folds)) - min(map(len, folds)) <= max(np.bincount(together))


def test_copies_and_groups_stay_together():
    """Image 0 is a copy of 3, which is of the group of 4."""
    digests = np.array([7, 8, 9, 7, 5], dtype=np.uint64)
    together = units(digests, np.array([0, 1, 2, 3, 3]))
    assert len(np.unique(together)) == 3
    assert together[0] == together[3] == together[4]
    assert len(np.unique(units(digests, None))) == 4


def test_short_trainings_hold_out(monkeypatch):
    """Out of fold, 15 epochs gave .17 to .31 of false alarms where .05 was asked."""
    monkeypatch.setattr(settings, "LEAST_EPOCHS", 3)
    for epochs, source in ((2, "held-out"), (3, "out-of-fold")):
        model = quick(validation_fraction="auto", max_epochs=epochs).fit(GOOD)
        assert model.calibration_.source == source


def test_images_are_hashed_once_for_all_trainings(monkeypatch):
    hashed, digests = [], ImageArray.digests
    monkeypatch.setattr(
        ImageArray, "digests", lambda images: hashed.append(images) or digests(images)
    )
    model = quick(validation_fraction="auto", max_epochs=1).fit(GOOD)
    assert model.calibration_.source == "out-of-fold" and len(hashed) == 1


def test_all_images_are_trained_on_and_none_scores_itself(grouped):
    images = grouped._check_images(GOOD)
    assert grouped._fitted.used.known(images.digests()).all()
    found = grouped.calibration_
    assert (found.source, found.n_images, found.n_groups) == ("out-of-fold", 24, 8)
    assert found.rate == 0.05 and not found.supported
    own = np.sort(grouped.anomaly_score(GOOD))
    assert not np.isin(own, grouped.calibration_scores_).any()


def test_no_network_of_a_fold_has_seen_what_it_scores(monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "skfcdd._base.CrossFitted",
        lambda final, folds, images: (
            seen.update(folds=folds, images=images) or CrossFitted(final, folds, images)
        ),
    )
    twice = np.concatenate([GOOD, GOOD[:3]])
    groups = np.append(PARTS, [100, 101, 102])
    y = np.zeros(len(twice) + 12)
    y[-12:] = 1
    groups = np.append(groups, np.full(12, 200))
    quick(**EVERY).fit(np.concatenate([twice, IMAGES[24:]]), y, groups=groups)
    digests = seen["images"].digests()
    held = np.concatenate([fold.held for fold in seen["folds"]])
    assert_array_equal(np.sort(held), np.arange(len(y)))
    for fold in seen["folds"]:
        assert not fold.model.used.known(digests[fold.held]).any()
        assert fold.model.used.known(digests[fold.normal]).all()
        inside, outside = (
            set(groups[part[y[part] == 0]]) for part in (fold.held, fold.normal)
        )
        assert not inside & outside


def test_the_same_seed_gives_the_same_threshold(grouped):
    again = quick(**EVERY).fit(GOOD, groups=PARTS)
    assert again.threshold_ == grouped.threshold_
    assert_array_equal(again.calibration_scores_, grouped.calibration_scores_)
    assert again.heatmap_scale_ == grouped.heatmap_scale_


def test_files_and_pickles_keep_what_the_threshold_rests_on(grouped, tmp_path):
    path = save(grouped, tmp_path / "m.skfcdd")
    for copied in (load(path), pickle.loads(pickle.dumps(grouped))):
        assert copied.calibration_ == grouped.calibration_
        assert_array_equal(copied.p_values(GOOD), grouped.p_values(GOOD))
    assert "8 groups" in str(load(path).calibration_)


def test_p_values_count_groups(grouped):
    scores, groups = grouped.calibration_scores_, grouped._fitted.calibration_groups
    assert_array_equal(np.bincount(groups), 3)
    slow = [
        (1 + sum((scores[groups == g] >= s).mean() for g in range(8))) / 9
        for s in grouped.anomaly_score(GOOD)
    ]
    assert grouped.p_values(GOOD) == pytest.approx(slow)
    with pytest.raises(CalibrationError, match="With 8 calibration"):
        grouped.select_anomalies(GOOD, rate=0.05)


def test_too_few_images_are_told_of():
    with pytest.warns(FewImagesWarning, match=r"at least 19 .* there are 12: between"):
        model = quick(**EVERY).fit(GOOD[:12])
    assert "between 0 and" in str(model.calibration_)
    with pytest.warns(FewImagesWarning, match=r"groups of images .* there are 2"):
        model.calibrate(make_images(8, size=(32, 32), seed=5)[0], groups=PARTS[:8] // 2)
    assert (model.calibration_.source, model.calibration_.n_groups) == ("given", 2)


def test_what_decides_on_holding_out():
    assert resolve_validation(0.3, 10, once=False) == 0.3
    assert resolve_validation("auto", 99, once=False) is None
    for n, n_held in ((100, 20), (150, 20), (200, 20), (300, 30)):
        for once in (False, True):
            assert n * resolve_validation("auto", n, once=once) == pytest.approx(n_held)
    assert resolve_validation("auto", 20, once=True) == 0.1
    model = quick(early_stopping=True, **EVERY).fit(GOOD)
    assert model.calibration_.source == "held-out"
    assert model.calibration_.n_images == 2


def test_held_out_groups_are_not_trained_on():
    model = quick(validation_fraction=0.3).fit(GOOD, groups=PARTS)
    digests = model._check_images(GOOD).digests()
    trained = model._fitted.used.known(digests)
    assert set(PARTS[trained]) | set(PARTS[~trained]) == set(range(8))
    assert not set(PARTS[trained]) & set(PARTS[~trained])
    assert (model.calibration_.n_images, model.calibration_.n_groups) == (9, 3)


def test_training_goes_on_with_the_same_images():
    model = quick(**EVERY, warm_start=True).fit(GOOD)
    before = model.threshold_
    model.fit(GOOD)
    assert len(model.history_) == 4 and model.threshold_ != before
    assert model.calibration_.n_images == 24


def test_pixels_and_outliers_are_judged_out_of_fold():
    segmenter = FCDDSegmenter(max_epochs=2, random_state=0).fit(GOOD, groups=PARTS)
    found = segmenter.calibration_
    assert (found.source, found.n_groups, found.rate) == ("out-of-fold", 8, 0.05)
    assert 0 <= found.n_above < 8
    both = FCDDSegmenter(max_epochs=2, random_state=0).fit(IMAGES, MASKS)
    assert both.calibration_.n_above is None and np.isfinite(both.threshold_)
    detector = FCDDDetector(max_epochs=2, random_state=0).fit(GOOD, groups=PARTS)
    assert detector.calibration_.rate == 0.05


def test_groups_are_routed():
    with sklearn.config_context(enable_metadata_routing=True):
        model = quick(max_epochs=1, validation_fraction=0.3)
        scores = cross_val_score(
            model.set_fit_request(groups=True),
            IMAGES,
            LABELS,
            cv=2,
            params={"groups": np.arange(36) // 2},
        )
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (PARTS[:-1], "24 images, but groups has 23"),
        (np.append(PARTS, 3), "24 images, but groups has 25"),
        (np.zeros(24), "all 24 normal images into one group"),
        (np.append(PARTS[:-1].astype(float), np.nan), "missing for 1 of 24 images"),
        ([*("a" * 23), None], "missing for 1 of 24 images, first in row 23"),
        (np.zeros((24, 2)), "1d array|shape"),
    ],
)
def test_groups_that_are_none(groups, message):
    with pytest.raises(ValueError, match=message):
        quick(**EVERY).fit(GOOD, groups=groups)


def test_names_of_groups_are_numbered():
    names = np.array(["b", "a", "b"])
    assert_array_equal(check_groups(names, 3), [1, 0, 1])
    assert_array_equal(check_groups(names.astype(object), 3), [1, 0, 1])


def test_an_interrupted_fold_leaves_no_model():
    def stop(images, generator):
        raise KeyboardInterrupt

    model = quick(**EVERY, synthetic=stop)
    with pytest.raises(KeyboardInterrupt):
        model.fit(GOOD)
    assert not hasattr(model, "threshold_")


def test_a_checkpoint_goes_on_to_the_same_threshold(grouped, tmp_path):
    class PowerCut(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 2:
                raise RuntimeError("cut")

    path = tmp_path / "training.ckpt"
    model = quick(**EVERY, checkpoint=path, callbacks=[PowerCut()])
    with pytest.raises(RuntimeError, match="cut"):
        model.fit(GOOD, groups=PARTS)
    again = quick(**EVERY, checkpoint=path)
    with pytest.raises(CheckpointError):
        again.fit(GOOD, groups=PARTS[::-1] // 2)
    again.fit(GOOD, groups=PARTS)
    assert not path.exists()
    assert_array_equal(again.calibration_scores_, grouped.calibration_scores_)
    assert again.threshold_ == grouped.threshold_


@pytest.mark.parametrize("n", [1, 2])
def test_one_image_and_two(n):
    if n == 1:
        with pytest.raises(ValueError, match="At least 2 normal images"):
            quick(**EVERY).fit(GOOD[:1])
        return
    model = quick(**EVERY).fit(GOOD[:2])
    assert model.calibration_.n_images == 2
    assert np.isfinite(model.predict_proba(GOOD)).all()


def test_a_promise_that_images_cannot_keep_is_refused_before_training():
    calls = []
    model = quick(
        **EVERY,
        threshold=FalseAlarmRate(0.1),
        synthetic=lambda images, generator: calls.append(1),
    )
    with pytest.raises(CalibrationError, match=r"at least 9 .*there are 8"):
        model.fit(GOOD, groups=PARTS)
    assert not calls


def test_groups_keep_the_promise():
    """Images of one part are alike: P(p <= a) <= a for images of a new part."""
    rng = np.random.default_rng(0)
    n_groups, size, repeats = 9, 4, 4000
    p, by_image, above = [], [], []
    for _ in range(repeats):
        sizes = rng.integers(1, 2 * size, n_groups + 1)
        parts = np.repeat(np.arange(n_groups + 1), sizes)
        scores = rng.normal(size=n_groups + 1)[parts] + 0.3 * rng.normal(
            size=len(parts)
        )
        held, new = parts < n_groups, np.flatnonzero(parts == n_groups)[:1]
        p.append(conformal_p_values(scores[held], scores[new], groups=parts[held])[0])
        by_image.append(conformal_p_values(scores[held], scores[new])[0])
        lowest = false_alarm_threshold(scores[held], 0.2, groups=parts[held])
        above.append(scores[new[0]] > lowest)
    for a in (0.1, 0.2, 0.5):
        assert np.mean(np.array(p) <= a) <= a + 4 * np.sqrt(a / repeats)
    assert np.mean(np.array(by_image) <= 0.05) > 0.065  # which counting images breaks
    assert np.mean(above) <= 0.2 + 4 * np.sqrt(0.2 / repeats)


@dataclass(frozen=True)
class Distances:
    """A model in place of a network: distances from the mean of what it has learned."""

    learned: np.ndarray
    scale: float
    memory: None = field(default=None)

    def scores(self, images, rows):
        return self.scale * np.linalg.norm(images[rows] - self.learned.mean(0), axis=1)


def test_out_of_fold_scores_keep_the_rate_in_simulation():
    """Models that fit what they have seen, each with a scale of its own.

    The scores of images that a model has learned are smaller than those of new ones,
    which exceed a threshold set on them too often.
    """
    rng = np.random.default_rng(1)
    rates, naive = [], []
    for _ in range(400):
        data = rng.normal(size=(24 + 200, 12)) * rng.exponential(size=(224, 1)) ** 0.3
        rows = np.arange(24)
        split = Split.whole(np.zeros(24, dtype=bool), np.ones(24, dtype=bool))
        folds = []
        for held in deal_folds(rows, rows, np.random.RandomState(0)):
            seen = split.without(held, rows[:0]).normal
            folds.append(Fold(Distances(data[seen], rng.uniform(0.5, 2)), held, seen))
        final = Distances(data[:24], 1.0)
        scores = CrossFitted(final, folds, data).scores(data, rows)
        new = final.scores(data, np.arange(24, 224))
        own = final.scores(data, rows)
        for kept, held in ((rates, scores), (naive, own)):
            kept.append((new > Quantile(0.05).choose(held, held, None)).mean())
    assert 0.02 < np.mean(rates) <= 0.05 + 4 * np.std(rates) / 20
    assert np.mean(naive) > np.mean(rates) + 4 * np.std(naive) / 20
