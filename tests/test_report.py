"""The report: what stands in its file, and what comes back from it."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from _reports import HOSTILE, SIZE, Known, Page, decoded, edges_of, known_images
from _small import make_images, quick, with_threshold
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError

from skfcdd import FCDDClassifier, FCDDDetector, FCDDSegmenter
from skfcdd._regions import drop_small
from skfcdd._verdicts import silent_at
from skfcdd.cli import main
from skfcdd.datasets import ImageFiles
from skfcdd.exceptions import ImageFileError, ImageShapeError, SkippedFilesWarning
from skfcdd.persistence import load, save
from skfcdd.report import Review, read_review, write_report
from skfcdd.report._pictures import heat_levels, outline

X, Y, MASKS, KINDS = known_images()
SMALL = {"max_epochs": 1, "random_state": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def model():
    images, y, _ = make_images(30, n_anomalous=8)
    return quick(max_epochs=1).fit(images, y)


# -- what stands in it -----------------------------------------------------------------


def test_figures_are_those_of_the_model(model, tmp_path):
    images, y, masks = make_images(30, n_anomalous=8, seed=1)
    info = write_report(model, images, tmp_path / "r.html", y, masks)
    data = Page(info).data
    assert_allclose(data["scores"], model.anomaly_score(images), rtol=1e-6)
    assert data["truth"] == y.tolist() and data["kinds"] is None
    assert data["names"] == [f"image {i}" for i in range(30)]
    assert data["model"]["threshold"] == model.threshold_ == info.threshold
    assert data["model"]["scale"] == list(model.heatmap_scale_)
    called = np.array(data["scores"]) > data["model"]["threshold"]
    assert_array_equal(called, model.predict(images))
    heatmaps = model.explain(images)
    for row, (value, down, across) in data["peaks"].items():
        assert value == pytest.approx(heatmaps[int(row)].max(), rel=1e-5)
        assert heatmaps[int(row), down, across] == pytest.approx(value, rel=1e-5)


def test_pictures_are_exact_and_heatmaps_as_close_as_is_said(tmp_path):
    page = Page(write_report(Known(), X, tmp_path / "r.html", Y, MASKS))
    levels = np.array(page.data["levels"])
    assert len(levels) == 256 and (np.diff(levels) > 0).all()
    heatmaps = Known().explain(X)
    for row in range(len(X)):
        assert_array_equal(page.picture(row), X[row])
        gap = np.abs(page.heatmap(row) - heatmaps[row])
        step = np.diff(levels).max(initial=0, where=levels[1:] <= 4.0)
        assert (gap <= np.maximum(step / 2, 0.025 * heatmaps[row]) + 1e-6).all()


@given(st.floats(1e-6, 1e3), st.floats(1.5, 1e4))
def test_levels_begin_at_nothing_and_hold_the_scale(low, times):
    levels = heat_levels(low, low * times)
    assert levels[0] == 0 and len(levels) == 256
    assert low in levels and low * times in levels
    assert (np.diff(levels) > 0).all()
    assert levels[-1] == pytest.approx(100 * low * times)
    above = levels[levels >= low * times]
    assert (above[1:] / above[:-1] < 1.05).all()


@given(arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_outline_has_exactly_the_edges_of_the_mask(mask):
    across, down = set(), set()
    path = outline(mask, mask.shape)
    for x, y, way, length in re.findall(r"M(\d+) (\d+)([hv])(\d+)", path):
        for k in range(int(length)):
            if way == "h":
                across.add((int(y), int(x) + k))
            else:
                down.add((int(y) + k, int(x)))
    assert (across, down) == edges_of(mask)
    assert re.fullmatch(r"(M\d+ \d+[hv]\d+)*", path)


def test_no_defect_is_lost_in_a_smaller_outline():
    mask = np.zeros((8, 12), dtype=bool)
    mask[5, 7] = True  # in the second row and third column of pixels of 4 x 3
    assert outline(mask, (2, 4)) == "M2 1h1M2 2h1M2 1v1M3 1v1"


def test_file_needs_nothing_and_runs_nothing_else(tmp_path):
    page = Page(write_report(Known(), X, tmp_path / "r.html", Y, MASKS))
    for tag, attrs in page.tags:
        assert not any(name.startswith("on") for name in attrs)
        assert "style" not in attrs
        for name in ("src", "href", "action", "srcset", "data"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
    (policy,) = (
        a["content"]
        for tag, a in page.tags
        if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    assert "unsafe" not in policy

    def digest(text):
        value = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return f"'sha256-{value}'"

    scripts = [text for tag, a, text in page.texts if tag == "script" and not a]
    assert len(scripts) == 2
    assert rules["script-src"].split() == [digest(text) for text in scripts]
    assert [rules["style-src"]] == [digest(text) for text in page.text_of("style")]
    addresses = re.findall(r"\bhttps?://[^\s\"')]+", (tmp_path / "r.html").read_text())
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}


def test_names_and_titles_stay_text(tmp_path):
    plain = Page(write_report(Known(), X, tmp_path / "plain.html"))
    names = HOSTILE + [f"{i}.png" for i in range(len(X) - len(HOSTILE))]
    title = "</title><script>alert(1)</script><!-- policy --> & <!-- data -->"
    kinds = ["</script><b>", *["<i>"] * (len(X) - 1)]
    info = write_report(
        Known(), X, tmp_path / "r.html", names=names, title=title, kinds=kinds
    )
    page = Page(info)
    assert page.data["names"] == names and page.data["kinds"] == kinds
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert page.text_of("title") == page.text_of("h1") == [title]
    assert page.data["title"] == title


def test_names_that_are_no_text(tmp_path):
    odd = os.fsdecode(b"b\xff.png")
    names = [odd, *(f"{i}" for i in range(len(X) - 1))]
    page = Page(write_report(Known(), X, tmp_path / "r.html", names=names))
    assert page.data["names"][0] == "b\\udcff.png"
    review = Review([page.data["names"][0]], ["defect"], np.zeros(1), 1.0, 1.0)
    assert review.marked(names)[0].tolist() == [0]


def test_size_is_told_and_can_be_chosen(tmp_path):
    rng = np.random.RandomState(0)
    images, _, _ = make_images(6, size=(60, 80))
    images = (images + rng.randint(0, 30, (60, 80, 1))[None, ..., 0]).astype(np.uint8)
    large = quick(max_epochs=1).fit(images)
    sizes = {}
    for name, options in {
        "exact": {},
        "small": {"max_side": 20},
        "lossy": {"quality": 60},
    }.items():
        info = write_report(large, images, tmp_path / f"{name}.html", **options)
        page = Page(info)
        assert info.n_bytes == info.path.stat().st_size == page.data["n_bytes"]
        assert f"{info.n_bytes / 1e6:.1f} MB" in str(info)
        sizes[name] = sum(len(parts[0]) for parts in page.pictures.values())
        pixels = page.picture(0).astype(int)
        if name == "small":
            assert page.data["picture_size"] == [15, 20] == list(pixels.shape)
            assert page.data["heat_share"] == 1 / 16
            means = images[0].reshape(15, 4, 20, 4).mean(axis=(1, 3))
            assert np.abs(pixels - means).max() <= 1
        else:
            error = np.abs(pixels.reshape(60, 80, -1)[..., 0] - images[0]).max()
            assert (error == 0) == page.data["exact"] and error < 90
    assert sizes["small"] < sizes["lossy"] < sizes["exact"]


def test_few_pictures_are_the_wrong_verdicts_and_then_the_highest_scores(tmp_path):
    model = Known(threshold=0.9)
    told = []
    info = write_report(
        model,
        X,
        tmp_path / "r.html",
        Y,
        n_images=14,
        progress=lambda *steps: told.append(steps),
    )
    assert told[-1] == (54, 54) and all(done <= total for done, total in told)
    page = Page(info)
    scores = model.anomaly_score(X)
    assert_allclose(page.data["scores"], scores)
    wrong = set(np.flatnonzero((scores > 0.9) != Y))
    right = [i for i in np.argsort(-scores) if i not in wrong]
    assert 0 < len(wrong) < 14
    assert set(page.pictures) == wrong | set(right[: 14 - len(wrong)])
    assert (info.n_images, info.n_pictures) == (40, 14)
    assert "40 images, 14 shown" in str(info)
    every = write_report(model, X, tmp_path / "all.html", Y, n_images=40)
    assert every.n_pictures == 40


def test_memory_holds_a_batch(tmp_path):
    class Lazy:
        """Images that exist while they are looked at."""

        shape, dtype, ndim, chunks = (200, *SIZE), np.dtype(np.uint8), 3, (1, *SIZE)
        most = 0

        def __getitem__(self, index):
            rows = np.arange(200)[index]
            Lazy.most = max(Lazy.most, len(rows))
            return X[rows % len(X)]

    model = Known()
    assert write_report(model, Lazy(), tmp_path / "r.html").n_images == 200
    assert Lazy.most <= 64 and max(model.batches) <= 64


# -- scores of segmenters --------------------------------------------------------------


@given(
    arrays(np.float32, (2, 5, 6), elements=st.integers(0, 9).map(lambda v: v / 4)),
    st.integers(1, 40),
    st.floats(0, 3, width=32),
)
def test_an_image_is_above_exactly_where_a_region_is_marked(maps, min_area, threshold):
    marked = drop_small(maps > np.float32(threshold), min_area).any(axis=(1, 2))
    assert_array_equal(silent_at(maps, min_area) > threshold, marked)


def test_segmenters_are_judged_by_their_pixels(tmp_path):
    images, _, masks = make_images(24, n_anomalous=8)
    for min_area in (1, 12):
        segmenter = FCDDSegmenter(min_area=min_area, **SMALL).fit(images, masks)
        data = Page(write_report(segmenter, images, tmp_path / "r.html", masks)).data
        assert data["model"]["pixels"] and data["model"]["min_area"] == min_area
        assert data["outlines"] and data["truth"] == masks.any(axis=(1, 2)).tolist()
        scores = np.array(data["scores"])
        for threshold in (segmenter.threshold_, *np.quantile(scores, [0.3, 0.7])):
            changed = with_threshold(segmenter, threshold)
            found = changed.predict(images).any(axis=(1, 2))
            assert_array_equal(scores > threshold, found)


# -- models and images of all kinds ----------------------------------------------------


def test_labels_are_those_of_the_model(tmp_path):
    images, y, masks = make_images(20, n_anomalous=5)
    detector = FCDDDetector(**SMALL).fit(images)
    data = Page(write_report(detector, images, tmp_path / "r.html", 1 - 2 * y)).data
    assert data["truth"] == y.tolist()
    words = np.where(y == 1, "aged", "new")
    named = FCDDClassifier(anomaly_label="aged", **SMALL).fit(images, words)
    data = Page(write_report(named, images, tmp_path / "r.html", words)).data
    assert data["truth"] == y.tolist()
    data = Page(write_report(named, images, tmp_path / "r.html", masks=masks)).data
    assert data["truth"] == y.tolist()


def test_exported_models(model, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from skfcdd.export import to_onnx
    from skfcdd.onnx import OnnxFCDD

    images, y, _ = make_images(12, n_anomalous=4)
    to_onnx(model, tmp_path / "m.onnx")
    served = OnnxFCDD(tmp_path / "m.onnx")
    data = Page(write_report(served, images, tmp_path / "r.html", y)).data
    assert_allclose(data["scores"], served.anomaly_score(images))
    assert data["truth"] == y.tolist() and "ONNX" in data["model"]["name"]


@pytest.mark.parametrize(
    "form", ["float", "uint16", "colour", "torch", "first", "list"]
)
def test_images_of_any_kind(form, tmp_path):
    grey, _, _ = make_images(8)
    colour = np.stack([grey, grey // 2, 255 - grey], axis=-1)
    images = {
        "float": grey / 100 - 1.0,
        "uint16": grey.astype(np.uint16) * 200,
        "colour": colour,
        "torch": torch.as_tensor(grey),
        "first": np.moveaxis(colour, 3, 1),
        "list": list(grey),
    }[form]
    fitted = FCDDClassifier(**SMALL).fit(images)
    page = Page(write_report(fitted, images, tmp_path / "r.html"))
    low, high = page.data["value_range"]
    shown = low + page.picture(3) / 255.0 * (high - low)
    expected = np.asarray(images[3])
    if form == "first":
        expected = np.moveaxis(expected, 0, 2)
    inside = (expected >= low) & (expected <= high)
    assert inside.mean() > 0.95
    assert np.abs(shown - expected)[inside].max() <= (high - low) / 255
    chosen = Page(
        write_report(fitted, images, tmp_path / "c.html", value_range=(-1e6, 1e6))
    )
    assert chosen.data["value_range"] == [-1e6, 1e6]


def test_files_are_called_by_their_paths(model, tmp_path):
    images, _, _ = make_images(4)
    for i, image in enumerate(images):
        place = tmp_path / "parts" / ("a" if i < 2 else "b") / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    paths = sorted((tmp_path / "parts").rglob("*.png"))
    for files in (paths, ImageFiles(paths)):
        page = Page(write_report(model, files, tmp_path / "r.html"))
        assert page.data["names"] == ["a/0.png", "a/1.png", "b/2.png", "b/3.png"]
        assert_array_equal(page.picture(2), images[2])


# -- what cannot be used ---------------------------------------------------------------

WRONG = {
    "labels": ({"y": Y[:3]}, ValueError, r"X has 40 images, but y has 3 labels"),
    "unknown label": ({"y": Y + 1}, ValueError, r"y has the label\(s\) \[2\]"),
    "masks": ({"masks": MASKS[:3]}, ImageShapeError, r"40 images, but 3 masks"),
    "size of masks": (
        {"y": Y, "masks": MASKS[:, :5]},
        ImageShapeError,
        r"Masks must have the size .* Got \(5, 16\) in row 0",
    ),
    "values of masks": (
        {"y": Y, "masks": MASKS * 7},
        ValueError,
        r"masks must contain 0 for normal and 1 \(or 255\)",
    ),
    "names": ({"names": ["a"]}, ValueError, r"40 images, but 1 names"),
    "same names": ({"names": ["a"] * 40}, ValueError, r"'a' occurs twice"),
    "kinds": ({"kinds": ["a"]}, ValueError, r"40 images, but 1 kinds"),
    "max_side": ({"max_side": 0}, ValueError, r"max_side=0, but expected an int"),
    "quality": ({"quality": 101}, ValueError, r"quality=101, .* 1 to 100"),
    "n_images": ({"n_images": True}, ValueError, r"n_images=True"),
    "value_range": ({"value_range": (2, 1)}, ValueError, r"expected low < high"),
    "channel": ({"channel": 3}, ValueError, r"channel=3, but the images have 1"),
    "review": (
        {"review": Review(["z"], ["good"], np.zeros(1), 1.0, 1.0)},
        ValueError,
        r"1 of 1 images marked in review are not among names, for example 'z'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_and_nothing_is_written(case, tmp_path):
    options, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        write_report(Known(), X, tmp_path / "r.html", **options)
    assert not list(tmp_path.iterdir())


def test_models_that_cannot_be_used(tmp_path):
    with pytest.raises(NotFittedError):
        write_report(FCDDClassifier(), X, tmp_path / "r.html")
    with pytest.raises(TypeError, match=r"Got IsolationForest"):
        write_report(IsolationForest(), X, tmp_path / "r.html")
    broken = Known()
    broken.explain = lambda images: np.full((len(images), *SIZE), np.nan)
    with pytest.raises(ValueError, match=r"contain NaN or infinity"):
        write_report(broken, X, tmp_path / "r.html")
    assert not list(tmp_path.iterdir())


def test_images_that_cannot_be_used(model, tmp_path):
    with pytest.raises(ValueError, match=r"no images"):
        write_report(Known(), X[:0], tmp_path / "r.html")
    images = make_images(30)[0].astype(float)
    images[29, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"NaN"):
        write_report(model, images, tmp_path / "r.html")
    with pytest.raises(ImageShapeError):
        write_report(model, images[:, :5], tmp_path / "r.html")
    assert not list(tmp_path.iterdir())


def test_an_older_report_stays_until_the_new_one_is_complete(tmp_path):
    place = tmp_path / "r.html"
    place.write_text("the older one")

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_report(Known(), X, place, progress=stop)
    assert place.read_text() == "the older one"
    assert list(tmp_path.iterdir()) == [place]
    with pytest.raises(OSError, match=r"Cannot write"):
        write_report(Known(), X, tmp_path / "none" / "r.html")
    with pytest.raises(IsADirectoryError):
        write_report(Known(), X, tmp_path)


def test_needs_no_matplotlib():
    code = "import sys, skfcdd.report; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# -- reviews ---------------------------------------------------------------------------


def as_json(names, marks, scores, threshold, model_threshold):
    images = [
        {"name": n, "mark": m, "score": s}
        for n, m, s in zip(names, marks, scores, strict=True)
    ]
    head = {"format": "skfcdd-review", "version": 1, "threshold": threshold}
    return json.dumps(head | {"model_threshold": model_threshold, "images": images})


# The last four are as wide as a letter of Chinese, and some spreadsheets compute them.
FORMULAS = tuple("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")


def as_csv(names, marks, scores, threshold, model_threshold):
    """As the page writes it: what looks like a formula has a quote before it."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(["name", "score", "mark", "threshold", "model_threshold"])
    for name, mark, score in zip(names, marks, scores, strict=True):
        safe = f"'{name}" if name[:1] in FORMULAS else name
        writer.writerow([safe, score, mark, threshold, model_threshold])
    return "\ufeff" + stream.getvalue()


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.floats(-1e300, 1e300)


