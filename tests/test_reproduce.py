"""The experiments of the paper, on tiny images in the layouts that they need."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from sklearn.base import clone
from skorch.callbacks import LRScheduler

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.reproduce import __main__ as command
from benchmarks.reproduce import _changes as changes
from benchmarks.reproduce import _run
from benchmarks.reproduce._experiments import EXPERIMENTS, Dilated
from benchmarks.reproduce._records import merge
from benchmarks.reproduce._run import Deadline, Limits, Plan, Run
from benchmarks.reproduce._schedules import Course, Decay, Steps
from benchmarks.reproduce._sources import EXPOSURES, SOURCES, Place
from skfcdd._engine.settings import Settings
from skfcdd.backbones import make_backbone
from skfcdd.datasets import _fetch_table
from skfcdd.receptive_field import measure_receptive_field

RNG = np.random.RandomState(0)
MNIST = ("images-idx3-ubyte.gz", "labels-idx1-ubyte.gz")
EMNIST = "emnist-letters-train-images-idx3-ubyte.gz"
N_TRAIN, N_TEST = 12, 8
# What makes them quick: the class that is taken, and the side of photographs.
CHOSEN = {
    "fashion_mnist": ["Trouser"],
    "cifar10": ["frog"],
    "cifar10_jpeg": ["frog"],
    "imagenet30": ["acorn", "--side", "32"],
    "mvtec_ad": ["bottle", "--side", "32"],
    "magnetic_tiles": ["tiles"],
}


def pixels(*shape):
    return RNG.randint(0, 256, shape).astype(np.uint8)


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes()))


def write_picture(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def write_cifar(path, train, test, names):
    """An archive of records: labels, then the planes of colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, body in {train: N_TRAIN, test: N_TEST, **names}.items():
            if isinstance(body, int):
                n_labels = len(names)
                labels = np.full((body, n_labels), 6)
                labels[::4] = 1
                planes = pixels(body, 3072)
                body = np.hstack([labels.astype(np.uint8), planes]).tobytes()
            member = tarfile.TarInfo(f"cifar/{name}")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))


def write_fashion_mnist(home):
    labels = np.arange(N_TRAIN, dtype=np.uint8) % 2
    for part, n in {"train": N_TRAIN, "t10k": N_TEST}.items():
        for name, array in zip(MNIST, (pixels(n, 28, 28), labels[:n]), strict=True):
            write_idx(home / f"fashion_mnist/{part}-{name}", array)
    write_idx(home / "emnist" / EMNIST, pixels(9, 28, 28))


def write_cifars(home):
    names = "\n".join(f"class {i}" for i in range(10)).encode()
    write_cifar(
        home / "cifar10/cifar-10-binary.tar.gz",
        "data_batch_1.bin",
        "test_batch.bin",
        {"batches.meta.txt": names},
    )
    write_cifar(
        home / "cifar100/cifar-100-binary.tar.gz",
        "train.bin",
        "test.bin",
        {"fine_label_names.txt": names, "coarse_label_names.txt": names},
    )
    with zipfile.ZipFile(home / "cifar10_jpg.zip", "w") as archive:
        for name in SOURCES["cifar10_jpeg"].classes(Place(home)):
            for part, n in {"train": N_TRAIN, "test": 2}.items():
                for i in range(n):
                    body = io.BytesIO()
                    Image.fromarray(pixels(32, 32, 3)).save(body, "JPEG")
                    archive.writestr(f"top/{part}/{name}/{i}.jpg", body.getvalue())
    np.savez(home / "oe_32.npz", X=pixels(9, 32, 32, 3))


