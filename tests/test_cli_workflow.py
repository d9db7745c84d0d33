"""From a folder of good and bad parts to a calibrated model, by commands."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from _small import make_images
from _trees import put
from numpy.testing import assert_array_equal

from skfcdd._verdicts import is_above
from skfcdd.cli import _console as console
from skfcdd.cli import main
from skfcdd.datasets import load_images
from skfcdd.persistence import load
from skfcdd.thresholds import FalseAlarmRate

IMAGES, LABELS, _ = make_images(60, size=(24, 24), n_anomalous=10, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs of parts, good and bad, three of each; one is there twice."""
    root = tmp_path_factory.mktemp("line") / "photos"
    for i, (image, bad) in enumerate(zip(IMAGES, LABELS, strict=True)):
        kind = "bad" if bad else "good"
        put(root, f"{kind}/part{i // 3:02d}_{i % 3}.png", values=image)
    shutil.copy(root / "good/part00_0.png", root / "good/part11_copy.png")
    return root


@pytest.fixture(scope="module")
def table(folder):
    path = folder.parent / "parts.csv"
    split = ["split", str(folder), "-o", str(path), "--group", "part[0-9]+"]
    assert main(split) == 0
    return path


@pytest.fixture(scope="module")
def model(table):
    path = table.parent / "m.skfcdd"
    assert main(["fit", str(table), "-o", str(path), "--epochs", "2", "-q"]) == 0
    return path


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return code, json.loads(printed.out) if code == 0 else printed.err


# -- split -----------------------------------------------------------------------------


def test_groups_and_copies_are_kept_whole(table, folder):
    rows = rows_of(table)
    assert len(rows) == 61
    parts = {}
    for row in rows:
        parts.setdefault(row["path"].split("/")[-1][:6], set()).add(row["split"])
        bad = row["path"].split("/")[-2] == "bad"
        assert (row["label"], row["kind"]) == (
            ("defect", "bad") if bad else ("good",) * 2
        )
        assert not bad or row["split"] == "test"
    assert all(len(found) == 1 for found in parts.values())
    assert parts["part00"] == parts["part11"]  # by the copy
    sizes = dict.fromkeys(("train", "calibration", "test"), 0)
    for row in rows:
        sizes[row["split"]] += row["label"] == "good"
    assert sizes["train"] == pytest.approx(0.6 * 51, abs=4)
    assert sizes["calibration"] == pytest.approx(0.2 * 51, abs=4)


def test_a_split_is_read_as_it_was_written(table):
    for split, part in (("train", "train"), ("val", "calibration"), ("test", "test")):
        data = load_images(table, split=split)
        rows = [row for row in rows_of(table) if row["split"] == part]
        expected = {row["path"].split("/")[-1] for row in rows}
        assert {path.name for path in data.images.paths} == expected
        assert data.target.sum() == sum(row["label"] == "defect" for row in rows)


def test_a_split_is_the_same_again(folder, table, tmp_path, capsys):
    first = tmp_path / "a.csv"
    for seed in (0, 0, 1):
        other = tmp_path / f"{seed}.csv"
        options = ["--group", "part([0-9]+)", "--seed", seed, "--force"]
        assert run(capsys, "split", folder, "-o", other, *options)[0] == 0
    assert run(capsys, "split", folder, "-o", first, "--group", "part[0-9]+")[0] == 0
    assert first.read_text() == (tmp_path / "0.csv").read_text()
    assert first.read_text() != (tmp_path / "1.csv").read_text()


def test_masks_go_along(tmp_path, capsys):
    root = tmp_path / "parts"
    for i, image in enumerate(IMAGES[:12]):
        put(root, f"good/{i}.png", values=image)
    put(root, "crack/9.png", values=IMAGES[-1])
    put(root, "masks/crack/9.png", values=np.eye(24, dtype=np.uint8) * 255)
    path = tmp_path / "t.csv"
    code, record = run(capsys, "split", root, "-o", path)
    assert code == 0 and record["parts"]["test"]["defects"] == 1
    (row,) = [row for row in rows_of(path) if row["label"] == "defect"]
    assert row["mask"] == "parts/masks/crack/9.png" and row["kind"] == "crack"
    assert load_images(path, split="test").masks is not None