@given(
    st.lists(
        st.tuples(NAMES, st.sampled_from(["", "good", "defect", "unsure"]), VALUES),
        min_size=1,
        max_size=6,
        unique_by=lambda row: row[0],
    ),
    VALUES,
    VALUES,
)
def test_a_review_is_read_as_it_was_made(tmp_path_factory, rows, threshold, old):
    names, marks, scores = map(list, zip(*rows, strict=True))
    for write in (as_json, as_csv):
        place = tmp_path_factory.mktemp("review") / "review"
        text = write(names, marks, scores, threshold, old)
        place.write_bytes(text.encode("utf-8"))
        review = read_review(place)
        assert (review.names, review.marks) == (names, marks)
        assert review.scores.tolist() == scores
        assert (review.threshold, review.model_threshold) == (threshold, old)
        known = {"good": 0, "defect": 1}
        assert review.labels.tolist() == [known.get(mark, -1) for mark in marks]


GOOD = as_json(["a"], ["good"], [0.5], 1.0, 2.0)
DAMAGED = {
    "empty": "",
    "no json": "{",
    "a list": "[]",
    "other format": GOOD.replace("skfcdd-review", "other"),
    "other version": GOOD.replace('"version": 1', '"version": 9'),
    "no images": '{"format": "skfcdd-review", "version": 1}',
    "unknown mark": GOOD.replace("good", "fine"),
    "no number": GOOD.replace("0.5", '"0.5"'),
    "infinite": GOOD.replace("0.5", "Infinity"),
    "name twice": as_json(["a", "a"], ["", ""], [0, 1], 1.0, 2.0),
    "no name": GOOD.replace('"a"', "7"),
    "table without columns": "name,score\na,1\n",
    "row cut off": as_csv(["a", "b"], ["", ""], [1, 2], 1.0, 2.0)[:-12],
    "two thresholds": "name,score,mark,threshold,model_threshold\na,1,,1,1\nb,1,,2,1\n",
    "binary": "\x00\xff",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_reviews_are_refused(case, tmp_path):
    place = tmp_path / "review"
    place.write_bytes(DAMAGED[case].encode("latin-1", "replace"))
    with pytest.raises(ValueError, match=r"not exported from a report"):
        read_review(place)


def test_no_review_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_review(tmp_path / "none.json")


def test_marks_become_labels():
    marks = ["defect", "good", "unsure", ""]
    review = Review(["a", "b", "c", "d"], marks, np.zeros(4), 1.0, 2.0)
    names = ["d", "c", "b", "a"]
    assert review.apply(names, [1, 1, 1, 0]).tolist() == [1, 1, 0, 1]
    y = np.array([-1, 1, -1, 1])
    assert review.apply(names, y, classes=(1, -1)).tolist() == [-1, 1, 1, -1]
    assert y.tolist() == [-1, 1, -1, 1]
    words = review.apply(names, ["ok"] * 4, classes=("ok", "broken"))
    assert words.tolist() == ["ok", "ok", "ok", "broken"]
    rows, labels = review.marked(names, classes=("ok", "broken"))
    assert (rows.tolist(), labels.tolist()) == ([2, 3], ["ok", "broken"])
    rows, labels = review.marked(["c", "b"], on_missing="ignore")
    assert (rows.tolist(), labels.tolist()) == ([1], [0])


@pytest.mark.parametrize(
    ("names", "y", "options", "message"),
    [
        (["a"], [0, 1], {}, r"1 names, but 2 labels"),
        (["a", "b"], [0, 2], {}, r"label\(s\) \[2\], which are not among classes"),
        (["a", "a"], [0, 1], {}, r"'a' occurs twice"),
        (["b"], [0], {}, r"1 of 1 marked images are not among names, for example 'a'"),
        (["a"], [0], {"on_missing": "skip"}, r"expected 'raise' or 'ignore'"),
        (["a"], [0], {"classes": (0,)}, r"classes must be two labels"),
    ],
)
def test_reviews_that_do_not_fit(names, y, options, message):
    review = Review(["a"], ["defect"], np.zeros(1), 1.0, 2.0)
    with pytest.raises(ValueError, match=message):
        review.apply(names, y, **options)


def test_the_way_back_into_the_model(model, tmp_path):
    images = make_images(30, n_anomalous=8, seed=2)[0]
    names = [f"{i}.png" for i in range(30)]
    marks = ["good" if i < 20 else "defect" if i > 27 else "" for i in range(30)]
    scores = model.anomaly_score(images)
    review = Review(names, marks, scores, float(np.median(scores)), model.threshold_)
    fitted = quick(max_epochs=1).fit(images, review.apply(names, np.zeros(30, int)))
    assert fitted.classes_.tolist() == [0, 1]
    fitted.set_params(threshold=review.threshold).calibrate(make_images(30, seed=3)[0])
    assert fitted.threshold_ == review.threshold
    info = write_report(model, images, tmp_path / "r.html", names=names, review=review)
    found = Page(info).data["marks"]
    assert found == {str(i): mark for i, mark in enumerate(marks) if mark}


# -- the command -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model):
    images, y, masks = make_images(12, n_anomalous=4, seed=3)
    place = tmp_path_factory.mktemp("parts")
    for i in range(12):
        kind = "flaw" if y[i] else "good"
        (place / "test" / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(place / "test" / kind / f"{i}.png")
        if y[i]:
            truth = place / "ground_truth" / "flaw"
            truth.mkdir(parents=True, exist_ok=True)
            Image.fromarray(masks[i] * 255).save(truth / f"{i}_mask.png")
    save(model, place / "m.skfcdd")
    return place


def run(folder, source, *options):
    place = folder / "out.html"
    place.unlink(missing_ok=True)
    arguments = ["report", folder / "m.skfcdd", source, "-o", place, "-q", *options]
    code = main([str(argument) for argument in arguments])
    return code, Page(place) if place.exists() else None


def test_command_takes_labels_from_folders(folder, capsys):
    code, page = run(folder, folder, "--title", "Parts <1>")
    assert code == 0 and json.loads(capsys.readouterr().out)["n_images"] == 12
    assert page.data["title"] == "Parts <1>"
    bad = [name.split("/")[1] == "flaw" for name in page.data["names"]]
    assert page.data["truth"] == bad and sum(bad) == 4
    assert page.data["kinds"] == [name.split("/")[1] for name in page.data["names"]]
    outlined = [bool(page.pictures[i][2]) for i in range(12)]
    assert page.data["outlines"] and outlined == bad
    images = ImageFiles([folder / name for name in page.data["names"]])
    scores = load(folder / "m.skfcdd").anomaly_score(images)
    assert_allclose(page.data["scores"], scores, rtol=1e-6)


def test_command_knows_nothing_of_loose_images(folder, tmp_path):
    for source, names in (
        (folder / "test" / "flaw", {"8.png", "9.png", "10.png", "11.png"}),
        (folder / "test" / "good" / "3.png", {"3.png"}),
    ):
        code, page = run(folder, source)
        assert code == 0 and set(page.data["names"]) == names
        assert page.data["truth"] is None and page.data["kinds"] is None
    table = tmp_path / "table.csv"
    for columns, expected in (("path,label", [0]), ("path,note", None)):
        good = folder / "test" / "good" / "3.png"
        table.write_text(f"{columns}\n{good},good\n")
        code, page = run(folder, table)
        assert code == 0 and page.data["truth"] == expected


def test_command_with_marks_and_fewer_pictures(folder, tmp_path):
    _, page = run(folder, folder)
    names = page.data["names"]
    marks = tmp_path / "review.json"
    marks.write_text(as_json([names[5]], ["unsure"], [1.0], 1.0, 1.0))
    code, page = run(folder, folder, "--review", marks, "--images", 3, "--max-side", 8)
    assert code == 0 and page.data["marks"] == {"5": "unsure"}
    assert len(page.pictures) == 3 and page.data["picture_size"] == [6, 8]


def test_command_that_fails_leaves_nothing(folder, tmp_path, capsys):
    broken = tmp_path / "broken"
    broken.mkdir()
    images, _, _ = make_images(3)
    Image.fromarray(images[0]).save(broken / "a.png")
    whole = (broken / "a.png").read_bytes()
    (broken / "b.png").write_bytes(whole[: len(whole) - 40])
    assert run(folder, broken) == (1, None)
    assert "b.png" in capsys.readouterr().err
    with pytest.warns(SkippedFilesWarning):
        code, page = run(folder, broken, "--on-error", "skip")
    assert code == 0 and page.data["names"] == ["a.png"]
    assert run(folder, tmp_path / "none") == (1, None)
    assert run(folder, broken, "--quality", "0") == (2, None)
    assert run(folder, broken, "--on-error", "skip", "-o", "none/r.html") == (1, None)
    assert "no folder 'none'" in capsys.readouterr().err
    assert not [p for p in folder.iterdir() if p.name.startswith(".skfcdd")]


# -- the pixels of the files ---------------------------------------------------------


def write_files(folder, sizes, seed=0):
    """Noise in files of these sizes."""
    rng = np.random.RandomState(seed)
    folder.mkdir()
    paths = []
    for i, size in enumerate(sizes):
        paths.append(folder / f"{i}.png")
        image = rng.randint(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(image).save(paths[-1])
    return paths


class Seen(Known):
    """What it sees is smaller than the files, and has another aspect."""

    image_shape_ = (*SIZE, 3)

    def explain(self, X):
        return super().explain(np.asarray(X).mean(axis=3))


@pytest.mark.parametrize("keep_aspect", [False, True])
def test_pictures_have_the_pixels_of_the_files(keep_aspect, tmp_path):
    """They had those that the model sees: 128 x 154 of files of 608 x 227."""
    sizes = [(23, 60), (23, 60), (40, 31)]
    paths = write_files(tmp_path / "parts", sizes)
    files = ImageFiles(paths, resize=SIZE, keep_aspect=keep_aspect)
    model = Seen()
    page = Page(write_report(model, files, tmp_path / "r.html"))
    assert page.data["exact"] and page.data["of_files"]
    assert page.data["sizes"] == [list(size) for size in sizes]
    assert page.data["aspect"] == [23, 60] and page.data["size"] is None
    assert page.data["heat_share"] == 1
    heatmaps = model.explain(files[:])
    whole = files.at_original_size(heatmaps)
    for row, path in enumerate(paths):
        with Image.open(path) as image:
            assert_array_equal(page.picture(row), np.asarray(image))
        # The heatmap lies on the image, without what was filled up around it.
        shown = page.heatmap(row)
        if not keep_aspect:
            assert shown.shape == SIZE
        else:
            assert shown.shape[0] / shown.shape[1] == pytest.approx(
                sizes[row][0] / sizes[row][1], rel=0.15
            )
        large = np.asarray(
            Image.fromarray(shown.astype(np.float32)).resize(
                sizes[row][::-1], Image.Resampling.BILINEAR
            )
        )
        assert np.corrcoef(large.ravel(), whole[row].ravel())[0, 1] > 0.99
        value, down, across = page.data["peaks"][str(row)]
        assert value == pytest.approx(heatmaps[row].max(), rel=1e-5)
        assert whole[row][down, across] >= 0.8 * whole[row].max()


class SeenWithin(Seen):
    roi_ = np.zeros(SIZE, dtype=bool)
    roi_[2:9, 3:14] = True


@pytest.mark.parametrize("keep_aspect", [False, True])
def test_the_region_lies_where_it_does_in_each_file(keep_aspect, tmp_path):
    paths = write_files(tmp_path / "parts", [(23, 60), (40, 31)])
    files = ImageFiles(paths, resize=SIZE, keep_aspect=keep_aspect)
    page = Page(write_report(SeenWithin(), files, tmp_path / "r.html"))
    for row in range(2):
        size = page.heatmap(row).shape
        runs = page.data["regions"][f"{size[0]},{size[1]}"]
        found = np.repeat(np.arange(len(runs)) % 2, runs).reshape(size)
        h, w = files._inner(row)
        top, left = (SIZE[0] - h) // 2, (SIZE[1] - w) // 2
        assert_array_equal(found, SeenWithin.roi_[top : top + h, left : left + w])
    without = Page(write_report(Seen(), files, tmp_path / "r.html"))
    assert without.data["regions"] == {}


def test_a_file_of_any_number_of_images_stays_small(tmp_path):
    paths = write_files(tmp_path / "parts", [(200, 300)] * 20)
    files = ImageFiles(paths, resize=SIZE)
    exact = write_report(Seen(), files, tmp_path / "e.html", max_bytes=None)
    assert Page(exact).data["exact"] and exact.n_bytes > 4_000_000
    sizes = []
    for limit in (2_000_000, 1_000_000, 500_000):
        info = write_report(Seen(), files, tmp_path / "r.html", max_bytes=limit)
        page = Page(info)
        assert 0.4 * limit < info.n_bytes <= limit
        assert not page.data["exact"]
        assert {page.picture(row).shape for row in range(20)} != {(*SIZE, 3)}
        sizes.append(page.picture(0).shape[0])
    assert sizes[0] == 200 > sizes[-1]
    # Nor do a few large ones among them, which no sample shows.
    paths += write_files(tmp_path / "more", [(600, 900)] * 3)
    mixed = ImageFiles(paths, resize=SIZE)
    info = write_report(Seen(), mixed, tmp_path / "r.html", max_bytes=1_500_000)
    assert info.n_bytes < 2_000_000


def test_large_pictures_have_small_ones_beside_them(tmp_path):
    files = ImageFiles(write_files(tmp_path / "parts", [(500, 800)]), resize=SIZE)
    page = Page(write_report(Seen(), files, tmp_path / "r.html"))
    (text,) = [text for _, a, text in page.texts if a.get("id") == "t0"]
    thumb = decoded(text)
    assert thumb.shape == (160, 256, 3) and len(text) < len(page.pictures[0][0]) / 8
    assert page.picture(0).shape == (500, 800, 3)
    for limit in (0, 1.5, True):
        with pytest.raises(ValueError, match="max_bytes"):
            write_report(Seen(), files, tmp_path / "r.html", max_bytes=limit)


def test_images_that_have_moved(tmp_path):
    paths = write_files(tmp_path / "parts", [(20, 30)] * 3)
    files = ImageFiles(paths, resize=SIZE)
    paths[1].rename(tmp_path / "gone.png")
    with pytest.raises(ImageFileError, match=r"1\.png.*no such file"):
        write_report(Seen(), files, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()
