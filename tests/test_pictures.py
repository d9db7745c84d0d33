"""What people see: one look for files, displays and reports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from _reports import Page, decoded
from _small import make_images, quick, with_fitted, with_threshold
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageColor

from skfcdd import FCDDClassifier, FCDDDetector, FCDDSegmenter
from skfcdd.baselines import PCADetector
from skfcdd.cli import main
from skfcdd.cli._heatmaps import picture_names
from skfcdd.datasets import make_defects
from skfcdd.display import HeatmapDisplay
from skfcdd.display import _look as look
from skfcdd.display._render import Caption, Panel, draw_sheet
from skfcdd.exceptions import ImageShapeError
from skfcdd.memory_bank import MemoryBank
from skfcdd.persistence import load, save
from skfcdd.report import write_report

X, Y, MASKS = make_images(40, n_anomalous=12)
CYAN = ImageColor.getrgb(look.MARKED)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def model():
    return quick().fit(X, Y)


@pytest.fixture(scope="module")
def data():
    return make_defects(40, image_size=32, random_state=0)


@pytest.fixture(scope="module")
def remembering(data):
    """A small model with a memory beside FCDD's map."""
    return FCDDClassifier(
        "fcdd32_s",
        frozen=1,
        memory_bank=MemoryBank(n_patches=50),
        max_epochs=1,
        random_state=0,
    ).fit(data.images[data.target == 0])


# -- colours and words ---------------------------------------------------------------


def test_colours_are_those_of_matplotlib():
    shade = np.linspace(0, 1, 256)
    assert_allclose(
        look.plasma(shade), mpl.colormaps["plasma"](shade)[:, :3], atol=0.02
    )


def test_faint_heat_shows_and_none_below_the_scale():
    shade, alpha = look.ramp(np.array([-1.0, 0.0, 0.02, 0.1, 1.0, 9.0]))
    assert_array_equal(alpha[:2], 0) and assert_array_equal(shade[:2], 0)
    assert alpha[2] * look.OPACITY > 0.15
    assert alpha[4] == alpha[5] == 1
    picture = np.full((4, 4), 0.4)
    calm = look.coloured(picture, np.full((4, 4), 1.0), (1.0, 5.0))
    assert_allclose(calm, 0.4)
    hot = look.coloured(picture, np.full((4, 4), 50.0), (1.0, 5.0))
    bright = look.coloured(picture + 0.2, np.full((4, 4), 50.0), (1.0, 5.0))
    assert (bright - hot > 0.05).all()  # the image is seen through the hottest colour


@pytest.mark.parametrize(
    ("score", "threshold", "expected"),
    [
        (3.4123, 1.2, "3.41 > 1.2"),
        (1.2, 1.2, "1.2 ≤ 1.2"),
        (1.20004, 1.20003, "1.20004 > 1.20003"),
        (0.5, 1.2, "0.5 ≤ 1.2"),
        (0.5, None, "0.5"),
    ],
)
def test_a_score_is_never_shown_on_the_wrong_side(score, threshold, expected):
    assert look.comparison(score, threshold) == expected


def test_shares_add_up():
    for share in (0.0, 0.005, 0.125, 0.5, 0.996, 1.0):
        texts = look.share_texts(share)
        assert sum(int(text.removesuffix(" %")) for text in texts) == 100


# -- what is outlined ----------------------------------------------------------------


def test_outlines_begin_beyond_nearly_all_normal_heatmaps(model):
    level, (low, _) = model.pixel_threshold_, model.heatmap_scale_
    assert level >= low
    fresh = make_images(60, seed=5)[0]
    outlined = (model.explain(fresh) > level).any(axis=(1, 2))
    assert outlined.mean() < 0.25
    defects = (model.explain(X[Y == 1]) > level).any(axis=(1, 2))
    assert defects.mean() > 0.9


def test_the_level_is_kept_and_follows_calibrate(model, tmp_path):
    save(model, tmp_path / "m.skfcdd")
    assert load(tmp_path / "m.skfcdd").pixel_threshold_ == model.pixel_threshold_
    older = with_fitted(model, normal_peak=None)  # as of a file of before
    low, high = model.heatmap_scale_
    assert older.pixel_threshold_ == pytest.approx(np.sqrt(low * high))
    fresh = make_images(30, seed=3)[0]
    peaks = model.explain(fresh).max(axis=(1, 2))
    again = quick().fit(X, Y).calibrate(fresh)
    expected = max(again.heatmap_scale_[0], np.quantile(peaks, 0.95))
    assert again.pixel_threshold_ == pytest.approx(expected, rel=1e-3)