def write_photographs(home):
    for kind in ("acorn", "barn"):
        for part, n in {"train": 6, "test": 3}.items():
            for i in range(n):
                path = home / f"imagenet30/{part}/{kind}/{i}.jpeg"
                write_picture(path, pixels(50, 40, 3))
    for i in range(5):
        write_picture(home / f"imagenet22k/n{i % 2}/{i}.jpg", pixels(30, 40, 3))
    folder = home / "mvtec_ad" / "bottle"
    for i in range(6):
        write_picture(folder / f"train/good/{i}.png", pixels(48, 48, 3))
        write_picture(folder / f"test/good/{i}.png", pixels(48, 48, 3))
    mask = np.zeros((48, 48), dtype=np.uint8)
    mask[8:20, 8:20] = 255
    for kind in ("broken", "dirty"):
        for i in range(3):
            write_picture(folder / f"test/{kind}/{i}.png", pixels(48, 48, 3))
            write_picture(folder / f"ground_truth/{kind}/{i}_mask.png", mask)
    torch.manual_seed(0)
    network = make_backbone("vgg11_bn", (32, 32, 3))
    torch.save(network.state_dict(), home / "vgg.pth")


def write_tiles(home):
    n = N_TRAIN + N_TEST
    kind = np.array(["free"] * (N_TRAIN + 4) + ["crack"] * 4)
    mask = np.zeros((n, 32, 32), dtype=np.uint8)
    mask[N_TRAIN + 4 :, 4:9, 4:9] = 1
    split = np.array(["train"] * N_TRAIN + ["test"] * N_TEST)
    path = home / "magnetic_tile.npz"
    np.savez(path, X=pixels(n, 32, 32), mask=mask, kind=kind, split_tile=split)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """All data that experiments need, in one folder."""
    folder = tmp_path_factory.mktemp("home")
    write_fashion_mnist(folder)
    write_cifars(folder)
    write_photographs(folder)
    write_tiles(folder)
    return folder


@pytest.fixture(autouse=True)
def _no_hashes(monkeypatch):
    """The hashes are those of the real files."""
    for key, known in _fetch_table.DATA_SETS.items():
        files = tuple(replace(file, digest=None) for file in known.files)
        monkeypatch.setitem(_fetch_table.DATA_SETS, key, replace(known, files=files))


def run(name, home, results, *more):
    """Exit status, and the records that the command has written."""
    options = ["--data", str(home), "--no-download", "--results", str(results)]
    options += ["--class", *CHOSEN[EXPERIMENTS[name].data]]
    if EXPERIMENTS[name].params.get("weights"):
        options += ["--weights", str(home / "vgg.pth")]
    status = command.main([name, *options, *more])
    path = results / f"reproduce_{name}.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    return status, rows


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs_from_end_to_end(name, home, tmp_path, capsys):
    experiment = EXPERIMENTS[name]
    status, rows = run(name, home, tmp_path, "--epochs", "1", "--images", "6")
    assert status == 0
    assert len(rows) == len(experiment.variants) * len(experiment.readings)
    printed = capsys.readouterr().out
    for row in rows:
        assert row["cut"].startswith(f"ran 1 of {experiment.epochs} epochs on 6 of ")
        assert row["cut"] in printed
        assert not row["complete"]
        assert experiment.figure in row
        assert 0 <= row["image_auroc"] <= 1
        assert row.get("published_mean") == experiment.published
        assert {"cpu", "cores", "threads", "torch", "date"} <= set(row["machine"])
        assert (row["exposed"] > 0) == (experiment.exposure is not None)


# The settings of the paper, written down a second time.
TABLE = {
    "fashion_mnist": ("fcdd28_wide", "sgd", 1e-2, 1e-6, 128, 1.2, "contrast"),
    "cifar10": ("fcdd32_lw3k", "adam", 1e-3, 1e-6, 200, 1.2, "standard"),
    "imagenet30": ("vgg11_bn", "adam", 1e-3, 1e-6, 200, 8, "imagenet"),
    "mvtec_ad": ("vgg11_bn", "sgd", 1e-3, 1e-4, 128, 12, "contrast"),
}


