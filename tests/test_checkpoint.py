"""A training that is broken off goes on to the same bits."""

from __future__ import annotations

import ast
import copy
import errno
import functools
import os
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from _small import make_images, quick
from numpy.testing import assert_array_equal
from PIL import Image
from skorch.callbacks import Callback, LRScheduler

from skfcdd.anomalies import confetti
from skfcdd.datasets import ImageFiles
from skfcdd.exceptions import CheckpointError, DivergedTrainingWarning
from skfcdd.feature_cache import FeatureCache
from skfcdd.objectives import Focal
from skfcdd.persistence import load, read_info, save

IMAGES, Y, MASKS = make_images(40, n_anomalous=12)


class PowerCut(Exception):
    pass


class Cut(Callback):
    """The end of everything in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, training, **kwargs):
        if len(net.history) == self.epoch and training:
            raise PowerCut


class Dropping(torch.nn.Module):
    """A network that draws by itself while it is trained."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 8, 3, padding=1),
            torch.nn.BatchNorm2d(8),
            torch.nn.ReLU(),
            torch.nn.Dropout2d(0.3),
            torch.nn.Conv2d(8, 8, 3, padding=1),
        )

    def forward(self, x):
        return self.layers(x)


CASES = {
    "defaults": {},
    "stopping early": {"early_stopping": True, "max_epochs": 8},
    "dropout": {"backbone": Dropping},
    "schedule": {
        "optimizer": "sgd",
        "lr_schedule": LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=2),
    },
    "plateau": {
        "lr_schedule": LRScheduler(
            "ReduceLROnPlateau", monitor="train_loss", patience=0
        ),
    },
    "cosine": {"lr_schedule": "cosine", "optimizer": "adam"},
    "dsvdd": {"loss": "dsvdd"},
    "no seed": {"random_state": None},
    "cached features": {
        "backbone": "squeezenet1_1",
        "frozen": 1,
        "cut": 1,
        "feature_cache": FeatureCache(refresh=0.5),
    },
    "anomalies of features": {
        "backbone": "fcdd32_s",
        "frozen": 1,
        "synthetic": ("blobs", "feature_noise", "feature_mix"),
    },
    "anomalies of features that are not kept": {
        "backbone": "fcdd32_s",
        "frozen": 1,
        "feature_cache": None,
        "early_stopping": True,
        "max_epochs": 8,
        "synthetic": ("blobs", "feature_noise", "feature_mix"),
    },
}


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.CollapseWarning")
@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning")
@pytest.mark.parametrize("case", CASES)
def test_goes_on_to_the_same_bits(case, tmp_path):
    params = {"max_epochs": 5} | CASES[case]
    path = tmp_path / "training"
    for epoch in (2, 4):
        with pytest.raises(PowerCut):
            quick(**params, checkpoint=path, callbacks=[Cut(epoch)]).fit(IMAGES, Y)
        assert path.exists()
        if case == "no seed":
            params["random_state"] = None
    model = quick(**params, checkpoint=path).fit(IMAGES, Y)
    assert not path.exists()
    if case == "no seed":
        assert len(model.history_) == 5
        return
    plain = quick(**params).fit(IMAGES, Y)
    state, expected = (m.net_.module_.state_dict() for m in (model, plain))
    for name, value in expected.items():
        assert torch.equal(state[name], value), name
    assert_array_equal(model.anomaly_score(IMAGES), plain.anomaly_score(IMAGES))
    assert_array_equal(model.explain(IMAGES), plain.explain(IMAGES))
    assert model.threshold_ == plain.threshold_
    for row, other in zip(model.history_, plain.history_, strict=True):
        assert {**row, "dur": 0} == {**other, "dur": 0}


def broken_off(path, epoch=3, **params):
    with pytest.raises(PowerCut):
        quick(max_epochs=5, checkpoint=path, callbacks=[Cut(epoch)], **params).fit(
            IMAGES, Y
        )


def test_refuses_another_training(tmp_path):
    path = tmp_path / "training"
    broken_off(path)
    other = IMAGES.copy()
    other[0] += 1
    for params, X, y in (
        ({"lr": 1e-2}, IMAGES, Y),
        ({"synthetic": "confetti"}, IMAGES, Y),
        ({}, other, Y),
        ({}, IMAGES, np.roll(Y, 1)),
        ({}, IMAGES[:-1], Y[:-1]),
    ):
        model = quick(**{"max_epochs": 5, "checkpoint": path} | params)
        with pytest.raises(CheckpointError, match=r"a different fit.*delete"):
            model.fit(X, y)
    # What does not matter to the network may change.
    quick(max_epochs=5, checkpoint=path, threshold=1.0, verbose=0).fit(IMAGES, Y)


def planter(share):
    return lambda images, generator: blend(images, generator, share)


def blend(images, generator, share):
    changed, masks = confetti(images, generator)
    return torch.lerp(images, changed, share), masks


def outside(seed):
    rng = np.random.RandomState(seed)
    return rng.randint(0, 255, (20, *IMAGES.shape[1:]), dtype=np.uint8)


