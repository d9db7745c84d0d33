"""What one thread does shows in no other, and global state is left as found."""

from __future__ import annotations

import copy
import random
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from skfcdd import FCDDClassifier
from skfcdd.backbones import make_backbone
from skfcdd.datasets import make_defects
from skfcdd.export import to_onnx, to_torch_export
from skfcdd.onnx import OnnxFCDD
from skfcdd.persistence import load, save
from skfcdd.receptive_field import measure_receptive_field

DATA = make_defects(40, image_size=32, random_state=0)
GOOD = DATA.images[DATA.target == 0]


def quick(**params):
    defaults = {
        "max_epochs": 1,
        "random_state": 0,
        "validation_fraction": 0.1,
        "device": "cpu",
    }
    return FCDDClassifier(**defaults | params)


# -- one thread and another ----------------------------------------------------------


class Slow(nn.Module):
    """Takes its time, as a large network does."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 5, stride=2, padding=2)

    def forward(self, images):
        time.sleep(0.001)
        return self.conv(images)


def watched(work, look, n=1):
    """What `look` sees in this thread while `n` other threads do `work`."""
    seen = []
    with ThreadPoolExecutor(n) as pool:
        jobs = [pool.submit(work) for _ in range(n)]
        while not all(job.done() for job in jobs):
            seen.append(look())
            time.sleep(0)
    return seen, [job.result() for job in jobs]


@pytest.fixture
def onednn():
    """oneDNN is on, and is again behind a test that fails."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no oneDNN")
    assert torch.backends.mkldnn.enabled
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.mkldnn.set_flags(True)


@pytest.mark.parametrize("n", [1, 3])
def test_measuring_fields_leaves_onednn_on(n, onednn):
    slow = Slow()

    def work():
        return measure_receptive_field(slow, (32, 32), 1)

    seen, fields = watched(work, lambda: torch.backends.mkldnn.enabled, n)
    assert len(seen) > 10
    assert all(seen), f"off in {seen.count(False)} of {len(seen)} looks"
    assert torch.backends.mkldnn.enabled
    for field in fields:
        assert field.extent == (5, 5) and field.stride == (2, 2)
        assert field.offset == (0, 0)


def test_measuring_fields_changes_no_score_of_another_thread(onednn):
    model = quick(precision="float32").fit(GOOD)
    expected = model.anomaly_score(DATA.images)
    slow = Slow()
    seen, _ = watched(
        lambda: [measure_receptive_field(slow, (32, 32), 1) for _ in range(3)],
        lambda: model.anomaly_score(DATA.images),
    )
    other = sum(not np.array_equal(scores, expected) for scores in seen)
    assert len(seen) > 3 and other == 0, f"{other} of {len(seen)} differ"


def test_exporting_leaves_the_precision_to_other_threads(tmp_path):
    model = quick(precision="bfloat16").fit(GOOD)
    begun = threading.Barrier(2)

    def work():
        begun.wait()
        return to_onnx(model, tmp_path / "m.onnx", X=DATA.images)

    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(work)
        begun.wait()
        seen = []
        while not job.done():
            seen.append(model.net_.precision)
            time.sleep(0)
        report = job.result()
    assert len(seen) > 10
    assert set(seen) == {"bfloat16"}
    assert report.bfloat16_difference is not None
    assert model.precision_ == model.net_.precision == "bfloat16"


def test_exporting_changes_no_score_of_another_thread(tmp_path):
    """Scores in bfloat16 and in float32, which are compared, differ by 0.003.

    While torch traces, it adds up otherwise in all threads, by up to 0.000001.
    """
    many = np.tile(DATA.images, (8, 1, 1))
    model = quick(precision="bfloat16").fit(GOOD)
    expected = model.anomaly_score(DATA.images)
    seen, _ = watched(
        lambda: to_onnx(model, tmp_path / "m.onnx", X=many),
        lambda: model.anomaly_score(DATA.images),
    )
    other = sum(not np.allclose(s, expected, rtol=1e-4, atol=0) for s in seen)
    assert len(seen) > 3 and other == 0, f"{other} of {len(seen)} differ"