@pytest.mark.parametrize("name", [*TABLE, "mvtec_ad_semi"])
def test_estimators_have_the_published_settings(name, home):
    side = Place(home, side=32)
    chosen = CHOSEN[EXPERIMENTS[name].data][0]
    run = Run(EXPERIMENTS[name], chosen, 3, side)
    model = run.estimator("", Plan(run.passes, 6))
    names = ["backbone", "optimizer", "lr", "weight_decay", "batch_size"]
    names += ["heatmap_sigma", "normalize"]
    found = tuple(model.get_params()[key] for key in names)
    assert found == TABLE[name.removesuffix("_semi")]
    assert model.random_state == 3
    assert (
        model.max_epochs
        == {
            "fashion_mnist": 400,
            "cifar10": 600,
            "imagenet30": 600,
            # An epoch there is ten looks at each image, half of them at an anomaly.
            "mvtec_ad": 1000,
            "mvtec_ad_semi": 1000,
        }[name]
    )
    # What "auto" stands for with these networks.
    settings = Settings.of(
        model.get_params(deep=False), model._parameter_constraints, "FCDDClassifier"
    ).for_images((32, 32, 3))
    weights = settings.network.weights
    if name.startswith("mvtec"):
        assert (weights, model.frozen) == ("imagenet", 3)
        semi = name.endswith("semi")
        assert model.synthetic == (None if semi else "confetti")
        assert settings.pixel_loss == ("all" if semi else None)
    else:
        assert model.synthetic is None and weights is None
        assert model.anomaly_fraction == 0.5
    clone(model)


def rates(name, n_epochs, way="scaled"):
    """Learning rates of a run as torch makes them, pass by pass."""
    experiment = EXPERIMENTS[name]
    planned = n_epochs * experiment.passes
    course = Course(
        experiment.schedule, experiment.epochs, experiment.passes, planned, way
    )
    schedule = LRScheduler("LambdaLR", lr_lambda=course)
    return schedule.simulate(planned, experiment.params["lr"])


@pytest.mark.parametrize("way", ["scaled", "cut"])
def test_schedules_are_the_published_ones(way):
    cifar = rates("cifar10", 600, way)
    assert_allclose(
        cifar[[0, 399, 400, 499, 500, 599]], [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5]
    )
    assert_allclose(rates("imagenet30", 600, way), cifar)
    fashion = rates("fashion_mnist", 400, way)
    assert_allclose(fashion, 1e-2 * 0.98 ** np.arange(400))
    mvtec = rates("mvtec_ad", 200, way)
    assert_allclose(mvtec, 1e-3 * 0.985 ** np.repeat(np.arange(200), 5))


def test_short_schedules_are_squeezed_or_cut():
    assert_allclose(rates("cifar10", 6), [1e-3] * 4 + [1e-4, 1e-5])
    assert_allclose(rates("cifar10", 6, "cut"), [1e-3] * 6)
    assert_allclose(rates("fashion_mnist", 4), 1e-2 * 0.98 ** (100 * np.arange(4)))
    assert_allclose(rates("fashion_mnist", 4, "cut"), 1e-2 * 0.98 ** np.arange(4))
    assert Decay(0.5).at(3) == 0.125 and Steps(0.1, (2,)).at(1) == 1


def test_training_takes_the_rates_of_the_schedule(home):
    run = Run(EXPERIMENTS["cifar10"], "frog", 0, Place(home, download=False))
    model, _, _ = run.fit("", Plan(6, 6))
    assert_allclose(
        [row["event_lr"] for row in model.history_], [1e-3] * 4 + [1e-4, 1e-5]
    )


def test_published_figures_agree_with_their_mean():
    cifar = EXPERIMENTS["cifar10"]
    assert set(cifar.published_by_class) == set(SOURCES["cifar10"].classes(Place(None)))
    mean = np.mean(list(cifar.published_by_class.values()))
    assert abs(mean - cifar.published) <= 0.0051


