"""What a file must hold, what it may not, and that old files still open."""

from __future__ import annotations

import csv
import io
import json
import sys
import types
import warnings
import zipfile
from importlib.machinery import ModuleSpec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from torch import nn

from skfcdd import FCDDClassifier, FCDDDetector, FCDDSegmenter
from skfcdd.cli import main
from skfcdd.datasets import ImageFiles, load_images, make_defects
from skfcdd.exceptions import ModelFileError
from skfcdd.export import to_onnx
from skfcdd.onnx import OnnxFCDD
from skfcdd.persistence import load, read_info, save

DATA = make_defects(40, image_size=32, random_state=0)
STORED = Path(__file__).parent / "data"
ESTIMATORS = [FCDDClassifier, FCDDSegmenter, FCDDDetector]


def quick(estimator=FCDDClassifier, **params):
    defaults = {
        "max_epochs": 1,
        "random_state": 0,
        "validation_fraction": 0.1,
        "device": "cpu",
    }
    return estimator(**defaults | {"precision": "float32"} | params)


# -- how files are read --------------------------------------------------------------


def narrow_images(n=36):
    """Images of 40x90 pixels, which are not square."""
    return make_defects(n, image_size=(40, 90), random_state=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Good images of 40x90 pixels, and others beside them."""
    place, data = tmp_path_factory.mktemp("files"), narrow_images()
    for name, rows in (("good", data.target == 0), ("bad", data.target == 1)):
        (place / name).mkdir()
        for i, image in enumerate(data.images[rows]):
            Image.fromarray(image).save(place / name / f"{i:02d}.png")
    return place


def table(model, folder, capsys):
    """Rows of ``skfcdd predict``: scores and verdicts."""
    capsys.readouterr()
    assert main(["predict", str(model), str(folder), "-q"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    scores = np.array([float(row["score"]) for row in rows])
    return scores, np.array([int(row["anomalous"]) for row in rows])


@pytest.mark.parametrize("keep", [True, False])
def test_both_files_of_a_model_read_images_alike(keep, folder, tmp_path, capsys):
    model, onnx = tmp_path / "m.skfcdd", tmp_path / "m.onnx"
    arguments = ["fit", str(folder / "good"), "-o", str(model), "--size", "22"]
    keeping = ["--keep-aspect"] if keep else []
    assert main([*arguments, *keeping, "--epochs", "2", "-q"]) == 0
    assert main(["export", str(model), "-o", str(onnx)]) == 0
    scores, anomalous = table(model, folder, capsys)
    exported, called = table(onnx, folder, capsys)
    loaded = load(model)
    assert loaded.precision_ == "float64"  # as images are tiny: not in bfloat16
    assert_allclose(exported, scores, rtol=1e-4)
    clear = np.abs(scores / loaded.threshold_ - 1) > 1e-4
    assert_array_equal(called[clear], anomalous[clear])
    paths = sorted(folder.rglob("*.png"))
    expected = ImageFiles(paths, resize=(22, 22), keep_aspect=keep)
    assert_allclose(scores, loaded.anomaly_score(expected), rtol=1e-6)
    for reading in (loaded.reading_, OnnxFCDD(onnx).reading_):
        assert reading["keep_aspect"] is keep


def in_grey(folder, place):
    images = load_images(folder / "good", resize=(32, 48), keep_aspect=True).images
    options = {"resize": (32, 48), "keep_aspect": True}
    return images, options, {"mode": "auto", "page": None}


def coloured(place, pages=1):
    """Files in colour, perhaps of several pages that are not alike."""
    paths = []
    for i, image in enumerate(narrow_images(24).images):
        path = place / f"{i:02d}.tif"
        first = np.stack([image, image // 2, 255 - image], axis=-1)
        rest = [np.stack([255 - image // k] * 3, axis=-1) for k in range(2, pages + 1)]
        pictures = [Image.fromarray(np.ascontiguousarray(x)) for x in (first, *rest)]
        pictures[0].save(path, save_all=True, append_images=pictures[1:])
        paths.append(path)
    return paths


def colour_as_grey(folder, place):
    options = {"resize": (24, 32), "mode": "grey"}
    return ImageFiles(coloured(place), **options), options, {"keep_aspect": False}


def second_page(folder, place):
    options = {"resize": 32, "keep_aspect": True, "page": 1}
    images = ImageFiles(coloured(place, pages=2), **options)
    return images, options, {"mode": "auto", "n_channels": 3, "resize": (32, 32)}


@pytest.mark.parametrize("make", [in_grey, colour_as_grey, second_page])
def test_lists_of_files_are_read_as_fit_read_them(make, folder, tmp_path):
    (tmp_path / "files").mkdir()
    images, options, implied = make(folder, tmp_path / "files")
    model = quick().fit(images)
    paths = [str(path) for path in images.paths[::2]]
    same = ImageFiles(paths, **options)
    scores, verdicts = model.anomaly_score(same), model.predict(same)
    loaded = load(save(model, tmp_path / "m.skfcdd"))
    to_onnx(model, tmp_path / "m.onnx")
    served = OnnxFCDD(tmp_path / "m.onnx")
    for one in (model, loaded):
        assert_array_equal(one.anomaly_score(paths), scores)
        assert_array_equal(one.predict(paths), verdicts)
        assert_array_equal(one.explain(paths), model.explain(same))
    assert_allclose(served.anomaly_score(paths), scores, rtol=1e-4)
    clear = np.abs(scores / model.threshold_ - 1) > 1e-4
    assert_array_equal(served.predict(paths)[clear], verdicts[clear])
    for one in (model, loaded, served):
        for key, value in (options | implied).items():
            pair = (
                (value, value) if key == "resize" and isinstance(value, int) else value
            )
            found = one.reading_[key]
            assert (tuple(found) if key == "resize" else found) == pair


def test_models_of_arrays_know_of_no_files(tmp_path):
    model = quick().fit(DATA.images)
    assert model.reading_ is None
    assert load(save(model, tmp_path / "m")).reading_ is None
    to_onnx(model, tmp_path / "m.onnx")
    assert OnnxFCDD(tmp_path / "m.onnx").reading_ is None


def test_another_fit_forgets_how_files_were_read(folder):
    images = load_images(folder / "good", resize=32, keep_aspect=True).images
    model = quick().fit(images)
    assert model.reading_["keep_aspect"] is True
    assert model.fit(DATA.images).reading_ is None


# -- saved and not to be loaded ------------------------------------------------------


@pytest.mark.parametrize("base", ESTIMATORS)
def test_subclasses_are_refused_before_anything_is_written(base, tmp_path):
    class Mine(base):
        pass

    y = DATA.masks if base is FCDDSegmenter else None
    model = quick(Mine, backbone="tiny").fit(DATA.images, y)
    with pytest.raises(TypeError, match="Mine"):
        save(model, tmp_path / "m.skfcdd")
    assert not list(tmp_path.iterdir())


class FakeNet(nn.Module):
    """Gives out maps of several sizes, as feature extractors of timm do."""

    def __init__(self, n_channels, numbers):
        super().__init__()
        self.numbers = numbers
        widths = [n_channels, 4, 6, 8, 8]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )

    def forward(self, images):
        maps = []
        for layer in self.layers:
            images = layer(images).relu()
            maps.append(images)
        return [maps[number] for number in self.numbers]


@pytest.fixture
def timm_calls(monkeypatch):
    """What a stand-in for timm was asked to make."""
    calls = []

    def create_model(name, pretrained=False, in_chans=3, out_indices=(2,), **options):
        calls.append({"name": name, "pretrained": pretrained} | options)
        return FakeNet(in_chans, out_indices)

    fake = types.ModuleType("timm")
    fake.__spec__ = ModuleSpec("timm", None)
    fake.create_model = create_model
    fake.is_model = lambda name: name == "fakenet"
    fake.list_models = lambda *args, **options: ["fakenet"]
    monkeypatch.setitem(sys.modules, "timm", fake)
    return calls


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning")
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"weights": "imagenet"},
        {"weights": "imagenet", "cut": 2, "frozen": "all"},
        {"stages": (1, 2)},
    ],
)
def test_networks_of_timm_are_loaded_without_a_download(params, timm_calls, tmp_path):
    model = quick(backbone="timm:fakenet", **params).fit(DATA.images)
    assert timm_calls[0]["pretrained"] is ("weights" in params)
    path = save(model, tmp_path / "m.skfcdd")
    timm_calls.clear()
    loaded = load(path, device="cpu")
    assert [call["name"] for call in timm_calls] == ["fakenet"]
    assert timm_calls[0]["pretrained"] is False
    assert_array_equal(
        loaded.anomaly_score(DATA.images), model.anomaly_score(DATA.images)
    )
    assert loaded.backbone == "timm:fakenet"


FOREIGN = [
    "timm:hf-hub:someone/model",
    "timm:hf_hub:someone/model",
    "timm:HF-HUB:someone/model",
    "timm:local-dir:/tmp/model",
    "timm:local_dir:/tmp/model",
    "timm:../x",
    "timm:https://example.org/x",
    "timm:",
]


@pytest.mark.parametrize("name", FOREIGN)
def test_files_cannot_have_networks_fetched_from_anywhere(name, timm_calls, tmp_path):
    model = quick(backbone="timm:fakenet").fit(DATA.images)
    path = save(model, tmp_path / "m.skfcdd")
    timm_calls.clear()
    change(path, ("backbone",), lambda old: name, part=None)
    with pytest.raises(ModelFileError, match=r"backbone|timm"):
        load(path)
    assert timm_calls == []


# -- values that cannot be -----------------------------------------------------------


def change(path, names, new, part=("model", "state")):
    """Rewrite values in the description of a file, wherever they stand in it.

    `new` makes a value of the old one; `part` names where to look, None everywhere.
    """
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(members["estimator.json"])
    inner = document
    if part is not None:
        inner = next(document[name] for name in part if name in document)
    assert _change(inner, names, new) > 0, f"the file holds none of {names}"
    members["estimator.json"] = json.dumps(document).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _change(value, names, new):
    if isinstance(value, list):
        return sum(_change(item, names, new) for item in value)
    if not isinstance(value, dict):
        return 0
    n_changed = 0
    for key in value:
        if key in names:
            value[key] = new(value[key])
            n_changed += 1
        else:
            n_changed += _change(value[key], names, new)
    return n_changed


def items(*new):
    """Other items in the form of the old ones: a list, a tuple or an array."""

    def alike(old):
        if isinstance(old, dict) and "array" in old:
            return old | {"array": list(new), "shape": [len(new)]}
        if isinstance(old, dict) and "tuple" in old:
            return {"tuple": list(new)}
        return list(new)

    return alike


def just(new):
    return lambda old: new


NAN, INFINITE = {"float": "nan"}, {"float": "inf"}
THRESHOLD = ("threshold", "threshold_"), "threshold"
SCALE = ("heatmap_scale", "heatmap_scale_"), "scale"
CLASSES = ("classes", "classes_"), "class|label"
SIGN = ("anomaly_sign", "_anomaly_sign", "anomaly_sign_"), "sign"
POOLING = ("score_pooling", "_pooling"), "pooling"
CALIBRATION = ("calibration_scores", "calibration_scores_"), "calibration"
IMPOSSIBLE = {
    "threshold -1": (*THRESHOLD, just(-1.0)),
    "threshold 0": (*THRESHOLD, just(0.0)),
    "threshold NaN": (*THRESHOLD, just(NAN)),
    "threshold infinite": (*THRESHOLD, just(INFINITE)),
    "threshold as text": (*THRESHOLD, just("0.5")),
    "scale upside down": (*SCALE, items(2.0, 1.0)),
    "scale of one colour": (*SCALE, items(1.0, 1.0)),
    "scale NaN": (*SCALE, items(NAN, 1.0)),
    "three classes": (*CLASSES, items(0, 1, 2)),
    "one class": (*CLASSES, items(0)),
    "classes not in order": (*CLASSES, items(1, 0)),
    "classes alike": (*CLASSES, items(1, 1)),
    "sign 5": (*SIGN, just(5)),
    "sign 0": (*SIGN, just(0)),
    "sign as text": (*SIGN, just("1")),
    "pooling median": (*POOLING, just("median")),
    "pooling nonsense": (*POOLING, just("nonsense")),
    "pooling 0": (*POOLING, just(0)),
    "pooling 2": (*POOLING, just(2)),
    "pooling NaN": (*POOLING, just(NAN)),
    "calibration unsorted": (*CALIBRATION, items(0.3, 0.1, 0.2)),
    "calibration negative": (*CALIBRATION, items(-0.1, 0.1, 0.2)),
    "calibration NaN": (*CALIBRATION, items(0.1, 0.2, NAN)),
    "calibration infinite": (*CALIBRATION, items(0.1, 0.2, INFINITE)),
}


@pytest.fixture(scope="module")
def small():
    return quick(backbone="tiny").fit(DATA.images, DATA.target)


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_impossible_values_are_refused_by_name(case, small, tmp_path):
    names, message, new = IMPOSSIBLE[case]
    path = save(small, tmp_path / "m.skfcdd")
    change(path, names, new)
    with pytest.raises(ModelFileError, match=f"(?i){message}"):
        load(path)


# -- files of earlier versions -------------------------------------------------------

EARLIER = sorted(path.stem for path in STORED.glob("model_v*.npz"))


def test_there_are_files_of_every_kind():
    found = {(i["format"], i["class"]) for i in map(read_info, STORED.glob("*.skfcdd"))}
    expected = {(n, kind.__name__) for n in (2, 3) for kind in ESTIMATORS}
    assert found >= expected | {(1, "FCDDClassifier")}


@pytest.mark.parametrize("name", EARLIER)
def test_earlier_files_answer_as_they_did(name):
    """To rounding: other machines and other versions of torch add up otherwise."""
    model = load(STORED / f"{name}.skfcdd", device="cpu")
    with np.load(STORED / f"{name}.npz") as expected:
        scores, threshold = expected["scores"], float(expected["threshold"])
        assert model.threshold_ == pytest.approx(threshold, rel=1e-12)
        assert_allclose(model.heatmap_scale_, expected["heatmap_scale"])
        assert_array_equal(model.calibration_scores_, expected["calibration"])
        assert_allclose(model.anomaly_score(DATA.images), scores, rtol=1e-4)
        sums = model.explain(DATA.images).sum(axis=(1, 2))
        assert_allclose(sums, expected["heatmap_sums"], rtol=1e-4)
        predicted = model.predict(DATA.images)
        if isinstance(model, FCDDSegmenter):  # number of pixels in each mask
            counts = predicted.sum(axis=(1, 2)).astype(int)
            assert_allclose(counts, expected["predicted"].astype(int), atol=2)
            assert_array_equal(counts == 0, expected["predicted"] == 0)
        else:
            clear = np.abs(scores / threshold - 1) > 1e-4
            assert_array_equal(
                predicted.astype(str)[clear], expected["predicted"][clear]
            )


def test_an_earlier_region_is_still_filled_with_its_mean():
    model = load(STORED / "model_v7_region.skfcdd", device="cpu")
    assert model._fitted.module.preprocess.roi.spread == 0
    outside = np.where(model.roi_, DATA.images, 255 - DATA.images)
    assert_array_equal(model.explain(outside), model.explain(DATA.images))
    large, small = model.explain_large(DATA.images[0]), model.explain(DATA.images[:1])
    assert_allclose(large, small[0], atol=1e-3 * small.max())


def test_an_earlier_segmenter_still_drops_small_regions():
    model = load(STORED / "model_v2_segmenter.skfcdd", device="cpu")
    assert model.min_area == 5
    areas = [r.area for found in model.regions(DATA.images) for r in found]
    assert areas and min(areas) >= 5
    every = (model.explain(DATA.images) > model.threshold_).sum()
    assert model.predict(DATA.images).sum() < every


def test_an_earlier_file_says_how_images_are_read(folder, capsys):
    path = STORED / "model_v2_classifier.skfcdd"
    files = ImageFiles(sorted(folder.rglob("*.png")), resize=32, keep_aspect=True)
    expected = load(path, device="cpu").anomaly_score(files)
    assert_allclose(table(path, folder, capsys)[0], expected, rtol=1e-6)


def test_an_earlier_file_keeps_the_network_that_auto_stood_for():
    """What it saw had 64 x 64 pixels, for which another one is taken now."""
    model = load(STORED / "model_v3_classifier.skfcdd", device="cpu")
    assert model.backbone == "auto" and model.resize == 64
    assert (model.backbone_, model.weights_) == ("fcdd32_s", None)
    assert load(STORED / "model_v3_detector.skfcdd").weights_ == "given"


@pytest.mark.parametrize("name", EARLIER)
def test_earlier_files_can_be_saved_anew(name, tmp_path):
    model = load(STORED / f"{name}.skfcdd", device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load(save(model, tmp_path / "m.skfcdd"), device="cpu")
    assert_array_equal(
        again.anomaly_score(DATA.images), model.anomaly_score(DATA.images)
    )
    assert_array_equal(again.predict(DATA.images), model.predict(DATA.images))