def test_what_cannot_be_split(folder, table, tmp_path, capsys):
    def told(*arguments):
        code, text = run(capsys, "split", *arguments)
        return code, " ".join(text.split())

    out = ["-o", tmp_path / "t.csv"]
    assert told(folder, "-o", table)[0] == 1  # there is one
    code, text = told(folder, *out, "--group", "piece")
    assert code == 1 and "'piece' does not match 'bad/part" in text
    assert told(folder, *out, "--group", "(")[0] == 1
    code, text = told(folder, *out, "--group", "part")  # one group has a defect
    assert code == 1 and "too few for three parts" in text
    assert told(folder, *out, "--train", "0.9", "--calibration", "0.2")[0] == 2
    assert told(table, *out)[0] == 1
    kinds = put(tmp_path / "kinds", "a/1.png", "b/2.png")
    code, text = told(kinds, *out)
    assert code == 1 and "--normal" in text
    assert not (tmp_path / "t.csv").exists()


# -- calibrate -------------------------------------------------------------------------


def test_calibrate_on_the_part_for_it(table, model, tmp_path, capsys):
    path = tmp_path / "c.skfcdd"
    code, record = run(capsys, "calibrate", model, table, "-o", path, "-q")
    assert code == 0
    data = load_images(table, split="val")
    expected = load(model).calibrate(data.images)
    found = load(path)
    assert found.threshold_ == expected.threshold_ == record["threshold"]
    assert_array_equal(found.calibration_scores_, expected.calibration_scores_)
    assert record["threshold_before"] == load(model).threshold_
    assert record["n_calibration"] == len(data.images)
    assert_array_equal(
        found.anomaly_score(data.images), load(model).anomaly_score(data.images)
    )


def test_calibrate_for_a_rate(table, model, tmp_path, capsys):
    path = tmp_path / "c.skfcdd"
    arguments = ["calibrate", model, table, "-o", path, "--false-alarm-rate"]
    code, record = run(capsys, *arguments, "0.2")
    assert code == 0
    scores = load(path).calibration_scores_
    rule = FalseAlarmRate(0.2)
    assert record["threshold"] == pytest.approx(rule(np.zeros(len(scores)), scores))
    content = path.read_bytes()
    code, text = run(capsys, *arguments, "0.001", "--force")
    assert code == 1 and "--false-alarm-rate 0.001, which needs" in text
    assert run(capsys, *arguments, "0.2")[0] == 1  # there is one
    assert path.read_bytes() == content


def test_a_threshold_alone(model, tmp_path, capsys, monkeypatch):
    path = tmp_path / "c.skfcdd"
    code, record = run(
        capsys, "calibrate", model, "-o", path, "--threshold", "0.75", "--note", "mine"
    )
    assert code == 0 and record["threshold"] == 0.75
    found, before = load(path), load(model)
    assert found.threshold_ == found.threshold == 0.75
    scores = before.anomaly_score(IMAGES)
    assert_array_equal(found.predict(IMAGES), is_above(scores, 0.75).astype(int))
    assert_array_equal(found.calibration_scores_, before.calibration_scores_)
    monkeypatch.setattr(console, "is_terminal", lambda: True)
    assert main(["info", str(path)]) == 0
    assert "as requested" in capsys.readouterr().out


def review_of(model, images, marks, path, threshold):
    """A file as the page writes it."""
    scores = load(model).anomaly_score([str(p) for p in images])
    rows = [
        {"name": f"{p.parent.name}/{p.name}", "score": float(s), "mark": mark}
        for p, s, mark in zip(images, scores, marks, strict=True)
    ]
    head = {"format": "skfcdd-review", "version": 1, "threshold": threshold}
    own = {"model_threshold": float(load(model).threshold_), "images": rows}
    path.write_text(json.dumps(head | own))
    return path


@pytest.fixture(scope="module")
def review(model, table):
    """Three of the bad parts are good in truth, and one good part is bad."""
    test = load_images(table, split="test").images.paths
    good = [p for p in test if p.parent.name == "good"]
    bad = [p for p in test if p.parent.name == "bad"]
    marks = ["good"] * 3 + ["unsure"] + ["defect"] + [""] * 2
    images = [*bad[:4], *good[:3]]
    path = table.parent / "review.json"
    return review_of(model, images, marks, path, 0.7), images


def test_the_threshold_of_a_reader(model, review, table, tmp_path, capsys):
    path, _ = review
    out = tmp_path / "c.skfcdd"
    code, record = run(capsys, "calibrate", model, "--review", path, "-o", out)
    assert code == 0 and record["threshold"] == load(out).threshold_ == 0.7
    # Scores of another model cannot be compared with it.
    other = ["calibrate", out, "--review", path, "-o", tmp_path / "d.skfcdd"]
    code, text = run(capsys, *other)
    assert code == 1 and "another model" in text
    assert not (tmp_path / "d.skfcdd").exists()


