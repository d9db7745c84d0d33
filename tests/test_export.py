"""Exported models: the answers of the estimator, without the library."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from _small import with_fitted, with_judging, with_threshold
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import IsolationForest

import skfcdd
from skfcdd import FCDDClassifier, FCDDDetector, FCDDSegmenter, export
from skfcdd._engine.model import FittedModel
from skfcdd._verdicts import Convention, is_above
from skfcdd.datasets import make_defects
from skfcdd.exceptions import ExportError, ImageShapeError
from skfcdd.export import ParityReport, _equivalence, to_onnx, to_torch_export
from skfcdd.onnx import OnnxFCDD

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

ROOT = Path(__file__).parents[1]


def quick(estimator=FCDDClassifier, **params):
    defaults = {
        "max_epochs": 1,
        "random_state": 0,
        "validation_fraction": 0.1,
        "precision": "float32",
    }
    return estimator(**defaults | params)


@pytest.fixture(scope="module")
def data():
    return make_defects(40, image_size=(40, 48), random_state=0)


@pytest.fixture(scope="module")
def images(data):
    return data.images


@pytest.fixture(scope="module")
def colour():
    grey = make_defects(20, image_size=96, random_state=0).images
    return np.stack([grey, grey[::-1], 255 - grey], axis=-1)


@pytest.fixture(scope="module")
def model(data):
    return quick().fit(data.images, data.target)


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model.onnx"
    to_onnx(model, path)
    return path


@pytest.fixture(scope="module")
def served(file):
    return OnnxFCDD(file, n_threads=1)


def assert_same_answers(model, served, X):
    scores = model.anomaly_score(X)
    assert_allclose(served.anomaly_score(X), scores, rtol=1e-4)
    assert served.anomaly_score(X).dtype == np.float64
    clear = np.abs(scores / model.threshold_ - 1) > 1e-4
    if not isinstance(model, FCDDSegmenter):
        assert_array_equal(served.predict(X)[clear], model.predict(X)[clear])
        assert served.predict(X).dtype == model.predict(X).dtype
    if hasattr(model, "predict_proba"):
        probability = served.predict_proba(X)
        assert_allclose(probability, model.predict_proba(X), atol=1e-4)
    if model.net_.module_.objective.spatial:
        expected = model.explain(X)
        atol = 1e-4 * expected.max()
        assert_allclose(served.explain(X), expected, rtol=1e-4, atol=atol)
        if isinstance(model, FCDDSegmenter):
            clear = np.abs(expected - model.threshold_) > atol
            assert_array_equal(served.predict(X)[clear], model.predict(X)[clear])
        assert served.explain(X).dtype == np.float32
    assert served.threshold_ == model.threshold_
    assert served.image_shape_ == model.image_shape_


def some_nightly(names, *always):
    """Names as parameters, those that are not to run always marked."""
    return [
        name if name in always else pytest.param(name, marks=pytest.mark.nightly)
        for name in names
    ]


def test_pools_as_the_estimators():
    from skfcdd._engine.inference import pool_maps
    from skfcdd.export._graph import pool

    rng = np.random.RandomState(0)
    for shape in [(3, 1, 1), (4, 5, 7), (2, 10, 10)]:
        cells = rng.uniform(size=shape)
        for pooling in ("mean", "max", 0.01, 0.07, 0.1, 0.5, 1.0):
            expected = pool_maps(cells, pooling)
            for dynamic in (False, True):
                found = pool(torch.from_numpy(cells), pooling, dynamic=dynamic)
                assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_resizes_as_the_estimators():
    from skfcdd._engine.preprocessing import resize
    from skfcdd.export._graph import _Resize

    images = torch.rand(2, 3, 30, 41, generator=torch.Generator().manual_seed(0))
    for size in [(7, 9), (30, 41), (64, 50), (12, 80)]:
        found = _Resize(size, (30, 41))(images)
        assert_allclose(found, resize(images, size), atol=5e-6)


@pytest.mark.parametrize(
    ("estimator", "pooling"),
    [
        (FCDDClassifier, 0.1),
        (FCDDDetector, "max"),
        (FCDDSegmenter, "mean"),
        pytest.param(FCDDClassifier, "max", marks=pytest.mark.nightly),
        pytest.param(FCDDClassifier, "mean", marks=pytest.mark.nightly),
        pytest.param(FCDDDetector, 0.1, marks=pytest.mark.nightly),
        pytest.param(FCDDDetector, "mean", marks=pytest.mark.nightly),
        pytest.param(FCDDSegmenter, "max", marks=pytest.mark.nightly),
        pytest.param(FCDDSegmenter, 0.1, marks=pytest.mark.nightly),
    ],
)
def test_answers_of_each_estimator(estimator, pooling, data, tmp_path):
    y = {FCDDClassifier: data.target, FCDDSegmenter: data.masks}.get(estimator)
    model = quick(estimator, score_pooling=pooling).fit(data.images, y)
    report = to_onnx(model, tmp_path / "model.onnx", X=data.images)
    assert report.label_agreement == 1
    assert report.score_relative_difference <= 1e-4
    assert report.heatmap_relative_difference <= 1e-4
    assert report.n_images == 40 and report.batch_sizes == (1, 2, 32)
    assert report.bfloat16_difference is None
    served = OnnxFCDD(tmp_path / "model.onnx", n_threads=1)
    assert_same_answers(model, served, data.images)
    assert served.metadata_["estimator"] == estimator.__name__
    assert json.loads(served.metadata_["score_pooling"]) == pooling


NETWORKS = {
    "squeezenet1_1": {"backbone": "squeezenet1_1"},
    "resnet18": {"backbone": "resnet18", "cut": 2, "normalize": "standard"},
    "mobilenet": {"backbone": "mobilenet_v3_small", "normalize": "imagenet"},
    "efficientnet": {"backbone": "efficientnet_b0", "cut": 3},
    "stages": {"backbone": "resnet18", "stages": (1, 2), "normalize": None},
    "bce": {"loss": "bce"},
    "flat field": {"backbone": "squeezenet1_1", "normalize": "flat-field"},
    "local": {"backbone": "squeezenet1_1", "normalize": "local"},
}
SOME_NETWORKS = ("resnet18", "local")


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning")
@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.CollapseWarning")
@pytest.mark.parametrize("name", some_nightly(NETWORKS, *SOME_NETWORKS))
def test_answers_of_each_network(name, colour, tmp_path):
    model = quick(**NETWORKS[name]).fit(colour)
    to_onnx(model, tmp_path / "model.onnx")
    assert_same_answers(model, OnnxFCDD(tmp_path / "model.onnx"), colour)


FORMS = {
    "float": (lambda x: x.astype("float32") / 255, {"normalize": "standard"}),
    "double": (lambda x: x.astype("float64") / 255, {}),
    "wide": (lambda x: x.astype("uint16") * 200, {}),
    "shrunk": (lambda x: x, {"resize": (24, 32)}),
    "grown": (lambda x: x, {"resize": 64, "normalize": "standard"}),
    "grey, axis": (lambda x: x[..., None], {}),
    "grey, first": (lambda x: x[:, None], {"channels": "first"}),
    "first": (lambda x: np.stack([x, 255 - x], axis=1), {"channels": "first"}),
    "many": (lambda x: np.stack([x] * 7, axis=-1), {"channels": "last"}),
    "sigma": (lambda x: x, {"heatmap_sigma": 2.0, "normalize": (0.5, 0.2)}),
}


@pytest.mark.parametrize("name", some_nightly(FORMS, "float", "shrunk", "first"))
def test_images_of_each_form(name, images, tmp_path):
    shape, params = FORMS[name]
    X = shape(images)
    model = quick(**params).fit(X)
    to_onnx(model, tmp_path / "model.onnx")
    assert_same_answers(model, OnnxFCDD(tmp_path / "model.onnx"), X)


def test_order_of_axes_is_seen_in_the_images(images, tmp_path):
    X = np.stack([images] * 3, axis=1)
    model = quick().fit(X)
    to_onnx(model, tmp_path / "model.onnx", X=X[:1])
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert shapes(graph.input) == {"images": ["n", 3, 40, 48]}
    assert_same_answers(model, OnnxFCDD(tmp_path / "model.onnx"), X)
    to_onnx(model, tmp_path / "model.onnx", X=X, dynamic_size=True)
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert shapes(graph.input) == {"images": ["n", 3, "h", "w"]}
    assert_same_answers(model, OnnxFCDD(tmp_path / "model.onnx"), X)


def shapes(values):
    return {
        value.name: [
            d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim
        ]
        for value in values
    }


def test_inputs_and_outputs_have_names_and_shapes(file):
    content = onnx.load(file)
    onnx.checker.check_model(content, full_check=True)
    assert shapes(content.graph.input) == {"images": ["n", 40, 48, 1]}
    assert shapes(content.graph.output) == {
        "score": ["n"],
        "probability": ["n"],
        "label": ["n"],
        "heatmap": ["n", 40, 48],
    }
    types = [v.type.tensor_type.elem_type for v in content.graph.output]
    assert types == [onnx.TensorProto.FLOAT] * 2 + [
        onnx.TensorProto.INT64,
        onnx.TensorProto.FLOAT,
    ]
    kind = content.graph.input[0].type.tensor_type.elem_type
    assert kind == onnx.TensorProto.UINT8
    assert content.opset_import[0].version == 18


@pytest.mark.nightly
@pytest.mark.parametrize("opset", [20, 21])
def test_later_operators(opset, model, images, tmp_path):
    to_onnx(model, tmp_path / "model.onnx", opset=opset)
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == opset
    assert_same_answers(model, OnnxFCDD(tmp_path / "model.onnx"), images)


def test_outputs_of_the_graph_agree_with_each_other(data, tmp_path):
    import onnxruntime

    model = quick(FCDDSegmenter).fit(data.images, data.masks)
    to_onnx(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    assert names == ["score", "probability", "label", "heatmap", "mask"]
    feed = {"images": data.images[..., None]}
    answers = dict(zip(names, session.run(names, feed), strict=True))
    assert answers["mask"].dtype == np.uint8
    assert_array_equal(answers["mask"], is_above(answers["heatmap"], model.threshold_))
    assert_array_equal(answers["label"], answers["mask"].any(axis=(1, 2)))
    assert_array_equal(answers["label"], answers["probability"] > 0.5)


@pytest.mark.parametrize(
    "labels",
    [
        ("bad", "good"),
        pytest.param((-1, 1), marks=pytest.mark.nightly),
        pytest.param((False, True), marks=pytest.mark.nightly),
    ],
)
def test_labels_come_back(labels, data, tmp_path):
    anomaly, normal = labels if labels[0] is not False else labels[::-1]
    y = np.where(data.target == 1, anomaly, normal)
    model = quick(anomaly_label=anomaly).fit(data.images, y)
    to_onnx(model, tmp_path / "model.onnx")
    served = OnnxFCDD(tmp_path / "model.onnx")
    assert_array_equal(served.classes_, model.classes_)
    assert served.classes_.dtype == model.classes_.dtype
    assert_same_answers(model, served, data.images)


def test_labels_without_a_form_in_json(data, tmp_path):
    y = np.where(data.target == 1, "2020-01-01", "2021-01-01").astype("datetime64[D]")
    model = quick().fit(data.images, data.target)
    convention = Convention("classifier", np.unique(y))
    model = with_fitted(model, convention=convention)
    with pytest.raises(ValueError, match=r"Labels of type datetime64"):
        to_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("estimator", "loss"),
    [
        (FCDDClassifier, "hsc"),
        (FCDDDetector, "dsvdd"),
        pytest.param(FCDDClassifier, "dsvdd", marks=pytest.mark.nightly),
        pytest.param(FCDDDetector, "hsc", marks=pytest.mark.nightly),
    ],
)
def test_objectives_without_a_map(estimator, loss, images, tmp_path):
    model = quick(estimator, loss=loss).fit(images)
    with pytest.warns(UserWarning, match="heatmaps from gradients") as caught:
        report = to_onnx(model, tmp_path / "model.onnx")
    assert caught[0].filename == __file__
    assert report.heatmap_difference is None and "no heatmaps" in str(report)
    served = OnnxFCDD(tmp_path / "model.onnx")
    assert_same_answers(model, served, images)
    with pytest.raises(ValueError, match="has no heatmaps"):
        served.explain(images)


def test_a_segmenter_needs_a_map(images, tmp_path):
    model = quick(FCDDSegmenter, loss="hsc").fit(images)
    with pytest.raises(ValueError, match="a segmenter needs heatmaps"):
        to_onnx(model, tmp_path / "model.onnx")


def test_small_regions_are_dropped_outside_of_the_graph(data, tmp_path):
    model = quick(FCDDSegmenter, min_area=150).fit(data.images, data.masks)
    with pytest.warns(UserWarning, match="min_area=150"):
        to_onnx(model, tmp_path / "model.onnx")
    served = OnnxFCDD(tmp_path / "model.onnx")
    masks = model.predict(data.images)
    assert_array_equal(served.predict(data.images), masks)
    every = with_judging(model, min_area=1).predict(data.images)
    assert masks.sum() < every.sum()


def test_rows_of_a_table(tmp_path):
    rows = np.random.RandomState(0).uniform(size=(60, 9))
    model = FCDDDetector(max_epochs=1, random_state=0).fit(rows)
    assert model.precision_ == "float64"
    to_onnx(model, tmp_path / "model.onnx", X=rows)
    served = OnnxFCDD(tmp_path / "model.onnx")
    X = rows.reshape(60, 1, 9)
    assert_allclose(served.anomaly_score(X), model.anomaly_score(rows), rtol=1e-4)
    assert_array_equal(served.classes_, [-1, 1])
    probability = served.predict_proba(X)
    assert_allclose(probability.sum(axis=1), 1)
    assert_array_equal(probability[:, 0] > 0.5, served.predict(X) == -1)


def test_bfloat16_is_exported_in_float32(images, tmp_path):
    model = quick(precision="bfloat16").fit(images)
    before = model.anomaly_score(images)
    report = to_onnx(model, tmp_path / "model.onnx", X=images)
    assert 1e-6 < report.bfloat16_difference < 0.05
    assert report.score_relative_difference < 1e-4
    assert "scores in bfloat16 differ" in str(report)
    assert_array_equal(model.anomaly_score(images), before)
    assert model.net_.precision == "bfloat16"


SIZES = [(40, 48), (41, 77), (130, 64), (64, 65)]


@pytest.mark.parametrize(
    ("estimator", "pooling"),
    [
        (FCDDClassifier, "mean"),
        pytest.param(FCDDDetector, "max", marks=pytest.mark.nightly),
        pytest.param(FCDDSegmenter, 0.1, marks=pytest.mark.nightly),
    ],
)
def test_any_size(estimator, pooling, images, tmp_path):
    model = quick(estimator, score_pooling=pooling).fit(images)
    to_onnx(model, tmp_path / "model.onnx", dynamic_size=True)
    served = OnnxFCDD(tmp_path / "model.onnx")
    for size in SIZES:
        X = make_defects(3, image_size=size, random_state=1).images
        expected = np.stack([model.explain_large(x) for x in X])
        atol = 1e-4 * expected.max()
        assert_allclose(served.explain(X), expected, rtol=1e-3, atol=atol)
        if pooling == "mean":
            means = served.explain(X).mean(axis=(1, 2))
            assert_allclose(served.anomaly_score(X), means, rtol=1e-4)
    assert_same_answers(model, served, images)


@pytest.mark.parametrize(
    "normalize", [pytest.param("standard", marks=pytest.mark.nightly), "local"]
)
def test_any_size_with_channels_first(normalize, images, tmp_path):
    X = np.stack([images, 255 - images], axis=1)
    model = quick(channels="first", normalize=normalize).fit(X)
    to_onnx(model, tmp_path / "model.onnx", dynamic_size=True)
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert shapes(graph.input) == {"images": ["n", 2, "h", "w"]}
    served = OnnxFCDD(tmp_path / "model.onnx")
    larger = np.concatenate([X, X], axis=3)
    expected = [model.explain_large(x) for x in larger[:3]]
    assert_allclose(served.explain(larger[:3]), expected, rtol=1e-3, atol=1e-6)
    with pytest.raises(ValueError, match=r"\(3, 40, 96\), but the model expects \(2,"):
        served.explain(np.zeros((1, 3, 40, 96), np.uint8))


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning")
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"resize": 32}, r"resize=\(32, 32\)"),
        ({"normalize": "flat-field"}, "normalize='flat-field', fitted"),
        ({"loss": "hsc"}, "HSC, which has no anomaly map"),
        ({"backbone": "mobilenet_v3_small"}, "cells depend on the whole image"),
    ],
)
def test_models_of_one_size(params, message, images, tmp_path):
    model = quick(**params).fit(images)
    with pytest.raises(ValueError, match=message):
        to_onnx(model, tmp_path / "model.onnx", dynamic_size=True)


# -- failures ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (1.001, r"(?s)results of the estimator.*score"),
        (np.nan, "scores differ by at most nan"),
    ],
)
def test_another_answer_is_not_written(
    factor, message, model, images, tmp_path, monkeypatch
):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"earlier")
    scores = FittedModel.scores
    with monkeypatch.context() as patch:
        patch.setattr(FittedModel, "scores", lambda *args: scores(*args) * factor)
        with pytest.raises(ExportError, match=message):
            to_onnx(model, path, X=images)
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]
    to_onnx(model, path, X=images)
    assert OnnxFCDD(path).threshold_ == model.threshold_


def test_another_label_is_not_written(model, images, tmp_path, monkeypatch):
    assert (model.anomaly_score(images) > model.threshold_).any()
    monkeypatch.setattr(
        Convention, "index", lambda self, scores, threshold: np.zeros(len(scores), int)
    )
    with pytest.raises(ExportError, match=r"labels agree: \d+\.\d\d %"):
        to_onnx(model, tmp_path / "model.onnx", X=images)


def test_another_heatmap_is_not_written(model, tmp_path, monkeypatch):
    heatmaps = FittedModel.heatmaps
    monkeypatch.setattr(
        FittedModel,
        "heatmaps",
        lambda *args: ((k, 1.01 * h) for k, h in heatmaps(*args)),
    )
    with pytest.raises(ExportError, match="heatmaps differ"):
        to_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_precision_comes_back_after_a_failure(images, tmp_path, monkeypatch):
    model = quick(precision="bfloat16").fit(images)

    def fail(*args):
        raise RuntimeError("stop")

    monkeypatch.setattr(_equivalence, "_add", fail)
    with pytest.raises(RuntimeError, match="stop"):
        to_onnx(model, tmp_path / "model.onnx")
    assert model.net_.precision == "bfloat16"


def test_labels_close_to_the_threshold_do_not_count(model, images, tmp_path):
    other = with_threshold(model, model.anomaly_score(images)[3])
    report = to_onnx(other, tmp_path / "model.onnx", X=images)
    assert report.n_undecided >= 1 and report.label_agreement == 1


class ByValue(torch.nn.Module):
    """A network that looks at values, which no graph can."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3)

    def forward(self, images):
        return self.conv(images if images.sum() > 1e6 else -images)


