"""Wrong input gets a clear exception at once, and costs nothing that was fitted."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from _small import make_images, quick
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.exceptions import NotFittedError
from torch import nn

from skfcdd import FCDDClassifier
from skfcdd.exceptions import (
    BackboneError,
    ChannelOrderError,
    ImageShapeError,
    ReceptiveFieldWarning,
    ValueRangeWarning,
)
from skfcdd.feature_cache import FeatureCache

IMAGES, LABELS, MASKS = make_images(30, n_anomalous=10)
FLOATS = IMAGES.astype(float)


def with_value(value):
    images = FLOATS.copy()
    images[3, 2, 1] = value
    return images


BAD_X = [
    (with_value(np.nan), ValueError, "contains NaN"),
    (with_value(np.inf), ValueError, "contains infinity"),
    (np.full((5, 4, 4), "a"), ValueError, "could not convert|arrays of bytes/strings"),
    ([np.zeros((4, 4)), np.zeros((5, 4))], ImageShapeError, r"same shape.*\(4, 4\)"),
    ([[1.0, 2.0], [3.0]], ImageShapeError, "ragged"),
    (np.zeros((0, 8, 8)), ValueError, "0 sample"),
    (np.zeros((5, 0, 8)), ValueError, "0 feature"),
    (np.zeros(7), ValueError, "Expected 2D array, got 1D"),
    (np.zeros((2, 3, 4, 5, 6)), ImageShapeError, "(n, h, w, c)"),
    (np.zeros((5, 4, 4), dtype=complex), ValueError, "[Cc]omplex"),
    (sparse.eye(5, format="csr"), TypeError, "[Ss]parse"),
    (np.zeros((9, 3, 32, 3)), ChannelOrderError, "channels='last' or channels='first'"),
    (np.zeros((9, 8, 32, 32)), ChannelOrderError, "channels="),
    (FLOATS[:1], ValueError, "At least 2 normal images"),
]


@pytest.mark.parametrize(("X", "error", "message"), BAD_X)
def test_bad_images(X, error, message):
    with pytest.raises(error, match=message):
        quick().fit(X)


BAD_Y = [
    (np.arange(30) % 3, ValueError, "Only binary classification is supported"),
    (LABELS[:-1], ValueError, "X has 30 images, but y has 29 labels"),
    (np.ones(30, dtype=int), ValueError, r"1 class, \[1\].*anomaly_label"),
    (["good"] * 30, ValueError, r"'good'.*anomaly_label="),
    (np.where(LABELS, np.nan, 0.0), ValueError, "NaN"),
    (LABELS + 0.5 * np.linspace(0, 1, 30), ValueError, "Unknown label type"),
]


@pytest.mark.parametrize(("y", "error", "message"), BAD_Y)
def test_bad_labels(y, error, message):
    with pytest.raises(error, match=message):
        quick().fit(IMAGES, y)


def test_anomaly_label_that_is_not_there():
    with pytest.raises(ValueError, match=r"anomaly_label='bad'.*\[0, 1\]"):
        quick(anomaly_label="bad").fit(IMAGES, LABELS)
    with pytest.raises(ValueError, match=r"anomaly_label='bad' without y"):
        quick(anomaly_label="bad").fit(IMAGES)
    with pytest.raises(ValueError, match="only anomalies"):
        quick(anomaly_label="bad").fit(IMAGES, ["bad"] * 30)


def test_unseen_label_in_score():
    model = quick().fit(IMAGES, LABELS)
    with pytest.raises(ValueError, match=r"label\(s\) .*2.*fitted with \[0, 1\]"):
        model.score(IMAGES, LABELS + 1)


GREY = MASKS.copy()
GREY[-1, 3, 3] = 7
WRONG_IMAGE = MASKS.copy()
WRONG_IMAGE[4, 0, 0] = 1
BAD_MASKS = [
    (MASKS[:, :-1], ImageShapeError, r"\(30, 16, 20\) of the images. Got \(30, 15"),
    (MASKS[:-1], ImageShapeError, "there are 29 masks"),
    (MASKS[..., None].repeat(2, 3), ImageShapeError, r"Got \(30, 16, 20, 2\)"),
    (GREY, ValueError, r"0 for normal and 1 \(or 255\).*\[0, 1, 7\]"),
    (MASKS.astype(str), ValueError, "0 for normal"),
    (
        WRONG_IMAGE,
        ValueError,
        "1 image.s. that are normal according to y, first in row 4",
    ),
]


@pytest.mark.parametrize(("masks", "error", "message"), BAD_MASKS)
def test_bad_masks(masks, error, message):
    with pytest.raises(error, match=message):
        quick().fit(IMAGES, LABELS, masks=masks)


BAD_PARAMETERS = [
    ({"contamination": 0.5}, ValueError, r"'contamination'.*\[0.0, 0.5\)"),
    ({"contamination": -0.1}, ValueError, "'contamination'"),
    ({"threshold": 0.0}, ValueError, "'threshold'"),
    ({"validation_fraction": 1.0}, ValueError, "'validation_fraction'"),
    ({"anomaly_fraction": 1.0}, ValueError, "'anomaly_fraction'"),
    ({"score_pooling": 0.0}, ValueError, "'score_pooling'"),
    ({"max_epochs": 0}, ValueError, "'max_epochs'"),
    ({"loss": "fcd"}, ValueError, "'loss'"),
    ({"backbone": "fcdd223"}, BackboneError, "Did you mean 'fcdd224'"),
    ({"backbone": 3}, ValueError, "'backbone'"),
    ({"backbone": lambda: 3}, TypeError, "Got int"),
    ({"backbone": nn.Conv2d(3, 4, 3)}, BackboneError, r"with 1 channel"),
    ({"backbone": nn.Conv2d(1, 4, 40)}, BackboneError, r"16x20 pixels"),
    ({"backbone": nn.Sequential(nn.Flatten())}, BackboneError, r"\(n, d, u, v\)"),
    ({"backbone": "fcdd28", "resize": 2}, BackboneError, "2x2 pixels"),
    ({"synthetic": "confeti"}, ValueError, "confetti"),
    ({"augment": "flip"}, ValueError, "horizontal_flip"),
    ({"augment": [3]}, TypeError, "augment"),
    ({"device": "tpu9"}, ValueError, r"device='tpu9'.*'auto', 'cpu'"),
    ({"device": "cuda:99"}, ValueError, "device='cuda:99'"),
    ({"image_shape": (4, 4)}, ImageShapeError, "rows of 320 values"),
    ({"random_state": "a"}, ValueError, "'random_state'"),
]


@pytest.mark.parametrize(("params", "error", "message"), BAD_PARAMETERS)
def test_bad_parameters(params, error, message):
    model = FCDDClassifier(**{"max_epochs": 1, **params})  # nothing is checked here
    X = IMAGES.reshape(30, -1) if "image_shape" in params else IMAGES
    with pytest.raises(error, match=message):
        model.fit(X)


@pytest.mark.parametrize(
    "method",
    ["predict", "predict_proba", "decision_function", "anomaly_score", "explain"],
)
def test_not_fitted(method):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(FCDDClassifier(), method)(IMAGES)


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((3, 20, 16)),  # as many values, another shape
        np.zeros((3, 16, 20, 3)),
        np.zeros((3, 17, 20)),
        np.zeros((3, 4, 16, 5)),
    ],
)
def test_other_images_than_fitted(X):
    model = quick().fit(IMAGES)
    with pytest.raises(ImageShapeError, match=r"fitted with \(16, 20, 1\)"):
        model.predict(X)
    with pytest.raises(ValueError, match="320 features"):
        model.predict(np.zeros((3, 19)))
    with pytest.raises(ValueError, match="0 sample"):
        model.predict(np.zeros((0, 16, 20)))
    with pytest.raises(ValueError, match="contains NaN"):
        model.explain(with_value(np.nan))


@pytest.mark.parametrize("colour", [False, True])
def test_single_image_needs_an_axis(colour):
    images = np.stack([IMAGES] * 3, axis=-1) if colour else IMAGES
    model = quick(max_epochs=1).fit(images)
    with pytest.raises(ImageShapeError, match=r"single image.*X\[None\]"):
        model.predict(images[0])
    assert model.predict(images[0][None]).shape == (1,)


def test_another_scale_of_values_is_told():
    model = quick().fit(IMAGES)
    with pytest.warns(ValueRangeWarning, match="ranged from 0 to 255"):
        model.predict(IMAGES / 255)
    unit = quick().fit(IMAGES / 255)
    with pytest.warns(ValueRangeWarning, match="values of up to"):
        unit.predict(IMAGES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(np.zeros((2, 16, 20), dtype=np.uint8))


def test_field_over_the_whole_image_is_told():
    with pytest.warns(ReceptiveFieldWarning, match="cannot localise defects"):
        quick(backbone="fcdd224", max_epochs=1).fit(np.tile(IMAGES, (1, 2, 1))[:, :24])


def test_failed_fit_keeps_the_earlier_one():
    model = quick().fit(IMAGES)
    expected = model.anomaly_score(IMAGES)
    for X, y in [(np.zeros((4, 9, 9)), [0, 1, 2, 3]), (IMAGES[:, :8], LABELS * 2 + 1)]:
        with pytest.raises(ValueError, match="class"):
            model.fit(X, y if len(set(y)) > 2 else np.ones(30))
        assert_array_equal(model.anomaly_score(IMAGES), expected)
        assert model.n_features_in_ == 320 and model.image_shape_ == (16, 20, 1)


class Broken(nn.Module):
    """Fails in the third training step."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 3)
        self.steps = 0

    def forward(self, x):
        self.steps += self.training
        if self.steps > 2:
            raise RuntimeError("broken on purpose")
        return self.layer(x)