def test_a_segmenter_is_outlined_at_its_own_threshold():
    model = FCDDSegmenter(max_epochs=2, random_state=0).fit(X, MASKS)
    assert model.pixel_threshold_ == model.threshold_
    assert with_threshold(model, 7.0).pixel_threshold_ == 7.0
    display = HeatmapDisplay.from_estimator(model, X, MASKS, rows=[0, -1])
    assert_allclose(display.scores, display.heatmaps.max(axis=(1, 2)))
    assert_array_equal(display.anomalous, display.scores > model.threshold_)


def test_baselines_have_a_level_too():
    model = PCADetector(n_components=4, random_state=0).fit(X[Y == 0])
    assert model.pixel_threshold_ >= model.heatmap_scale_[0]
    display = HeatmapDisplay.from_estimator(model, X, rows=[0, -1])
    expected = model.explain(X[[0, -1]]) > model.pixel_threshold_
    assert_array_equal(display.predicted_masks, expected)


# -- displays ------------------------------------------------------------------------


def test_wrong_verdicts_are_framed_and_say_so(model):
    model = with_threshold(model, np.median(model.anomaly_score(X)))
    display = HeatmapDisplay.from_estimator(model, X, Y, order="errors", n_images=20)
    wrong = display.anomalous != display.truth
    assert wrong.any() and not wrong.all()
    assert_array_equal([frame is not None for frame in display.frames_], wrong)
    for text, score in zip(display.verdicts_, display.scores, strict=True):
        sign = ">" if score > model.threshold_ else "≤"
        assert text.get_text().endswith(f"{sign} {model.threshold_:.3g}")
    without = HeatmapDisplay.from_estimator(model, X, n_images=4)
    assert without.frames_ == [None] * 4


def test_parts_add_up_and_are_named(remembering, data):
    display = HeatmapDisplay.from_estimator(
        remembering, data.images, data.target, parts=True, rows=[0, 1, 2]
    )
    assert display.axes_.shape == (3, 4) and len(display.part_artists_) == 3
    shown = data.images[:3]
    assert_array_equal(display.heatmaps, remembering.explain(shown))
    assert_array_equal(display.scores, remembering.anomaly_score(shown))
    assert_allclose(sum(display.parts), display.heatmaps, rtol=1e-4, atol=1e-5)
    for column, share in zip(display.axes_, display.novelty_share, strict=True):
        titles = [axis.get_title() for axis in column[-2:]]
        texts = look.share_texts(share)
        assert titles == [f"{w} {t}" for w, t in zip(look.PARTS, texts, strict=True)]
    again = HeatmapDisplay.from_predictions(
        shown, display.heatmaps, scale=display.scale, parts=display.parts
    )
    assert_allclose(again.novelty_share, display.novelty_share, rtol=1e-4)
    assert again.plot(show_images=False).axes_.shape == (3, 3)


def test_parts_take_one_inference(remembering, data, monkeypatch):
    seen = []
    network = remembering._fitted.fast
    compute = network.parts_of
    monkeypatch.setattr(
        network, "parts_of", lambda x: [seen.append(len(x)), compute(x)][1]
    )
    HeatmapDisplay.from_estimator(remembering, data.images, parts=True, rows=[0, 5, 7])
    assert sum(seen) == 3


def test_parts_that_are_not_there(model):
    with pytest.raises(ValueError, match=r"FCDDClassifier has no memory bank"):
        HeatmapDisplay.from_estimator(model, X, parts=True)
    with pytest.raises(ImageShapeError, match=r"parts must be two arrays.*\(2, 16, 20"):
        HeatmapDisplay.from_predictions(
            X[:2], np.zeros((2, 16, 20)), scale=(0, 1), parts=np.zeros((1, 2, 16, 20))
        )