def test_networks_that_cannot_be_exported(images, tmp_path):
    model = quick(backbone=ByValue()).fit(images)
    with pytest.raises(ExportError, match=r"torch\.export failed with"):
        to_onnx(model, tmp_path / "model.onnx")
    with pytest.raises(ExportError, match=r"torch\.export failed with"):
        to_torch_export(model)
    assert list(tmp_path.iterdir()) == []


def test_operators_without_a_form_in_onnx(model, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise torch.onnx.OnnxExporterError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ExportError, match=r"OnnxExporterError: no such operator"):
        to_onnx(model, tmp_path / "model.onnx")


def test_paths_that_cannot_be_written(model, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_convert", None)  # it does not come to that
    with pytest.raises(FileNotFoundError, match=r"Cannot write .*no_such_folder"):
        to_onnx(model, tmp_path / "no_such_folder" / "model.onnx")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        to_onnx(model, tmp_path)
    (tmp_path / "a_file").touch()
    with pytest.raises(NotADirectoryError, match="Cannot write"):
        to_onnx(model, tmp_path / "a_file" / "model.onnx")


def test_bad_arguments(model, images, tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(TypeError, match="Got IsolationForest"):
        to_onnx(IsolationForest(), path)
    with pytest.raises(ValueError, match="not fitted"):
        to_onnx(quick(), path)
    with pytest.raises(ValueError, match="opset must be an int of at least 18"):
        to_onnx(model, path, opset=11)
    with pytest.raises(ValueError, match="rtol must be a number greater than 0"):
        to_onnx(model, path, rtol=0)
    with pytest.raises(ImageShapeError):
        to_onnx(model, path, X=images[:, :30])
    assert not path.exists()


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_missing_packages(name, model, file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"{name}, which.*'skfcdd\[onnx\]'"):
        to_onnx(model, tmp_path / "model.onnx")
    if name == "onnxruntime":
        with pytest.raises(ImportError, match=r"pip install onnxruntime"):
            OnnxFCDD(file)


def test_nothing_is_left_behind(model, images, tmp_path, capfd):
    before = model.anomaly_score(images)
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    to_onnx(model, tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_array_equal(np.random.get_state()[1], numpy_state)
    assert_array_equal(model.anomaly_score(images), before)
    assert next(model.net_.module_.parameters()).requires_grad
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_report_reads_well():
    report = ParityReport(9, (1, 9), 1e-7, 2e-7, None, None, 0.875, 2, 0.01)
    assert str(report).splitlines() == [
        "9 images in batches of 1, 9",
        "scores differ by at most 1e-07 (2e-07 of the score)",
        "no heatmaps",
        "labels agree: 87.50 % (2 undecided)",
        "scores in bfloat16 differ from these by up to 0.01 of the score",
    ]


# -- serving -------------------------------------------------------------------------


def test_any_number_of_images(model, served, images):
    expected = model.anomaly_score(images)
    for n in (1, 2, 7, 40):
        assert_allclose(served.anomaly_score(images[:n]), expected[:n], rtol=1e-5)
    many = np.concatenate([images] * 9)
    assert_allclose(served.anomaly_score(many), np.tile(expected, 9), rtol=1e-5)
    assert served.predict(images[:0]).shape == (0,)
    assert served.explain(images[:0]).shape == (0, 40, 48)


def test_forms_of_images(served, images):
    expected = served.anomaly_score(images)
    for X in (images[..., None], list(images), images[:, ::-1][:, ::-1]):
        assert_array_equal(served.anomaly_score(X), expected)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((40, 48), np.uint8), r"\(40, 48\) is a single image.*X\[None\]"),
        (np.zeros((3, 40, 40), np.uint8), r"\(40, 40, 1\), but the model expects \(40"),
        (np.zeros((3, 40, 48, 3), np.uint8), r"\(40, 48, 3\), but the model expects"),
        (np.zeros((3, 1920), np.uint8), r"Got an array of shape \(3, 1920\)"),
        (np.zeros((3, 40, 48)), r"dtype float64, but the model expects uint8"),
        (np.zeros((3, 40, 48), np.int16), r"dtype int16, but the model expects uint8"),
    ],
)
def test_bad_images(X, message, served):
    with pytest.raises(ValueError, match=message):
        served.predict(X)


