"""Figures of pixels, against scikit-learn and slow second versions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from scipy import ndimage
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    jaccard_score,
    roc_auc_score,
)
from sklearn.model_selection import GridSearchCV, cross_val_score

from skfcdd import FCDDSegmenter
from skfcdd.exceptions import ImageShapeError
from skfcdd.metrics import (
    PIXEL_SCORERS,
    PixelHistogram,
    PixelScorer,
    aupro_score,
    bootstrap_interval,
    defect_report,
    f1_max_score,
    intersection_over_union_score,
    pixel_average_precision_score,
    pixel_roc_auc_score,
    region_overlap_curve,
)


@st.composite
def maps(draw):
    """Masks with pixels of both kinds, and heatmaps with many ties."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(2, 6), st.integers(2, 6)))
    masks = draw(arrays(bool, shape))
    masks.flat[0], masks.flat[-1] = False, True
    values = st.sampled_from([-2.0, -0.5, 0.0, 1e-30, 0.25, 0.26, 0.5, 1.0, 7.0, 1e30])
    return masks, draw(arrays(np.float64, shape, elements=values))


def slow_overlap(masks, heatmaps):
    """By its definition, threshold after threshold, region after region."""
    structure = np.ones((3, 3))
    regions = []
    for mask, heatmap in zip(masks, heatmaps, strict=True):
        labels, count = ndimage.label(mask, structure)
        regions += [heatmap[labels == k] for k in range(1, count + 1)]
    normal = heatmaps[~masks]
    points = {np.inf: (0.0, 0.0)}
    for threshold in np.unique(heatmaps)[::-1]:
        fpr = (normal >= threshold).mean()
        overlap = np.mean([(r >= threshold).mean() for r in regions])
        points[float(threshold)] = (fpr, overlap)
    return points


def slow_aupro(masks, heatmaps, max_fpr):
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(slow_overlap(masks, heatmaps).values()):
        if x0 >= max_fpr or x1 == x0:
            continue
        end = min(x1, max_fpr)
        y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
        area += (end - x0) * (y0 + y_end) / 2
    return area / max_fpr


def slow_f1(masks, heatmaps):
    flat = masks.ravel()
    return max(f1_score(flat, heatmaps.ravel() >= t) for t in np.unique(heatmaps))


@given(maps())
def test_exact_figures(sample):
    masks, heatmaps = sample
    flat = masks.ravel(), heatmaps.ravel()
    assert pixel_roc_auc_score(*sample) == pytest.approx(roc_auc_score(*flat))
    assert pixel_average_precision_score(*sample) == pytest.approx(
        average_precision_score(*flat)
    )
    f1, threshold = f1_max_score(*sample)
    assert f1 == pytest.approx(slow_f1(*sample))
    assert f1 == pytest.approx(f1_score(flat[0], flat[1] >= threshold))


@given(maps(), st.sampled_from([0.05, 0.3, 1.0]))
def test_per_region_overlap_by_definition(sample, max_fpr):
    expected = slow_aupro(*sample, max_fpr)
    assert aupro_score(*sample, max_fpr=max_fpr) == pytest.approx(expected)


@given(maps())
def test_per_region_overlap_curve_by_definition(sample):
    expected = slow_overlap(*sample)
    fpr, overlap, thresholds = region_overlap_curve(*sample)
    for x, y, threshold in zip(fpr, overlap, thresholds, strict=True):
        assert_allclose((x, y), expected[float(threshold)], atol=1e-12)
    assert thresholds[0] == np.inf and (np.diff(thresholds) < 0).all()
    # The points that are left out lie on straight lines between the others.
    assert (fpr[-1], overlap[-1]) == (pytest.approx(1), pytest.approx(1))
    for x, y in expected.values():
        ends = [np.interp(x, fpr, overlap), np.interp(-x, -fpr[::-1], overlap[::-1])]
        assert min(ends) - 1e-9 <= y <= max(ends) + 1e-9


