"""No anomaly in training, no group on both sides."""

from __future__ import annotations

import numpy as np
import pytest
from _small import make_images, quick
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict

from skfcdd.model_selection import AnomalyKFold, anomaly_split

LABELS = arrays(np.int64, st.integers(12, 60), elements=st.integers(0, 3)).map(
    lambda draws: (draws == 0).astype(int)
)


@given(LABELS, st.integers(2, 12), st.integers(0, 9))
def test_split_keeps_its_word(y, n_groups, seed):
    groups = np.random.RandomState(seed).randint(n_groups, size=len(y))
    assume(not y.all())
    free = set(groups) - set(groups[y == 1])
    X = np.arange(len(y))
    if len(free) < 2:
        with pytest.raises(ValueError, match="At least 2 normal"):
            anomaly_split(X, y, groups=groups, random_state=seed)
        return
    train, test, y_train, y_test, g_train, g_test = anomaly_split(
        X, y, groups, groups=groups, random_state=seed
    )
    assert_array_equal(np.sort(np.concatenate([train, test])), X)
    assert_array_equal(y_train, y[train])
    assert_array_equal(y_test, y[test])
    assert not y_train.any()
    assert (y_test == 0).any()
    assert not set(g_train) & set(g_test)


def test_share_of_the_test():
    y = np.repeat([0, 1], [100, 20])
    X_train, X_test, *_ = anomaly_split(y, y, test_size=0.3, random_state=0)
    assert (len(X_train), len(X_test)) == (70, 50)
    again, *_ = anomaly_split(np.arange(120), y, test_size=0.3, random_state=0)
    other, *_ = anomaly_split(np.arange(120), y, test_size=0.3, random_state=1)
    assert not np.array_equal(again, other)


def test_labels_and_masks_say_the_same():
    images, y, masks = make_images(40, n_anomalous=10)
    by_label = anomaly_split(images, y, random_state=0)
    by_mask = anomaly_split(images, masks, random_state=0)
    assert_array_equal(by_label[0], by_mask[0])
    assert_array_equal(by_mask[3].any(axis=(1, 2)), by_label[3])
    named = anomaly_split(
        images, np.where(y, "bad", "fine"), anomaly_label="bad", random_state=0
    )
    assert_array_equal(named[0], by_label[0])


@given(LABELS, st.integers(2, 4), st.booleans(), st.integers(0, 9))
def test_folds_keep_their_word(y, n_splits, grouped, seed):
    assume(min((y == 0).sum(), (y == 1).sum()) >= 2 * n_splits)
    groups = np.arange(len(y)) // 2 if grouped else None
    tested = []
    folds = AnomalyKFold(n_splits, random_state=seed)
    for train, test in folds.split(y, y, groups):
        assert not y[train].any()
        assert len(np.intersect1d(train, test)) == 0
        tested.append(test)
        # Everything normal that is not tested is trained on.
        assert len(train) == (y == 0).sum() - (y[test] == 0).sum()
        if groups is not None:
            assert not set(groups[train]) & set(groups[test])
        else:
            assert abs(y[test].sum() - y.sum() / n_splits) < 1
    assert_array_equal(np.sort(np.concatenate(tested)), np.arange(len(y)))


def test_folds_in_scikit_learn():
    images, y, _ = make_images(60, n_anomalous=20)
    folds = AnomalyKFold(2, random_state=0)
    scores = cross_val_predict(
        quick(max_epochs=6), images, y, cv=folds, method="predict_proba"
    )
    assert scores[y == 1, 1].mean() > scores[y == 0, 1].mean()
    search = GridSearchCV(
        quick(), {"lr": [1e-3]}, cv=folds, scoring="roc_auc", error_score="raise"
    ).fit(images, y)
    assert search.best_score_ > 0.5
    assert search.get_params()["cv"] is folds
    assert clone(search).cv.n_splits == 2
    assert folds.get_n_splits() == 2


def test_folds_that_cannot_be_made():
    y = np.array([0, 1] * 6)
    with pytest.raises(ValueError, match="y is needed"):
        next(AnomalyKFold(2).split(y))
    with pytest.raises(ValueError, match="n_splits=20"):
        next(AnomalyKFold(20).split(y, y))
    with pytest.raises(ValueError, match="inconsistent"):
        anomaly_split(y, y[:-1])
