"""What a fitted model keeps: what it was trained on, and how it judges."""

from __future__ import annotations

import copy
import re
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage
from torch import nn

from skfcdd import FCDDClassifier, FCDDSegmenter
from skfcdd.datasets import make_defects
from skfcdd.exceptions import CalibrationError
from skfcdd.heatmaps import default_sigma, gaussian_matrix
from skfcdd.objectives import BCE, DSVDD, FCDD, HSC, Focal, Objective, pixel_loss
from skfcdd.thresholds import FalseAlarmRate

pytestmark = [
    pytest.mark.filterwarnings("ignore::skfcdd.exceptions.CollapseWarning"),
    pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning"),
]

DATA = make_defects(60, image_size=32, random_state=0)
NORMAL = DATA.images[DATA.target == 0]
FRESH = make_defects(40, image_size=32, random_state=1)


def quick(estimator=FCDDClassifier, **params):
    defaults = {
        "max_epochs": 1,
        "random_state": 0,
        "validation_fraction": 0.1,
        "device": "cpu",
    }
    return estimator(**defaults | {"precision": "float32"} | params)


# -- images that were trained on are not held out later ----------------------------


def exact(**params):
    """In double precision scores tell which image they are of."""
    return quick(precision="float64", **params)


class Seen:
    """Leaves images as they are, and notes which of them are trained on."""

    def __init__(self):
        self.images = set()

    def __call__(self, images, masks, generator):
        raw = (images[:, 0] * 255).round().to(torch.uint8).numpy()
        self.images |= as_set(raw)
        return images, masks


def as_set(images):
    return {image.tobytes() for image in images}


def held_out(model, images):
    """Those of some images on whose scores the calibration rests."""
    scores, known = model.anomaly_score(images), model.calibration_scores_
    rows = np.abs(scores[:, None] - known).argmin(axis=0)
    assert_allclose(scores[rows], known, rtol=1e-9)
    return images[rows]


@pytest.fixture(scope="module")
def many():
    """220 different normal images, of which the last 20 are to come later."""
    images = make_defects(220, image_size=24, anomaly_fraction=0, random_state=0).images
    assert len(as_set(images)) == 220
    return images


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_going_on_holds_out_no_image_that_was_trained_on(many, fraction):
    seen, rng = Seen(), np.random.RandomState(0)
    model = exact(
        warm_start=True,
        threshold=FalseAlarmRate(0.1),
        validation_fraction=fraction,
        augment=seen,
    ).fit(many[:200])
    assert len(seen.images) == 200 - len(model.calibration_scores_)
    # With new images, in another order, and once more with the new ones first.
    for order in (np.arange(220), rng.permutation(220), np.arange(220)[::-1]):
        model.fit(many[order])
        held = as_set(held_out(model, many))
        assert len(held) == len(model.calibration_scores_) >= 9
        assert not held & seen.images


def test_going_on_with_the_same_images_holds_out_the_same_ones():
    model = exact(warm_start=True, validation_fraction=0.3).fit(NORMAL)
    before = as_set(held_out(model, NORMAL))
    for images in (NORMAL, NORMAL[::-1], np.roll(NORMAL, 7, axis=0)):
        assert as_set(held_out(model.fit(images), NORMAL)) == before


def test_going_on_needs_images_that_were_not_trained_on():
    seen = Seen()
    model = exact(warm_start=True, augment=seen, validation_fraction=0.1).fit(NORMAL)
    trained = np.array([image.tobytes() in seen.images for image in NORMAL])
    scores = model.anomaly_score(NORMAL)
    with pytest.raises(ValueError, match="used for training"):
        model.fit(NORMAL[trained])
    assert_array_equal(model.anomaly_score(NORMAL), scores)


def test_no_copy_of_a_held_out_image_is_trained_on():
    seen = Seen()
    twice = np.concatenate([NORMAL, NORMAL])
    model = exact(augment=seen, validation_fraction=0.3).fit(twice)
    held = as_set(held_out(model, NORMAL))
    assert held and seen.images and not held & seen.images
    assert held | seen.images == as_set(NORMAL)