def test_per_region_overlap_counts_regions_alike():
    """A defect of one pixel weighs as much as one of fifty."""
    masks = np.zeros((1, 20, 20), dtype=bool)
    masks[0, 0, 0] = True
    masks[0, 10:15, 5:15] = True
    found = masks.copy()
    found[0, 0, 0] = False
    heatmaps = found.astype(float)
    # Half of the regions at no false alarm, then a straight line to (1, 1).
    assert aupro_score(masks, heatmaps) == pytest.approx(0.5 + 0.5 * 0.3 / 2)


@given(maps(), st.integers(10, 24))
def test_histogram_is_within_its_bound(sample, n_bits):
    masks, heatmaps = sample
    histogram = PixelHistogram(n_bits)
    for i in range(len(masks)):
        histogram.update(masks[i : i + 1], heatmaps[i : i + 1])
    pairs = [
        (histogram.roc_auc(), pixel_roc_auc_score(*sample), histogram.roc_auc_error()),
        (
            histogram.average_precision(),
            pixel_average_precision_score(*sample),
            histogram.average_precision_error(),
        ),
        (histogram.aupro(), aupro_score(*sample), histogram.aupro_error()),
        (histogram.f1_max()[0], f1_max_score(*sample)[0], histogram.f1_max_error()),
    ]
    for counted, exact, error in pairs:
        assert abs(counted - exact) <= error + 1e-9


def test_histogram_that_cannot_tell_says_so():
    """Scores that share a bin: the bound is wide, and the exact figure within."""
    rng = np.random.default_rng(0)
    masks = rng.random((4, 30, 30)) < 0.2
    heatmaps = 1 + 1e-3 * (rng.random(masks.shape) + masks)
    coarse = PixelHistogram(10).update(masks, heatmaps)
    assert coarse.roc_auc() == pytest.approx(0.5)
    assert coarse.roc_auc_error() == pytest.approx(0.5)
    exact = pixel_average_precision_score(masks, heatmaps)
    error = coarse.average_precision_error()
    assert abs(coarse.average_precision() - exact) <= error < 1
    fine = PixelHistogram(24).update(masks, heatmaps)
    assert fine.roc_auc_error() < 0.02
    assert abs(fine.roc_auc() - pixel_roc_auc_score(masks, heatmaps)) < 0.02


def test_many_pixels_are_counted():
    rng = np.random.default_rng(0)
    masks = rng.random((40, 64, 64)) < 0.1
    heatmaps = (rng.exponential(size=masks.shape) + masks).astype(np.float32)
    for metric in (pixel_roc_auc_score, pixel_average_precision_score, aupro_score):
        exact, counted = (
            metric(masks, heatmaps, method=m) for m in ("exact", "histogram")
        )
        assert counted == pytest.approx(exact, abs=2e-4)
        assert counted != exact


@given(maps())
def test_intersection_over_union(sample):
    masks, heatmaps = sample
    predicted = heatmaps > 0.3
    pooled = intersection_over_union_score(masks, predicted, average="pixel")
    assert pooled == pytest.approx(jaccard_score(masks.ravel(), predicted.ravel()))
    each = [
        jaccard_score(m.ravel(), p.ravel(), zero_division=1.0)
        for m, p in zip(masks, predicted, strict=True)
    ]
    assert intersection_over_union_score(masks, predicted) == pytest.approx(
        np.mean(each)
    )


def test_masks_of_0_and_255_count():
    masks = np.array([[[0, 255, 255, 0]]], dtype=np.uint8)
    heatmaps = np.array([[[0.1, 0.9, 0.2, 0.3]]])
    assert pixel_roc_auc_score(masks, heatmaps) == 0.75
    assert intersection_over_union_score(masks, masks) == 1


MASKS, HEATMAPS = np.array([[[0, 1], [1, 0]]]), np.array([[[0.1, 0.9], [0.8, 0.3]]])


