"""Explanations are tested against what is known: closed forms, and slow ways."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from _small import make_images, quick
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from scipy import stats
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skfcdd import FCDDClassifier, FCDDDetector, FCDDSegmenter, Region
from skfcdd.baselines import PCADetector
from skfcdd.display import (
    CounterfactualDisplay,
    PerturbationCurveDisplay,
    RegionAuditDisplay,
)
from skfcdd.exceptions import ImageShapeError
from skfcdd.inspection import (
    additivity_error,
    audit_regions,
    counterfactual,
    deletion_curve,
    explain_regions,
    insertion_curve,
    pointing_game,
    region_share,
)
from skfcdd.inspection._fill import Filler, Pieces, harmonic
from skfcdd.inspection._images import read_stack

X, Y, MASKS = make_images(40, n_anomalous=12)
SMALL = {"max_epochs": 2, "random_state": 0, "device": "cpu"}
RNG = np.random.default_rng(0)


class Excess:
    """Heat is what a pixel is above 100; so all is known in advance."""

    threshold_ = 1.0
    heatmap_scale_ = (5.0, 25.0)

    def explain(self, X):
        values = np.asarray(X, dtype=float)
        values = values.mean(axis=-1) if values.ndim == 4 else values
        return np.maximum(values - 100, 0)

    def anomaly_score(self, X):
        return self.explain(X).mean(axis=(1, 2))


def spots(n=3, size=(16, 20), box=(4, 6, 8, 11), value=200):
    """Flat images of 100 with a bright box, and the mask of the box."""
    images = np.full((n, *size), 100, dtype=np.uint8)
    mask = np.zeros((n, *size), dtype=bool)
    mask[:, box[0] : box[2], box[1] : box[3]] = True
    images[mask] = value
    return images, mask


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def model():
    return quick(precision="float32").fit(X, Y)


@pytest.fixture(scope="module")
def everyone(model):
    return {
        "classifier": model,
        "segmenter": FCDDSegmenter(**SMALL).fit(X, MASKS),
        "detector": FCDDDetector(**SMALL).fit(X[Y == 0]),
        "pca": PCADetector(random_state=0).fit(X[Y == 0]),
    }


# -- additivity ---------------------------------------------------------------------


def test_heatmaps_of_all_estimators_add_up(everyone):
    for name, estimator in everyone.items():
        error = additivity_error(estimator, X)
        assert error.shape == (40,) and error.dtype == np.float64
        assert error.max() < 1e-5, name


def test_additivity_error_is_the_relative_difference():
    class Half(Excess):
        def anomaly_score(self, X):
            return super().anomaly_score(X) / 2

    assert_allclose(additivity_error(Half(), spots()[0]), 0.5)
    blank = np.full((2, 4, 4), 100)
    assert_array_equal(additivity_error(Half(), blank), 0)


@pytest.mark.parametrize("pooling", ["max", 0.1])
def test_scores_of_the_greatest_cells_do_not_add_up(pooling):
    model = quick(max_epochs=1, score_pooling=pooling).fit(X, Y)
    with pytest.raises(ValueError, match=r"score_pooling=.*mean of all"):
        additivity_error(model, X)
    assert additivity_error(quick(max_epochs=1, score_pooling=1.0).fit(X, Y), X).max()


# -- pointing game ------------------------------------------------------------------


def test_a_hit_is_the_hottest_pixel_on_the_mask():
    masks, heat = np.zeros((4, 8, 8), dtype=np.uint8), np.zeros((4, 8, 8))
    masks[:3, 2:4, 2:4] = 1
    heat[0, 3, 3] = heat[1, 6, 7] = heat[2, 0, 0] = 1
    game = pointing_game(heat, masks)
    assert_array_equal(game.rows, [0, 1, 2])
    assert_array_equal(game.hits, [1, 0, 0])
    assert game.share.value == pytest.approx(1 / 3)
    assert game.chance == 4 / 64
    # (6, 7) is 3 rows and 4 columns away from (3, 3); (0, 0) is the root of 8.
    assert_array_equal(pointing_game(heat, masks, tolerance=2.9).hits, [1, 0, 1])
    assert_array_equal(pointing_game(heat, masks, tolerance=5).hits, [1, 1, 1])
    assert_array_equal(pointing_game(heat, masks * 255, tolerance=5).hits, [1, 1, 1])


def test_equally_hot_pixels_count_by_their_share():
    masks = np.zeros((1, 4, 5), dtype=bool)
    masks[0, 0, 0] = True
    game = pointing_game(np.ones((1, 4, 5)), masks)
    assert game.hits == [1 / 20] and game.share.value == game.chance == 1 / 20
    two = np.zeros((1, 4, 5))
    two[0, 0, 0] = two[0, 3, 3] = 7
    assert pointing_game(two, masks).hits == [0.5]


def test_tolerance_against_all_distances():
    masks = RNG.random((6, 9, 7)) > 0.93
    masks[5] = False
    heat = RNG.random((6, 9, 7))
    for tolerance in (1, 2.5):
        game = pointing_game(heat, masks, tolerance=tolerance)
        for row, hit in zip(game.rows, game.hits, strict=True):
            peak = np.array(np.unravel_index(heat[row].argmax(), heat[row].shape))
            distance = np.linalg.norm(np.argwhere(masks[row]) - peak, axis=1)
            assert hit == (distance.min() <= tolerance)


def test_intervals_of_kinds_are_those_of_wilson():
    masks, heat = np.zeros((9, 4, 4), dtype=bool), np.zeros((9, 4, 4))
    masks[:8, 0, 0] = heat[:5, 0, 0] = heat[5:, 3, 3] = True
    kinds = ["hole"] * 3 + ["crack"] * 5 + ["good"]
    game = pointing_game(heat, masks, kinds=kinds)
    assert list(game.by_kind) == ["crack", "hole"]
    for interval, hits, n in [
        (game.share, 5, 8),
        (game.by_kind["hole"], 3, 3),
        (game.by_kind["crack"], 2, 5),
    ]:
        known = stats.binomtest(hits, n).proportion_ci(method="wilson")
        assert interval.value == hits / n
        assert_allclose([interval.low, interval.high], known, atol=1e-12)


def test_pointing_refuses_what_it_cannot_use():
    heat, masks = np.ones((2, 4, 4)), np.zeros((2, 4, 4), dtype=bool)
    with pytest.raises(ValueError, match=r"nothing to point at"):
        pointing_game(heat, masks)
    masks[:, 0] = True
    with pytest.raises(ImageShapeError, match=r"the same shape \(n, h, w\)"):
        pointing_game(heat[:, :3], masks)
    with pytest.raises(ValueError, match=r"NaN or infinity, first in row 1"):
        pointing_game(np.where([[[False]], [[True]]], np.nan, heat), masks)
    with pytest.raises(ValueError, match=r"must be of shape \(n, h, w\)"):
        pointing_game(heat[0], masks[0])
    for tolerance in (-1, np.nan, "near"):
        with pytest.raises(ValueError, match=r"Got tolerance="):
            pointing_game(heat, masks, tolerance=tolerance)
    with pytest.raises(ValueError, match=r"Got confidence_level=95"):
        pointing_game(heat, masks, confidence_level=95)
    with pytest.raises(ValueError, match=r"2 images, but 3 kinds"):
        pointing_game(heat, masks, kinds=[1, 2, 3])


# -- shares of regions --------------------------------------------------------------


def test_share_and_area_of_a_box():
    images, mask = spots()
    heat = Excess().explain(images)
    found = region_share(heat, (4, 6, 8, 11))
    assert_allclose(found.share, 1)
    assert_allclose(found.area, 20 / 320)
    assert_allclose(found.ratio, 16)
    for same in (mask, mask[0], Region((4, 6, 8, 11), 20, 1.0, (4, 6))):
        assert_allclose(region_share(heat, same).ratio, 16)
    assert_allclose(region_share(heat, ~mask).share, 0)


def test_regions_by_name_have_their_size():
    heat = np.ones((1, 16, 32))
    for name, size, pixels in [
        ("border", None, 16 * 32 - 14 * 30),
        ("border", 2, 16 * 32 - 12 * 28),
        ("border", 0.25, 16 * 32 - 8 * 24),
        ("top_left", None, 4 * 8),
        ("bottom_right", 3, 9),
        ("top_right", 0.5, 8 * 16),
    ]:
        found = region_share(heat, name, size=size)
        assert_allclose(found.area, pixels / 512)
        assert_allclose(found.ratio, 1)
    heat[0, -1, 0] = 1e9
    names = ["top_left", "top_right", "bottom_left", "bottom_right", "border"]
    hot = [region_share(heat, name).share[0] > 0.9 for name in names]
    assert hot == [False, False, True, False, True]


@given(st.integers(0, 2**32 - 1))
def test_shares_of_parts_add_up(seed):
    rng = np.random.default_rng(seed)
    heat, part = rng.exponential(size=(3, 6, 5)), rng.random((3, 6, 5)) > 0.5
    part[:, 0, 0], part[:, 0, 1] = True, False
    inside, outside = region_share(heat, part), region_share(heat, ~part)
    assert_allclose(inside.share + outside.share, 1)
    assert_allclose(inside.area + outside.area, 1)
    assert_allclose(
        inside.share, [h[p].sum() / h.sum() for h, p in zip(heat, part, strict=True)]
    )


def test_no_heat_lies_evenly():
    found = region_share(np.zeros((2, 4, 4)), (0, 0, 1, 1))
    assert_array_equal(found.share, 1 / 16)
    assert_array_equal(found.ratio, 1)


@pytest.mark.parametrize(
    ("region", "size", "message"),
    [
        ("middle", None, r"Got region='middle', but expected one of"),
        ("border", 0, r"Got size=0"),
        ("border", 1.5, r"Got size=1.5"),
        ("border", 4, r"region is the whole in 2 image"),
        ((0, 0, 1, 1), 2, r"only regions given by name have a size"),
        ((0, 0, 9, 1), None, r"within images of \(h, w\) = \(8, 8\)"),
        ((2, 2, 2, 4), None, r"within images"),
        ((0, 0, 1.5, 1), None, r"four integers"),
        (
            np.zeros((8, 8)),
            None,
            r"region is empty in 2 image\(s\), the first in row 0",
        ),
        (np.ones((8, 8)), None, r"region is the whole"),
        (np.ones((3, 8, 8)), None, r"an array of shape \(3, 8, 8\)"),
        (np.full((8, 8), 0.5), None, r"masks must contain 0"),
    ],
)
def test_regions_that_do_not_fit(region, size, message):
    with pytest.raises(ValueError, match=message):
        region_share(np.ones((2, 8, 8)), region, size=size)


def test_heatmaps_that_cannot_be_shared_out():
    with pytest.raises(ValueError, match=r"values down to -1"):
        region_share(-np.ones((2, 8, 8)), "border")
    with pytest.raises(ValueError, match=r"NaN or infinity, first in row 0"):
        region_share(np.full((2, 8, 8), np.inf), "border")
    with pytest.raises(ImageShapeError, match=r"shape \(n, h, w\), n > 0"):
        region_share(np.ones((8, 8)), "border")
    with pytest.raises(ValueError, match=r"real numbers. Got dtype <U1"):
        region_share(np.full((2, 8, 8), "a"), "border")


# -- content that is put in ---------------------------------------------------------


@given(st.integers(0, 2**32 - 1))
def test_interpolation_continues_slopes_and_stays_within_its_border(seed):
    rng = np.random.default_rng(seed)
    i, j = np.mgrid[:9, :8]
    slope = (rng.normal() + rng.normal() * i + rng.normal() * j)[None, ..., None]
    hole = np.zeros((1, 9, 8), dtype=bool)
    hole[0, 1:-1, 1:-1] = rng.random((7, 6)) > 0.4
    assert_allclose(harmonic(np.where(hole[..., None], 1e3, slope), hole), slope)
    image = rng.random((1, 9, 8, 2))
    filled = harmonic(image, hole)
    assert_array_equal(filled[~hole], image[~hole])
    assert filled.min() >= 0 and filled.max() <= 1


def test_interpolation_against_repeated_means():
    image = RNG.random((1, 7, 6, 1))
    hole = np.zeros((1, 7, 6), dtype=bool)
    hole[0, :4, 2:] = True  # up to the edge
    slow = np.where(hole[..., None], 0, image)[0, ..., 0]
    for _ in range(4000):
        padded = np.pad(slow, 1, constant_values=np.nan)
        around = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2]]
        means = np.nanmean([*around, padded[1:-1, 2:]], axis=0)
        slow = np.where(hole[0], means, slow)
    assert_allclose(harmonic(image, hole)[0, ..., 0], slow, atol=1e-9)


def test_misfit_against_every_window():
    images = RNG.random((2, 12, 11, 3)) * 50 + 1000
    target, ring = RNG.random((5, 4, 3)), RNG.random((5, 4)) > 0.5
    found = Pieces(images).misfit(target, ring)
    assert found.shape == (2, 8, 8)
    for k, top, left in np.ndindex(found.shape):
        window = images[k, top : top + 5, left : left + 4]
        difference = (target - window)[ring]
        slow = ((difference - difference.mean(axis=0)) ** 2).sum()
        assert_allclose(found[k, top, left], slow, rtol=1e-6, atol=1e-6)


def test_a_clone_restores_a_periodic_image():
    i, j = np.mgrid[:32, :40]
    pattern = 100 + 40 * np.sin(2 * np.pi * i / 8) * np.cos(2 * np.pi * j / 10)
    light = pattern + 0.8 * i + 0.3 * j  # which no piece has at the same place
    stack = read_stack(Excess(), light[None])
    hole = np.zeros((1, 32, 40), dtype=bool)
    hole[0, 10:17, 12:19] = True
    hole[0, 0:5, 30:40] = True  # in a corner, where the slope cannot be known
    spoilt = np.where(hole, 255, light[None])
    filled = Filler(read_stack(Excess(), spoilt), "clone")(np.arange(1), hole)
    inner = np.s_[0, 10:17, 12:19, 0]
    assert_allclose(filled[inner], light[10:17, 12:19], atol=1e-6)
    assert np.abs(filled[..., 0] - light)[hole].max() < 8
    smooth = Filler(stack, "harmonic")(np.arange(1), hole)
    assert np.abs(smooth[..., 0] - light)[hole].max() > 20


def test_nothing_is_cloned_from_holes_and_hot_pixels():
    images, mask = spots(1, (24, 24), (2, 2, 8, 8), 250)
    twin = images.copy()
    twin[0, 14:20, 14:20] = 250
    hot = Excess().explain(twin) > 50
    filled = Filler(read_stack(Excess(), twin), "clone", hot)(np.arange(1), mask)
    assert_allclose(filled[mask], 100, atol=1e-6)


def test_large_holes_are_filled_part_by_part():
    i, j = np.mgrid[:48, :48]
    image = 100 + 40.0 * ((i // 4 + j // 4) % 2)
    border = np.ones((1, 48, 48), dtype=bool)
    border[0, 6:-6, 6:-6] = False
    filled = Filler(read_stack(Excess(), image[None]), "clone")(np.arange(1), border)
    assert_allclose(filled[0, ..., 0], image, atol=1e-6)
    almost = np.ones((1, 48, 48), dtype=bool)
    almost[0, 20, 20] = False  # nothing to clone from
    filled = Filler(read_stack(Excess(), image[None]), "clone")(np.arange(1), almost)
    assert_allclose(filled, image[20, 20])


def test_pieces_of_normal_images_come_from_where_they_fit():
    normal = np.stack(
        [np.full((16, 20), 90.0), 90.0 + 30 * (np.mgrid[:16, :20][0] % 2)]
    )
    image = normal[1] + 5
    hole = np.zeros((1, 16, 20), dtype=bool)
    hole[0, 5:9, 5:9] = True
    spoilt = np.where(hole, 200, image)
    filled = Filler(read_stack(Excess(), spoilt), normal)(np.arange(1), hole)
    assert_allclose(filled[0, ..., 0], image)


def test_blurred_and_mean_content():
    images = RNG.integers(0, 255, (2, 16, 16, 3)).astype(np.uint8)
    hole = np.zeros((2, 16, 16), dtype=bool)
    hole[:, 4:8, 4:8] = True
    stack = read_stack(Excess(), images)
    filled = Filler(stack, "mean")(np.arange(2), hole)
    assert_allclose(filled[1][hole[1]], np.tile(images[1].mean((0, 1)), (16, 1)))
    blurred = Filler(stack, "blur")(np.arange(2), hole)
    for found in (filled, blurred):
        assert_array_equal(found[~hole], images[~hole])
    assert blurred[hole].std() < images[hole].std() / 2


def test_images_go_back_in_the_form_in_which_they_came():
    rng = np.random.default_rng(0)
    colour = rng.random((3, 6, 8, 3)).astype(np.float32)
    first = np.moveaxis(colour, 3, 1)

    class Fitted(Excess):
        image_shape_ = (6, 8, 3)
        channels = None
        image_shape = None

    for given_form in (colour, first, list(first), torch.from_numpy(first.copy())):
        stack = read_stack(Fitted(), given_form)
        assert_array_equal(stack.images, colour)
        back = stack.given(stack.images.astype(float))
        assert back.dtype == np.float32
        assert_array_equal(back, np.asarray(torch.as_tensor(np.asarray(given_form))))
    exported = Fitted()
    exported._first = True  # takes one order alone
    assert_array_equal(read_stack(exported, first).images, colour)
    with pytest.raises(ImageShapeError, match=r"array of shape \(1, 3, 6, 8, 3\)"):
        read_stack(Fitted(), colour[None])
    flat = pd.DataFrame(colour.reshape(3, -1)).add_prefix("p")
    back = read_stack(Fitted(), flat).given(colour)
    pd.testing.assert_frame_equal(back, flat)


def test_rounding_keeps_within_the_type():
    from skfcdd.inspection._images import to_dtype

    values = np.array([-3.0, 7.6, 300.0])
    assert_array_equal(to_dtype(values, np.dtype(np.uint8)), [0, 8, 255])
    assert_array_equal(to_dtype(values, np.dtype(bool)), [False, True, True])
    assert to_dtype(values, np.dtype(np.float32)).dtype == np.float32


# -- curves -------------------------------------------------------------------------


def test_deletion_of_a_known_image():
    images, _ = spots()  # 20 of 320 pixels hold up the score
    share = 20 / 320
    at = [0, share, 2 * share]
    curve = deletion_curve(Excess(), images, shares=at, random_state=0)
    assert_allclose(curve.scores, np.tile([6.25, 0, 0], (3, 1)), atol=1e-9)
    assert_allclose(curve.relative(curve.scores)[:, 0], 1)
    assert_allclose(curve.coldest, 6.25)
    assert_allclose(curve.coldest_area, 1)
    assert_allclose(curve.area, 1 / 4)
    assert (curve.gain > 0).all()
    assert curve.kind == "deletion" and curve.scores.dtype == np.float64


def test_insertion_is_the_reverse():
    images, _ = spots()
    share = 20 / 320
    at = [0, share, 2 * share]
    curve = insertion_curve(Excess(), images, shares=at, random_state=0)
    assert_allclose(curve.scores, np.tile([0, 6.25, 6.25], (3, 1)), atol=1e-9)
    # Of the hottest eighth, the colder half comes first.
    assert_allclose(curve.coldest, np.tile([0, 0, 6.25], (3, 1)), atol=1e-9)
    assert (curve.gain > 0).all()


def test_curves_against_one_image_at_a_time(model):
    images, shares = X[Y == 1][:3], [0, 0.1, 0.4, 1]
    curve = deletion_curve(model, images, fill="mean", shares=shares, batch_size=2)
    insertion = insertion_curve(model, images, fill="mean", shares=shares)
    for k, image in enumerate(images):
        heat = model.explain(image[None])[0]
        order = np.argsort(-heat.ravel(), kind="stable")
        for step, share in enumerate(shares):
            count = round(share * heat.size)
            chosen = np.zeros(heat.size, dtype=bool)
            chosen[order[:count]] = True
            for hole, found in ((chosen, curve), (~chosen, insertion)):
                mean = np.rint(image.mean()).astype(np.uint8)
                changed = np.where(hole.reshape(heat.shape), mean, image)
                score = model.anomaly_score(changed[None])[0]
                assert_allclose(found.scores[k, step], score, rtol=1e-4)
    for curves in (curve, insertion):  # all orders begin and end alike
        for end in (0, -1):
            assert_allclose(curves.scores[:, end], curves.coldest[:, end], rtol=1e-4)
            assert_allclose(curves.scores[:, end], curves.random[:, end], rtol=1e-4)


def test_a_heatmap_that_points_elsewhere_has_no_gain():
    images, _ = spots()
    wrong = np.roll(Excess().explain(images), (6, 8), axis=(1, 2))
    right = deletion_curve(Excess(), images, random_state=0)
    found = deletion_curve(Excess(), images, heatmaps=wrong, random_state=0)
    assert (found.gain < 0.15).all() and (right.gain > 0.3).all()
    assert_allclose(found.random_area.mean(), right.random_area.mean(), atol=0.3)


def test_curves_do_not_depend_on_batches_and_repeat(model):
    images = X[Y == 1][:4]
    one = deletion_curve(model, images, batch_size=1, random_state=3)
    many = deletion_curve(model, images, batch_size=1000, random_state=3)
    for name in ("scores", "coldest", "random"):
        assert_allclose(getattr(one, name), getattr(many, name), rtol=1e-4)
    other = deletion_curve(model, images, random_state=4)
    assert np.abs(other.random - many.random).max() > 1e-3


def test_no_more_than_a_batch_is_scored_at_a_time():
    sizes = []

    class Counting(Excess):
        def anomaly_score(self, X):
            sizes.append(len(X))
            return super().anomaly_score(X)

    deletion_curve(Counting(), spots()[0], batch_size=5, n_random=1)
    assert max(sizes[1:]) == 5  # the first is the whole of X
    assert sum(sizes) == 3 + 3 * 8 * 3


def test_curves_refuse_what_they_cannot_use(model):
    images, _ = spots()
    for shares in ([0.1, 0.2], [0, 0.2, 0.2], [0], [[0, 1]], [0, 1.5]):
        with pytest.raises(ValueError, match=r"shares must"):
            deletion_curve(Excess(), images, shares=shares)
    with pytest.raises(ValueError, match=r"leaves no border"):
        deletion_curve(Excess(), images, shares=[0, 1])
    with pytest.raises(ValueError, match=r"Got n_random=0"):
        deletion_curve(Excess(), images, n_random=0)
    with pytest.raises(ValueError, match=r"Got batch_size=0"):
        deletion_curve(Excess(), images, batch_size=0)
    with pytest.raises(ValueError, match=r"score of 0, the first in row 1"):
        deletion_curve(Excess(), np.where([[[0]], [[1]], [[0]]], 100, images))
    with pytest.raises(ImageShapeError, match=r"heatmaps must have the shape"):
        deletion_curve(Excess(), images, heatmaps=np.ones((3, 4, 4)))
    with pytest.raises(ValueError, match=r"Got fill='paint'"):
        insertion_curve(Excess(), images, fill="paint")
    with pytest.raises(
        ImageShapeError, match=r"fill must be one or more images of shape"
    ):
        deletion_curve(Excess(), images, fill=np.ones((16, 19)))
    with pytest.raises(ValueError, match=r"values from 0 to 1, but X has bytes"):
        deletion_curve(Excess(), images, fill=np.full((16, 20), 0.5))
    with pytest.raises(ValueError, match=r"fill must hold finite"):
        deletion_curve(Excess(), images, fill=np.full((16, 20), np.nan))
    with pytest.raises(TypeError, match=r"no explain"):
        deletion_curve(make_pipeline(model), images)
    with pytest.raises(NotFittedError):
        deletion_curve(FCDDClassifier(), images)
    with pytest.raises(ValueError, match=r"contains NaN"):
        deletion_curve(model, np.full((2, 16, 20), np.nan))


# -- counterfactuals ----------------------------------------------------------------


def test_without_the_spot_the_score_falls_to_zero():
    images, mask = spots()
    found = counterfactual(Excess(), images, mask)
    assert_allclose(found.scores, 6.25)
    assert_allclose(found.new_scores, 0, atol=1e-9)
    assert_allclose(found.drop, 6.25)
    assert found.anomalous.all() and not found.new_anomalous.any()
    assert_array_equal(found.new_images, 100)
    assert found.new_images.dtype == np.uint8
    assert_array_equal(found.new_heatmaps, 0)
    assert_array_equal(counterfactual(Excess(), images).regions, mask)
    wide = counterfactual(Excess(), images, mask, margin=1)
    assert_array_equal(wide.regions[0], counterfactual_box(3, 5, 9, 12))


def counterfactual_box(top, left, bottom, right):
    """A box in an image of 16 x 20 pixels."""
    mask = np.zeros((16, 20), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_only_the_region_changes(everyone):
    for name, estimator in everyone.items():
        found = counterfactual(estimator, X[-4:], (2, 3, 8, 9))
        assert_array_equal(found.images, X[-4:])
        outside = ~found.regions
        assert_array_equal(found.new_images[outside], X[-4:][outside])
        assert_allclose(
            found.new_scores, estimator.anomaly_score(found.new_images), rtol=1e-5
        )
        judged = estimator.predict(found.new_images)
        called = {"detector": judged == -1, "pca": judged == -1}.get(name, judged == 1)
        assert_array_equal(
            found.new_anomalous, called.reshape(4, -1).any(axis=1), err_msg=name
        )


def test_a_clone_is_no_anomaly_of_its_own_but_smooth_content_is():
    """The reason for the default."""
    from skfcdd.datasets import make_defects

    data = make_defects(140, image_size=48, anomaly_fraction=0, random_state=0)
    model = quick(max_epochs=5).fit(data.images[:100])
    test, box = data.images[100:], (16, 18, 30, 32)
    ratio = {}
    for fill in ("clone", "harmonic", "mean"):
        found = counterfactual(model, test, box, fill=fill)
        ratio[fill] = np.median(found.new_scores / found.scores)
    assert ratio["clone"] < 1.4
    assert min(ratio["harmonic"], ratio["mean"]) > 1.7


def test_the_true_defect_makes_the_difference(model):
    bad = X[Y == 1]
    found = counterfactual(model, bad, MASKS[Y == 1])
    assert (found.drop > 0).mean() > 0.8
    assert found.new_anomalous.sum() < found.anomalous.sum()
    good = counterfactual(model, X[:12], MASKS[Y == 1])
    assert np.median(np.abs(good.drop)) < np.median(found.drop) / 3


def test_images_without_hot_pixels_stay_as_they_are():
    images, _ = spots(2)
    images[1] = 100
    found = counterfactual(Excess(), images)
    assert not found.regions[1].any() and found.drop[1] == 0
    calm = counterfactual(Excess(), images[1:], fill="harmonic")
    assert_array_equal(calm.new_images, calm.images)
    with pytest.raises(ValueError, match=r"region is empty"):
        counterfactual(Excess(), images, np.zeros((16, 20)))


def test_files_are_inspected_like_arrays(model, tmp_path):
    paths = [tmp_path / f"{k}.png" for k in range(4)]
    for path, image in zip(paths, X[-4:], strict=True):
        Image.fromarray(image).save(path)
    files, arrays = (counterfactual(model, some, "border") for some in (paths, X[-4:]))
    assert_array_equal(files.new_images, arrays.new_images)
    assert_allclose(files.new_scores, arrays.new_scores, rtol=1e-5)


def test_counterfactuals_refuse_what_they_cannot_use():
    images, mask = spots()
    with pytest.raises(ValueError, match=r"applies only to region='hot'"):
        counterfactual(Excess(), images, mask, level=3.0)
    with pytest.raises(ValueError, match=r"Got level='high'"):
        counterfactual(Excess(), images, level="high")
    with pytest.raises(ValueError, match=r"Got margin=-1"):
        counterfactual(Excess(), images, margin=-1)
    with pytest.raises(ValueError, match=r"In row 0 all pixels would be replaced"):
        counterfactual(Excess(), images, margin=30)
    with pytest.raises(ValueError, match=r"region is the whole"):
        counterfactual(Excess(), images, ~np.zeros((16, 20), dtype=bool))

    class Unscaled(Excess):
        heatmap_scale_ = None

    with pytest.raises(ValueError, match=r"no heatmap_scale_: set level="):
        counterfactual(Unscaled(), images)
    assert counterfactual(Unscaled(), images, level=50).drop[0] == 6.25


def test_each_hot_region_has_its_own_effect():
    images, _ = spots(2, box=(2, 2, 5, 5), value=180)
    images[0, 9:13, 10:15] = 160  # 20 pixels of 60 against 9 of 80
    images[0, 15, 19] = 255  # too small
    effects = explain_regions(Excess(), images)
    assert [len(some) for some in effects] == [2, 1]
    large, small = effects[0]
    assert large.region.bbox == (9, 10, 13, 15) and large.region.area == 20
    assert_allclose([large.drop, small.drop], [1200 / 320, 720 / 320])
    total = 1200 + 720 + 155
    assert_allclose([large.share, small.share], [1200 / total, 720 / total])
    assert_allclose(large.score_without, (total - 1200) / 320)
    assert large.decisive is False and effects[1][0].decisive is True
    assert len(explain_regions(Excess(), images, max_regions=1)[0]) == 1
    assert len(explain_regions(Excess(), images, min_area=1)[0]) == 3
    assert explain_regions(Excess(), images, level=1000) == [[], []]


def test_effects_without_a_threshold_decide_nothing(everyone):
    class Judgeless:
        heatmap_scale_ = (5.0, 25.0)
        explain, anomaly_score = Excess.explain, Excess.anomaly_score

    assert explain_regions(Judgeless(), spots()[0])[0][0].decisive is None
    assert counterfactual(Judgeless(), spots()[0]).anomalous is None
    for estimator in everyone.values():
        for some in explain_regions(estimator, X[-3:]):
            drops = [effect.drop for effect in some]
            assert drops == sorted(drops, reverse=True)
            assert all(isinstance(effect.decisive, bool) for effect in some)
    with pytest.raises(ValueError, match=r"Got max_regions=0"):
        explain_regions(Excess(), spots()[0], max_regions=0)


# -- audit --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def marked():
    """Images whose anomalies carry a mark in a corner, and a model of them."""
    images, y, masks = make_images(120, (24, 28), n_anomalous=60)
    masks[60:, :8, :8] = 0  # the corner is not known as a defect
    stamped = images.copy()
    stamped[60:, 1:6, 1:6] = 255 * (np.indices((5, 5)).sum(0) % 2)
    rows = np.r_[:40, 60:100]
    clever = quick(max_epochs=6).fit(stamped[rows], y[rows])
    honest = quick(max_epochs=6).fit(images[rows], y[rows])
    test = np.r_[40:60, 100:120]
    return clever, honest, stamped[test], images[test], y[test], masks[test]


def test_the_audit_finds_the_watermark(marked):
    clever, _, stamped, clean, y, masks = marked
    audit = audit_regions(clever, stamped, y, masks=masks)
    assert audit.flagged == ["top_left"]
    (found,) = [
        f for f in audit.findings if (f.region, f.group) == ("top_left", "anomaly")
    ]
    assert found.ratio > 1.2 and found.change < -0.4 and found.affected > 0.8
    assert "top_left      anomaly" in str(audit) and str(audit).count("  !") == 1
    # Without the mark the scores fall, as the audit says without having such images.
    before, after = (clever.anomaly_score(i[y == 1]) for i in (stamped, clean))
    assert np.median(after / before - 1) < -0.3


def test_the_audit_leaves_a_clean_model_in_peace(marked):
    _, honest, _, clean, y, masks = marked
    audit = audit_regions(honest, clean, y, masks=masks)
    assert audit.flagged == [] and "!" not in str(audit)
    assert [f.region for f in audit.findings[::2]] == [
        "border",
        "top_left",
        "top_right",
        "bottom_left",
        "bottom_right",
    ]


def test_figures_of_the_audit_are_known():
    images, mask = spots(4)
    images[2:] = 101
    y = [1, 1, 0, 0]
    regions = {"box": mask[0], "beside": (0, 0, 4, 4)}

    class Labelled(Excess):
        classes_ = np.array([0, 1])

    audit = audit_regions(Labelled(), images, y, regions)
    of = {(f.region, f.group): f for f in audit.findings}
    box = of["box", "anomaly"]
    assert (box.n_images, box.area, box.affected) == (2, 20 / 320, 1.0)
    assert_allclose([box.share, box.ratio, box.change], [1, 16, -1], atol=1e-9)
    assert box.flagged and audit.flagged == ["box"]
    even = of["box", "normal"]
    assert_allclose([even.share, even.ratio, even.change], [20 / 320, 1, 0], atol=1e-9)
    assert of["beside", "anomaly"].share == 0
    assert audit_regions(Labelled(), images, y, regions, min_ratio=17).flagged == []
    # Who knows the defects is not led astray by them.
    known = mask & (np.arange(4) == 0)[:, None, None]
    again = audit_regions(Labelled(), images, y, regions, masks=known)
    assert [f.n_images for f in again.findings] == [2, 1, 2, 2]
    by_masks = audit_regions(Labelled(), images, known, {"beside": (0, 0, 4, 4)})
    assert [f.n_images for f in by_masks.findings] == [3, 1]
    everyone = audit_regions(Excess(), images, None, {"box": mask[0]})
    assert everyone.findings[0].group == "all" and everyone.findings[0].affected == 0.5
    assert everyone.flagged == []


def test_the_audit_refuses_what_it_cannot_use(model):
    images, mask = spots(2)
    with pytest.raises(ValueError, match=r"regions\['it'\] is empty in 2"):
        audit_regions(Excess(), images, None, {"it": np.zeros((16, 20))})
    with pytest.raises(ValueError, match=r"Got regions\['it'\]='centre'"):
        audit_regions(Excess(), images, None, {"it": "centre"})
    with pytest.raises(ValueError, match=r"regions must be a dict.* Got list"):
        audit_regions(Excess(), images, None, [mask])
    with pytest.raises(ValueError, match=r"regions must be a dict"):
        audit_regions(Excess(), images, None, {})
    with pytest.raises(ValueError, match=r"group 'all' has a defect in the region"):
        audit_regions(Excess(), images, None, {"it": mask}, masks=mask)
    with pytest.raises(ValueError, match=r"Got min_change=2"):
        audit_regions(Excess(), images, min_change=2)
    with pytest.raises(ValueError, match=r"y has the label\(s\) \[7\]"):
        audit_regions(model, X, np.where(Y == 1, 7, 0))
    with pytest.raises(ImageShapeError, match=r"2 images, but 1 masks"):
        audit_regions(Excess(), images, masks=mask[:1])


# -- exported models ----------------------------------------------------------------


def test_exported_models_are_inspected_alike(model, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from skfcdd.export import to_onnx
    from skfcdd.onnx import OnnxFCDD

    to_onnx(model, tmp_path / "model.onnx")
    served = OnnxFCDD(tmp_path / "model.onnx")
    bad = X[Y == 1]
    assert additivity_error(served, X).max() < 1e-5
    for function in (counterfactual, deletion_curve):
        options = {"random_state": 0} if function is deletion_curve else {}
        ours, theirs = (function(m, bad, **options) for m in (model, served))
        assert_allclose(ours.scores, theirs.scores, rtol=1e-3)
    audits = [audit_regions(m, X, Y) for m in (model, served)]
    assert audits[0].flagged == audits[1].flagged
    assert [len(e) for e in explain_regions(served, bad)] == [
        len(e) for e in explain_regions(model, bad)
    ]
    served.metadata_["score_pooling"] = '"max"'
    with pytest.raises(ValueError, match=r"score_pooling='max'"):
        additivity_error(served, X)


# -- displays -----------------------------------------------------------------------


def test_curves_are_drawn_as_they_are():
    images, _ = spots()
    display = PerturbationCurveDisplay.from_estimator(
        Excess(), images, random_state=0, name="it"
    )
    curve = display.curve
    for order, scores in {
        "hottest": curve.scores,
        "coldest": curve.coldest,
        "random": curve.random,
    }.items():
        x, y = display.lines_[order].get_data()
        assert_allclose(x, 100 * curve.shares)
        assert_allclose(y, curve.relative(scores).mean(axis=0))
    label = display.lines_["hottest"].get_label()
    assert label == f"it: hottest first (area {curve.area.mean():.2f})"
    assert display.band_ is not None and display.ax_.get_ylim()[0] <= 0
    _, ax = plt.subplots()
    again = PerturbationCurveDisplay.from_estimator(
        Excess(), images, kind="insertion", ax=ax, fill_between=False
    )
    assert again.ax_ is ax and again.band_ is None
    assert again.ax_.get_xlabel() == "pixels restored (%)"
    again.plot(color="red", baseline_kw={"alpha": 0.5})
    assert again.lines_["hottest"].get_color() == "red"
    with pytest.raises(ValueError, match=r"Got kind='both'"):
        PerturbationCurveDisplay.from_estimator(Excess(), images, kind="both")


def test_counterfactuals_are_drawn_before_and_after(model):
    images = X[Y == 1][:3]
    display = CounterfactualDisplay.from_estimator(
        model, images, MASKS[Y == 1][:3], names=["a", "b", "c"]
    )
    found = display.result
    assert display.axes_.shape == (3, 5) and display.scale == model.heatmap_scale_
    for k in range(3):
        shown = [a.get_array() for a in display.image_artists_[k]]
        assert_allclose(shown[0], images[k] / 255, atol=1e-6)
        assert_allclose(shown[1], found.new_images[k] / 255, atol=1e-6)
        heat = [a.get_array() for a in display.heatmap_artists_[k]]
        assert_array_equal(heat[0], found.heatmaps[k])
        assert_array_equal(heat[1], found.new_heatmaps[k])
        assert_allclose(
            display.difference_artists_[k].get_array(), heat[0] - heat[1], rtol=1e-6
        )
        low, high = display.difference_artists_[k].get_clim()
        assert low == -high
        words = [text.get_text() for text in display.verdicts_[k]]
        said = [
            (found.anomalous, found.scores),
            (found.new_anomalous, found.new_scores),
        ]
        for text, (anomalous, scores) in zip(words, said, strict=True):
            verdict = "anomaly" if anomalous[k] else "normal"
            assert text == f"{verdict}, {scores[k]:.3g}"
    assert display.axes_[1, 0].get_title() == "b"
    assert display.axes_[0, 4].get_ylabel() == "difference"
    with pytest.raises(ValueError, match=r"3 images, but 1 names"):
        CounterfactualDisplay.from_counterfactual(found, scale=(0, 1), names=["a"])
    with pytest.raises(ValueError, match=r"finite low < high"):
        CounterfactualDisplay.from_counterfactual(found, scale=(1, 0))
    bare = CounterfactualDisplay.from_counterfactual(
        found, scale=(0, 1), colorbar=False, n_columns=2
    )
    assert bare.colorbar_ is None


def test_colours_and_unjudged_images_are_drawn():
    class Judgeless:
        heatmap_scale_ = (5.0, 25.0)
        explain, anomaly_score = Excess.explain, Excess.anomaly_score

    images = np.repeat(spots()[0][..., None], 3, axis=3)
    display = CounterfactualDisplay.from_estimator(Judgeless(), images)
    assert display.image_artists_[0, 0].get_array().shape == (16, 20, 3)
    assert display.verdicts_[0, 0].get_text() == "6.25"


def test_audits_are_drawn_as_bars(marked):
    clever, _, stamped, _, y, masks = marked
    display = RegionAuditDisplay.from_estimator(
        clever, stamped, y, {"mark": "top_left", "edge": "border"}, masks=masks
    )
    assert list(display.bars_) == ["normal", "anomaly"]
    for group, (heat, change) in display.bars_.items():
        found = [f for f in display.audit.findings if f.group == group]
        assert_allclose([bar.get_width() for bar in heat], [f.ratio for f in found])
        assert_allclose(
            [bar.get_width() for bar in change], [100 * f.change for f in found]
        )
    weights = {
        t.get_text(): t.get_fontweight() for t in display.axes_[0].get_yticklabels()
    }
    assert weights == {"mark": "bold", "edge": "normal"}
    _, axes = plt.subplots(1, 2)
    assert display.plot(ax=axes).axes_[1] is axes[1]
    with pytest.raises(ValueError, match=r"ax must be an array of two axes"):
        display.plot(ax=axes[0])
