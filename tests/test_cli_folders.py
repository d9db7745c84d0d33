"""What the commands make of folders and tables, and what they say of it."""

from __future__ import annotations

import csv
import json
import os
import sys
import warnings

import numpy as np
import pytest
from _small import make_images
from _trees import put
from numpy.testing import assert_array_equal

from skfcdd import FCDDSegmenter
from skfcdd.cli import main
from skfcdd.cli._console import plain_warnings
from skfcdd.datasets import load_images
from skfcdd.exceptions import UnclearDataWarning
from skfcdd.metrics import pixel_roc_auc_score
from skfcdd.persistence import load

IMAGES, LABELS, MASKS = make_images(36, size=(24, 24), n_anomalous=12)
KNOWN = "4 good, 12 defects in 3 kinds, 10 with masks, 2 without"
SUMMARY = f"{KNOWN}; 2 files skipped"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Of twelve defects of three kinds, ten have a mask; two files are no images."""
    root = tmp_path_factory.mktemp("data") / "parts"
    for i, (image, bad, mask) in enumerate(zip(IMAGES, LABELS, MASKS, strict=True)):
        kind = ("dent", "hole", "scratch")[i % 3]
        if bad:
            put(root, f"test/{kind}/{i}.png", values=image)
        else:
            put(root, f"{'train' if i < 20 else 'test'}/good/{i}.png", values=image)
        if bad and i < 34:
            put(root, f"ground_truth/{kind}/{i}_mask.PNG", values=255 * mask)
    put(root, ".cache/0.png", "test/good/.ipynb_checkpoints/1.png", values=IMAGES[0])
    return root


@pytest.fixture(scope="module")
def model(parts):
    path = parts.parent / "m.skfcdd"
    assert main(["fit", str(parts), "-o", str(path), "--epochs", "1", "-q"]) == 0
    return str(path)


def test_fit_says_what_it_understood(parts, tmp_path, capsys):
    path = tmp_path / "m.skfcdd"
    arguments = ["fit", str(parts / "test"), "-o", str(path), "--kind", "segmenter"]
    with pytest.warns(UnclearDataWarning, match="^2 images of defects without a ma"):
        assert main([*arguments, "--epochs", "1"]) == 0
    printed = capsys.readouterr()
    assert f"16 images of (24, 24): {KNOWN}; 1 file skipped\n" in printed.err
    assert json.loads(printed.out)["data"] == f"{KNOWN}; 1 file skipped"
    # Defects without a mask are learnt by their label: never as good images.
    with pytest.warns(UnclearDataWarning):
        data = load_images(parts / "test")
    known = FCDDSegmenter(max_epochs=1, random_state=0, batch_size=16)
    known.fit(data.images, data.target, masks=data.masks)
    assert load(path).threshold_ == pytest.approx(known.threshold_)
    assert_array_equal(load(path).explain(IMAGES), known.explain(IMAGES))


def test_fit_takes_the_part_for_training(parts, model, tmp_path, capsys):
    arguments = ["fit", str(parts), "-o", str(tmp_path / "m"), "--epochs", "1"]
    assert main(arguments) == 0
    said = "20 images of (24, 24): 20 good; 2 files skipped; 16 of 'test' not used\n"
    assert said in capsys.readouterr().err
    table = parts.parent / "t.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["Path", " Label", "Split"])
        writer.writerows(
            ["parts/" + p.relative_to(parts).as_posix(), p.parent.name, p.parts[-3]]
            for p in sorted(parts.glob("t*/*/*.png"))
        )
    assert main([*arguments[:1], str(table), *arguments[2:], "--force"]) == 0
    assert "20 images of (24, 24): 20 good; 16 of 'test'" in capsys.readouterr().err


def test_evaluate_leaves_unknown_masks_out(parts, model, capsys):
    with pytest.warns(UnclearDataWarning):
        assert main(["evaluate", model, str(parts), "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(f"{SUMMARY}; 20 of 'train' not used\n")
    figures = json.loads(printed.out)
    assert figures["n_anomalous"] == 12
    with pytest.warns(UnclearDataWarning):
        data = load_images(parts, split="test")
    known = np.array([mask is not None for mask in data.masks])
    assert known.sum() == 14
    heatmaps = load(model).explain(data.images[:][known])
    masks = np.stack([mask for mask in data.masks if mask is not None])
    assert figures["pixel_auroc"] == pytest.approx(pixel_roc_auc_score(masks, heatmaps))


def test_predict_takes_no_mask_for_an_image(parts, model, tmp_path, capsys):
    table = tmp_path / "t.csv"
    with pytest.warns(UnclearDataWarning, match="^10 masks ignored"):
        assert main(["predict", model, str(parts), "-o", str(table)]) == 0
    assert capsys.readouterr().err.startswith("36 images; 2 files skipped\n")
    with table.open(newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert len(paths) == len(set(paths)) == 36
    # The verdicts in it are no labels.
    assert main(["predict", model, str(table), "-q"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 37
    assert main(["evaluate", model, str(table), "-q"]) == 1
    assert "has no column 'label'" in capsys.readouterr().err


def test_report_says_what_it_understood(parts, model, tmp_path, capsys):
    page = tmp_path / "r.html"
    with pytest.warns(UnclearDataWarning):
        assert main(["report", model, str(parts), "-o", str(page)]) == 0
    assert capsys.readouterr().err.startswith(f"{SUMMARY}; 20 of 'train' not used\n")
    flat = str(parts / "train" / "good")
    assert main(["report", model, flat, "-o", str(page)]) == 0
    assert capsys.readouterr().err.startswith("20 images\n")


def test_masks_that_match_nothing_end_the_run(parts, model, capsys):
    wrong = ["--masks", str(parts / "train"), "-q"]
    assert main(["evaluate", model, str(parts), *wrong]) == 1
    assert "but none belongs to" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode elsewhere")
def test_names_that_are_not_utf_8(parts, model, tmp_path, capsys):
    """One of them lost the whole table."""
    folder = put(tmp_path / "new", "a.png", values=IMAGES[0])
    os.rename(os.fsencode(folder / "a.png"), os.fsencode(folder) + b"/caf\xe9.png")
    put(folder, "b.png", values=IMAGES[1])
    for form in ("csv", "jsonl"):
        table = tmp_path / f"t.{form}"
        arguments = ["predict", model, str(folder), "-o", str(table), "--format", form]
        assert main([*arguments, "-q"]) == 0
        text = table.read_text(encoding="utf-8")
        assert "b.png" in text and "caf\\xe9.png" in text.replace("\\\\", "\\")
    assert main(["predict", model, str(folder), "-q"]) == 0
    assert "caf\\xe9.png" in capsys.readouterr().out


def test_warnings_are_a_line():
    """Without the place in the code that they come from."""
    before = warnings.formatwarning
    with plain_warnings():
        said = warnings.formatwarning("Two masks.", UnclearDataWarning, "file.py", 7)
    assert said == "skfcdd: Two masks.\n"
    assert warnings.formatwarning is before