@pytest.mark.parametrize("pooling", ["mean", "max", 0.1])
def test_parts_come_with_the_scores(remembering, data, pooling):
    judging = remembering._fitted.judging
    changed = type(judging)(**{**vars(judging), "score_pooling": pooling})
    model = with_fitted(remembering, judging=changed)
    found = model.explain_parts(data.images)
    assert_array_equal(found.score, model.anomaly_score(data.images))
    assert_array_equal(found.heatmap, model.explain(data.images))
    fewer = model.explain_parts(data.images, heatmaps=False)
    assert set(fewer) == {"score", "novelty_share"}
    assert_array_equal(fewer.score, found.score)
    assert ((found.novelty_share >= 0) & (found.novelty_share <= 1)).all()
    if pooling == "mean":
        share = found.novelty.mean(axis=(1, 2)) / found.heatmap.mean(axis=(1, 2))
        assert_allclose(found.novelty_share, share, rtol=1e-3, atol=1e-6)


def test_without_a_memory_nothing_is_new(model):
    for other in (model, FCDDDetector(loss="hsc", max_epochs=1, random_state=0).fit(X)):
        found = other.explain_parts(X[:3])
        assert_array_equal(found.defect, found.heatmap)
        assert not found.novelty.any() and not found.novelty_share.any()
        assert_array_equal(found.score, other.anomaly_score(X[:3]))
        fewer = other.explain_parts(X[:3], heatmaps=False)
        assert_array_equal(fewer.score, found.score)


# -- report ---------------------------------------------------------------------------


def test_a_report_holds_both_parts(remembering, data, tmp_path):
    page = Page(write_report(remembering, data.images, tmp_path / "r.html"))
    found = remembering.explain_parts(data.images)
    assert page.data["model"]["parts"] == list(look.PARTS)
    assert page.data["model"]["level"] == remembering.pixel_threshold_
    # Read in batches of other sizes.
    assert_allclose(page.data["scores"], found.score, rtol=1e-5)
    levels = np.array(page.data["levels"])
    for row in range(len(data.images)):
        share = page.data["novelty"][str(row)]
        assert share == pytest.approx(found.novelty_share[row], abs=1e-4)
        *_, defect, novelty = page.pictures[row]
        for part, picture in ((found.defect, defect), (found.novelty, novelty)):
            shown = levels[decoded(picture)]
            gap = np.abs(shown - part[row])
            assert (gap <= 0.03 * part[row] + np.diff(levels[:161]).max()).all()
    fewer = Page(
        write_report(remembering, data.images, tmp_path / "f.html", n_images=3)
    )
    assert len(fewer.data["novelty"]) == 3


def test_a_report_has_the_colours_of_all_pictures(model, tmp_path):
    page = Page(write_report(model, X, tmp_path / "r.html", Y))
    colours = np.frombuffer(bytes.fromhex(page.data["colours"]), np.uint8)
    low, high = model.heatmap_scale_
    shade, alpha = look.ramp((np.array(page.data["levels"]) - low) / (high - low))
    expected = np.concatenate([look.plasma(shade), alpha[:, None]], axis=1)
    assert_allclose(colours.reshape(256, 4), 255 * expected, atol=0.5)
    assert page.data["model"]["parts"] is None and page.data["novelty"] == {}
    assert len(page.pictures[0]) == 3


# -- files ---------------------------------------------------------------------------


def test_sheets_have_natural_size_and_a_caption_with_room():
    image = np.full((300, 400), 128, dtype=np.uint8)
    heatmap = np.zeros((300, 400), dtype=np.float32)
    heatmap[100:160, 200:260] = 9
    mask = heatmap > 5
    caption = Caption("anomaly", "#b34700", "score 9 > threshold 5", "x" * 400 + ".png")
    sheet = draw_sheet([Panel(image, heatmap, mask)], (1.0, 9.0), caption)
    pixels = np.asarray(sheet)
    assert sheet.width == 400 and 320 < sheet.height < 400
    assert (pixels[:90, :190] == 128).all()  # calm
    assert (pixels[110:150, 210:250] != 128).any(axis=2).all()
    line = (pixels[:300] == CYAN).all(axis=2)
    assert line[99, 230] and not line[130, 230] and line.sum() < 600
    tiny = draw_sheet([Panel(image[:10, :12])], (0.0, 1.0), caption)
    assert tiny.width >= 12 * 22  # enlarged by a whole factor
    assert (np.asarray(tiny)[:220, :264] == 128).all()