@pytest.mark.parametrize(
    ("masks", "heatmaps", "error", "message"),
    [
        (2 * MASKS, HEATMAPS, ValueError, r"0 for normal and 1 .*\[0, 2\]"),
        (MASKS * 0.5, HEATMAPS, ValueError, r"0 for normal and 1 .*0\.5"),
        (MASKS.astype(str), HEATMAPS, ValueError, "masks must contain"),
        (0 * MASKS, HEATMAPS, ValueError, "no anomalous pixels"),
        (0 * MASKS + 1, HEATMAPS, ValueError, "only anomalous pixels"),
        (MASKS[:, :1], HEATMAPS, ImageShapeError, r"\(1, 1, 2\) and \(1, 2, 2\)"),
        (MASKS[:0], HEATMAPS[:0], ImageShapeError, "empty"),
        (MASKS, HEATMAPS * np.nan, ValueError, "NaN or infinity, first in row 0"),
    ],
)
@pytest.mark.parametrize("method", ["exact", "histogram"])
def test_maps_that_cannot_be_scored(masks, heatmaps, error, message, method):
    for metric in (pixel_roc_auc_score, aupro_score, f1_max_score):
        with pytest.raises(error, match=message):
            metric(masks, heatmaps, method=method)


def test_options_that_do_not_exist():
    with pytest.raises(ValueError, match="method='fast'"):
        pixel_roc_auc_score(MASKS, HEATMAPS, method="fast")
    with pytest.raises(ValueError, match="max_fpr=0"):
        aupro_score(MASKS, HEATMAPS, max_fpr=0)
    with pytest.raises(ValueError, match="average='macro'"):
        intersection_over_union_score(MASKS, MASKS, average="macro")
    with pytest.raises(ValueError, match="n_bits=30"):
        PixelHistogram(30)
    with pytest.raises(ValueError, match="regions=False"):
        PixelHistogram(regions=False).update(MASKS, HEATMAPS).aupro()


# -- intervals and reports ---------------------------------------------------------


def test_interval_covers_the_truth():
    """Of 200 samples with a known AUROC, about 95 % of the intervals hold it."""
    truth = 0.760249938906  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)

    def auroc(y, score):
        return (score[y == 1][:, None] > score[y == 0]).mean()

    y = np.repeat([0, 1], [60, 60])
    held = 0
    for seed in range(200):
        score = np.random.default_rng(seed).normal(size=120) + y
        interval = bootstrap_interval(
            auroc, y, score, n_resamples=199, random_state=seed
        )
        held += interval.low <= truth <= interval.high
    assert 0.9 * 200 <= held <= 0.99 * 200