def test_calibration_leaves_out_images_that_were_trained_on():
    seen = Seen()
    model = exact(augment=seen, validation_fraction=0.2).fit(NORMAL)
    images = np.concatenate([NORMAL, FRESH.images[FRESH.target == 0]])
    trained = np.array([image.tobytes() in seen.images for image in images])
    with pytest.warns(UserWarning, match="used for training") as caught:
        model.calibrate(images)
    said = [str(w.message) for w in caught if "used for training" in str(w.message)]
    assert len(said) == 1 and re.search(rf"\b{trained.sum()}\b", said[0])
    rest = np.sort(model.anomaly_score(images[~trained]))
    assert len(model.calibration_scores_) == (~trained).sum()
    assert_allclose(model.calibration_scores_, rest, rtol=1e-9)

    before = model.threshold_, model.calibration_scores_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(CalibrationError):
            model.calibrate(images[trained])
    assert model.threshold_ == before[0]
    assert_array_equal(model.calibration_scores_, before[1])


# -- the objective of pixels is that of the loss -----------------------------------


def test_losses_of_pixels_differ_as_those_of_images_do():
    answers = [
        quick(FCDDSegmenter, loss=loss).fit(DATA.images, DATA.masks).explain(NORMAL[:4])
        for loss in ("bce", "focal", Focal(gamma=0.0))
    ]
    assert not np.allclose(answers[0], answers[1], rtol=1e-4)
    assert_allclose(answers[2], answers[0], rtol=1e-3)


class Poisoned(FCDD):
    """Its loss of whole anomalies has no gradient that is a number."""

    def loss(self, s, anomalous):
        costs = s.clone()
        costs[anomalous] = torch.sqrt(0 * s[anomalous])
        return costs

    def pixel_loss(self, heatmaps, masks, *, over="anomalous"):
        return pixel_loss(heatmaps, masks, over=over)


def test_a_loss_that_masks_replace_has_no_gradient():
    model = quick(FCDDSegmenter, loss=Poisoned(), synthetic=None)
    model.fit(DATA.images, DATA.masks)
    assert np.isfinite(model.anomaly_score(DATA.images)).all()


@pytest.fixture
def pixels():
    """Heatmaps and masks, of which the last has no anomalous pixel."""
    generator = torch.Generator().manual_seed(0)
    heatmaps = 2 * torch.rand(5, 6, 7, generator=generator, dtype=torch.float64)
    masks = torch.rand(5, 6, 7, generator=generator) < 0.3
    masks[-1] = False
    return heatmaps, masks


def means(heatmaps, masks):
    """Of normal pixels over the image, and of anomalous ones over themselves."""
    a = (heatmaps * ~masks).mean(dim=(1, 2))
    counts = masks.sum(dim=(1, 2))
    return a, (heatmaps * masks).sum(dim=(1, 2)) / counts.clamp(min=1), counts > 0


@pytest.mark.parametrize("over", ["anomalous", "all"])
@pytest.mark.parametrize("objective", [FCDD(), BCE(), Focal(gamma=0.0)])
def test_pixel_loss_of_cross_entropies(objective, over, pixels):
    expected = pixel_loss(*pixels, over=over)
    assert_allclose(objective.pixel_loss(*pixels, over=over), expected, rtol=1e-9)
    plain = objective.pixel_loss(*pixels)
    assert plain.shape == (5,)
    assert_allclose(plain, pixel_loss(*pixels), rtol=1e-9)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.0])
def test_focal_pixel_loss_against_its_formula(gamma, pixels):
    a, b, has_any = (part.numpy() for part in means(*pixels))
    b = np.where(has_any, b, 1.0)
    expected = (1 - np.exp(-a)) ** gamma * a - has_any * np.exp(-b) ** gamma * np.log(
        1 - np.exp(-b)
    )
    assert_allclose(Focal(gamma).pixel_loss(*pixels), expected, rtol=1e-9)


@pytest.mark.parametrize("objective", [FCDD(), BCE(), Focal(), Focal(gamma=0.5)])
def test_gradients_of_pixel_losses_are_finite_where_heatmaps_are_0(objective, pixels):
    heatmaps = torch.zeros(5, 6, 7, requires_grad=True)
    losses = objective.pixel_loss(heatmaps, pixels[1])
    losses.sum().backward()
    assert losses.isfinite().all() and heatmaps.grad.isfinite().all()


