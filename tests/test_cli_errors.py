"""Values that no option takes: exit code 2, one clear line, and nothing is done."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from torch.optim.optimizer import register_optimizer_step_pre_hook

from skfcdd.cli import main
from skfcdd.datasets import make_defects


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Good images, enough to train on."""
    place = tmp_path_factory.mktemp("images") / "good"
    place.mkdir()
    images = make_defects(24, image_size=32, anomaly_fraction=0, random_state=0).images
    for i, image in enumerate(images):
        Image.fromarray(image).save(place / f"{i:02d}.png")
    return place


@pytest.fixture
def steps():
    """Grows with each step of an optimizer, so that any training shows."""
    found = []
    handle = register_optimizer_step_pre_hook(lambda *args: found.append(1))
    yield found
    handle.remove()


def fit(folder, *options):
    return main(["fit", str(folder), "-o", "m.skfcdd", "--epochs", "1", "-q", *options])


# Option, value, and words of what is allowed.
WRONG = [
    ("--pooling", "nonsense", ["mean", "max"]),
    ("--pooling", "0", ["mean", "max", "0"]),
    ("--pooling", "2", ["mean", "max", "1"]),
    ("--pooling", "-0.1", ["mean", "max"]),
    ("--pooling", "nan", ["mean", "max"]),
    ("--contamination", "2", ["0", "0.5"]),
    ("--contamination", "-1", ["0", "0.5"]),
    ("--contamination", "0.5", ["0", "0.5"]),
    ("--contamination", "nan", ["0", "0.5"]),
    ("--synthetic", "nonsense", ["mixed", "blobs"]),
    ("--false-alarm-rate", "2", ["0", "1"]),
    ("--false-alarm-rate", "0", ["0", "1"]),
    ("--false-alarm-rate", "nan", ["0", "1"]),
    ("--normalize", "nonsense", ["auto", "standard", "contrast", "flat-field"]),
    ("--backbone", "nonsense", ["auto", "fcdd28", "squeezenet1_1"]),
    ("--device", "nonsense", ["auto", "cpu"]),
    ("--frozen", "99", ["stage"]),
    ("--seed", "-1", ["0", "4294967295"]),
]


def only_line(text):
    """The line that says what is wrong; what click says of the usage does not count."""
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("Usage:", "Try "))]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(("option", "value", "allowed"), WRONG)
def test_a_value_that_no_option_takes(
    option, value, allowed, folder, steps, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert fit(folder, option, value) == 2
    printed = capsys.readouterr()
    line = only_line(printed.err)
    assert option in line and printed.out == ""
    said = line.replace(f"{option} {value}", "").replace(f"{option}={value}", "")
    for word in allowed:
        assert word in said, line
    assert not steps and not list(tmp_path.iterdir())


def test_an_older_model_outlives_a_wrong_value(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.skfcdd").write_bytes(b"older")
    assert fit(folder, "--pooling", "nonsense") == 2
    assert (tmp_path / "m.skfcdd").read_bytes() == b"older"
    assert "--pooling" in only_line(capsys.readouterr().err)


def test_wrong_values_come_before_a_look_at_the_images(tmp_path, monkeypatch, capsys):
    """Who typed both wrong learns of the option, without a wait for the files."""
    monkeypatch.chdir(tmp_path)
    for option, value, _ in WRONG:
        assert fit(tmp_path / "none", option, value) == 2
        assert option in only_line(capsys.readouterr().err)


def test_weights_that_are_not_there(folder, steps, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--backbone", "squeezenet1_1", "--weights", "no_such_file.pth"]
    assert fit(folder, *options) in (1, 2)
    line = only_line(capsys.readouterr().err)
    assert "no_such_file.pth" in line and "weights" in line
    assert not steps and not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["predict", "evaluate", "report"])
def test_a_device_that_is_not_there(command, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert fit(folder) == 0
    capsys.readouterr()
    found = main([command, "m.skfcdd", str(folder), "--device", "nonsense", "-q"])
    assert found == 2
    line = only_line(capsys.readouterr().err)
    assert "--device" in line and "cpu" in line
    assert [p.name for p in tmp_path.iterdir()] == ["m.skfcdd"]


def test_a_device_for_an_exported_model(folder, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)
    assert fit(folder) == 0
    assert main(["export", "m.skfcdd", "-o", "m.onnx"]) == 0
    capsys.readouterr()
    assert main(["predict", "m.onnx", str(folder), "-q", "--device", "nonsense"]) == 2
    assert "--device" in only_line(capsys.readouterr().err)
    assert main(["predict", "m.onnx", str(folder), "-q", "--device", "cpu"]) == 0


def test_a_network_leaves_chance_as_found(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = torch.random.get_rng_state()
    assert fit(folder, "--backbone", "resnet18", "--frozen", "99") == 2
    assert torch.equal(before, torch.random.get_rng_state())


def test_files_that_cannot_be_read_are_no_wrong_arguments(
    tmp_path, steps, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    (images / "broken.png").write_bytes(b"no image")
    assert fit(images) == 1
    assert "broken.png" in only_line(capsys.readouterr().err)
    (tmp_path / "m.skfcdd").write_bytes(b"no model")
    assert main(["predict", "m.skfcdd", str(images), "-q"]) == 1
    assert "m.skfcdd" in only_line(capsys.readouterr().err)
    assert not steps


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--pooling", "1"),
        ("--pooling", "max"),
        ("--contamination", "0"),
        ("--contamination", "0.49"),
        ("--false-alarm-rate", "0.5"),
        ("--device", "cpu"),
    ],
)
def test_the_ends_of_what_is_allowed(
    option, value, folder, steps, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert fit(folder, option, value) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["n_images"] == 24 and steps
    assert torch.isfinite(torch.tensor(summary["threshold"]))