def test_without_matplotlib_letters_are_those_of_pillow():
    code = """if True:
        import sys
        import numpy as np
        import importlib.util
        importlib.util.find_spec = lambda name: None
        from skfcdd.display._render import Caption, Panel, draw_sheet
        caption = Caption("normal", "#0072b2", "1 ≤ 2", "prüfung/日本.png")
        sheet = draw_sheet([Panel(np.zeros((60, 60), np.uint8))], (0, 1), caption)
        print(sheet.size)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_names_of_pictures():
    names = ["a.png", "b.jpg", "sub/b.tif", "b.PNG", "x.1.jpeg", "c.bmp", "c.jpg"]
    found = [str(name) for name in picture_names([Path(name) for name in names])]
    assert found[0] == "a.png" and found[2] == "sub/b.png" and found[4] == "x.1.png"
    assert found[3] == "b.png" and found[1] == "b_jpg.png"
    assert found[5:] == ["c.png", "c_jpg.png"]
    assert len({name.casefold() for name in found}) == len(names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data, remembering):
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "images" / "bad").mkdir(parents=True)
    for i, image in enumerate(data.images[:6]):
        enlarged = Image.fromarray(image).resize((300, 200))
        enlarged.save(folder / "images" / ("bad" * (i > 2)) / f"{i}.png")
    save(remembering, folder / "m.skfcdd")
    return folder


@pytest.mark.parametrize(
    ("layout", "n_panels"), [("overlay", 1), ("side-by-side", 2), ("parts", 4)]
)
def test_predict_draws_at_the_size_of_the_file(
    folder, tmp_path, layout, n_panels, capsys
):
    arguments = ["predict", str(folder / "m.skfcdd"), str(folder / "images"), "-q"]
    options = ["--heatmaps", str(tmp_path / "maps"), "--layout", layout]
    assert main([*arguments, *options, "--format", "jsonl"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(0 <= row["novelty_share"] <= 1 for row in rows)
    found = sorted(p.relative_to(tmp_path / "maps") for p in tmp_path.rglob("*.png"))
    inside = sorted(
        p.relative_to(folder / "images") for p in (folder / "images").rglob("*.png")
    )
    assert found == inside
    with Image.open(tmp_path / "maps" / found[0]) as picture:
        assert 300 * n_panels <= picture.width < 300 * n_panels + 10 * n_panels
        assert 200 < picture.height < 300 and picture.mode == "RGB"


def test_predict_never_writes_over_images(folder, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(X[0]).resize((32, 32)).save(images / "0.png")
    before = (images / "0.png").read_bytes()
    arguments = ["predict", str(folder / "m.skfcdd"), str(images), "-q"]
    assert main([*arguments, "--heatmaps", str(images)]) == 1
    assert "is the folder of the images" in capsys.readouterr().err
    alone = ["predict", str(folder / "m.skfcdd"), str(images / "0.png"), "-q"]
    assert main([*alone, "--heatmaps", str(images)]) == 1
    assert "would overwrite the image" in capsys.readouterr().err
    assert (images / "0.png").read_bytes() == before
    # Pictures below the images are not taken for images by the next run.
    for _ in range(2):
        assert main([*arguments, "--heatmaps", str(images / "maps")]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 2
    assert len(list(images.rglob("*.png"))) == 2


def test_predict_says_that_a_model_has_no_parts(model, tmp_path, capsys):
    save(model, tmp_path / "m.skfcdd")
    Image.fromarray(X[0]).save(tmp_path / "0.png")
    arguments = ["predict", str(tmp_path / "m.skfcdd"), str(tmp_path / "0.png"), "-q"]
    maps = ["--heatmaps", str(tmp_path / "maps")]
    assert main([*arguments, *maps, "--layout", "parts"]) == 1
    assert "no memory" in capsys.readouterr().err
    assert main([*arguments, *maps, "--layout", "wide"]) == 2
    assert main([*arguments, "--layout", "side-by-side"]) == 2
    assert "needs --heatmaps, a folder for the pictures" in " ".join(
        capsys.readouterr().err.split()
    )
    assert main([*arguments, *maps]) == 0
    assert "novelty_share" not in capsys.readouterr().out
