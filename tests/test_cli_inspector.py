"""The command line in the hands of somebody who knows no Python."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
from contextlib import contextmanager

import numpy as np
import pytest
from _small import make_images
from _trees import put
from PIL import Image

from skfcdd._engine.net import FCDDNet
from skfcdd.cli import _console as console
from skfcdd.cli import main
from skfcdd.cli._model import Verdicts
from skfcdd.cli._options import spoken
from skfcdd.persistence import load

# Files are larger than what the model sees, and have another aspect.
SIZE, SEEN = (30, 48), "24x24"
IMAGES, LABELS, MASKS = make_images(44, size=SIZE, n_anomalous=12, seed=5)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Good parts to train on, and some to test with, of which twelve have a crack."""
    root = tmp_path_factory.mktemp("data") / "parts"
    for i, (image, bad, mask) in enumerate(zip(IMAGES, LABELS, MASKS, strict=True)):
        part = "train" if i < 20 else "test"
        put(root, f"{part}/{'crack' if bad else 'good'}/{i}.png", values=image)
        if bad:
            put(root, f"ground_truth/crack/{i}_mask.png", values=255 * mask)
    return root


def fit(folder, model, *options):
    usual = ["--size", SEEN, "--epochs", "2", "-q", "--validation-fraction", "0.1"]
    return main(["fit", str(folder), "-o", str(model), *usual, *options])


@pytest.fixture(scope="module")
def model(parts):
    path = parts.parent / "m.skfcdd"
    assert fit(parts, path) == 0
    return path


@pytest.fixture
def terminal(monkeypatch):
    """Somebody who looks at what is printed."""
    monkeypatch.setattr(console, "is_terminal", lambda: True)


# -- what folders mean -----------------------------------------------------------------


