"""Estimators on architectures by name: cut, joined, frozen, with weights."""

from __future__ import annotations

import importlib
import pickle

import numpy as np
import pytest
import torch
from _small import make_images, quick
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from skfcdd.backbones import (
    Stages,
    freeze_backbone,
    make_backbone,
    measure_backbone,
    register_backbone,
)
from skfcdd.exceptions import BackboneError, WeightsError

SIZE = (48, 40)
# Fields wider than these small images are warned of, which is tested elsewhere.
pytestmark = pytest.mark.filterwarnings(
    "ignore::skfcdd.exceptions.ReceptiveFieldWarning"
)


@pytest.fixture(scope="module")
def data():
    images, y, _ = make_images(24, size=SIZE, n_anomalous=4)
    return images, y


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return make_backbone("squeezenet1_1", (64, 64, 3), cut=4).state_dict()


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small", "resnet18"])
def test_architectures_by_name(data, name):
    images, y = data
    model = quick(backbone=name, max_epochs=1).fit(images, y)
    heatmaps = model.explain(images)
    assert heatmaps.shape == images.shape
    assert_allclose(heatmaps.mean(axis=(1, 2)), model.anomaly_score(images), rtol=1e-5)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.explain(images), heatmaps)


@pytest.mark.parametrize("frozen", [1, 2, "stride4", "features.2", "all"])
def test_frozen_weights_are_those_given(data, state, frozen):
    images, y = data
    model = quick(backbone="squeezenet1_1", weights=state, frozen=frozen, max_epochs=1)
    fitted = clone(model).fit(images, y).net_.module_.backbone
    moved = {
        path
        for path in fitted.paths
        for key, value in fitted.get_submodule(path).state_dict().items()
        if not torch.equal(value, state[f"{path}.{key}"])
    }
    trained = {1: 2, 2: 5, "stride4": 5, "features.2": 3, "all": 99}[frozen]
    with_weights = {p for p in fitted.paths if fitted.get_submodule(p).state_dict()}
    assert moved == {p for p in with_weights if int(p.split(".")[1]) >= trained}


def test_grey_images_are_repeated_and_normalised_as_photographs(data, state):
    images, y = data
    model = quick(backbone="squeezenet1_1", weights=state, max_epochs=1)
    grey = model.fit(images, y)
    values = grey.net_.module_.preprocess(torch.full((1, 1, 2, 2), 0.485))
    # (0.485 - mean) / std of ImageNet's channels.
    expected = [0.0, (0.485 - 0.456) / 0.224, (0.485 - 0.406) / 0.225]
    assert_allclose(values[0, :, 0, 0], expected, atol=1e-6)
    colour = np.repeat(images[..., None], 3, axis=-1)
    again = clone(model).fit(colour, y)
    assert_allclose(again.anomaly_score(colour), grey.anomaly_score(images), rtol=0.05)
    contrast = clone(model).set_params(normalize="contrast").fit(images, y)
    assert np.isfinite(contrast.explain(images)).all()


@pytest.mark.parametrize("c", [1, 3])
def test_values_of_photographs_for_a_network_from_scratch(data, c):
    images, y = data
    X = images if c == 1 else np.repeat(images[..., None], 3, axis=-1)
    model = quick(backbone="squeezenet1_1", normalize="imagenet", max_epochs=1)
    assert np.isfinite(model.fit(X, y).anomaly_score(X)).all()
    with pytest.raises(
        ValueError, match="defined for 1 or 3 channels, but the images have 2"
    ):
        model.fit(np.repeat(images[..., None], 2, axis=-1), y)


def test_own_weights_for_grey_images(data):
    images, y = data
    own = make_backbone("squeezenet1_1", (*SIZE, 1)).state_dict()
    model = quick(backbone="squeezenet1_1", weights=own, frozen="all", max_epochs=1)
    module = model.fit(images, y).net_.module_
    assert module.preprocess.contrast
    assert module.backbone.n_channels == 1
    mine = nn.Sequential(nn.Conv2d(1, 4, 3))
    state = {"0.weight": torch.ones(4, 1, 3, 3), "0.bias": torch.zeros(4)}
    fitted = quick(backbone=mine, weights=state, frozen=1, max_epochs=1).fit(images, y)
    weight = fitted.net_.module_.backbone.state_dict()["0.weight"]
    assert torch.equal(weight, state["0.weight"])


def test_several_stages(data, state):
    images, y = data
    model = quick(
        backbone="squeezenet1_1", weights=state, stages=(2, 3), frozen=2, max_epochs=1
    ).fit(images, y)
    module = model.net_.module_
    # 128 channels of stage 2 and 256 of stage 3.
    assert module.objective.head.in_channels == 384
    unit = torch.rand(2, 1, *SIZE)
    plain, kept = module(unit), module(module.frozen_features(unit))
    assert torch.equal(plain, kept)
    assert plain.shape[1:] == make_backbone(
        "squeezenet1_1", (*SIZE, 1), cut=2
    )(unit).shape[2:]  # fmt: skip