def test_pixel_loss_follows_from_ones_own_loss(pixels):
    class Hinge(Objective):
        def loss(self, s, anomalous):
            return torch.where(anomalous, (3 - s).clamp(min=0), s**2)

    a, b, has_any = means(*pixels)
    expected = a**2 + has_any * (3 - b).clamp(min=0)
    assert_allclose(Hinge().pixel_loss(*pixels), expected, rtol=1e-9)


@pytest.mark.parametrize("objective", [HSC(), DSVDD()])
def test_objectives_without_a_map_have_no_pixel_loss(objective, pixels):
    with pytest.raises(ValueError):
        objective.pixel_loss(*pixels)


@pytest.mark.parametrize("loss", ["hsc", "dsvdd"])
def test_pixel_loss_of_a_classifier_needs_a_map(loss):
    model = quick(loss=loss, pixel_loss="anomalous")
    with pytest.raises(ValueError, match="pixel_loss"):
        model.fit(NORMAL)
    assert not hasattr(model, "net_")


# -- exposed images come to the scale of X -----------------------------------------


class Watching(nn.Module):
    """A small network that notes the training images that come to it."""

    seen = []

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x):
        if self.training:
            self.seen.extend(x.detach()[:, 0].numpy().copy())
        return self.layer(x)


def exposed_as_seen(images, others):
    """Exposed images as they come to the network.

    They are known by a first row of 0, where those of X have their greatest value.
    """
    images, others = images.copy(), others.copy()
    images[:, 0], images[:, 1] = images.max(), 0
    others[:, 0], others[:, 1] = 0, others.max()
    Watching.seen.clear()
    quick(
        backbone=Watching,
        outlier_exposure=others,
        normalize=None,
        synthetic=None,
        augment=None,
    ).fit(images)
    seen = np.stack(Watching.seen)
    exposed = seen[:, 0].max(axis=1) < seen[:, 1].min(axis=1)
    own = seen[~exposed]
    assert own.min() == pytest.approx(0) and own.max() == pytest.approx(1)
    assert exposed.any()
    return seen[exposed]


# Random numbers from 0 to 1, with both ends.
NOISE = np.random.RandomState(0).uniform(size=(30, 12, 12)).round(2)
FORMS = {
    "bytes": (NOISE * 255).astype(np.uint8),
    "words": (NOISE * 65535).astype(np.uint16),
    "to 1": NOISE.astype(np.float32),
    "to 255": (NOISE * 255).astype(np.float32),
}


@pytest.mark.parametrize(
    ("form", "exposed"),
    [
        ("bytes", "words"),
        ("words", "bytes"),
        ("bytes", "to 1"),
        ("to 255", "to 1"),
        ("to 1", "to 255"),
    ],
)
def test_exposed_images_on_another_scale_come_to_the_unit_range(form, exposed):
    seen = exposed_as_seen(FORMS[form], FORMS[exposed])
    assert seen.min() > -1e-5
    assert 0.5 < seen.max() < 1 + 1e-5


def test_exposed_images_on_the_same_scale_keep_their_values():
    seen = exposed_as_seen(FORMS["to 1"], FORMS["to 1"] / 2)
    assert seen.max() == pytest.approx(0.5, abs=1e-3)


# -- judging rests on the parameters of fit or calibrate ---------------------------

JUDGING = {
    "heatmap_sigma": 6,
    "score_pooling": "max",
    "threshold": 0.01,
    "contamination": 0.4,
    "resize": 16,
}


@pytest.fixture(scope="module")
def segmenter():
    return quick(FCDDSegmenter, max_epochs=2).fit(DATA.images, DATA.masks)


@pytest.fixture(scope="module")
def classifier():
    return quick(max_epochs=2).fit(NORMAL)


def answers(model, images):
    methods = ("predict", "explain", "anomaly_score", "decision_function")
    return [getattr(model, method)(images) for method in methods]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", [*JUDGING, "min_area"])