def test_marks_calibrate(model, review, folder, tmp_path, capsys):
    path, images = review
    out = tmp_path / "c.skfcdd"
    for source in (folder, folder.parent):  # the names are looked for in both
        code, record = run(
            capsys,
            *("calibrate", model, source, "--review", path, "-o", out, "--force"),
        )
        assert code == 0 and record["n_images"] == 4 and record["n_calibration"] == 3
    scores = load(model).anomaly_score([str(p) for p in images[:3]])
    found = load(out).calibration_scores_
    assert found == pytest.approx(np.sort(scores), rel=1e-5)


def test_marks_teach(model, review, table, folder, tmp_path, capsys):
    path, _ = review
    out = tmp_path / "n.skfcdd"
    arguments = ["fit", table, "-o", out, "--epochs", "1", "-q", "--force"]
    code, without = run(capsys, *arguments)
    code, record = run(capsys, *arguments, "--review", path)
    assert code == 0
    assert record["n_images"] == without["n_images"] + 4
    assert (without["n_anomalous"], record["n_anomalous"]) == (0, 1)
    code, record = run(capsys, "fit", folder, *arguments[2:], "--review", path)
    assert code == 0 and record["n_anomalous"] == 10 - 3 + 1


def test_marks_of_other_images(model, review, folder, tmp_path, capsys):
    path, _ = review
    other = put(tmp_path / "other", "good/1.png", "bad/2.png")
    for arguments in (
        ["calibrate", model, other, "--review", path, "-o", tmp_path / "c"],
        ["fit", other, "--review", path, "-o", tmp_path / "c"],
    ):
        code, text = run(capsys, *arguments)
        assert code == 1 and "4 of 4 marked images are not in" in text
    both = tmp_path / "both"
    for name in ("a", "b"):
        shutil.copytree(folder, both / name)
    code, text = run(
        capsys, "calibrate", model, both, "--review", path, "-o", tmp_path / "c"
    )
    assert code == 1 and "could be" in text
    nothing = tmp_path / "nothing.json"
    nothing.write_text(path.read_text().replace('"good"', '""').replace("defect", ""))
    code, text = run(
        capsys, "calibrate", model, folder, "--review", nothing, "-o", tmp_path / "c"
    )
    assert code == 1 and "The marks label no image" in text
    assert not (tmp_path / "c").exists()


def test_calibrate_that_has_nothing_to_go_by(model, table, folder, tmp_path, capsys):
    out = ["-o", tmp_path / "c.skfcdd"]

    def told(*arguments):
        code, text = run(capsys, "calibrate", *arguments)
        return code, " ".join(text.split())

    assert told(model, *out)[0] == 2
    assert told(model, *out, "--false-alarm-rate", "0.1")[0] == 2
    both = ["--threshold", "1", "--false-alarm-rate", "0.1"]
    assert told(model, table, *out, *both)[0] == 2
    code, text = told(model, *out, "--threshold", "-1")
    assert code == 2 and "--threshold" in text
    code, text = told(model, table, *out, "--part", "nonsense")
    assert code == 1 and "no part 'nonsense'" in text
    code, text = told(model, folder / "bad", *out)
    assert code == 1 and "--label good" in text
    code, text = told(table.parent / "m.onnx", *out, "--threshold", "1")
    assert code == 1 and "no file" in text
    (tmp_path / "m.onnx").write_bytes(b"")
    code, text = told(tmp_path / "m.onnx", *out, "--threshold", "1")
    assert code == 1 and "export that again" in text
    assert not (tmp_path / "c.skfcdd").exists()


def test_six_commands(folder, tmp_path, capsys, monkeypatch):
    """Those of the start page."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, "photos")
    monkeypatch.setattr(console, "is_terminal", lambda: True)
    for line in (
        "split photos -o parts.csv",
        "fit parts.csv -o first.skfcdd --epochs 1",
        "calibrate first.skfcdd parts.csv -o parts.skfcdd",
        "evaluate parts.skfcdd parts.csv",
        "report parts.skfcdd parts.csv -o report.html",
        "predict parts.skfcdd photos -o scores.csv --regions defects.csv",
    ):
        assert main([*line.split(), *(["-q"] if "split" not in line else [])]) == 0
        told = capsys.readouterr().out
        assert told.count("\n") >= 2
        if line.startswith("fit"):
            assert "Next: skfcdd calibrate first.skfcdd parts.csv -o first-" in told
    for name in ("report.html", "scores.csv", "defects.csv"):
        assert (tmp_path / name).stat().st_size > 30