def test_bad_numbers(images, tmp_path):
    model = quick().fit(np.stack([images / 255.0] * 3, axis=-1))
    to_onnx(model, tmp_path / "model.onnx")
    served = OnnxFCDD(tmp_path / "model.onnx")
    broken = np.full((2, 40, 48, 3), np.nan)
    with pytest.raises(ValueError, match="X contains NaN"):
        served.predict(broken)
    with pytest.raises(ValueError, match=r"dtype <U1, but the model expects float32"):
        served.predict(broken.astype("U1"))
    with pytest.raises(ValueError, match=r"\(40, 48, 3\) is a single image"):
        served.predict(broken[0])


def test_files_that_are_no_models(file, tmp_path):
    content, path = file.read_bytes(), tmp_path / "other.onnx"
    for broken in (b"", b"no model", content[: len(content) // 2], content[99:]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"other\.onnx"):
            OnnxFCDD(path)
    with pytest.raises(FileNotFoundError, match=r"There is no file .*nowhere\.onnx"):
        OnnxFCDD(tmp_path / "nowhere.onnx")
    foreign = onnx.load(file)
    del foreign.metadata_props[:]
    onnx.save(foreign, path)
    with pytest.raises(ValueError, match=r"was not written by skfcdd\.export\.to_onnx"):
        OnnxFCDD(path)
    with pytest.raises(ValueError, match=r"other\.onnx is an ONNX model, but was not"):
        OnnxFCDD(path, verify=False)
    path.write_bytes(b"no model")
    with pytest.raises(ValueError, match="cannot be read as an ONNX model"):
        OnnxFCDD(path, verify=False)


@given(st.data())
def test_a_flipped_bit_or_a_cut_is_seen_before_anything_reads_it(file, data):
    """In a weight it would give other scores, in the graph it could crash a reader."""
    whole = file.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.onnx"
        damaged = bytearray(whole)
        if data.draw(st.booleans()):
            place = data.draw(st.integers(0, len(whole) - 1))
            damaged[place] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del damaged[data.draw(st.integers(0, len(whole) - 1)) :]
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"damaged\.onnx is damaged, was modified"):
            OnnxFCDD(path)


def test_a_file_that_was_changed_on_purpose(file, served, images, tmp_path):
    changed = onnx.load(file)
    changed.doc_string = "read and written by another tool"
    path = tmp_path / "changed.onnx"
    onnx.save(changed, path)
    with pytest.raises(ValueError, match=r"open it with verify=False"):
        OnnxFCDD(path)
    opened = OnnxFCDD(path, verify=False)
    assert_array_equal(opened.anomaly_score(images), served.anomaly_score(images))


def test_unknown_providers(file):
    with pytest.raises(ValueError, match=r"has no \['AbacusExecutionProvider'\]"):
        OnnxFCDD(file, providers=["AbacusExecutionProvider"])


FRESH = """
import sys, time
start = time.perf_counter()
import numpy as np
from skfcdd.onnx import OnnxFCDD
model = OnnxFCDD(sys.argv[1])
score = model.anomaly_score(np.zeros((1, 40, 48), np.uint8))[0]
elapsed = time.perf_counter() - start
loaded = {"torch", "sklearn", "skorch", "scipy", "onnx"} & set(sys.modules)
print(repr(float(score)), elapsed, sorted(loaded))
"""


def test_serving_loads_neither_torch_nor_scikit_learn(file, served):
    output = subprocess.run(
        [sys.executable, "-c", FRESH, str(file)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    score, elapsed, loaded = output.split(maxsplit=2)
    expected = served.anomaly_score(np.zeros((1, 40, 48), np.uint8))[0]
    assert_allclose(float(score), expected, rtol=1e-5)
    assert loaded.strip() == "[]"
    assert float(elapsed) < 10  # half a second on an idle machine


def test_names_of_the_package_are_found_when_asked_for():
    code = (
        "import sys, skfcdd; assert 'torch' not in sys.modules;"
        "assert set(skfcdd.__all__) <= set(dir(skfcdd));"
        "skfcdd.exceptions.ExportError;"
        "assert skfcdd.FCDDDetector.__name__ == 'FCDDDetector'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        skfcdd.nothing  # noqa: B018
    assert skfcdd.metrics is sys.modules["skfcdd.metrics"]


def test_many_threads_at_a_time(served, images):
    expected = served.anomaly_score(images)
    found = [None] * 8

    def work(k):
        for _ in range(5):
            found[k] = served.anomaly_score(images)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for scores in found:
        assert_allclose(scores, expected, rtol=1e-6)


def test_a_server_under_load(model, served, images):
    """The example's server, for some seconds, from several clients."""
    for name in ("starlette", "uvicorn", "PIL"):
        pytest.importorskip(name)
    path = ROOT / "examples" / "serve_over_http.py"
    spec = importlib.util.spec_from_file_location("serve_over_http", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    pictures = [example.as_png(image) for image in images]
    expected = model.anomaly_score(images)
    n_requests, end = 0, time.perf_counter() + 3
    with example.serving(example.make_app(served)) as port:
        while time.perf_counter() < end:
            answers, seconds = example.ask_from_threads(port, pictures, 6)
            assert [status for status, _ in answers] == [200] * len(images)
            scores = [answer["score"] for _, answer in answers]
            assert_allclose(scores, expected, rtol=1e-4)
            assert seconds.max() < 10
            n_requests += len(answers)
        wrong = [b"no picture", example.as_png(images[0][:20])]
        assert [status for status, _ in example.ask(port, wrong)[0]] == [422, 422]
        (status, answer), *_ = example.ask(port, pictures[:1])[0]
        assert status == 200  # errors of others have not stopped it
        assert answer["anomalous"] == bool(model.predict(images[:1])[0])
    assert n_requests >= 40
    assert threading.active_count() < 50


# -- torch ---------------------------------------------------------------------------


def test_exported_programs(model, images, tmp_path):
    program = to_torch_export(model, tmp_path / "model.pt2")
    for loaded in (program, torch.export.load(tmp_path / "model.pt2")):
        run = loaded.module()
        for n in (1, 2, 40):
            answers = run(torch.from_numpy(images[:n, ..., None]))
            expected = model.anomaly_score(images[:n])
            assert_allclose(answers["score"], expected, rtol=1e-4)
            assert_array_equal(answers["label"], model.predict(images[:n]))
            assert answers["heatmap"].shape == (n, 40, 48)


def test_exported_programs_without_a_map(images):
    model = quick(FCDDDetector, loss="hsc").fit(images)
    with pytest.warns(UserWarning, match="heatmaps from gradients"):
        program = to_torch_export(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers = program.module()(torch.from_numpy(images[..., None]))
    assert list(answers) == ["score", "probability", "label"]
    # On the threshold, where the scores of held-out images lie, rounding decides.
    clear = np.abs(model.anomaly_score(images) / model.threshold_ - 1) > 1e-4
    assert_array_equal(answers["label"][clear], model.predict(images)[clear])