def test_a_complete_run_does_not_say_that_it_was_cut(home, tmp_path, monkeypatch):
    short = replace(EXPERIMENTS["sigma"], epochs=2, readings={"": {}})
    monkeypatch.setitem(command.EXPERIMENTS, "sigma", short)
    _, rows = run("sigma", home, tmp_path)
    assert all(row["complete"] and "cut" not in row for row in rows)
    assert {row["epochs"] for row in rows} == {2}


def test_a_smaller_side_and_a_late_end_are_told(home):
    run = Run(EXPERIMENTS["mvtec_ad"], "bottle", 0, Place(home, side=32))
    told = run._extent(Plan(20, 6, "cut", seconds=1.0), done=7)
    assert told["cut"] == (
        "ran 1.4 of 200 epochs on 6 of 6 images of 32 instead of 224 pixels, the "
        "schedule cut; time was up before 4 epochs"
    )
    assert not run._extent(Plan(1000, 6), done=1000)["complete"]


def test_budget_buys_epochs_or_fewer_images(home, monkeypatch):
    run = Run(EXPERIMENTS["receptive_field"], "tiles", 0, Place(home))
    run.images.train = np.zeros((1000, 32, 32), np.uint8)
    for each, passes, images in [
        (1e-6, 12, 1000),  # all of it
        (2e-3, 11, 1000),
        (2e-2, 10, 112),
        (10.0, 1, 8),  # as few as fit in a batch
    ]:
        monkeypatch.setattr(run, "_seconds_each", lambda n, name, each=each: each)
        plans = run.plans(Limits(budget=100.0))
        assert set(plans) == set(run.experiment.variants)
        plan = plans["32"]
        assert plans["144"] is plan
        assert (plan.passes, plan.images) == (passes, images)
        # Four variants share the time.
        assert plan.seconds == pytest.approx(25, rel=1e-3)


def test_objectives_get_the_same_time(home, monkeypatch):
    """Not the same number of epochs: Deep SVDD sees half as many images in each."""
    run = Run(EXPERIMENTS["objectives"], "airplane", 0, Place(home))
    run.images.train = np.zeros((2000, 32, 32, 3), np.uint8)
    cost = {"fcdd": 2e-4, "dsvdd": 1e-4}
    monkeypatch.setattr(run, "_seconds_each", lambda n, name: cost.get(name, 3e-4))
    plans = run.plans(Limits(budget=50.5))
    # A fifth of the time each, nine tenths of it planned for.
    passes = {"fcdd": 22, "hsc": 15, "bce": 15, "focal": 15, "dsvdd": 45}
    assert {name: plan.passes for name, plan in plans.items()} == passes
    assert all(plan.seconds == pytest.approx(10.1, rel=1e-3) for plan in plans.values())


def test_time_that_is_up_ends_the_training(home, tmp_path, monkeypatch):
    once = replace(EXPERIMENTS["sigma"], readings={"": {}})
    monkeypatch.setitem(command.EXPERIMENTS, "sigma", once)
    _, rows = run("sigma", home, tmp_path, "--budget", "0.001")
    assert all(row["epochs"] == 1 for row in rows)


def test_deadline_ends_with_an_epoch(home):
    run = Run(EXPERIMENTS["sigma"], "tiles", 0, Place(home))
    model = run.estimator("", Plan(50, 12)).set_params(callbacks=[Deadline(0.0)])
    assert len(model.fit(run.images.train).history_) == 1


