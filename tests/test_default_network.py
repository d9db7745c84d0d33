"""What "auto" takes, and everything that an estimator does with it."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from _small import make_images, quick, with_fitted
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

from skfcdd import FCDDDetector, FCDDSegmenter, _repr
from skfcdd.backbones import (
    auto_name,
    choose_backbone,
    list_backbones,
    make_backbone,
    measure_backbone,
)
from skfcdd.backbones._choice import choose_recipe
from skfcdd.backbones._packaged import PackagedWeights
from skfcdd.exceptions import BackboneError, NotStoredWarning, WeightsError
from skfcdd.heatmaps import gaussian_matrix
from skfcdd.persistence import load, save

LITE = "efficientnet_lite0"
IMAGES, Y, MASKS = make_images(24, size=(68, 75), n_anomalous=6)


def one_epoch(**params):
    return quick(**{"max_epochs": 1} | params)


@pytest.fixture(scope="module")
def model():
    return one_epoch().fit(IMAGES, Y)


# -- the choice ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(63, 200), (200, 63), (64, 64), (64, 200), (8, 8)])
@pytest.mark.parametrize("n_channels", [1, 2, 3, 5])
def test_auto_goes_by_size_and_channels(size, n_channels):
    shape = (*size, n_channels)
    pretrained = min(size) >= 64 and n_channels in (1, 3)
    expected = (LITE, "imagenet") if pretrained else (auto_name(size), None)
    assert choose_backbone("auto", "auto", shape) == expected
    assert choose_backbone("auto", None, shape) == (auto_name(size), None)


@pytest.mark.parametrize("weights", ["imagenet", "net.pth", {}])
@pytest.mark.parametrize("shape", [(20, 20, 1), (128, 128, 3)])
def test_weights_that_are_given_are_those_of_the_pretrained_network(weights, shape):
    name, taken = choose_backbone("auto", weights, shape)
    assert name == LITE and taken is weights


def test_what_is_named_is_taken():
    module = nn.Conv2d(1, 2, 3)
    for backbone in (*list_backbones(), "timm:resnet18", "net", module, nn.Identity):
        name, weights = choose_backbone(backbone, "auto", (128, 128, 1))
        lite = isinstance(backbone, str) and "_lite" in backbone
        assert name is backbone and weights == ("imagenet" if lite else None)
        assert choose_backbone(backbone, "imagenet", (9, 9, 1))[1] == "imagenet"
        assert (choose_recipe(name, weights).frozen is not None) == lite
        assert choose_recipe(name, None).frozen is None


@pytest.mark.parametrize(
    ("side", "resize", "expected"),
    [
        (32, None, "fcdd32_s"),
        (32, 64, LITE),
        (80, (80, 63), "fcdd32_s"),
        (64, 70, LITE),
    ],
)
def test_the_size_that_the_network_sees_counts(side, resize, expected):
    images, y, _ = make_images(16, size=(side, side))
    model = one_epoch(resize=resize).fit(images, y)
    weights = "imagenet" if expected == LITE else None
    assert (model.backbone_, model.weights_) == (expected, weights)
    assert model.explain(images).shape == images.shape


def test_what_was_taken_is_told(model):
    assert (model.backbone_, model.weights_) == (LITE, "imagenet")
    assert _repr.facts(model)["network"] == f"{LITE}, initial weights: imagenet"
    assert f"<dd>{LITE}, initial weights: imagenet</dd>" in model._repr_html_()
    assert model.net_.module_.backbone.n_channels == 3


@pytest.mark.parametrize(
    ("size", "stages", "trained"),
    [
        ((64, 200), ("stride2", "stride4"), "_blocks.1"),
        ((111, 111), ("stride2", "stride4"), "_blocks.1"),
        ((112, 120), ("stride2", "stride4", "stride8"), "_blocks.3"),
    ],
)
def test_small_images_take_an_earlier_stage(size, stages, trained):
    """And no cell sees so much that ``fit`` would warn."""
    images, y, _ = make_images(8, size=size)
    module = one_epoch().fit(images, y).net_.module_
    assert module.backbone.stage_names == stages
    assert module.backbone.paths[module.split] == trained


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"weights": None}, ("fcdd32_s", None)),
        ({"backbone": "fcdd28"}, ("fcdd28", None)),
        ({"backbone": LITE, "weights": None, "cut": 1}, (LITE, None)),
        ({"backbone": nn.Conv2d(1, 4, 3, stride=2)}, ("Conv2d", None)),
        ({"backbone": lambda: nn.Conv2d(1, 4, 3, stride=2)}, ("<lambda>", None)),
    ],
)
def test_names_of_other_networks(params, found):
    model = one_epoch(**params).fit(IMAGES, Y)
    assert (model.backbone_, model.weights_) == found
    assert model.net_.module_.split == 0
    assert "initial weights: random" in _repr.facts(model)["network"]


def test_own_weights_are_told_and_frozen():
    state = make_backbone(LITE, (64, 64, 1)).state_dict()
    model = one_epoch(weights=state).fit(IMAGES, Y)
    assert (model.backbone_, model.weights_) == (LITE, "given")
    backbone, split = model.net_.module_.backbone, model.net_.module_.split
    assert split == backbone.stage_ends[0]
    for path in backbone.paths[:split]:
        for key, value in backbone.get_submodule(path).state_dict().items():
            assert torch.equal(value, state[f"{path}.{key}"])


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning")
def test_a_stage_is_left_to_train():
    for params, n_frozen in (({"cut": 1}, 0), ({"stages": [1, 3]}, 2), ({"cut": 3}, 2)):
        module = one_epoch(**params).fit(IMAGES, Y).net_.module_
        assert module.split == [0, *module.backbone.stage_ends][n_frozen]


BAD = [
    ({"frozen": 4}, BackboneError, r"frozen=4, but the backbone has 2 stage\(s\)"),
    ({"frozen": "stride16"}, BackboneError, "frozen='stride16'.*'stride4'"),
    ({"cut": 6}, BackboneError, "cut=6.*5: 'stride32'"),
    (
        {"weights": {"0.weight": torch.ones(4, 1, 3, 3)}},
        WeightsError,
        "do not match the architecture efficientnet_lite0.*missing",
    ),
    ({"weights": "missing.pth"}, FileNotFoundError, "there is no such file"),
    ({"backbone": LITE, "frozen": "stride4x"}, BackboneError, "Did you mean"),
]


@pytest.mark.parametrize(("params", "error", "message"), BAD)
def test_errors_leave_an_earlier_fit_alone(params, error, message, model):
    fitted = with_fitted(model)
    before = fitted.anomaly_score(IMAGES)
    fitted.set_params(**params)
    with pytest.raises(error, match=message):
        fitted.fit(IMAGES, Y)
    assert_array_equal(fitted.anomaly_score(IMAGES), before)
    assert (fitted.backbone_, fitted.weights_) == (LITE, "imagenet")


def test_without_the_package_nothing_is_lost(model, monkeypatch):
    def fail(self):
        raise ImportError("not installed")

    monkeypatch.setattr(PackagedWeights, "load", fail)
    fitted = with_fitted(model)
    before = fitted.anomaly_score(IMAGES)
    with pytest.raises(ImportError, match="not installed"):
        fitted.fit(IMAGES, Y)
    assert_array_equal(fitted.anomaly_score(IMAGES), before)
    clone(fitted).set_params(weights=None).fit(IMAGES, Y)
    small, y, _ = make_images(16)
    clone(fitted).fit(small, y)


# -- what is done with it --------------------------------------------------------------


def test_clones_and_copies_answer_alike(model):
    scores, heatmaps = model.anomaly_score(IMAGES), model.explain(IMAGES)
    assert_allclose(heatmaps.mean(axis=(1, 2)), scores, rtol=1e-5)
    again = clone(model).fit(IMAGES, Y)
    assert_array_equal(again.anomaly_score(IMAGES), scores)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.anomaly_score(IMAGES), scores)
    assert_array_equal(loaded.explain(IMAGES), heatmaps)


def test_grey_images_are_colours_that_are_equal():
    grey = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    one, three = (make_backbone(LITE, (64, 64, c)).eval() for c in (1, 3))
    with torch.no_grad():
        assert torch.equal(one(grey), three(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("frozen", ["auto", None])
def test_a_saved_model_needs_no_package(frozen, tmp_path, monkeypatch):
    model = one_epoch(frozen=frozen).fit(IMAGES, Y)
    path = save(model, tmp_path / "model.skfcdd")

    def fail(self):
        raise ImportError("not installed")

    monkeypatch.setattr(PackagedWeights, "load", fail)
    loaded = load(path)
    assert (loaded.backbone_, loaded.weights_) == (LITE, "imagenet")
    assert loaded.net_.module_.split == model.net_.module_.split
    assert loaded.precision_ == model.precision_
    # Where to compute is a matter of the machine.
    assert loaded.get_params() == model.get_params() | {"device": "auto"}
    assert_array_equal(loaded.anomaly_score(IMAGES), model.anomaly_score(IMAGES))
    assert_array_equal(loaded.explain(IMAGES), model.explain(IMAGES))
    assert_array_equal(load(save(loaded, path)).explain(IMAGES), model.explain(IMAGES))


@pytest.mark.parametrize("estimator", [FCDDDetector, FCDDSegmenter])
def test_saved_models_of_other_estimators(estimator, tmp_path):
    model = estimator(max_epochs=1, random_state=0, device="cpu")
    if estimator is FCDDSegmenter:
        model.fit(IMAGES, MASKS)
    else:
        model.fit(IMAGES[Y == 0])
    loaded = load(save(model, tmp_path / "model"))
    assert loaded.backbone_ == LITE
    assert_array_equal(loaded.predict(IMAGES), model.predict(IMAGES))


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.CollapseWarning")
@pytest.mark.parametrize("loss", ["dsvdd", "hsc"])
def test_saved_models_of_other_objectives(loss, tmp_path):
    """One of them takes the biases out of the layers that are trained."""
    model = one_epoch(loss=loss).fit(IMAGES, Y)
    loaded = load(save(model, tmp_path / "model"))
    assert_array_equal(loaded.anomaly_score(IMAGES), model.anomaly_score(IMAGES))
    assert_array_equal(loaded.explain(IMAGES), model.explain(IMAGES))


def test_own_weights_are_stored_with_the_network(tmp_path):
    state = make_backbone(LITE, (64, 64, 1)).state_dict()
    model = one_epoch(weights=state).fit(IMAGES, Y)
    with pytest.warns(NotStoredWarning, match="weights"):
        path = save(model, tmp_path / "model")
    loaded = load(path)
    assert loaded.weights_ == "given"
    assert_array_equal(loaded.anomaly_score(IMAGES), model.anomaly_score(IMAGES))


def test_going_on(model):
    loaded = pickle.loads(pickle.dumps(model)).set_params(warm_start=True)
    before = loaded.net_.module_.state_dict()
    loaded.fit(IMAGES, Y)
    assert len(loaded.history_) == 2
    after = loaded.net_.module_.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    trained = ("backbone._blocks.1.", "backbone._blocks.2.", "objective.")
    assert moved and all(key.startswith(trained) for key in moved)
    # The same network, by its name.
    loaded.set_params(backbone=LITE, weights="imagenet").fit(IMAGES, Y)
    loaded.set_params(weights=None)
    with pytest.raises(ValueError, match=r"warm_start=True.*weights changed"):
        loaded.fit(IMAGES, Y)


class PowerCut(Exception):
    pass


class Cut(Callback):
    """The end of everything in the second epoch."""

    def on_batch_end(self, net, training, **kwargs):
        if len(net.history) == 2 and training:
            raise PowerCut


def test_a_training_that_is_broken_off_goes_on_to_the_same_bits(tmp_path):
    path = tmp_path / "training"
    params = {"max_epochs": 3, "early_stopping": True}
    with pytest.raises(PowerCut):
        quick(**params, checkpoint=path, callbacks=[Cut()]).fit(IMAGES, Y)
    assert path.exists()
    resumed = quick(**params, checkpoint=path).fit(IMAGES, Y)
    plain = quick(**params).fit(IMAGES, Y)
    assert len(resumed.history_) == len(plain.history_)
    assert_array_equal(resumed.anomaly_score(IMAGES), plain.anomaly_score(IMAGES))
    assert resumed.threshold_ == plain.threshold_


def whole_heatmap(model, image):
    """The heatmap of an image at once, with cells where they lie at its size."""
    module, size = model._fitted.fast.eval(), image.shape
    with torch.no_grad():
        unit = torch.from_numpy(image / np.float32(255))[None, None]
        cells = module(unit)[0].numpy().astype(float)
    known, seen = model.receptive_field_, model.image_shape_[:2]
    middle, fitted = (measure_backbone(module.backbone, n, 1) for n in (size, seen))
    aside = np.subtract(known.offset, fitted.offset)  # what the cells look at
    field = replace(known, offset=tuple(middle.offset + aside))
    rows, columns = (
        gaussian_matrix(
            size[axis],
            field.centers(cells.shape[axis], axis),
            field.stride[axis] / 2,  # as sharp as cells allow
            extent=field.extent[axis],
        )
        for axis in (0, 1)
    )
    return rows @ cells @ columns.T


@pytest.mark.parametrize("size", [(67, 67), (133, 90), (129, 250)])
@pytest.mark.parametrize("tile_size", [16, 1000])
def test_large_images_of_odd_sizes(size, tile_size, exact):
    image = make_images(1, size=size, n_anomalous=1)[0][0]
    expected = whole_heatmap(exact, image)
    found = exact.explain_large(image, tile_size=tile_size)
    assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * expected.max())


@pytest.fixture(scope="module")
def exact():
    """One that computes all in float32."""
    return one_epoch(precision="float32").fit(IMAGES, Y)


def test_a_large_image_of_the_size_of_fit_is_one_of_fit(model):
    for image, heatmap in zip(IMAGES[:2], model.explain(IMAGES[:2]), strict=True):
        found = model.explain_large(image)
        assert_allclose(found, heatmap, rtol=0.02, atol=0.01 * heatmap.max())


@pytest.mark.parametrize(
    "dynamic_size", [False, pytest.param(True, marks=pytest.mark.nightly)]
)
def test_exported_answers_are_those_of_the_estimator(dynamic_size, exact, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from skfcdd.export import to_onnx
    from skfcdd.onnx import OnnxFCDD

    path = tmp_path / "model.onnx"
    report = to_onnx(exact, path, X=IMAGES, dynamic_size=dynamic_size)
    assert report.label_agreement == 1
    assert report.score_relative_difference <= 1e-4
    assert report.heatmap_relative_difference <= 1e-4
    assert report.bfloat16_difference is None
    served = OnnxFCDD(path, n_threads=1)
    assert_allclose(
        served.anomaly_score(IMAGES), exact.anomaly_score(IMAGES), rtol=1e-4
    )
    expected = exact.explain(IMAGES)
    atol = 1e-4 * expected.max()
    assert_allclose(served.explain(IMAGES), expected, rtol=1e-4, atol=atol)
    for size in [(101, 64), (66, 87)] if dynamic_size else []:
        image = make_images(1, size=size, n_anomalous=1)[0]
        expected = exact.explain_large(image[0])
        atol = 1e-4 * expected.max()
        assert_allclose(served.explain(image)[0], expected, rtol=1e-4, atol=atol)


def test_an_array_of_dask_is_scored_and_trained_on(model):
    da = pytest.importorskip("dask.array")
    array = da.from_array(IMAGES, chunks=(7, -1, -1))
    found = clone(model).fit(array, Y)
    assert_array_equal(found.anomaly_score(array), model.anomaly_score(IMAGES))
    scores = array.map_blocks(
        model.anomaly_score, dtype=float, drop_axis=(1, 2), meta=np.empty(0)
    )
    assert_allclose(
        scores.compute(scheduler="threads"), model.anomaly_score(IMAGES), rtol=1e-4
    )


def test_accelerate_with_one_process_is_plain_training():
    pytest.importorskip("accelerate")
    plain, shared = (
        one_epoch(precision="float32", accelerate=way).fit(IMAGES, Y)
        for way in (False, True)
    )
    assert_allclose(
        shared.anomaly_score(IMAGES), plain.anomaly_score(IMAGES), rtol=1e-5
    )
