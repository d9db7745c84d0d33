"""The command line."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.metrics import roc_auc_score

import skfcdd
from skfcdd.cli import main
from skfcdd.datasets import ImageFiles, load_images, make_defects
from skfcdd.exceptions import SkippedFilesWarning
from skfcdd.metrics import pixel_roc_auc_score
from skfcdd.onnx import OnnxFCDD
from skfcdd.persistence import load, read_info
from skfcdd.thresholds import FalseAlarmRate


def test_demo_prints_figures_and_writes_a_picture(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("skfcdd.cli._demo._IMAGE_SIZE", 32)
    monkeypatch.setattr("skfcdd.cli._demo._N_SAMPLES", 100)
    picture = tmp_path / "demo.png"
    assert main(["demo", "--epochs", "2", "--output", str(picture)]) == 0
    printed = capsys.readouterr()
    assert "Training on" in printed.err
    figures = json.loads(printed.out)
    assert figures["picture"] == str(picture)
    assert all(0 <= figures[name] <= 1 for name in ("image_auroc", "pixel_auroc"))
    with Image.open(picture) as image:
        assert min(image.size) > 300


def test_demo_that_cannot_write(tmp_path, capsys):
    assert main(["demo", "--output", str(tmp_path / "none" / "demo.png")]) == 1
    assert "there is no folder" in capsys.readouterr().err


def test_help_and_wrong_arguments(capsys):
    assert main([]) == 0
    assert "demo" in capsys.readouterr().out
    assert main(["demo", "--texture", "velvet"]) == 2
    assert "brushed_metal" in capsys.readouterr().err


def test_version_is_that_of_the_package():
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("skfcdd")
    except PackageNotFoundError:
        pytest.skip("the package is not installed")
    assert skfcdd.__version__ == installed


def write_images(folder, images, names=None):
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / (names[i] if names else f"{i:02d}.png"))


@pytest.fixture(scope="module")
def surface(tmp_path_factory):
    """A folder in the layout of MVTec-AD."""
    data = make_defects(60, image_size=(40, 48), random_state=0)
    good, bad = data.images[data.target == 0], data.images[data.target == 1][:12]
    folder = tmp_path_factory.mktemp("surface")
    write_images(folder / "train" / "good", good[:30])
    write_images(folder / "test" / "good", good[30:])
    write_images(folder / "test" / "flaw", bad)
    masks = data.masks[data.target == 1][:12].astype(np.uint8) * 255
    names = [f"{i:02d}_mask.png" for i in range(12)]
    write_images(folder / "ground_truth" / "flaw", masks, names)
    return folder


@pytest.fixture(scope="module")
def trained(surface):
    model = surface / "m.skfcdd"
    assert main(["fit", str(surface), "-o", str(model), "--epochs", "2", "-q"]) == 0
    return model


def test_fit_says_what_it_did(surface, tmp_path, capsys):
    model = tmp_path / "m.skfcdd"
    arguments = ["fit", str(surface / "train" / "good"), "-o", str(model)]
    assert main([*arguments, "--epochs", "1", "--note", "first"]) == 0
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert summary["n_images"] == 30 and summary["image_shape"] == [40, 48, 1]
    assert "30 images" in printed.err
    loaded = load(model)
    assert loaded.threshold_ == summary["threshold"]
    assert read_info(model)["note"] == "first"


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning")
def test_options_reach_the_estimator(surface, tmp_path, capsys):
    model = tmp_path / "m.skfcdd"
    options = {
        "--backbone": "squeezenet1_1",
        "--frozen": "1",
        "--size": "36x40",
        "--pooling": "0.1",
        "--synthetic": "blobs",
        "--normalize": "standard",
        "--false-alarm-rate": "0.4",
        "--seed": "7",
        "--batch-size": "8",
        "--epochs": "1",
    }
    flat = [text for pair in options.items() for text in pair]
    assert main(["fit", str(surface), "-o", str(model), "-q", *flat]) == 0
    loaded = load(model)
    found = loaded.get_params()
    assert found["backbone"] == "squeezenet1_1" and found["frozen"] == 1
    assert loaded.image_shape_ == (36, 40, 1) and found["score_pooling"] == 0.1
    assert found["threshold"] == FalseAlarmRate(0.4)
    assert found["random_state"] == 7 and found["max_epochs"] == 1


def test_defects_in_the_folder_are_learnt_from(surface, tmp_path, capsys):
    for kind, name in (
        ("classifier", "FCDDClassifier"),
        ("segmenter", "FCDDSegmenter"),
    ):
        model = tmp_path / f"{kind}.skfcdd"
        arguments = ["fit", str(surface / "test"), "-o", str(model), "--kind", kind]
        assert main([*arguments, "--epochs", "1", "-q"]) == 0
        assert json.loads(capsys.readouterr().out)["n_anomalous"] == 12
        assert type(load(model)).__name__ == name
        assert main(["evaluate", str(model), str(surface), "-q"]) == 0
        assert "aupro" in capsys.readouterr().out


def test_predict_writes_rows_and_heatmaps(surface, trained, tmp_path, capsys):
    table, maps = tmp_path / "scores.csv", tmp_path / "maps"
    arguments = ["predict", str(trained), str(surface / "test"), "-q"]
    assert main([*arguments, "-o", str(table), "--heatmaps", str(maps)]) == 0
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    model = load(trained)
    images = ImageFiles([row["path"] for row in rows])
    scores = [float(row["score"]) for row in rows]
    assert_allclose(scores, model.anomaly_score(images), rtol=1e-6)
    verdicts = [int(row["anomalous"]) for row in rows]
    assert_array_equal(verdicts, model.predict(images))
    probability = [float(row["probability"]) for row in rows]
    assert_allclose(probability, model.predict_proba(images)[:, 1], rtol=1e-6)
    pictures = sorted(str(p.relative_to(maps)) for p in maps.rglob("*.png"))
    expected = [str(Path(r["path"]).relative_to(surface / "test")) for r in rows]
    assert pictures == sorted(expected)
    capsys.readouterr()
    assert main([*arguments, "--format", "jsonl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["score"] for line in lines] == scores
    single = rows[0]["path"]
    assert main(["predict", str(trained), single, "-q"]) == 0
    assert single in capsys.readouterr().out


def test_evaluate_agrees_with_the_library(surface, trained, capsys):
    assert main(["evaluate", str(trained), str(surface), "--json", "-q"]) == 0
    figures = json.loads(capsys.readouterr().out)
    data = load_images(surface, split="test")
    model = load(trained)
    score = model.anomaly_score(data.images)
    assert figures["image_auroc"] == pytest.approx(roc_auc_score(data.target, score))
    assert figures["image_auroc_by_kind"]["flaw"] == figures["image_auroc"]
    found = model.predict(data.images)
    assert figures["detection_rate"] == pytest.approx(found[data.target == 1].mean())
    assert figures["false_alarm_rate"] == pytest.approx(found[data.target == 0].mean())
    assert figures["pixel_auroc"] == pytest.approx(
        pixel_roc_auc_score(data.masks, model.explain(data.images))
    )


def test_info(trained, capsys):
    assert main(["info", str(trained)]) == 0
    assert "FCDDClassifier" in capsys.readouterr().out
    assert main(["info", str(trained), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == 8


def test_export(surface, trained, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    onnx = tmp_path / "m.onnx"
    assert main(["export", str(trained), "-o", str(onnx)]) == 0
    capsys.readouterr()
    tables = []
    for model in (trained, onnx):
        assert main(["predict", str(model), str(surface / "test"), "-q"]) == 0
        tables.append(list(csv.DictReader(io.StringIO(capsys.readouterr().out))))
    scores = np.array([[float(r["score"]) for r in table] for table in tables])
    assert_allclose(*scores, rtol=0.03)  # the model itself may compute in bfloat16
    verdicts = np.array([[r["anomalous"] for r in table] for table in tables])
    clear = np.abs(scores / load(trained).threshold_ - 1).min(axis=0) > 0.03
    assert_array_equal(*verdicts[:, clear])


WRONG = {
    "no model": (["predict", "none.skfcdd", "."], 1, "There is no file 'none.skfcdd'"),
    "no folder": (["fit", "none", "-o", "m"], 1, "There is no file or folder 'none'"),
    "no images": (["fit", ".", "-o", "m"], 1, "There are no images"),
    "no place": (["fit", ".", "-o", "none/m"], 1, "no folder 'none'"),
    "no command": (["train"], 2, "No such command"),
    "no such option": (["fit", ".", "--epoch", "3"], 2, "No such option"),
    "no number": (["fit", ".", "--epochs", "many"], 2, "--epochs"),
    "size": (["fit", ".", "--size", "big"], 2, "expected 256"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments(case, tmp_path, monkeypatch, capsys):
    arguments, code, message = WRONG[case]
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    printed = capsys.readouterr()
    assert message in printed.err and "Traceback" not in printed.err
    assert not list(tmp_path.iterdir())


def test_broken_files(surface, trained, tmp_path, capsys):
    folder = tmp_path / "images"
    shutil.copytree(surface / "test" / "good", folder)
    (folder / "00.png").write_bytes(b"no image")
    table = tmp_path / "scores.csv"
    arguments = ["predict", str(trained), str(folder), "-q", "-o", str(table)]
    assert main(arguments) == 1
    assert "00.png" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images"]
    with pytest.warns(SkippedFilesWarning):
        assert main([*arguments, "--on-error", "skip"]) == 0
    assert len(table.read_text().splitlines()) == len(list(folder.iterdir()))


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_stopping_leaves_nothing_half_written(surface, tmp_path):
    model = tmp_path / "m.skfcdd"
    command = [
        sys.executable,
        "-c",
        "import sys; from skfcdd.cli import main; sys.exit(main())",
    ]
    process = subprocess.Popen(
        [*command, "fit", str(surface), "-o", str(model), "--epochs", "9999"],
        stderr=subprocess.PIPE,
        text=True,
        # What starts the tests may have told them to ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "training" in line:  # the bar
                break
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Interrupted" in rest and "Traceback" not in rest
    # A whole model, or nothing if no epoch was complete.
    assert list(tmp_path.iterdir()) in ([], [model])
    if model.is_file():
        assert 0 < len(load(model).history_) < 9999


def test_an_exported_segmenter_judges_by_its_masks(surface, tmp_path, capsys):
    """Its threshold is one of pixels, and none for the score of an image."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, onnx = tmp_path / "m.skfcdd", tmp_path / "m.onnx"
    arguments = ["fit", str(surface / "test"), "-o", str(model), "--kind", "segmenter"]
    assert main([*arguments, "--epochs", "1", "-q"]) == 0
    assert main(["export", str(model), "-o", str(onnx)]) == 0
    capsys.readouterr()
    images = ImageFiles(sorted((surface / "test").rglob("*.png")))
    assert main(["predict", str(onnx), str(surface / "test"), "-q"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    found = np.array([int(row["anomalous"]) for row in rows])
    assert_array_equal(found, OnnxFCDD(onnx).predict(images[:]).any(axis=(1, 2)))
    probability = np.array([float(row["probability"]) for row in rows])
    pixels = OnnxFCDD(onnx).predict_proba(images[:])
    assert_allclose(probability, pixels.max(axis=(1, 2)), rtol=1e-6)
    assert_array_equal(found, probability > 0.5)