def test_failure_in_training_keeps_the_earlier_fit():
    model = quick().fit(IMAGES)
    expected = model.explain(IMAGES)
    with pytest.raises(RuntimeError, match="broken on purpose"):
        model.set_params(backbone=Broken(), batch_size=4).fit(IMAGES)
    model.set_params(backbone="auto", batch_size=64)
    assert_array_equal(model.explain(IMAGES), expected)


def test_warm_start_with_other_images():
    model = quick(warm_start=True).fit(IMAGES)
    with pytest.raises(ImageShapeError, match="continues a fit on images of"):
        model.fit(IMAGES[:, :12])


def planted_wrongly(images, generator):
    return images, torch.zeros(len(images), dtype=torch.bool)


def test_own_synthetic_anomalies_of_a_wrong_shape():
    with pytest.raises(ValueError, match="synthetic"):
        quick(synthetic=planted_wrongly).fit(IMAGES)


@pytest.mark.parametrize(
    ("params", "kwargs", "message"),
    [
        ({}, {"masks": np.zeros((9, 16, 20))}, "30 images, but there are 9 masks"),
        ({"device": "meta"}, {}, r"device='meta'.*Use 'auto' or 'cpu'"),
        ({"feature_cache": FeatureCache(memory="1GB")}, {}, r"memory='1GB'.*of bytes"),
        ({"feature_cache": FeatureCache(bank="x")}, {}, r"bank='x'.*greater than 0"),
        (
            {"feature_cache": FeatureCache(folder="none")},
            {},
            r"folder='none'.*existing",
        ),
    ],
)
def test_errors_name_what_was_given(params, kwargs, message):
    with pytest.raises(ValueError, match=message):
        quick(**params).fit(IMAGES, **kwargs)


@pytest.mark.parametrize("path", ["parts/good", Path("parts/good")])
def test_a_folder_is_no_images(path):
    with pytest.raises(ValueError, match=r"the path 'parts/good'.*load_images"):
        quick().fit(path)


@pytest.mark.parametrize(
    ("offset", "dtype"), [(2.0**30, float), (2**33, np.int64), (-(2**31) + 1, np.int32)]
)
def test_values_that_single_precision_does_not_tell_apart(offset, dtype):
    far = IMAGES.astype(dtype) + dtype(offset)
    with pytest.raises(ValueError, match=r"single precision.*Subtract a constant"):
        quick().fit(far)
    near = IMAGES.astype(dtype) + dtype(10_000)
    plain = quick().fit(IMAGES.astype(dtype)).anomaly_score(IMAGES.astype(dtype))
    assert_allclose(quick().fit(near).anomaly_score(near), plain, rtol=0.05)