def test_set_params_changes_no_answer_of_a_segmenter(segmenter, name):
    model = copy.deepcopy(segmenter)
    before, regions = answers(model, DATA.images), model.regions(DATA.images[:9])
    assert before[0].any() and not before[0].all()
    model.set_params(**{name: (JUDGING | {"min_area": 60})[name]})
    assert same(answers(model, DATA.images), before)
    assert str(model.regions(DATA.images[:9])) == str(regions)


def test_set_params_changes_no_answer_of_a_classifier(classifier):
    model = copy.deepcopy(classifier)
    before = answers(model, DATA.images)
    assert same(answers(model.set_params(**JUDGING), DATA.images), before)
    again = model.fit(NORMAL)  # but another fit does
    assert not same(answers(again, DATA.images), before)


def test_order_of_the_channels_is_that_of_fit():
    """These images can be read both ways."""
    cubes = np.random.RandomState(0).randint(0, 256, (20, 12, 12, 12)).astype(np.uint8)
    model = quick(channels="last").fit(cubes)
    before = answers(model, cubes)
    assert same(answers(model.set_params(channels="first"), cubes), before)


def test_calibration_of_a_segmenter_takes_over_how_it_judges(segmenter):
    model = copy.deepcopy(segmenter)
    narrow = model.explain(FRESH.images)
    model.set_params(heatmap_sigma=6, threshold="f1")
    model.calibrate(FRESH.images, FRESH.masks)
    wide = model.explain(FRESH.images)
    assert wide.std() < narrow.std()
    assert model.heatmap_scale_ != segmenter.heatmap_scale_
    assert model.threshold_ != segmenter.threshold_
    found = wide > model.threshold_
    assert_array_equal(model.predict(FRESH.images), found)

    labels = ndimage.label(found, np.pad(np.ones((1, 3, 3)), ((1, 1), (0, 0), (0, 0))))
    least = int(np.sort(np.bincount(labels[0].ravel())[1:])[-3])
    model.set_params(min_area=least)
    assert_array_equal(model.predict(FRESH.images), found)
    large = model.calibrate(FRESH.images, FRESH.masks).predict(FRESH.images)
    assert 0 < large.sum() < found.sum()
    for mask in large:
        areas = np.bincount(ndimage.label(mask, np.ones((3, 3)))[0].ravel())[1:]
        assert (areas >= least).all()


def test_calibration_of_a_classifier_takes_over_how_it_judges(classifier):
    judging = {"score_pooling": "max", "heatmap_sigma": 6, "contamination": 0.3}
    fresh = FRESH.images[FRESH.target == 0]
    model = copy.deepcopy(classifier).set_params(**judging).calibrate(fresh)
    # Trained alike, for none of these plays a part in training.
    expected = quick(max_epochs=2, **judging).fit(NORMAL).calibrate(fresh)
    assert model.threshold_ == expected.threshold_
    assert model.heatmap_scale_ == expected.heatmap_scale_
    assert_array_equal(model.calibration_scores_, expected.calibration_scores_)
    assert same(answers(model, DATA.images), answers(expected, DATA.images))


def test_calibration_that_fails_changes_nothing(segmenter):
    model = copy.deepcopy(segmenter)
    before = answers(model, DATA.images)
    model.set_params(heatmap_sigma=6, score_pooling="max", threshold="f1")
    with pytest.raises(CalibrationError, match="needs labelled anomalies"):
        model.calibrate(FRESH.images[FRESH.target == 0])
    assert same(answers(model, DATA.images), before)


@pytest.mark.parametrize("sigma", [4.0, None])
def test_training_blurs_resized_images_like_the_heatmaps(sigma):
    """The width is told in pixels of the given images, of which 4 become one."""
    images = np.random.RandomState(0).randint(0, 256, (12, 128, 128)).astype(np.uint8)
    model = quick(resize=32, heatmap_sigma=sigma, pixel_loss="anomalous").fit(images)
    field, rows = model.receptive_field_, model.net_.module_.upsample.rows.numpy()
    extent, stride = field.extent[0], field.stride[0]
    seen = default_sigma(4 * extent, 4 * stride) / 4 if sigma is None else 1.0
    centers = field.centers(rows.shape[1])
    expected = gaussian_matrix(32, centers, seen, extent=extent)
    assert_allclose(rows, expected, rtol=1e-4, atol=1e-6)