# -- the generators of others --------------------------------------------------------


class Noisy(nn.Module):
    """Draws while it is evaluated, which shows in no answer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)

    def forward(self, images):
        cells = self.conv(images)
        return cells + 0 * torch.rand_like(cells)


def states():
    """Where the global generators of torch, NumPy and Python stand."""
    name, key, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": [name, key.tolist(), *rest],
        "python": random.getstate(),
    }


NETWORKS = {"ours": None, "theirs": Noisy}


@pytest.fixture(scope="module", params=NETWORKS)
def stored(request, tmp_path_factory):
    """A model by name or with a module of the user, in memory and as files."""
    folder = tmp_path_factory.mktemp("models")
    own = NETWORKS[request.param]
    module = None if own is None else own()
    params = {} if module is None else {"backbone": module}
    model = quick(precision="float32", **params).fit(GOOD)
    path = save(model, folder / "m.skfcdd")
    to_onnx(model, folder / "m.onnx", X=GOOD)
    return model, module, path, folder


MADE = nn.Conv2d(1, 2, 3)
OTHERS = make_defects(20, image_size=32, anomaly_fraction=0, random_state=1)
FRESH = OTHERS.images

WORK = {
    "fit": lambda s: type(s[0])(**s[0].get_params(deep=False)).fit(GOOD),
    "anomaly_score": lambda s: s[0].anomaly_score(DATA.images),
    "predict": lambda s: s[0].predict(DATA.images),
    "predict_proba": lambda s: s[0].predict_proba(DATA.images),
    "explain": lambda s: s[0].explain(DATA.images),
    "explain_large": lambda s: s[0].explain_large(
        np.tile(DATA.images[0], (2, 2)), tile_size=32
    ),
    "calibrate": lambda s: copy.deepcopy(s[0]).calibrate(FRESH),
    "save": lambda s: save(s[0], s[3] / "again.skfcdd"),
    "load": lambda s: load(s[2], backbone=s[1]),
    "load, made anew": lambda s: load(s[2], backbone=None if s[1] is None else Noisy),
    "to_onnx": lambda s: to_onnx(s[0], s[3] / "again.onnx"),
    "to_onnx, images": lambda s: to_onnx(s[0], s[3] / "again.onnx", X=GOOD),
    "to_onnx, any size": lambda s: to_onnx(
        s[0], s[3] / "again.onnx", dynamic_size=True
    ),
    "to_torch_export": lambda s: to_torch_export(s[0]),
    "OnnxFCDD": lambda s: OnnxFCDD(s[3] / "m.onnx").predict(DATA.images),
    # By name, it would draw the weights, as making any module of torch does.
    "make_backbone": lambda s: make_backbone(s[1] or MADE, (32, 32, 1)),
    "make_backbone, callable": lambda s: make_backbone(
        lambda: s[1] or MADE, (32, 32, 1)
    ),
    "measure_receptive_field": lambda s: measure_receptive_field(
        s[0].net_.module_.backbone, (32, 32), 1
    ),
}


@pytest.mark.parametrize("work", WORK)
def test_the_generators_of_others_are_left_as_found(work, stored):
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    before = states()
    WORK[work](stored)
    after = states()
    assert [name for name in before if before[name] != after[name]] == []


def test_noise_of_the_caller_in_another_thread_does_not_matter(stored):
    """Someone else may draw at any time; answers are those of before."""
    model = stored[0]
    expected = model.anomaly_score(DATA.images)
    stop = threading.Event()

    def draw():
        while not stop.is_set():
            torch.rand(3)
            np.random.rand(3)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        for _ in range(3):
            assert_allclose(model.anomaly_score(DATA.images), expected, rtol=1e-6)
    finally:
        stop.set()
        thread.join()