def test_records_are_merged(tmp_path):
    row = {"class": "a", "seed": 0, "variant": "", "epochs": 9, "images": 5}
    row |= {"side": 32, "device": "cpu"}
    merge(tmp_path, "x", row | {"image_auroc": 0.5})
    merge(tmp_path, "x", row | {"epochs": 12, "image_auroc": 0.6})
    path = merge(tmp_path, "x", row | {"image_auroc": 0.7})
    rows = json.loads(path.read_text())["rows"]
    assert [(r["epochs"], r["image_auroc"]) for r in rows] == [(9, 0.7), (12, 0.6)]


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning")
def test_known_anomalies_are_not_tested(home):
    run = Run(EXPERIMENTS["mvtec_ad_semi"], "bottle", 0, Place(home, side=32))
    known = run.known_anomalies()
    assert sorted(run.images.kind[known]) == ["broken", "dirty"]
    model, _, _ = Run(
        replace(EXPERIMENTS["mvtec_ad_semi"], passes=1),
        "bottle",
        0,
        run.place,
        str(home / "vgg.pth"),
    ).fit("", Plan(1, 6))
    assert run.of_images(model)["n_test"] == [6, 4]


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("fashion_mnist", "train-images-idx3-ubyte.gz"),
        ("cifar10", "cifar-10-binary.tar.gz"),
        ("cifar10_jpeg", "cifar10_jpg.zip"),
        ("imagenet30", "imagenet30"),
        ("mvtec_ad", "mvtec_anomaly_detection.tar.xz"),
        ("receptive_field", "magnetic-tiles"),
    ],
)
def test_missing_data_is_named(name, named, tmp_path, capsys):
    """And not hunted for elsewhere."""
    options = ["--data", str(tmp_path), "--no-download"]
    chosen = CHOSEN[EXPERIMENTS[name].data][:1]
    assert command.main([name, *options, "--class", *chosen]) == 1
    error = capsys.readouterr().err
    assert named in error and str(tmp_path) in error


@pytest.mark.parametrize("name", EXPOSURES)
def test_missing_exposure_is_named(name, tmp_path):
    with pytest.raises(command.MissingDataError, match=re.escape(str(tmp_path))):
        EXPOSURES[name].load(Place(tmp_path, download=False))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["cifar10", "--epochs", "0"], "a number of at least 1"),
        (["cifar10", "--images", "1"], "a number of at least 2"),
        (["cifar10", "--epochs", "2", "--budget", "3"], "not allowed with"),
        (["cifar10", "--side", "32"], "images of one size"),
        (["cifar10", "--data", "/not/there"], "no folder /not/there"),
        (["cifar12"], "invalid choice"),
    ],
)
def test_wrong_options_are_refused(options, says, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(options)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_unknown_class_is_refused(home, capsys):
    assert command.main(["cifar10", "--data", str(home), "--class", "boat"]) == 1
    assert "no class boat" in capsys.readouterr().err


def test_list_names_all_that_is_needed(capsys):
    assert command.main(["list"]) == 0
    text = capsys.readouterr().out
    for name, experiment in EXPERIMENTS.items():
        assert f"\n{name}\n    {experiment.title}\n" in text
    for part in (*SOURCES.values(), *EXPOSURES.values()):
        assert part.needs in text


def test_breaking_off_keeps_no_half_run(home, tmp_path, monkeypatch, capsys):
    """skorch takes an interrupt for a wish to end the fit."""

    class Interrupt(Deadline):
        def on_batch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    monkeypatch.setattr(_run, "Deadline", Interrupt)
    monkeypatch.setattr(Run, "_seconds_each", lambda self, n, name: 1e-6)
    status, rows = run("sigma", home, tmp_path, "--budget", "60")
    assert (status, rows) == (130, [])
    assert "Interrupted" in capsys.readouterr().err


# The random changes


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(40, 3, 12, 10, generator=generator)
    return images, images[:, :1] > 0.5, generator


def test_padded_crops_are_windows_of_padded_images(batch):
    images, masks, generator = batch
    for reflect in (False, True):
        moved, where = changes.PaddedCrop(2, reflect)(images, masks, generator)
        mode = "reflect" if reflect else "constant"
        padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode=mode)
        offsets = set()
        for image, mask, new, around in zip(images, where, moved, padded, strict=True):
            found = [
                (y, x)
                for y in range(5)
                for x in range(5)
                if torch.equal(new, around[:, y : y + 12, x : x + 10])
            ]
            assert len(found) == 1
            offsets.add(found[0])
            expected = new[:1] > 0.5
            assert torch.equal(mask, expected), image
        assert len(offsets) > 12


