"""Devices that are missing, lost or full; a module that fails stands for them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from _small import make_images, quick
from numpy.testing import assert_allclose, assert_array_equal

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
    with pytest.raises(ValueError, match=rf"device='{name}'.*'cpu' or 'auto'"):
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