def test_paired_comparison_is_sharper():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [100, 100])
    shared = rng.normal(size=200) + y
    better = shared + 0.5 * y + 0.1 * rng.normal(size=200)
    options = {"n_resamples": 199, "random_state": 0}
    alone = bootstrap_interval(roc_auc_score, y, better, **options)
    paired = bootstrap_interval(roc_auc_score, y, better, other=shared, **options)
    expected = roc_auc_score(y, better) - roc_auc_score(y, shared)
    assert paired.value == pytest.approx(expected)
    assert paired.low > 0
    assert paired.high - paired.low < alone.high - alone.low
    same = bootstrap_interval(roc_auc_score, y, better, other=better, **options)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_groups_are_drawn_whole():
    """Six copies of a photograph tell as much as one."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [20, 20])
    score = rng.normal(size=40) + y
    options = {"n_resamples": 499, "random_state": 0}
    once = bootstrap_interval(roc_auc_score, y, score, **options)
    sixfold = np.repeat(y, 6), np.repeat(score, 6)
    naive = bootstrap_interval(roc_auc_score, *sixfold, **options)
    grouped = bootstrap_interval(
        roc_auc_score, *sixfold, groups=np.repeat(np.arange(40), 6), **options
    )
    assert_allclose(grouped, once)
    assert naive.high - naive.low < 0.6 * (once.high - once.low)


def test_intervals_of_pixel_figures():
    rng = np.random.default_rng(0)
    masks = np.zeros((12, 8, 8), dtype=int)
    masks[6:, 2:5, 2:5] = 1
    heatmaps = rng.random(masks.shape) + masks
    interval = bootstrap_interval(
        pixel_roc_auc_score, masks, heatmaps, n_resamples=49, random_state=0
    )
    assert interval.low <= interval.value <= interval.high
    with pytest.raises(ValueError, match="11 normal and 1 anomalous"):
        bootstrap_interval(pixel_roc_auc_score, masks[[0] * 11 + [6]], heatmaps)


def test_report_by_kind():
    rng = np.random.default_rng(0)
    kinds = np.repeat(["fine", "crack", "hole"], [20, 10, 5])
    scores = rng.random(35) + np.repeat([0, 0.5, 2], [20, 10, 5])
    masks = np.zeros((35, 6, 6), dtype=int)
    masks[20:, 2:4, 2:4] = 1
    heatmaps = rng.random(masks.shape) + masks
    report = defect_report(
        kinds,
        scores,
        normal="fine",
        threshold=1.2,
        masks=masks,
        heatmaps=heatmaps,
        output_dict=True,
    )
    assert list(report) == ["fine", "crack", "hole", "all"]
    rows = (kinds == "fine") | (kinds == "crack")
    crack = report["crack"]
    assert crack["images"] == 10
    assert crack["image_auroc"] == roc_auc_score(kinds[rows] == "crack", scores[rows])
    assert crack["found"] == (scores[20:30] > 1.2).mean()
    assert crack["pixel_auroc"] == pixel_roc_auc_score(masks[rows], heatmaps[rows])
    assert report["fine"]["found"] == 0
    assert report["hole"]["image_auroc"] == 1
    text = defect_report(kinds, scores, normal="fine")
    assert text.splitlines()[2].split() == [
        "crack",
        "10",
        f"{crack['image_auroc']:.3f}",
    ]


def test_reports_that_cannot_be_made():
    with pytest.raises(ValueError, match="'fine', for normal"):
        defect_report(["crack", "hole"], [1, 2], normal="fine")
    with pytest.raises(ValueError, match="both masks and heatmaps"):
        defect_report(["fine", "hole"], [1, 2], normal="fine", masks=MASKS)


# -- scorers -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled():
    from _small import make_images

    images, _, masks = make_images(48, n_anomalous=16)
    order = np.random.RandomState(0).permutation(48)
    return images[order], masks[order]


def test_scorers_in_cross_validation_and_search(labelled):
    images, masks = labelled
    model = FCDDSegmenter(max_epochs=4, random_state=0, device="cpu")
    search = GridSearchCV(
        model,
        {"lr": [1e-3, 1e-9]},
        scoring=dict(PIXEL_SCORERS),
        refit="pixel_roc_auc",
        cv=2,
        error_score="raise",
    ).fit(images, masks)
    assert search.best_params_ == {"lr": 1e-3}
    for name in PIXEL_SCORERS:
        assert 0 <= search.cv_results_[f"mean_test_{name}"][0] <= 1
    fitted = search.best_estimator_
    score = PixelScorer(aupro_score, options={"max_fpr": 0.1})(fitted, images, masks)
    assert score == aupro_score(masks, fitted.explain(images), max_fpr=0.1)
    iou = PIXEL_SCORERS["intersection_over_union"](fitted, images, masks)
    assert iou == fitted.score(images, masks)


def test_score_of_the_estimator_is_its_default(labelled):
    images, masks = labelled
    model = FCDDSegmenter(max_epochs=4, random_state=0, device="cpu")
    default = cross_val_score(model, images, masks, cv=2)
    named = cross_val_score(
        model, images, masks, cv=2, scoring=PIXEL_SCORERS["intersection_over_union"]
    )
    assert_allclose(default, named)
