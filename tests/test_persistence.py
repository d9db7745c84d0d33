"""Saved models: the same answers, no code, nothing lost."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skfcdd import FCDDClassifier, FCDDDetector, FCDDSegmenter
from skfcdd.anomalies import FeatureMix, FeatureNoise
from skfcdd.backbones import make_backbone
from skfcdd.datasets import make_defects
from skfcdd.exceptions import ModelFileError, NotStoredWarning
from skfcdd.feature_cache import FeatureCache
from skfcdd.objectives import HSC, Focal
from skfcdd.persistence import load, read_info, save
from skfcdd.thresholds import FalseAlarmRate

DATA = make_defects(40, image_size=32, random_state=0)
STORED = Path(__file__).parent / "data"


def quick(estimator=FCDDClassifier, **params):
    return estimator(
        **{"max_epochs": 1, "random_state": 0, "validation_fraction": 0.1} | params
    )


@pytest.fixture(scope="module")
def model():
    return quick().fit(DATA.images, DATA.target)


@pytest.fixture
def saved(model, tmp_path):
    return save(model, tmp_path / "m.skfcdd", note="a note", metrics={"auroc": 0.5})


def same(first, second, images=DATA.images):
    assert type(first) is type(second)
    assert first.threshold_ == second.threshold_
    assert_array_equal(first.anomaly_score(images), second.anomaly_score(images))
    assert_array_equal(first.explain(images), second.explain(images))
    assert_array_equal(first.predict(images), second.predict(images))
    assert_array_equal(first.calibration_scores_, second.calibration_scores_)


CASES = {
    "labels": lambda: quick().fit(DATA.images, DATA.target),
    "normals": lambda: quick().fit(DATA.images),
    "names": lambda: quick(anomaly_label="bad").fit(
        DATA.images, np.where(DATA.target == 1, "bad", "good")
    ),
    "outliers": lambda: quick().fit(DATA.images, 1 - 2 * DATA.target),
    "segmenter": lambda: quick(FCDDSegmenter).fit(DATA.images, DATA.masks),
    "detector": lambda: quick(FCDDDetector, contamination=0.1).fit(DATA.images),
    "resize": lambda: quick(resize=(24, 28), normalize="standard").fit(DATA.images),
    "floats": lambda: quick(normalize=None).fit(DATA.images / np.float32(255)),
    "rows": lambda: quick(image_shape=(8, 8)).fit(
        DATA.images[:, ::4, ::4].reshape(40, -1)
    ),
    "colour": lambda: quick(channels="first").fit(np.stack([DATA.images] * 3, axis=1)),
    "pooling": lambda: quick(score_pooling=0.1, heatmap_sigma=2.0).fit(DATA.images),
    "rule": lambda: quick(threshold=FalseAlarmRate(0.5)).fit(DATA.images),
    "cache": lambda: quick(
        backbone="squeezenet1_1", frozen=1, cut="auto", feature_cache=FeatureCache()
    ).fit(DATA.images),
    "features": lambda: quick(
        backbone="fcdd32_s",
        frozen=1,
        synthetic=("blobs", FeatureNoise(2.0, size=1), FeatureMix(size=(0.2, 0.5))),
    ).fit(DATA.images),
    "stages": lambda: quick(backbone="resnet18", stages=[1, 2]).fit(DATA.images),
    "hsc": lambda: quick(loss=HSC(n_components=8)).fit(DATA.images),
    "focal": lambda: quick(loss=Focal(gamma=1.5), optimizer=torch.optim.SGD).fit(
        DATA.images
    ),
    "dsvdd": lambda: quick(loss="dsvdd").fit(DATA.images),
    "seed": lambda: quick(random_state=None, precision="float64").fit(DATA.images),
}


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.CollapseWarning")
@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning")
@pytest.mark.parametrize("case", CASES)
def test_a_loaded_model_answers_alike(case, tmp_path):
    model = CASES[case]()
    loaded = load(save(model, tmp_path / "m"))
    images = DATA.images
    if case == "rows":
        images = images[:, ::4, ::4].reshape(40, -1)
    elif case == "colour":
        images = np.stack([images] * 3, axis=1)
    elif case == "floats":
        images = images / np.float32(255)
    same(model, loaded, images)
    left = {"loss", "backbone", "threshold"}
    for name, value in model.get_params(deep=False).items():
        if name not in left:
            assert loaded.get_params(deep=False)[name] == value
    if hasattr(model, "classes_"):
        assert_array_equal(model.classes_, loaded.classes_)
        assert model.classes_.dtype == loaded.classes_.dtype
    assert loaded.history_[-1]["train_loss"] == model.history_[-1]["train_loss"]


def test_a_loaded_model_is_an_estimator_like_any_other(model, saved, tmp_path):
    loaded = load(saved)
    same(loaded, pickle.loads(pickle.dumps(loaded)))
    same(load(save(loaded, tmp_path / "again")), model)
    fresh = clone(loaded).fit(DATA.images, DATA.target)
    assert_array_equal(
        fresh.anomaly_score(DATA.images), model.anomaly_score(DATA.images)
    )
    before = loaded.anomaly_score(DATA.images)
    loaded.set_params(warm_start=True).fit(DATA.images, DATA.target)
    assert (loaded.anomaly_score(DATA.images) != before).any()
    loaded.calibrate(make_defects(20, image_size=32, random_state=1).images)


def test_pretrained_weights_go_along(tmp_path):
    state = make_backbone("squeezenet1_1", (64, 64, 3)).state_dict()
    images = make_defects(20, image_size=64, anomaly_fraction=0).images
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = quick(backbone="squeezenet1_1", weights=state, frozen=1, cut=1).fit(
            images
        )
    with pytest.warns(NotStoredWarning, match="weights"):
        path = save(model, tmp_path / "m")
    same(model, load(path), images)


def test_backbones_of_ones_own(tmp_path):
    def build():
        return torch.nn.Conv2d(1, 6, 5, stride=3)

    for backbone in (build, build()):
        model = quick(backbone=backbone).fit(DATA.images)
        path = save(model, tmp_path / "m")
        with pytest.raises(ModelFileError, match=r"load\(path, backbone=\.\.\.\)"):
            load(path)
        same(model, load(path, backbone=backbone))
        with pytest.raises(ModelFileError, match=r"size mismatch|Missing key"):
            load(path, backbone=torch.nn.Conv2d(1, 7, 5, stride=3))


def test_what_cannot_be_stored_is_named(tmp_path):
    exposed = DATA.images[:5]
    model = quick(outlier_exposure=exposed, callbacks=[], synthetic=own_kind)
    model.fit(DATA.images)
    with pytest.warns(
        NotStoredWarning, match="outlier_exposure, synthetic|synthetic"
    ) as w:
        path = save(model, tmp_path / "m")
    assert len(w) == 1
    loaded = load(path)
    assert loaded.outlier_exposure is not None or loaded.synthetic == "mixed"
    same(model, loaded)


def own_kind(images, generator):
    masks = torch.ones_like(images[:, :1], dtype=torch.bool)
    return 1 - images, masks


def test_an_own_rule_is_refused_before_anything_is_written(tmp_path):
    from skfcdd.thresholds import Threshold

    class Mine(Threshold):
        def choose(self, normal, anomalous, weights):
            return 0.5

    model = quick(threshold=Mine()).fit(DATA.images)
    with pytest.raises(TypeError, match=r"custom code.*joblib"):
        save(model, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_info(model, saved):
    info = read_info(saved)
    assert info["class"] == "FCDDClassifier" and info["format"] == 8
    assert info["note"] == "a note" and info["metrics"] == {"auroc": 0.5}
    assert info["versions"]["torch"] == torch.__version__.split("+")[0]
    numbers = model.net_.module_.state_dict().values()
    assert info["n_numbers"] == sum(value.numel() for value in numbers)


def test_not_fitted(tmp_path):
    with pytest.raises(NotFittedError):
        save(FCDDClassifier(), tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_older_file(model, saved, monkeypatch):
    before = saved.read_bytes()
    monkeypatch.setattr("os.replace", raise_disk_full)
    with pytest.raises(OSError, match="No space left"):
        save(model, saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == ["m.skfcdd"]
    with pytest.raises(FileNotFoundError):
        save(model, saved.parent / "no folder" / "m")


def raise_disk_full(*args):
    raise OSError(28, "No space left on device")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load(tmp_path / "m")


def test_no_such_device(saved):
    with pytest.raises((ModelFileError, ValueError), match=r"cuda|device"):
        load(saved, device="cuda:77")


def rewritten(path, change=None, numbers=None, method=zipfile.ZIP_STORED):
    """The file with another document or other numbers."""
    with zipfile.ZipFile(path) as archive:
        document = json.loads(archive.read("estimator.json"))
        data = archive.read("network.safetensors")
    if change is not None:
        change(document)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("estimator.json", json.dumps(document))
        archive.writestr("network.safetensors", numbers or data, method)
    return path


HOSTILE = {
    "newer": (lambda d: d.update(format=9), "format 9, .*Install a newer"),
    "class": (lambda d: d.update({"class": "os.system"}), "not an estimator of skfcdd"),
    "checkpoint": (
        lambda d: d["parameters"].update(checkpoint="/somewhere"),
        r"unknown parameters \['checkpoint'\]",
    ),
    "parameter": (lambda d: d["parameters"].update(evil=1), "unknown parameters"),
    "state": (lambda d: d["state"].update(__class__="x"), "unknown state '__class__'"),
    "method": (lambda d: d["state"].update(predict=1), "unknown state 'predict'"),
    "object": (
        lambda d: d["parameters"].update(loss={"object": "Popen", "fields": {}}),
        "Popen",
    ),
    "callable": (lambda d: d["parameters"].update(loss={"class": "eval"}), "eval"),
    "kind": (
        lambda d: d["parameters"].update(loss={"py/reduce": 1}),
        "unknown kind of value",
    ),
    "array": (
        lambda d: d["model"]["convention"].update(
            classes={"array": [{"dict": {}}], "dtype": "O", "shape": [1]}
        ),
        "array of objects",
    ),
    "shape": (
        lambda d: d["model"]["images"].update(shape={"tuple": [10**9, 10**9, 1]}),
        "invalid image shape",
    ),
    "size": (
        lambda d: d["model"]["images"].update(shape={"tuple": [4000, 4000, 1]}),
        "upsample.rows",
    ),
    "threshold": (
        lambda d: d["model"].update(threshold={"float": "nan"}),
        "invalid threshold: nan",
    ),
    "scale": (
        lambda d: d["model"].update(heatmap_scale={"tuple": [1.0, 1.0]}),
        r"invalid heatmap scale: \(1.0, 1.0\)",
    ),
    "backbone": (
        lambda d: d["model"]["network"].update(backbone="nonsense"),
        "nonsense",
    ),
    "other backbone": (
        lambda d: d["model"]["network"].update(backbone="fcdd28"),
        "restore",
    ),
    "weights": (
        lambda d: d["model"]["network"].update(weights="https://somewhere/net.pth"),
        "has invalid weights 'https://somewhere",
    ),
    "lr": (lambda d: d["parameters"].update(lr=-1), "lr"),
    "missing": (lambda d: d.pop("state"), r"lacks the entries \['state'\]"),
    "no model": (lambda d: d.pop("model"), r"lacks the entries \['model'\]"),
    "no shape": (lambda d: d["model"]["images"].pop("shape"), "restore"),
    "format": (lambda d: d.update(format="1"), "does not state its format"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_documents(case, saved):
    change, message = HOSTILE[case]
    with pytest.raises(ModelFileError, match=message):
        load(rewritten(saved, change))


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("code of the file was run",))


def test_pickles_are_never_opened(saved, tmp_path):
    for data in (pickle.dumps(Bomb()), torch_file(Bomb())):
        with pytest.raises(ModelFileError, match="damaged"):
            load(rewritten(saved, numbers=data))
        plain = tmp_path / "plain"
        plain.write_bytes(data)
        with pytest.raises(ModelFileError, match=r"damaged|not a model"):
            load(plain)


def torch_file(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def test_bombs_and_strange_members(saved, monkeypatch):
    zeros = bytes(1 << 20)
    with pytest.raises(ModelFileError, match="rejected"):
        load(rewritten(saved, numbers=zeros, method=zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(saved, "w") as archive:
        archive.writestr("../../evil", "x")
    with pytest.raises(ModelFileError, match="expected the members"):
        load(saved)
    assert not (saved.parent.parent.parent / "evil").exists()


def test_broken_numbers(model, saved):
    from safetensors.torch import save as to_bytes

    numbers = {
        name: value.clone(memory_format=torch.contiguous_format)
        for name, value in model.net_.module_.state_dict().items()
    }
    numbers["objective.head.bias"][:] = float("nan")
    with pytest.raises(
        ModelFileError, match=r"NaN or infinity in objective\.head\.bias"
    ):
        load(rewritten(saved, numbers=to_bytes(numbers)))
    del numbers["objective.head.bias"]
    with pytest.raises(ModelFileError, match=r"head\.bias"):
        load(rewritten(saved, numbers=to_bytes(numbers)))


@pytest.fixture(scope="module")
def one_saved(model, tmp_path_factory):
    return save(model, tmp_path_factory.mktemp("saved") / "m.skfcdd")


@given(st.data())
def test_damaged_files(one_saved, data):
    """Cut off or with a flipped bit, a file is refused or the model is whole."""
    whole = one_saved.read_bytes()
    damaged = bytearray(whole)
    cut = data.draw(st.booleans())
    if cut:
        del damaged[data.draw(st.integers(0, len(whole) - 1)) :]
    else:
        place = data.draw(st.integers(0, len(whole) - 1))
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged"
        path.write_bytes(damaged)
        try:
            loaded = load(path)
        except ModelFileError:
            return
    assert not cut
    same(loaded, load(one_saved))


def test_files_of_every_format(tmp_path):
    """Models that were written by earlier versions give the scores of then."""
    files = sorted(STORED.glob("model_v*.skfcdd"))
    assert files
    for path in files:
        loaded = load(path)
        expected = read_info(path)["metrics"]
        scores = loaded.anomaly_score(DATA.images)
        assert scores.mean() == pytest.approx(expected["mean_score"], rel=1e-4)
        assert loaded.threshold_ == pytest.approx(expected["threshold"])
        if "low" in expected:
            assert loaded.heatmap_scale_[0] == pytest.approx(expected["low"])


def test_in_another_process(model, saved):
    code = (
        "import sys; from skfcdd.persistence import load;"
        "from skfcdd.datasets import make_defects;"
        "X = make_defects(40, image_size=32, random_state=0).images;"
        "print(repr(load(sys.argv[1]).anomaly_score(X).sum()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(saved)],
        capture_output=True,
        text=True,
        check=True,
    )
    total = float(result.stdout.split("(")[-1].rstrip(")\n"))
    assert total == pytest.approx(model.anomaly_score(DATA.images).sum(), rel=1e-5)


def test_joblib_and_skops(model, tmp_path):
    joblib.dump(model, tmp_path / "m.joblib")
    same(model, joblib.load(tmp_path / "m.joblib"))
    sio = pytest.importorskip("skops.io")
    sio.dump(model, tmp_path / "m.skops")
    unknown = sio.get_untrusted_types(file=tmp_path / "m.skops")
    same(model, sio.load(tmp_path / "m.skops", trusted=unknown))


def test_scale_of_heatmaps_is_kept(model, saved):
    assert load(saved).heatmap_scale_ == model.heatmap_scale_
    low, high = load(STORED / "model_v1.skfcdd").heatmap_scale_
    assert 0 < low < high