def test_a_folder_whose_meaning_is_unknown_is_named(parts, model, tmp_path, capsys):
    """Defects counted as good images, and as false alarms."""
    cracks = str(parts / "test" / "crack")
    assert main(["evaluate", str(model), cracks, "-q"]) == 1
    printed = capsys.readouterr()
    assert cracks in printed.err and "--label defect" in printed.err
    assert printed.out == ""
    assert main(["evaluate", str(model), cracks, "-q", "--label", "defect"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["n_anomalous"] == figures["n_images"] == 12
    assert "false_alarm_rate" not in figures
    assert figures["n_found"] == figures["by_kind"]["crack"]["n_found"]
    # A name that says it is enough.
    good = str(parts / "test" / "good")
    assert main(["evaluate", str(model), good, "-q"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["n_anomalous"] == 0 and "detection_rate" not in figures
    table = tmp_path / "t.csv"
    table.write_text(f"path\n{good}/20.png\n")
    assert main(["evaluate", str(model), str(table), "-q"]) == 1
    assert "It is unknown whether" in capsys.readouterr().err


def test_defects_are_not_trained_on_as_good_images(parts, tmp_path, capsys):
    cracks = parts / "test" / "crack"
    assert fit(cracks, tmp_path / "m.skfcdd") == 1
    assert "is next to" in capsys.readouterr().err
    bad = put(tmp_path / "bad", "1.png", values=IMAGES[0])
    assert fit(bad, tmp_path / "m.skfcdd") == 1
    assert "--label good" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["bad"]


# -- stopping and overwriting ----------------------------------------------------------


def test_ctrl_c_keeps_what_was_learned(parts, tmp_path, monkeypatch, capsys):
    @contextmanager
    def progress(label, quiet):
        def begin(length):
            done = iter(range(1, length + 1))
            return lambda: next(done) == 2 and signal.raise_signal(signal.SIGINT)

        yield begin

    monkeypatch.setattr(console, "progress", progress)
    path = tmp_path / "m.skfcdd"
    before = signal.getsignal(signal.SIGINT)
    assert fit(parts, path, "--epochs", "5") == 130
    assert signal.getsignal(signal.SIGINT) is before
    printed = capsys.readouterr()
    record = json.loads(printed.out)
    assert record["interrupted"] and record["n_epochs"] == 2
    assert "Interrupted" in printed.err and "warm_start" not in printed.err
    assert [p.name for p in tmp_path.iterdir()] == ["m.skfcdd"]
    loaded = load(path)
    assert len(loaded.history_) == 2 and loaded.threshold_ == record["threshold"]


def test_ctrl_c_in_the_first_epoch_leaves_nothing(parts, tmp_path, monkeypatch, capsys):
    def press(self, *args, **kwargs):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(FCDDNet, "train_step_single", press)
    assert fit(parts, tmp_path / "m.skfcdd") == 130
    printed = capsys.readouterr()
    assert "Interrupted" in printed.err and "Traceback" not in printed.err
    assert printed.out == "" and not list(tmp_path.iterdir())


def test_a_model_is_only_replaced_when_asked(parts, model, tmp_path, capsys):
    path = tmp_path / "m.skfcdd"
    path.write_bytes(b"older")
    assert fit(parts, path) == 1
    assert "--force" in capsys.readouterr().err
    assert path.read_bytes() == b"older"
    assert fit(parts, path, "--force") == 0
    assert len(load(path).history_) == 2
    # Nor does a result take the place of what is read.
    image = put(tmp_path, "a.png", values=IMAGES[0]) / "a.png"
    content = model.read_bytes(), image.read_bytes()
    arguments = ["predict", str(model), str(image), "-q"]
    for lost in (model, image):
        assert main([*arguments, "-o", str(lost)]) == 1
        assert main([*arguments, "--regions", str(lost)]) == 1
        assert main(["report", str(model), str(image), "-q", "-o", str(lost)]) == 1
        assert "would overwrite" in capsys.readouterr().err
    assert (model.read_bytes(), image.read_bytes()) == content


# -- tables ----------------------------------------------------------------------------


def test_a_table_can_be_read_line_by_line(parts, model, capsys):
    """As awk -F, '$4==1' does; the last column had a carriage return."""
    assert main(["predict", str(model), str(parts / "test"), "-q"]) == 0
    text = capsys.readouterr().out
    assert "\r" not in text
    cells = [line.split(",") for line in text.splitlines()]
    assert cells[0][:5] == ["path", "score", "probability", "anomalous", "threshold"]
    fitted = load(model)
    for path, score, probability, anomalous, threshold, *_ in cells[1:]:
        assert len(re.sub(r"^0\.0*|\.|e.*", "", score)) <= 7
        assert float(threshold) == pytest.approx(fitted.threshold_, rel=1e-6)
        assert (float(score) > float(threshold)) == (anomalous == "1")
        assert (float(probability) > 0.5) == (anomalous == "1")
        assert path.endswith(".png")
    flagged = [row for row in cells if row[3] == "1"]
    assert 0 < len(flagged) < 24


def test_scores_on_the_threshold_are_printed_so():
    """Whatever the digits, who compares two columns comes to the verdict."""
    close = 0.1234567 * (1 + 1e-5 * np.array([-1, 0, 0.1, 1, 2e-2]))
    verdicts = Verdicts(close, close, 0.1234567, None)
    for k, row in enumerate(verdicts.rows(pixels=False)):
        assert (row["score"] > row["threshold"]) == bool(row["anomalous"])
        assert row["anomalous"] == (k == 3)


# -- words -----------------------------------------------------------------------------


def test_messages_name_options(parts, model, tmp_path, capsys):
    """And none that the command line lacks."""
    kinds = put(tmp_path / "kinds", "a/1.png", "b/2.png")
    pages = tmp_path / "pages"
    pages.mkdir()
    frames = [Image.fromarray(image) for image in IMAGES[:2]]
    frames[0].save(pages / "1.tif", save_all=True, append_images=frames[1:])
    options = ["--false-alarm-rate", "0.001"]
    attempts = {
        ("--validation-fraction",): lambda: fit(parts, tmp_path / "m", *options),
        ("--normal",): lambda: fit(kinds, tmp_path / "m"),
        ("--page",): lambda: fit(pages, tmp_path / "m"),
        ("--device banana", "cpu"): lambda: fit(
            parts, tmp_path / "m", "--device", "banana"
        ),
    }
    for words, attempt in attempts.items():
        assert attempt() in (1, 2)
        told = capsys.readouterr().err
        said = " ".join(told.replace("Usage:", "").split())
        assert all(word in said for word in words), said
        assert not re.search(r"\b[a-z_]+=", said), said
        assert len(said) < 500
    assert fit(parts, tmp_path / "m", "--validation-fraction", "0.3") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["n_calibration"] == 6


def test_words_of_python_become_options():
    assert spoken("Name the right one with normal=, or rename it to 'good'.") == (
        "Name the right one with --normal, or rename it to 'good'."
    )
    assert spoken("Got device='gpu', which") == "Got --device gpu, which"
    assert spoken("ImageFiles(paths, page=0) or load_images(..., page=0) reads") == (
        "--page 0 reads"
    )
    assert spoken("(synthetic=, outlier_exposure=)") == (
        "(--synthetic, outlier_exposure of the Python interface)"
    )
    assert spoken("a == b, x>=1, 'p?q=1'") == "a == b, x>=1, 'p?q=1'"


def test_swapped_arguments(parts, model, capsys):
    for command in ("predict", "evaluate", "report", "info"):
        rest = [] if command == "info" else [str(model)]
        assert main([command, str(parts), *rest]) == 1
        told = capsys.readouterr().err
        assert "is a folder, but the first argument is the model" in told


def test_one_image_is_no_images(parts, model, tmp_path, capsys, terminal):
    image = str(parts / "test" / "good" / "20.png")
    page = tmp_path / "r.html"
    assert main(["report", str(model), image, "-o", str(page)]) == 0
    printed = capsys.readouterr()
    assert "1 image" in printed.out
    assert "1 images" not in printed.out + printed.err


def test_info_of_an_exported_model(model, tmp_path, capsys, terminal):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    onnx = tmp_path / "m.onnx"
    assert main(["export", str(model), "-o", str(onnx)]) == 0
    assert "labels agree: 100" in capsys.readouterr().out
    assert main(["info", str(onnx)]) == 0
    told = capsys.readouterr().out
    assert "ONNX" in told and f"{load(model).threshold_:.4g}" in told
    assert main(["info", str(onnx), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metadata"]["kind"] == "classifier"


# -- how commands end ------------------------------------------------------------------


def test_sentences_on_a_terminal(parts, model, tmp_path, capsys, terminal):
    fitted = load(model)
    threshold = f"{fitted.threshold_:.4g}"
    path = tmp_path / "second.skfcdd"
    assert fit(parts, path) == 0
    told = capsys.readouterr().out
    for words in (
        "Read 20 images",
        "2 epochs",
        "This threshold was set on 2 good images",
        "few",
    ):
        assert words in told, told
    assert f"Next: skfcdd evaluate {path} {parts}\n" in told
    assert f"      skfcdd report {path} {parts}\n" in told
    assert main(["evaluate", str(model), str(parts), "-q"]) == 0
    told = capsys.readouterr().out
    found = fitted.predict([str(p) for p in (parts / "test/crack").iterdir()]).sum()
    assert f"Defects detected: {found} of 12, " in told and "interval" in told
    assert threshold in told and "False alarms: " in told
    table = tmp_path / "t.csv"
    assert main(["predict", str(model), str(parts / "test"), "-o", str(table)]) == 0
    told = capsys.readouterr().out
    assert "of 24 images" in told and f"Wrote {table}" in told
    assert main(["predict", str(model), str(parts / "test")]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("path,") and "of 24 images" in printed.err


def test_json_in_a_pipe_and_when_asked(parts, model, tmp_path, capsys, monkeypatch):
    commands = {
        "evaluate": [str(parts)],
        "report": [str(parts), "-o", str(tmp_path / "r.html")],
        "predict": [str(parts / "test"), "-o", str(tmp_path / "t.csv")],
        "info": [],
    }
    for terminal in (False, True):
        monkeypatch.setattr(console, "is_terminal", lambda t=terminal: t)
        for command, rest in commands.items():
            quiet = [] if command == "info" else ["-q"]
            asked = ["--json"] if terminal else []
            assert main([command, str(model), *rest, *quiet, *asked]) == 0
            (line,) = capsys.readouterr().out.splitlines()
            assert isinstance(json.loads(line), dict)
    assert main(["predict", str(model), str(parts / "test"), "-q", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["anomalous"] in (0, 1) for line in lines] == [True] * 24


def test_intervals_are_those_of_wilson():
    from scipy.stats import binomtest

    for part, whole in ((0, 4), (3, 4), (4, 4), (17, 60)):
        known = binomtest(part, whole).proportion_ci(method="wilson")
        assert console.wilson(part, whole) == pytest.approx(tuple(known), abs=1e-12)


# -- defects ---------------------------------------------------------------------------


def test_defects_in_a_table_and_as_masks(parts, model, tmp_path, capsys):
    """In the pixels of the files, whatever the model sees."""
    regions, masks, table = (tmp_path / name for name in ("r.csv", "masks", "t.csv"))
    where = ["--regions", str(regions), "--masks", str(masks), "-o", str(table)]
    assert main(["predict", str(model), str(parts / "test"), "-q", *where]) == 0
    record = json.loads(capsys.readouterr().out)
    with table.open(newline="") as file:
        verdicts = {r["path"]: r["anomalous"] == "1" for r in csv.DictReader(file)}
    with regions.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert record["n_regions"] == len(rows) > 0
    assert {row["path"] for row in rows} <= {p for p, bad in verdicts.items() if bad}
    fitted = load(model)
    level = fitted.pixel_threshold_
    for path, bad in verdicts.items():
        name = path.removeprefix(f"{parts / 'test'}/")
        with Image.open(masks / name) as image:
            mask = np.asarray(image)
        assert mask.shape == SIZE and set(np.unique(mask)) <= {0, 255}
        own = [row for row in rows if row["path"] == path]
        numbers = [int(row["defect"]) for row in own]
        assert numbers == list(range(1, len(own) + 1))
        assert sum(int(row["area"]) for row in own) == (mask > 0).sum()
        if not bad:
            assert not mask.any()
            continue
        heatmap = fitted.explain([path])[0]
        large = np.asarray(
            Image.fromarray(heatmap).resize(SIZE[::-1], Image.Resampling.BILINEAR)
        )
        assert ((mask > 0) <= (large > level)).all()
        for row in own:
            top, left, bottom, right = (
                int(row[k]) for k in ("top", "left", "bottom", "right")
            )
            x, y, peak = int(row["peak_x"]), int(row["peak_y"]), float(row["peak"])
            assert top <= y < bottom <= SIZE[0] and left <= x < right <= SIZE[1]
            assert large[y, x] == pytest.approx(peak, rel=1e-5)
            assert mask[top:bottom, left:right].any() and mask[y, x]


def test_no_defects_are_a_table_too(parts, model, tmp_path, capsys):
    image = np.full(SIZE, 128, dtype=np.uint8)
    folder = put(tmp_path / "new", "a.png", values=image)
    regions = tmp_path / "r.csv"
    where = ["--regions", str(regions)]
    assert main(["predict", str(model), str(folder), "-q", *where]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    if row["anomalous"] == "0":
        assert regions.read_text().splitlines() == [
            "path,defect,left,top,right,bottom,area,peak,peak_x,peak_y"
        ]
    for pair in (["--masks", "--heatmaps"], ["--regions", "-o"]):
        same = [pair[0], str(tmp_path / "x"), pair[1], str(tmp_path / "x")]
        assert main(["predict", str(model), str(folder), "-q", *same]) == 1
        assert "Choose different" in capsys.readouterr().err
