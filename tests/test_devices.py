"""Devices that are missing, lost or full; a module that fails stands for them."""

from __future__ import annotations

import copy
import functools
import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from _small import make_images, quick
from numpy.testing import assert_allclose, assert_array_equal
from torch._dynamo.testing import CompileCounter

from skfcdd._inputs.images import ImageArray
from skfcdd._utils.random import on_host
from skfcdd.anomalies import confetti
from skfcdd.exceptions import OutOfMemoryWarning
from skfcdd.persistence import load, save

IMAGES, Y, _ = make_images(40, n_anomalous=12)


class Failing(torch.nn.Module):
    """A network whose device fails at some call of it in training."""

    def __init__(self, at, error):
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 8, 5, stride=2)
        self.at, self.error, self.n_calls = at, error, 0

    def forward(self, x):
        self.n_calls += self.training
        if self.n_calls == self.at:
            raise self.error
        return self.layer(x)


@pytest.mark.parametrize("name", ["cuda", "cuda:7", "mps", "nonsense"])
def test_a_device_that_is_not_there(name):
    if name.startswith("cuda") and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    model = quick().fit(IMAGES, Y)
    scores = model.anomaly_score(IMAGES)
    with pytest.raises(ValueError, match=rf"device='{name}'.*'auto'.*'cpu'"):
        model.set_params(device=name).fit(IMAGES, Y)
    assert_array_equal(model.anomaly_score(IMAGES), scores)


@pytest.mark.parametrize("at", [1, 3])
def test_a_device_that_is_lost_in_training(at, tmp_path):
    error = RuntimeError("CUDA error: device-side assert triggered")
    model = quick(checkpoint=tmp_path / "training").fit(IMAGES, Y)
    scores = model.anomaly_score(IMAGES)
    backbone = Failing(at, error)
    with pytest.raises(RuntimeError, match=r"device-side assert"):
        model.set_params(backbone=backbone).fit(IMAGES, Y)
    assert_array_equal(model.anomaly_score(IMAGES), scores)
    # The module of the user has been left alone: the network was a copy.
    assert backbone.n_calls == 0


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning")
def test_a_device_that_is_full_takes_smaller_batches():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
    with pytest.warns(OutOfMemoryWarning, match=r"ran out of memory"):
        model = quick(backbone=Failing(2, error)).fit(IMAGES, Y)
    assert np.isfinite(model.anomaly_score(IMAGES)).all()


def test_a_model_goes_from_device_to_device(tmp_path):
    """Numbers are stored without a place; scores are those of before."""
    model = quick().fit(IMAGES, Y)
    scores = model.anomaly_score(IMAGES)
    path = save(model, tmp_path / "m.skfcdd")
    devices = ["cpu", "auto"] + (["cuda"] if torch.cuda.is_available() else [])
    for device in devices:
        assert_allclose(
            load(path, device=device).anomaly_score(IMAGES), scores, rtol=1e-2
        )
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_array_equal(copied.anomaly_score(IMAGES), scores)


@pytest.mark.nightly
def test_every_fit_of_a_process_is_compiled(monkeypatch):
    """torch allows a network so many compilations, not all networks together."""
    counter = CompileCounter()
    compile_with = functools.partial(torch.compile, backend=counter)
    monkeypatch.setattr(torch, "compile", compile_with)
    counts = []
    for _ in range(4):
        before = counter.frame_count
        model = quick(compile=True, max_epochs=1).fit(IMAGES, Y)
        model.anomaly_score(IMAGES[:5])
        counts.append(counter.frame_count - before)
    assert min(counts) > 0
    assert_array_equal(
        quick(max_epochs=1).fit(IMAGES, Y).anomaly_score(IMAGES[:5]),
        model.anomaly_score(IMAGES[:5]),
    )


def test_no_other_device_is_seeded(monkeypatch):
    """A training on the CPU leaves the chance of all GPUs as it is."""
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    monkeypatch.setattr(torch.cuda, "manual_seed", seeded.append)
    quick().fit(IMAGES, Y).anomaly_score(IMAGES)
    assert seeded == []


class OnDevice:
    """Stands for a generator on a GPU, which tells its offset without waiting."""

    device = torch.device("cuda")

    def __init__(self, seed, offset=0):
        self.seed, self.offset = seed, offset

    def initial_seed(self):
        return self.seed

    def get_offset(self):
        return self.offset

    def set_offset(self, offset):
        self.offset = offset


def test_numbers_for_python_follow_the_chance_of_the_device():
    def draws(generator):
        return [
            int(torch.randint(2**60, (1,), generator=on_host(generator)))
            for _ in range(2)
        ]

    first = draws(OnDevice(3))
    assert first == draws(OnDevice(3))
    assert first[0] != first[1]
    assert draws(OnDevice(3, offset=4))[0] == first[1]
    assert draws(OnDevice(4)) != first
    own = torch.Generator()
    assert on_host(own) is own


def test_resident_images_are_those_of_the_file(tmp_path):
    values = np.random.RandomState(0).randint(0, 255, (50, 9, 7, 3), dtype=np.uint8)
    values.tofile(tmp_path / "images")
    stored = np.memmap(tmp_path / "images", np.uint8, "r", shape=values.shape)
    kept = ImageArray(stored).resident("cpu", free=10**9)
    assert isinstance(kept.data, torch.Tensor)
    rows = np.array([3, 49, 0])
    assert_array_equal(kept.take(rows), ImageArray(stored).take(rows))
    assert ImageArray(stored).resident("cpu", free=10_000).data is stored
    # The meta device knows where tensors are, but not their values.
    assert ImageArray(stored).resident("meta", free=10**9).data.device.type == "meta"


def test_a_file_is_not_read_as_a_whole_to_be_resident(tmp_path):
    shape = (256, 1024, 1024, 1)
    np.memmap(tmp_path / "images", np.uint8, "w+", shape=shape).flush()
    stored = np.memmap(tmp_path / "images", np.uint8, "r", shape=shape)
    tracemalloc.start()  # NumPy tells it what it allocates
    try:
        ImageArray(stored).resident("meta", free=10**9)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < stored.nbytes / 4


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.OutOfMemoryWarning")
def test_anomalies_are_planted_by_as_many_as_fit():
    """Memory may end where batches are made as well."""
    sizes = []

    def plant(images, generator):
        sizes.append(len(images))
        if len(images) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return confetti(images, generator)

    model = quick(synthetic=plant, max_epochs=2).fit(IMAGES)
    assert np.isfinite(model.anomaly_score(IMAGES)).all()
    # What does not fit is found out once.
    assert max(sizes[len(sizes) // 2 :]) <= 3
