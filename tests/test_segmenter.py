"""Masks in, masks out."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from _small import make_images, with_judging, with_threshold
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage
from sklearn.base import clone
from sklearn.model_selection import cross_val_predict, cross_val_score

from skfcdd import FCDDSegmenter
from skfcdd._regions import drop_small, find_regions
from skfcdd._verdicts import SLACK
from skfcdd.exceptions import AnomalyLabelWarning, CalibrationError, ImageShapeError
from skfcdd.metrics import intersection_over_union_score, pixel_roc_auc_score
from skfcdd.model_selection import AnomalyKFold
from skfcdd.thresholds import FalseAlarmRate


def quick(**params):
    defaults = {
        "max_epochs": 8,
        "random_state": 0,
        "validation_fraction": 0.1,
        "device": "cpu",
    }
    return FCDDSegmenter(**{**defaults, **params})


@pytest.fixture(scope="module")
def data():
    images, y, masks = make_images(80, n_anomalous=24)
    order = np.random.RandomState(0).permutation(80)
    return images[order], y[order], masks[order]


@pytest.fixture(scope="module")
def fitted(data):
    images, _, masks = data
    return quick(max_epochs=12).fit(images[:60], masks[:60])


def test_finds_the_pixels(data, fitted):
    images, _, masks = data
    assert pixel_roc_auc_score(masks[60:], fitted.explain(images[60:])) > 0.95
    assert fitted.score(images[60:], masks[60:]) > 0.6


def test_all_answers_agree(data, fitted):
    images = data[0][60:]
    heatmaps, t = fitted.explain(images), fitted.threshold_
    predicted = fitted.predict(images)
    assert predicted.dtype == np.uint8
    assert predicted.shape == images.shape
    assert_array_equal(predicted, heatmaps > t)
    decision = fitted.decision_function(images)
    assert decision.dtype == np.float64
    assert_array_equal(decision > 0, predicted)
    proba = fitted.predict_proba(images)
    assert_allclose(proba, 1 - 2 ** (-heatmaps.astype(float) / t), atol=1e-12)
    assert_array_equal(proba > 0.5, predicted)
    assert_allclose(fitted.anomaly_score(images), heatmaps.mean(axis=(1, 2)), rtol=1e-5)


def test_score_is_mean_intersection_over_union(data, fitted):
    images, y, masks = (part[60:] for part in data)
    predicted = fitted.predict(images)
    expected = intersection_over_union_score(masks, predicted)
    assert fitted.score(images, masks) == expected
    assert fitted.score(images, 255 * masks) == expected
    found = predicted.any(axis=(1, 2))
    assert fitted.score(images, y) == (found == y).mean()


def test_normal_images_alone(data):
    images, y, masks = data
    model = quick(max_epochs=12, synthetic="confetti").fit(images[y == 0])
    assert pixel_roc_auc_score(masks, model.explain(images)) > 0.9
    # The hottest pixels of 51 images trained on and 6 held out: few are above.
    flagged = model.predict(images[y == 0]).any(axis=(1, 2))
    assert flagged.mean() < 0.3


def test_real_masks_beat_synthetic_ones(data):
    images, y, masks = data
    alone = quick(synthetic="blobs").fit(images[:60][y[:60] == 0])
    taught = quick(synthetic="blobs").fit(images[:60], masks[:60])
    figures = [
        pixel_roc_auc_score(masks[60:], m.explain(images[60:])) for m in (alone, taught)
    ]
    assert figures[1] > figures[0]


def test_labels_where_masks_are_not_known(data):
    images, y, masks = data
    some = [mask if i % 2 else None for i, mask in enumerate(masks)]
    model = quick().fit(images, y, masks=some)
    assert pixel_roc_auc_score(masks, model.explain(images)) > 0.9
    labels_alone = quick().fit(images, y)
    assert pixel_roc_auc_score(masks, labels_alone.explain(images)) > 0.8
    with pytest.warns(AnomalyLabelWarning, match="'zebra'"):
        quick(max_epochs=1).fit(images, np.where(y, "zebra", "apple"))


def test_same_seed_same_bits(data):
    images, _, masks = data
    first, second = (quick(max_epochs=2).fit(images, masks) for _ in "ab")
    assert_array_equal(first.explain(images), second.explain(images))
    assert first.threshold_ == second.threshold_
    loaded = pickle.loads(pickle.dumps(first))
    assert_array_equal(loaded.predict(images), first.predict(images))
    assert clone(first).get_params() == first.get_params()


def test_cross_validation_with_masks_as_y(data):
    images, _, masks = data
    model = quick(max_epochs=4)
    assert cross_val_score(model, images, masks, cv=2).shape == (2,)
    folds = AnomalyKFold(2, random_state=0)
    predicted = cross_val_predict(model, images, masks, cv=folds, method="predict")
    assert predicted.shape == masks.shape


# -- regions -----------------------------------------------------------------------


def test_regions_by_hand():
    masks = np.zeros((3, 6, 8), dtype=bool)
    masks[0, 1:3, 2:5] = True
    masks[0, 3, 5] = True  # touches at a corner
    masks[0, 5, 0] = True
    masks[2, 5, 7] = True
    masks[1, 0, 0] = True  # neighbours in other images are no neighbours
    heatmaps = np.arange(3 * 6 * 8, dtype=float).reshape(3, 6, 8)
    first, second, third = find_regions(masks, heatmaps)
    assert [r.area for r in first] == [1, 7]  # the highest peak first
    assert first[1].bbox == (1, 2, 4, 6)
    assert first[1].peak == heatmaps[0, 3, 5]
    assert first[1].peak_at == (3, 5)
    assert second[0].bbox == (0, 0, 1, 1)
    assert third[0].peak_at == (5, 7)
    kept = drop_small(masks, 7)
    assert kept.sum() == 7
    assert kept[0, 3, 5]
    assert_array_equal(drop_small(masks, 1), masks)
    assert find_regions(np.zeros((2, 3, 3), dtype=bool), np.zeros((2, 3, 3))) == [
        [],
        [],
    ]


def test_specks_are_removed(data, fitted):
    images = data[0]
    model = with_judging(fitted, min_area=20)
    before, after = fitted.predict(images), model.predict(images)
    structure = np.ones((3, 3))
    for old, new in zip(before, after, strict=True):
        labels, count = ndimage.label(old, structure)
        sizes = ndimage.sum(old, labels, range(1, count + 1)) if count else []
        large = [k + 1 for k, size in enumerate(sizes) if size >= 20]
        assert_array_equal(new, np.isin(labels, large))
    regions = model.regions(images)
    assert len(regions) == len(images)
    assert all(region.area >= 20 for found in regions for region in found)
    assert [sum(r.area for r in found) for found in regions] == [m.sum() for m in after]


def test_regions_lie_on_the_defect(data, fitted):
    images, y, masks = data
    hits = [
        masks[i][found[0].peak_at]
        for i, found in enumerate(fitted.regions(images))
        if y[i] and found
    ]
    assert np.mean(hits) > 0.9


# -- thresholds --------------------------------------------------------------------


def test_threshold_for_pixels_is_that_of_the_greatest_f1(data):
    images, y, masks = data
    rows = np.sort(np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y)[:6]]))
    model = quick(threshold="f1").fit(images[rows], masks[rows])
    fresh, masks = make_images(60, n_anomalous=20, seed=5)[::2]
    model.calibrate(fresh, masks)
    heatmaps = model.explain(fresh)
    truth = masks.astype(bool)

    def f1(t):
        found = heatmaps > t
        return 2 * (found & truth).sum() / (found.sum() + truth.sum())

    best = max(f1(t) for t in np.quantile(heatmaps, np.linspace(0, 0.9999, 3000)))
    assert f1(model.threshold_) >= best - 2e-3


def test_threshold_on_normal_images_is_about_their_hottest_pixels():
    """The share of good images with any anomalous pixel is what is promised."""
    images, _, _ = make_images(400)
    model = quick(max_epochs=2, threshold=FalseAlarmRate(0.2)).fit(images[:60])
    model.calibrate(images[60:160])
    peaks = np.sort(model.explain(images[60:160]).max(axis=(1, 2)))
    expected = peaks[100 - 20]  # ceil(101 * 0.8) = 81st of 100
    assert model.threshold_ == pytest.approx(expected)
    alarms = model.predict(images[160:]).any(axis=(1, 2)).mean()
    assert alarms < 0.2 + 4 * np.sqrt(0.2 * 0.8 / 240 + 0.2 * 0.8 / 100)


def test_calibration_leaves_the_network_alone(data, fitted):
    model = pickle.loads(pickle.dumps(fitted))
    images, _, masks = make_images(80, n_anomalous=20, seed=5)
    before = model.explain(images)
    model.set_params(threshold=FalseAlarmRate(0.3)).calibrate(images[:70], masks[:70])
    assert model.threshold_ != fitted.threshold_
    assert_array_equal(model.explain(images), before)
    changed = model.threshold_
    model.set_params(threshold="youden")
    for bad, message in (
        (masks[masks.any(axis=(1, 2))], "alone|normal"),
        (None, "needs"),
    ):
        rows = masks.any(axis=(1, 2)) if bad is not None else slice(None)
        with pytest.raises(ValueError, match=message):
            model.calibrate(images[rows], bad)
        assert model.threshold_ == changed


# -- bad input ---------------------------------------------------------------------


def test_masks_that_cannot_be_used(data):
    images, y, masks = data
    model = quick()
    for bad, error, message in (
        (2 * masks, ValueError, r"0 for normal and 1 .*\[0, 2\]"),
        (masks * 0.5, ValueError, r"0 for normal and 1"),
        (masks[:, :-1], ImageShapeError, r"\(80, 16, 20\).*\(80, 15, 20\)"),
        (masks[:-1], ImageShapeError, "80 images, but there are 79 masks"),
        (np.stack([masks] * 2, -1), ImageShapeError, r"\(80, 16, 20, 2\)"),
        (
            [m[:-1] if i else m for i, m in enumerate(masks)],
            ImageShapeError,
            "All masks",
        ),
        ([None, *masks[1:]], ValueError, "row 0 is None, so it is unknown"),
        (np.ones_like(masks), ValueError, "normal images are needed"),
    ):
        with pytest.raises(error, match=message):
            model.fit(images, bad)
    with pytest.raises(ValueError, match="y contains masks, but masks= was passed too"):
        model.fit(images, masks, masks=masks)
    with pytest.raises(ValueError, match="that are normal according to y"):
        model.fit(images, 1 - y, masks=masks)
    with pytest.raises(CalibrationError, match="needs labelled anomalies"):
        quick(threshold="f1").fit(images, 0 * masks)
    with pytest.raises(CalibrationError, match="needs labelled anomalies"):
        quick(threshold="f1").fit(images, y)  # labels, but no masks
    with pytest.raises(ValueError, match="min_area"):
        quick(min_area=0).fit(images, masks)
    assert not hasattr(model, "net_")


def test_scores_of_maps_that_cannot_be_compared(data, fitted):
    images, _, masks = data
    with pytest.raises(ImageShapeError, match="same shape"):
        fitted.score(images, masks[:, :-1])
    with pytest.raises(ValueError, match="0 for normal"):
        fitted.score(images, 7 * masks)


def test_a_pixel_on_the_threshold_is_judged_alike_by_all_methods(fitted, data):
    """The threshold is not rounded to the precision of the heatmaps, nor are these.

    But for pixels that are on it by all that rounding leaves open.
    """
    model, images = with_judging(fitted, min_area=1), data[0]
    heatmaps = model.explain(images)
    parts = list(model.iter_explain(images))
    assert {part.dtype for part in parts} == {heatmaps.dtype}
    assert_array_equal(np.concatenate(parts), heatmaps)
    value = float(heatmaps[0].max())
    for threshold in (value * (1 - 1e-9), value, value * (1 - 4e-6)):
        model = with_threshold(model, threshold)
        above = heatmaps.astype(np.float64) > threshold * (1 + SLACK)
        assert above[0].any() == (threshold < value * (1 - 1e-6))
        assert_array_equal(model.decision_function(images) > 0, above)
        assert_array_equal(model.predict(images), above)