def layers(seed, n_channels=8):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.nn.Conv2d(1, n_channels, 5, stride=2)


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("loss", Focal(1.0), Focal(5.0)),
        ("outlier_exposure", outside(0), outside(1)),
        ("synthetic", planter(0.9), planter(0.3)),
        (
            "synthetic",
            functools.partial(blend, share=1),
            functools.partial(blend, share=2),
        ),
        ("backbone", layers(0), layers(1)),
        ("backbone", layers(0), layers(0, 12)),
        (
            "skorch_params",
            {"optimizer__betas": (0.9, 0.99)},
            {"optimizer__betas": (0.8, 0.99)},
        ),
        (
            "lr_schedule",
            LRScheduler("StepLR", step_size=2),
            LRScheduler("StepLR", step_size=3),
        ),
    ],
)
def test_refuses_objects_of_other_content(name, one, other, tmp_path):
    path = tmp_path / "training"
    broken_off(path, **{name: one})
    again = {"max_epochs": 5, "checkpoint": path}
    with pytest.raises(CheckpointError, match=r"a different fit"):
        quick(**again, **{name: other}).fit(IMAGES, Y)
    # The same in another object, as another process makes it.
    model = quick(**again, **{name: copy.deepcopy(one)}).fit(IMAGES, Y)
    assert len(model.history_) == 5


TOLD = """
import functools, sys
import numpy as np, torch
from skfcdd._engine.fingerprint import _told
from skfcdd.objectives import Focal

class Slotted:
    __slots__ = ("number",)
    def __init__(self, number):
        self.number = number

def make(share):
    itself = {}
    def plant(images, generator):
        known = images.dtype in {torch.float32, torch.float64} or "a" in {"a", "b"}
        return torch.lerp(images, np.sin(images), share if known else len(itself))
    itself["again"] = plant
    return plant

torch.manual_seed(0)
one = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Conv2d(2, 2, 3))
print([_told(x) for x in (
    make(0.5), make(0.6), {"a", "b", "c"}, np.float64(1e-3), 1e-3, one, Focal(2.0),
    Slotted(1), Slotted(2), torch.float32, b"bytes", functools.partial(make, 1), torch,
)])
"""


def test_refuses_exposed_images_of_other_files(tmp_path):
    path = tmp_path / "training"
    files = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        for i, image in enumerate(outside(seed)):
            Image.fromarray(image).save(folder / f"{i:02d}.png")
        files.append(sorted(folder.glob("*.png")))
    broken_off(path, outlier_exposure=ImageFiles(files[0]))
    again = {"max_epochs": 5, "checkpoint": path}
    with pytest.raises(CheckpointError, match=r"a different fit"):
        quick(**again, outlier_exposure=ImageFiles(files[1])).fit(IMAGES, Y)
    quick(**again, outlier_exposure=ImageFiles(files[0])).fit(IMAGES, Y)


def test_objects_are_told_alike_in_all_processes():
    told = []
    for seed in ("1", "2"):
        result = subprocess.run(
            [sys.executable, "-c", TOLD],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        told.append(result.stdout)
    assert told[0] == told[1]
    assert " object at 0x" not in told[0]
    one, other, _, number, same, *_, first, second = ast.literal_eval(told[0])[:9]
    assert one != other and number == same and first != second


def test_goes_on_from_the_network_that_it_was_begun_with(tmp_path):
    path = tmp_path / "training"
    params = {"max_epochs": 5, "warm_start": True}
    first = quick(max_epochs=2).fit(IMAGES, Y)
    other = quick(max_epochs=2).fit(IMAGES[::-1], Y[::-1])
    plain = copy.deepcopy(first).set_params(**params).fit(IMAGES, Y)
    cut = copy.deepcopy(first).set_params(checkpoint=path, callbacks=[Cut(3)], **params)
    with pytest.raises(PowerCut):
        cut.fit(IMAGES, Y)
    for model in (other, quick()):
        with pytest.raises(CheckpointError, match="a different fit"):
            model.set_params(checkpoint=path, **params).fit(IMAGES, Y)
    first.set_params(checkpoint=path, **params).fit(IMAGES, Y)
    assert_array_equal(first.anomaly_score(IMAGES), plain.anomaly_score(IMAGES))


def test_refuses_what_is_no_checkpoint(tmp_path):
    path = tmp_path / "training"
    broken_off(path)
    whole = path.read_bytes()
    for content in (b"", b"nothing", whole[:-100], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"damaged|no checkpoint"):
            quick(max_epochs=5, checkpoint=path).fit(IMAGES, Y)
        assert path.read_bytes() == content

    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("code of the file was run",))

    torch.save({"format": 1, "fingerprint": Bomb()}, path)
    with pytest.raises(CheckpointError, match=r"damaged"):
        quick(checkpoint=path).fit(IMAGES, Y)


