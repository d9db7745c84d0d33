"""Generated defects: their form, and that they are not too easy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from skfcdd.datasets import _make_defects as module
from skfcdd.datasets import make_defects

TEXTURES = ["fabric", "brushed_metal", "wood", "tablets"]
DEFECTS = ["scratch", "spot", "stain", "missing", "crack"]


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("size", [16, (40, 56)])
@pytest.mark.parametrize("color", [False, True])
def test_form(texture, size, color):
    data = make_defects(
        25, image_size=size, texture=texture, color=color, random_state=0
    )
    h, w = size if isinstance(size, tuple) else (size, size)
    assert data.images.shape == ((25, h, w, 3) if color else (25, h, w))
    assert data.images.dtype == data.masks.dtype == np.uint8
    assert data.masks.shape == (25, h, w)
    assert set(np.unique(data.masks)) == {0, 1}
    assert data.target.sum() == 5
    assert_array_equal(data.masks.any(axis=(1, 2)), data.target == 1)
    assert_array_equal(data.defect != "good", data.target == 1)
    assert set(data.texture) == {texture}
    assert texture in data.DESCR


@pytest.mark.parametrize("texture", TEXTURES)
def test_every_defect_changes_its_mask_alone(texture, monkeypatch):
    kinds = np.repeat(DEFECTS, 4)
    images, masks = module._photograph(
        np.random.RandomState(0), texture, kinds, (64, 64)
    )
    monkeypatch.setattr(module, "FLAWS", {})
    clean, none = module._photograph(
        np.random.RandomState(0), texture, np.full(20, "good"), (64, 64)
    )
    assert not none.any()
    change = np.abs(images.astype(int) - clean).max(axis=-1)
    assert_array_equal(change >= module._VISIBLE, masks == 1)
    assert_array_equal(change > 0, masks == 1)
    shares = masks.reshape(5, 4, -1).mean(axis=(1, 2))
    assert (shares < 0.15).all()
    assert shares[DEFECTS.index("crack")] < shares[DEFECTS.index("stain")]


def test_names_and_mixtures():
    data = make_defects(
        80, texture="all", defect=["crack", "spot"], image_size=32, random_state=1
    )
    assert set(data.texture) == set(TEXTURES)
    assert set(data.defect) == {"good", "crack", "spot"}
    every = make_defects(50, anomaly_fraction=1.0, image_size=32, random_state=1)
    assert set(every.defect) == set(DEFECTS)
    assert not make_defects(5, anomaly_fraction=0.0, random_state=0).target.any()


def test_chance():
    state = np.random.get_state()[1].copy()
    first, second = (make_defects(8, random_state=3).images for _ in "ab")
    assert_array_equal(first, second)
    given = make_defects(8, random_state=np.random.RandomState(3)).images
    assert_array_equal(given, first)
    assert not np.array_equal(make_defects(8).images, make_defects(8).images)
    assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("texture", TEXTURES)
def test_pixels_and_brightness_do_not_give_defects_away(texture):
    data = make_defects(360, texture=texture, anomaly_fraction=0.25, random_state=0)
    pixels = data.images.reshape(360, -1) / 255
    good = np.flatnonzero(data.target == 0)
    train, test = good[:180], np.r_[good[180:], np.flatnonzero(data.target)]
    y = data.target[test]
    pca = PCA(30, random_state=0).fit(pixels[train])
    residual = pixels[test] - pca.inverse_transform(pca.transform(pixels[test]))
    forest = IsolationForest(random_state=0).fit(pixels[train])
    scores = {
        "PCA": (residual**2).mean(axis=1),
        "forest": -forest.score_samples(pixels[test]),
        "mean": pixels[test].mean(axis=1),
        "std": pixels[test].std(axis=1),
        "min": pixels[test].min(axis=1),
        "max": pixels[test].max(axis=1),
    }
    for name, score in scores.items():
        value = roc_auc_score(y, score)
        assert max(value, 1 - value) < 0.9, name


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"texture": "fabrik"}, "Did you mean 'fabric'"),
        ({"defect": ["hole"]}, "defect=.*scratch"),
        ({"defect": []}, "empty defect"),
        ({"image_size": 8}, "image_size=8.*16 pixels"),
        ({"image_size": (32,)}, "image_size"),
        ({"n_samples": 0}, "n_samples=0"),
        ({"anomaly_fraction": 1.5}, r"anomaly_fraction=1.5.*\[0, 1\]"),
    ],
)
def test_wrong_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        make_defects(**params)