def test_jitter_of_colours_is_as_small_as_asked(batch):
    images, masks, generator = batch
    same, _ = changes.ColorJitter(0, 0, 0, 0)(images, masks, generator)
    assert_allclose(same, images, atol=1e-6)
    new, where = changes.ColorJitter(0.01, 0.01, 0.01, 0.01)(images, masks, generator)
    assert where is masks
    assert 0 < (new - images).abs().max() < 0.08
    assert new.min() >= 0 and new.max() <= 1
    brighter, _ = changes.ColorJitter(0.1, 0, 0, 0)(images, masks, generator)
    ratio = (brighter / images)[images < 0.9].double()
    assert 0.9 - 1e-4 < ratio.min() < 0.92 and 1.08 < ratio.max() < 1.1 + 1e-4


def test_hue_turns_red_into_green_and_leaves_grey_alone():
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    angle = torch.full((1, 1, 1, 1), 2 * np.pi / 3)
    turned = {
        sign: changes._turn(red, sign * angle).flatten().argmax().item()
        for sign in (1, -1)
    }
    assert sorted(turned.values()) == [1, 2]
    grey = torch.full((1, 3, 1, 1), 0.4)
    assert_allclose(changes._turn(grey, angle), grey, atol=1e-4)


def test_zoom_enlarges_half_of_the_images_with_their_masks(batch):
    images, _, generator = batch
    images = torch.nn.functional.interpolate(images[:, :, :3, :3], 24)
    masks = images[:, :1] > 0.5
    new, where = changes.Zoom(0.5)(images, masks, generator)
    changed = (new != images).flatten(1).any(dim=1)
    assert 8 < changed.sum() < 32
    assert torch.equal(where[~changed], masks[~changed])
    agree = (where == (new[:, :1] > 0.5)).float().mean()
    assert agree > 0.9


def test_relative_noise_leaves_half_of_the_images_alone(batch):
    images, masks, generator = batch
    new, _ = changes.Noise(0.1, relative=True)(images, masks, generator)
    changed = (new != images).flatten(1).any(dim=1)
    assert 8 < changed.sum() < 32
    added = (changes.Noise(0.5)(images, masks, generator)[0] - images).std()
    assert 0.45 < added < 0.55


@pytest.mark.parametrize("shape", [(28, 28), (32, 32, 3)])
@pytest.mark.parametrize("given", [(9, 28, 28), (9, 32, 32, 3)])
def test_exposed_images_are_brought_to_the_shape_of_normal_ones(given, shape):
    images = pixels(*given)
    kwargs = {"n_copies": 3, "seed": 0}
    plain = changes.changed_copies(images, shape, (), **kwargs)
    assert plain.shape == (27, *shape) and plain.dtype == np.uint8
    assert np.array_equal(plain[:9], plain[9:18])
    if given[1:] == shape:
        assert np.array_equal(plain[:9], images)
    changed = changes.changed_copies(images, shape, ("horizontal_flip",), **kwargs)
    flipped = np.flip(plain, axis=2)
    is_flipped = [np.array_equal(a, b) for a, b in zip(changed, flipped, strict=True)]
    is_same = [np.array_equal(a, b) for a, b in zip(changed, plain, strict=True)]
    assert all(np.logical_or(is_flipped, is_same)) and 0 < sum(is_same) < 27


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_a_cell_of_the_dilated_network_sees_what_the_variant_says(dilation):
    network = Dilated(dilation)().eval()
    field = measure_receptive_field(network, (128, 128), 1)
    assert field.extent == (16 + 16 * dilation,) * 2
    assert str(16 + 16 * dilation) in EXPERIMENTS["receptive_field"].variants
    sizes = {sum(p.numel() for p in Dilated(d)().parameters()) for d in (1, 8)}
    assert len(sizes) == 1