def test_says_at_once_where_it_cannot_write(tmp_path):
    for path in (tmp_path / "missing" / "training", tmp_path):
        with pytest.raises(OSError, match=r"checkpoint .*could not be written"):
            quick(checkpoint=path).fit(IMAGES, Y)
    with pytest.raises(ValueError, match=r"accelerate"):
        quick(checkpoint=tmp_path / "a", accelerate=True).fit(IMAGES, Y)


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "training"
    broken_off(path, epoch=2)
    good = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("skfcdd._engine.checkpoint.os.fsync", full)
        with pytest.raises(
            OSError, match=r"No space left.*epoch 2.*previous checkpoint is intact"
        ) as info:
            quick(max_epochs=5, checkpoint=path).fit(IMAGES, Y)
    assert info.value.errno == errno.ENOSPC
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]
    model = quick(max_epochs=5, checkpoint=path).fit(IMAGES, Y)
    plain = quick(max_epochs=5).fit(IMAGES, Y)
    assert_array_equal(model.anomaly_score(IMAGES), plain.anomaly_score(IMAGES))


def test_an_interrupted_training_keeps_its_checkpoint(tmp_path):
    path = tmp_path / "training"

    class Interrupt(Cut):
        def on_batch_end(self, net, training, **kwargs):
            if len(net.history) == self.epoch:
                raise KeyboardInterrupt

    with pytest.warns(UserWarning, match=r"epoch 3 of 5.*calling fit again resumes"):
        quick(max_epochs=5, checkpoint=path, callbacks=[Interrupt(3)]).fit(IMAGES, Y)
    model = quick(max_epochs=5, checkpoint=path).fit(IMAGES, Y)
    plain = quick(max_epochs=5).fit(IMAGES, Y)
    assert_array_equal(model.anomaly_score(IMAGES), plain.anomaly_score(IMAGES))


def test_saved_models_name_no_checkpoint(tmp_path):
    model = quick(checkpoint=tmp_path / "training").fit(IMAGES)
    path = save(model, tmp_path / "m.skfcdd")
    assert "checkpoint" not in read_info(path)["parameters"]
    assert load(path).checkpoint is None


class Explode(Callback):
    """Spoils the weights within an epoch."""

    def on_batch_begin(self, net, training, **kwargs):
        if len(net.history) == 7:
            with torch.no_grad():
                next(net.module_.parameters()).fill_(torch.nan)


def test_a_training_that_diverges_keeps_the_best_weights():
    params = {"lr_schedule": None, "lr": 5e-3}
    model = quick(max_epochs=9, callbacks=[Explode()], **params)
    with pytest.warns(DivergedTrainingWarning, match=r"epoch 7 of 9.*lower lr"):
        model.fit(IMAGES, Y)
    assert len(model.history_) == 6
    best = int(np.argmin([row["train_loss"] for row in model.history_])) + 1
    plain = quick(max_epochs=best, **params).fit(IMAGES, Y)
    assert_array_equal(model.anomaly_score(IMAGES), plain.anomaly_score(IMAGES))


def test_best_weights_survive_a_power_cut(tmp_path):
    params = {"max_epochs": 9, "lr_schedule": None, "lr": 5e-3}
    path = tmp_path / "training"
    with pytest.warns(DivergedTrainingWarning):
        plain = quick(callbacks=[Explode()], **params).fit(IMAGES, Y)
    with pytest.raises(PowerCut):
        quick(checkpoint=path, callbacks=[Cut(7)], **params).fit(IMAGES, Y)
    with pytest.warns(DivergedTrainingWarning):
        model = quick(checkpoint=path, callbacks=[Explode()], **params).fit(IMAGES, Y)
    assert_array_equal(model.anomaly_score(IMAGES), plain.anomaly_score(IMAGES))


SCRIPT = """
import sys
import joblib, torch
torch.set_num_threads(1)
from _small import make_images, quick
images, y, _ = make_images(40, n_anomalous=12)
path = None if sys.argv[1] == "-" else sys.argv[1]
print("ready", flush=True)
model = quick(max_epochs=60, checkpoint=path, early_stopping=False).fit(images, y)
joblib.dump((model.net_.module_.state_dict(), model.anomaly_score(images)), sys.argv[2])
"""


def run(*arguments, kill_after=None):
    """Train in a process of its own, which may be killed; its exit code."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    ) as process:
        process.stdout.readline()  # it has imported everything
        if kill_after is not None:
            time.sleep(kill_after)
            process.kill()
        return process.wait(timeout=300)


def killed_and_resumed(folder, n_kills, seed=0):
    """Kill a training at random points until it ends; how often that was."""
    rng = np.random.RandomState(seed)
    plain, resumed = folder / "plain", folder / "resumed"
    started = time.perf_counter()
    assert run("-", plain) == 0
    length = time.perf_counter() - started
    n_done = 0
    while not resumed.exists():
        if n_done < n_kills:
            wait = rng.uniform(0, length / 12)
            n_done += run(folder / "training", resumed, kill_after=wait) != 0
        else:
            assert run(folder / "training", resumed) == 0
    (state, scores), (expected, right) = joblib.load(resumed), joblib.load(plain)
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert_array_equal(scores, right)
    return n_done


def test_survives_being_killed(tmp_path):
    assert killed_and_resumed(tmp_path, 1) == 1


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(4))
def test_survives_being_killed_often(seed, tmp_path):
    assert killed_and_resumed(tmp_path, 8, seed) >= 5