def test_grid_search_over_cut_and_frozen(data):
    images, y = data
    search = GridSearchCV(
        quick(backbone="squeezenet1_1", max_epochs=1),
        {"cut": [2, "auto"], "frozen": [None, 1]},
        scoring="roc_auc",
        cv=2,
    ).fit(images, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18"])
def test_automatic_cut_sees_at_most_half(name):
    shape = (224, 300, 3)
    network = make_backbone(name, shape, cut="auto")
    field = measure_backbone(network, shape[:2], 3)
    deeper = make_backbone(name, shape, cut=len(network.stage_names) + 1)
    assert max(field.share(shape[:2])) <= 0.5
    wider = measure_backbone(deeper, shape[:2], 3)
    assert max(wider.share(shape[:2])) > 0.5
    assert wider.stride == (16, 16)


def test_automatic_cut_of_gated_architectures():
    # The first stage of MobileNetV3 has no gate; those of EfficientNet all have.
    names = {"mobilenet_v3_small": 1, "efficientnet_b0": 3}
    for name, expected in names.items():
        network = make_backbone(name, (224, 224, 3), cut="auto")
        assert len(network.stage_names) == expected
        field = measure_backbone(
            make_backbone(name, (224, 224, 3)), (224, 224), 3
        )  # fmt: skip
        assert field.extent == (np.inf, np.inf)


def test_own_architecture():
    def build(n_channels):
        layers = {
            "first": nn.Conv2d(n_channels, 4, 3, stride=2),
            "second": nn.Conv2d(4, 8, 3),
        }
        return Stages(layers, {"one": ["first"], "two": ["second"]})

    register_backbone("own_net", build, cut=1)
    assert make_backbone("own_net", (20, 20, 2)).stage_names == ("one",)
    assert make_backbone("own_net", (20, 20, 2), cut=2)(torch.ones(1, 2, 20, 20)).shape[
        1:
    ] == (8, 7, 7)
    for taken in ("own_net", "auto", "a:b"):
        with pytest.raises(ValueError, match="a new name"):
            register_backbone(taken, build)
    with pytest.raises(WeightsError, match="no official weights for own_net"):
        make_backbone("own_net", (20, 20, 1), weights="imagenet")


class Opaque(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return self.layer(x)


def test_any_module_can_be_frozen_as_a_whole(data):
    images, y = data
    mine = Opaque()
    model = quick(backbone=mine, frozen="all", max_epochs=1).fit(images, y)
    fitted = model.net_.module_.backbone.module
    assert torch.equal(fitted.layer.weight, mine.layer.weight)
    network, split = freeze_backbone(mine, None)
    assert (network, split) == (mine, 0)


def is_usable(library):
    """Whether it can be imported beside the installed torch."""
    try:
        importlib.import_module(library)
    except (ImportError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet18"])
@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize(("options", "expected"), [
    ({}, (128, 8, 8)), ({"cut": 2}, (128, 8, 8)), ({"stages": [1, 2]}, (192, 16, 16)),
])  # fmt: skip
def test_networks_of_other_libraries(name, n_channels, options, expected):
    library = name.split(":")[0]
    if not is_usable(library):
        pytest.skip(f"{library} cannot be imported")
    if library == "timm":  # counts the stem as the first stage
        options = {k: v + 1 if k == "cut" else [2, 3] for k, v in options.items()}
    network = make_backbone(name, (64, 64, n_channels), **options)
    assert network(torch.zeros(1, n_channels, 64, 64)).shape[1:] == expected
    with pytest.raises(BackboneError, match="says"):
        make_backbone(f"{library}:nothing", (64, 64, 3))


BAD = [
    ({"backbone": "resnet81"}, "Did you mean 'resnet18'"),
    ({"cut": 9}, "cut=9.*1: 'stride2'.*4: 'stride16'"),
    ({"stages": (2, 7)}, r"stages .* Got \(2, 7\)"),
    ({"stages": ()}, r"stages .* Got \(\)"),
    ({"stages": (1, 2), "cut": 2}, "pass only one of them"),
    ({"frozen": 4}, r"frozen=4, but the backbone has 3 stage\(s\)"),
    ({"frozen": "stride44"}, "Did you mean 'stride4'"),
    ({"backbone": Opaque(), "frozen": 2}, r"has 1 stage\(s\)"),
    ({"backbone": Opaque(), "cut": 2}, "cut the module beforehand"),
    ({"weights": {"a": torch.ones(1)}}, r"squeezenet1_1.*missing"),
    (
        {"weights": "imagenet", "backbone": "fcdd28"},
        "no official weights for fcdd28",
    ),
    ({"backbone": "torchvision:resnet18"}, "torchvision cannot be imported"),
    ({"backbone": "timm:resnet18"}, "timm cannot be imported"),
]


@pytest.mark.parametrize(("params", "message"), BAD)
def test_bad_settings(data, params, message):
    library, colon, _ = str(params.get("backbone", "")).partition(":")
    if colon and is_usable(library):
        pytest.skip(f"{library} is installed")
    images, y = data
    model = quick(**{"backbone": "squeezenet1_1", "max_epochs": 1, **params})
    with pytest.raises(BackboneError, match=message):
        model.fit(images, y)


def test_channels_and_sizes_that_do_not_fit(state):
    images, y, _ = make_images(8, size=SIZE)
    two = np.repeat(images[..., None], 2, axis=-1)
    model = quick(backbone="squeezenet1_1", weights=state)
    with pytest.raises(BackboneError, match=r"with 3 channels, but X has 2"):
        model.fit(two, y)
    with pytest.raises(BackboneError, match=r"4x5 pixels.*larger images"):
        model.fit(images[:, :4, :5], y)


def test_real_weights_see_frayed_tiles(shared_data):
    with np.load(shared_data / "magnetic_tile.npz", allow_pickle=False) as file:
        X, kind, split = (file[k] for k in ("X", "kind", "split_tile"))
    good = X[split == "train"][:80]
    model = quick(
        backbone="squeezenet1_0",
        weights=shared_data / "squeezenet1_0_imagenet.safetensors",
        frozen=2,
        max_epochs=4,
    ).fit(good)
    test = split == "test"
    scores = {k: model.anomaly_score(X[test & (kind == k)]) for k in ("free", "fray")}
    assert np.median(scores["fray"]) > np.quantile(scores["free"], 0.75)
