"""Displays hold what they draw, and draw what they hold."""

from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from _small import make_images, quick, with_threshold
from matplotlib.colors import LogNorm, to_rgb
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    DetCurveDisplay,
    PrecisionRecallDisplay,
    RocCurveDisplay,
    accuracy_score,
    roc_auc_score,
)

from skfcdd import FCDDClassifier, FCDDDetector, FCDDSegmenter
from skfcdd.display import (
    HeatmapDisplay,
    HistoryDisplay,
    RegionOverlapDisplay,
    ScoreDistributionDisplay,
)
from skfcdd.exceptions import ChannelOrderError, ImageShapeError

X, Y, MASKS = make_images(40, n_anomalous=12)
SMALL = {
    "max_epochs": 2,
    "validation_fraction": 0.1,
    "random_state": 0,
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def model():
    return quick().fit(X, Y)


@pytest.fixture(scope="module")
def segmenter():
    return FCDDSegmenter(**SMALL).fit(X, MASKS)


@pytest.fixture(scope="module")
def detector():
    return FCDDDetector(**SMALL).fit(X[Y == 0])


# -- heatmaps: what is shown --------------------------------------------------------


def test_highest_scores_come_first(model):
    names = [f"part {i}" for i in range(40)]
    display = HeatmapDisplay.from_estimator(model, X, Y, names=names, n_images=5)
    rows = np.argsort(-model.anomaly_score(X), kind="stable")[:5]
    assert display.names == [names[row] for row in rows]
    assert_allclose(display.images, X[rows] / 255, atol=1e-6)
    assert_allclose(display.heatmaps, model.explain(X[rows]), rtol=0.02, atol=1e-3)
    assert_array_equal(display.scores, model.anomaly_score(X)[rows])
    assert_array_equal(display.truth, Y[rows] == 1)
    assert_array_equal(display.anomalous, model.predict(X)[rows] == 1)


def test_wrong_verdicts_come_first():
    model = quick().fit(X, Y)
    model = with_threshold(model, np.median(model.anomaly_score(X)))
    n_wrong = int((model.predict(X) != Y).sum())
    assert 0 < n_wrong < 20
    display = HeatmapDisplay.from_estimator(model, X, Y, order="errors", n_images=20)
    wrong = display.anomalous != display.truth
    assert wrong[:n_wrong].all() and not wrong[n_wrong:].any()
    words = [text.get_text().split(",")[0] for text in display.verdicts_]
    bold = [text.get_fontweight() == "bold" for text in display.verdicts_]
    assert_array_equal(bold, wrong)
    for word, called, true in zip(words, display.anomalous, display.truth, strict=True):
        expected = {(1, 1): "anomaly", (0, 0): "normal", (1, 0): "false alarm"}
        assert word == expected.get((int(called), int(true)), "missed")


def test_doubtful_images_come_first(model):
    display = HeatmapDisplay.from_estimator(model, X, order="threshold", n_images=6)
    distance = np.abs(model.anomaly_score(X) - model.threshold_)
    assert_allclose(
        np.abs(display.scores - model.threshold_), np.sort(distance)[:6], rtol=1e-6
    )


def test_rows_by_name(model):
    display = HeatmapDisplay.from_estimator(model, X, rows=[7, -1, 3])
    assert_allclose(display.images, X[[7, -1, 3]] / 255, atol=1e-6)
    display = HeatmapDisplay.from_estimator(model, X, order="given", n_images=4)
    assert_allclose(display.images, X[:4] / 255, atol=1e-6)
    assert display.truth is None and display.names is None
    everything = HeatmapDisplay.from_estimator(model, X[:18], n_images=None)
    assert len(everything.images) == 18


def test_only_what_is_shown_is_explained(model, monkeypatch):
    explained, scored = [], []
    explain, score = model.explain, model.anomaly_score
    monkeypatch.setattr(
        model, "explain", lambda X: [explained.append(len(X)), explain(X)][1]
    )
    monkeypatch.setattr(
        model, "anomaly_score", lambda X: [scored.append(len(X)), score(X)][1]
    )
    HeatmapDisplay.from_estimator(model, X, n_images=3)
    assert explained == [3] and scored == [40]
    HeatmapDisplay.from_estimator(model, X, rows=[5, 6])
    assert explained == [3, 2] and scored == [40, 2]


def test_detector_and_its_labels(detector):
    y = np.where(Y == 1, -1, 1)
    display = HeatmapDisplay.from_estimator(detector, X, y, n_images=8)
    rows = np.argsort(detector.score_samples(X), kind="stable")[:8]
    assert_array_equal(display.truth, y[rows] == -1)
    assert_array_equal(display.anomalous, detector.predict(X)[rows] == -1)


def test_segmenter_shows_what_it_marks(segmenter):
    display = HeatmapDisplay.from_estimator(segmenter, X, MASKS, n_images=8)
    rows = np.argsort(-segmenter.anomaly_score(X), kind="stable")[:8]
    predicted = segmenter.predict(X[rows])
    assert_array_equal(display.predicted_masks, predicted == 1)
    assert_array_equal(display.anomalous, predicted.any(axis=(1, 2)))
    assert_array_equal(display.masks, MASKS[rows] == 1)
    assert_array_equal(display.truth, Y[rows] == 1)
    drawn = [line is not None for line in display.predicted_outlines_]
    assert_array_equal(drawn, predicted.any(axis=(1, 2)))
    labels = [text.get_text() for text in display.legend_.get_texts()]
    assert labels == ["true defect", "marked by the model"]


def test_masks_of_which_some_are_unknown(model):
    masks = [mask if label else None for mask, label in zip(MASKS, Y, strict=True)]
    masks[-1] = None
    display = HeatmapDisplay.from_estimator(model, X, Y, masks=masks, rows=[0, -2, -1])
    assert [mask.any() for mask in display.masks] == [False, True, False]
    assert [line is not None for line in display.outlines_] == [False, True, False]
    assert display.truth.tolist() == [False, True, True]


def test_truth_is_read_off_masks(model):
    display = HeatmapDisplay.from_estimator(model, X, masks=255 * MASKS, rows=[0, -1])
    assert display.truth.tolist() == [False, True]


def test_files_by_name(tmp_path):
    paths = []
    for k, image in enumerate(X[:6]):
        paths.append(tmp_path / f"{k}.png")
        Image.fromarray(image).save(paths[-1])
    model = quick(max_epochs=1).fit(X)
    display = HeatmapDisplay.from_estimator(model, paths, rows=[4, 1])
    assert display.names == [f"{tmp_path.name}/4.png", f"{tmp_path.name}/1.png"]
    assert_allclose(display.images, X[[4, 1]] / 255, atol=1e-6)


def test_exported_model(model, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from skfcdd.export import to_onnx
    from skfcdd.onnx import OnnxFCDD

    to_onnx(quick(precision="float32").fit(X, Y), tmp_path / "model.onnx")
    served = OnnxFCDD(tmp_path / "model.onnx")
    display = HeatmapDisplay.from_estimator(served, X, Y, masks=MASKS, n_images=4)
    assert display.scale == served.heatmap_scale_
    assert_allclose(display.heatmaps.mean(axis=(1, 2)), display.scores, rtol=1e-3)
    overlap = RegionOverlapDisplay.from_estimator(served, X, MASKS)
    assert overlap.name == "OnnxFCDD"
    scores = ScoreDistributionDisplay.from_estimator(served, X, Y)
    assert scores.calibration_scores is None
    assert scores.detection_rate == (served.predict(X)[Y == 1] == 1).mean()


class Served:
    """What an exported model of another kind has, in the place of a real one."""

    channels = "last"

    def __init__(self, model):
        self.convention_ = model.convention_
        for name in ("anomaly_score", "explain", "predict", "threshold_"):
            setattr(self, name, getattr(model, name))
        self.image_shape_, self.heatmap_scale_ = (
            model.image_shape_,
            model.heatmap_scale_,
        )


def test_exported_detector_and_segmenter(detector, segmenter):
    y = np.where(Y == 1, -1, 1)
    served = Served(detector)
    display = HeatmapDisplay.from_estimator(served, X, y, rows=[0, -1])
    assert display.truth.tolist() == [False, True]
    served = Served(segmenter)
    long = np.concatenate([X, X])  # more than are looked at together
    peaks = ScoreDistributionDisplay.from_estimator(served, long).scores
    expected = segmenter.explain(X).max(axis=(1, 2))
    assert_allclose(peaks, np.tile(expected, 2), rtol=0.05)
    truth = np.concatenate([MASKS, MASKS])
    display = HeatmapDisplay.from_estimator(served, long, truth, order="errors")
    assert display.predicted_masks is not None


def test_segmenter_takes_labels_too(segmenter):
    display = HeatmapDisplay.from_estimator(segmenter, X, Y, rows=[0, -1])
    assert display.truth.tolist() == [False, True] and display.masks is None
    with pytest.raises(ValueError, match="it is unknown whether it means"):
        HeatmapDisplay.from_estimator(segmenter, X[-3:], Y[-3:])


# -- heatmaps: how it is shown --------------------------------------------------------


def test_one_scale_of_colours(model):
    display = HeatmapDisplay.from_estimator(model, X, n_images=6)
    assert display.scale == model.heatmap_scale_
    for artist, heatmap in zip(display.heatmap_artists_, display.heatmaps, strict=True):
        assert artist.get_clim() == model.heatmap_scale_
        assert_array_equal(artist.get_array(), heatmap)
    assert (display.colorbar_.vmin, display.colorbar_.vmax) == model.heatmap_scale_
    wider = HeatmapDisplay.from_estimator(model, X, n_images=1, scale=(1, 30))
    assert wider.heatmap_artists_[0].get_clim() == (1, 30)
    wider.plot(heatmap_kw={"norm": LogNorm(2, 9)})
    assert wider.heatmap_artists_[0].get_clim() == (2, 9)


def draw(scale, heatmap, **options):
    """What is on the canvas."""
    image = make_images(1)[0]
    display = HeatmapDisplay.from_predictions(
        image, np.full(image.shape, heatmap), scale=scale, colorbar=False, **options
    )
    display.figure_.canvas.draw()
    return np.asarray(display.figure_.canvas.buffer_rgba()).copy()


def test_a_normal_image_looks_calm():
    """At or below the low end of the scale, the image is as if nothing were over it."""
    at, below, above = (draw((1.0, 5.0), value) for value in (1.0, 0.0, 1.2))
    assert_array_equal(at, below)
    assert (at[..., 0] == at[..., 2]).all()  # grey
    assert not np.array_equal(at, above)


def test_colours_rise_with_the_heatmap(model):
    display = HeatmapDisplay.from_estimator(model, X, n_images=1)
    low, high = display.scale
    values = np.linspace(low, high, 200)
    colours = display.heatmap_artists_[0].to_rgba(values)
    assert colours[0, 3] == 0 and (np.diff(colours[:, 3]) >= 0).all()
    assert colours[-1, 3] == pytest.approx(0.6)
    # Lightness alone tells more from less, whatever colours one sees.
    linear = np.where(
        colours[:, :3] <= 0.04045,
        colours[:, :3] / 12.92,
        ((colours[:, :3] + 0.055) / 1.055) ** 2.4,
    )
    assert (np.diff(linear @ [0.2126, 0.7152, 0.0722]) >= 0).all()
    beyond = display.heatmap_artists_[0].to_rgba([high * 10, -1.0])
    assert_allclose(beyond[0], colours[-1])
    assert beyond[1, 3] == 0


def test_outline_closes_at_the_edge():
    masks = np.zeros((1, 16, 20), bool)
    masks[0, 10:, 15:] = True
    display = HeatmapDisplay.from_predictions(
        make_images(1)[0], masks.astype(float), scale=(0, 1), masks=masks
    )
    (path,) = display.outlines_[0].get_paths()
    assert_allclose(path.vertices[0], path.vertices[-1])
    corner, end = path.vertices.min(axis=0), path.vertices.max(axis=0)
    assert_allclose(corner, [14.5, 9.5]) and assert_allclose(end, [19.5, 15.5])
    assert display.axes_[0, 1].get_xlim() == (-0.5, 19.5)
    effects = display.outlines_[0].get_path_effects()
    assert to_rgb(effects[0]._gc["foreground"]) == (0, 0, 0)  # around a white line


def test_names_without_images():
    display = HeatmapDisplay.from_predictions(
        X[:2],
        np.zeros((2, 16, 20)),
        scale=(0, 1),
        names=["a", "folder/with_a_very_long_name.png"],
        scores=[0.5, 2],
        show_images=False,
    )
    texts = [text.get_text() for text in display.verdicts_]
    assert texts[0] == "a\n0.5"
    assert texts[1].startswith("…") and texts[1].endswith("long_name.png\n2")
    assert display.axes_.shape == (2, 1) and display.image_artists_ == []


def test_where_to_draw():
    heatmaps = np.zeros((3, 16, 20))
    display = HeatmapDisplay.from_predictions(X[:3], heatmaps, scale=(0, 1))
    _, place = plt.subplots()
    assert display.plot(ax=place) is display
    assert display.figure_ is place.figure and display.axes_.shape == (3, 2)
    assert not place.axison
    _, axes = plt.subplots(3, 2)
    assert_array_equal(display.plot(ax=axes).axes_, axes)
    with pytest.raises(ValueError, match=r"array of axes of shape \(3, 2\).*\(2, 3\)"):
        display.plot(ax=axes.reshape(2, 3))
    with pytest.raises(ValueError, match="not part of a grid"):
        display.plot(ax=plt.figure().add_axes((0, 0, 1, 1)))
    display.plot(n_columns=2, cmap="inferno", opacity=0.5, title_kw={"color": "red"})
    assert display.heatmap_artists_[0].cmap.name == "inferno_fading"
    assert display.verdicts_[0].get_color() == "red"


# -- images of all kinds -----------------------------------------------------------

RGB = np.stack([X[:3], X[3:6], X[6:9]], axis=-1)


@pytest.mark.parametrize(
    ("images", "options", "expected"),
    [
        (X[:3], {}, X[:3] / 255),
        (X[:3].tolist(), {"value_range": (0, 255)}, X[:3] / 255),
        (X[:3, None], {}, X[:3] / 255),
        (X[:3].reshape(3, -1), {}, X[:3] / 255),
        (torch.from_numpy(X[:3]), {}, X[:3] / 255),
        ([torch.from_numpy(x) for x in X[:3]], {}, X[:3] / 255),
        (torch.from_numpy(X[:3]).bfloat16(), {"value_range": (0, 255)}, X[:3] / 255),
        (X[:3] / 255, {}, X[:3] / 255),
        (X[:3] > 100, {}, X[:3] > 100),
        (X[:3].astype(np.uint16) * 257, {"value_range": (0, 65535)}, X[:3] / 255),
        (RGB, {}, RGB / 255),
        (np.moveaxis(RGB, 3, 1), {}, RGB / 255),
        (RGB.reshape(3, -1), {"channels": "last"}, RGB / 255),
        (np.moveaxis(RGB, 3, 1).reshape(3, -1), {"channels": "first"}, RGB / 255),
        (RGB, {"channel": 1}, RGB[..., 1] / 255),
        (np.concatenate([RGB, RGB[..., :1]], 3), {}, RGB / 255),
        (RGB[..., [0, 1, 2, 0, 1, 2]] / 255.0, {}, RGB.mean(axis=3) / 255),
    ],
)
def test_images_as_pictures(images, options, expected):
    display = HeatmapDisplay.from_predictions(
        images, np.zeros((3, 16, 20)), scale=(0, 1), **options
    )
    atol = 2e-3 if getattr(images, "dtype", None) == torch.bfloat16 else 1e-6
    assert_allclose(display.images, expected, atol=atol)
    assert_allclose(display.image_artists_[1].get_array(), display.images[1])


def test_deep_images_share_their_contrast():
    """Twelve bits in sixteen are not shown black, and bright images stay bright."""
    deep = np.stack([X[0].astype(np.uint16) * 8, X[0].astype(np.uint16) * 16])
    shown = HeatmapDisplay.from_predictions(
        deep, np.zeros((2, 16, 20)), scale=(0, 1)
    ).images
    assert shown.min() == 0 and shown.max() == 1
    assert shown[1].mean() > shown[0].mean() + 0.3


def test_axes_are_those_of_the_estimator():
    """A stack of as many channels as rows, which only the estimator can read."""
    rng = np.random.RandomState(0)
    cubes = rng.randint(0, 255, (12, 24, 24, 24)).astype(np.uint8)
    for channels, axis in (("first", 1), ("last", 3)):
        model = quick(max_epochs=1, channels=channels).fit(cubes)
        display = HeatmapDisplay.from_estimator(model, cubes, rows=[2, 3], channel=5)
        assert_allclose(display.images, cubes[2:4].take(5, axis=axis) / 255, atol=1e-6)
    with pytest.raises(ChannelOrderError, match="State the order"):
        HeatmapDisplay.from_predictions(cubes, np.zeros((12, 24, 24)), scale=(0, 1))


def test_flat_rows_and_tables():
    flat = np.moveaxis(np.repeat(RGB, 4, axis=0), 3, 1).reshape(12, -1)
    model = quick(max_epochs=1, image_shape=(3, 16, 20), channels="first").fit(flat)
    display = HeatmapDisplay.from_estimator(model, flat, rows=[0, 4])
    assert_allclose(display.images, RGB[:2] / 255, atol=1e-6)
    stacked = quick(max_epochs=1).fit(RGB.repeat(4, axis=0))
    display = HeatmapDisplay.from_estimator(stacked, RGB.reshape(3, -1), rows=[1])
    assert_allclose(display.images, RGB[1:2] / 255, atol=1e-6)
    table = pd.DataFrame(X.reshape(40, -1)).add_prefix("pixel")
    model = quick(max_epochs=1, image_shape=(16, 20)).fit(table)
    display = HeatmapDisplay.from_estimator(model, table, rows=[9, 3])
    assert_allclose(display.images, X[[9, 3]] / 255, atol=1e-6)


# -- what cannot be shown ------------------------------------------------------------

ZEROS = np.zeros((3, 16, 20))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"heatmaps": ZEROS[:, :8]}, ImageShapeError, r"\(h, w\) = \(8, 20\)"),
        ({"heatmaps": ZEROS[:2]}, ImageShapeError, "3 images, but 2 heatmaps"),
        ({"heatmaps": ZEROS[0]}, ImageShapeError, r"\(n, h, w\).*\(16, 20\)"),
        ({"heatmaps": ZEROS + np.nan}, ValueError, "finite"),
        ({"X": X[:3] * np.nan}, ValueError, "NaN or infinity"),
        ({"X": X[:3].astype(str)}, ValueError, "real numbers"),
        ({"scale": (1, 1)}, ValueError, r"scale=\(1\.0, 1\.0\)"),
        ({"scale": 3}, ValueError, r"two numbers \(low, high\).*3"),
        ({"scores": [1, 2]}, ValueError, "3 images, but scores has 2"),
        ({"scores": [1, np.nan, 2]}, ValueError, "scores holds NaN.*row 1"),
        ({"anomalous": [-1, 1, 1]}, ValueError, r"anomalous must hold.*\[-1, 1\]"),
        ({"y_true": ["a", "b", "b"]}, ValueError, "y_true must hold"),
        ({"masks": ZEROS[:2]}, ImageShapeError, "3 images, but 2 masks"),
        ({"masks": ZEROS[:, :8]}, ImageShapeError, r"\(16, 20\).*\(8, 20\) in row 0"),
        ({"masks": ZEROS + 3}, ValueError, r"0 for normal and 1"),
        ({"names": ["a"]}, ValueError, "3 images, but 1 names"),
        ({"channel": 4}, ValueError, "channel=4.*1 channel"),
        ({"channels": "middle"}, ValueError, "channels='middle'"),
        ({"value_range": (3, 2)}, ValueError, "low < high"),
        ({"opacity": 0}, ValueError, "opacity=0"),
        ({"cmap": "no such"}, ValueError, "no such"),
        ({"n_columns": 0}, ValueError, "n_columns=0"),
    ],
)
def test_predictions_that_cannot_be_shown(arguments, error, message):
    good = {"X": X[:3], "heatmaps": ZEROS, "scale": (0, 1)}
    with pytest.raises(error, match=message):
        HeatmapDisplay.from_predictions(**good | arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": "best"}, "order='best'"),
        ({"n_images": 0}, "n_images=0"),
        ({"rows": [40]}, "rows goes to 40, but X has 40 images"),
        ({"rows": [0.5]}, "rows must be integer indices"),
        ({"order": "errors"}, "needs ground truth"),
        ({"y": Y[:5]}, "40 images, but y has 5 labels"),
        ({"y": Y + 1}, r"label\(s\) \[2\].*\[0, 1\], where 1 means anomaly"),
        ({"masks": MASKS[:3]}, "40 images, but 3 masks"),
        ({"masks": [None] * 40}, "mask in row 0 is None"),
        ({"X": X[:0]}, "no images"),
    ],
)
def test_estimator_that_cannot_be_shown(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        HeatmapDisplay.from_estimator(model, **{"X": X} | arguments)


def test_labels_of_another_convention(detector, segmenter):
    with pytest.raises(ValueError, match=r"label\(s\) \[0\].*\[-1, 1\]"):
        HeatmapDisplay.from_estimator(detector, X, Y)
    with pytest.raises(ValueError, match="pixel threshold"):
        HeatmapDisplay.from_estimator(segmenter, X, order="threshold")


DRAWERS = [
    lambda model: HeatmapDisplay.from_estimator(model, X),
    lambda model: ScoreDistributionDisplay.from_estimator(model, X),
    lambda model: RegionOverlapDisplay.from_estimator(model, X, MASKS),
    lambda model: HistoryDisplay.from_estimator(model),
]


@pytest.mark.parametrize("drawer", DRAWERS)
def test_not_a_fitted_model(drawer):
    with pytest.raises(TypeError, match="Got IsolationForest, which has no"):
        drawer(IsolationForest())
    with pytest.raises(NotFittedError):
        drawer(FCDDClassifier())


@pytest.mark.parametrize("drawer", DRAWERS)
def test_without_matplotlib(drawer, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        drawer(model)


def test_exported_models_are_shown_without_torch():
    code = (
        "import sys, skfcdd.display, skfcdd.onnx; "
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- scikit-learn's own ------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "anomaly"),
    [((0, 1), 1), ((1, -1), -1), (("ok", "broken"), "broken")],
)
def test_displays_of_scikit_learn(labels, anomaly):
    y = np.array(labels)[Y]
    named = {} if isinstance(anomaly, int) else {"anomaly_label": anomaly}
    model = quick(max_epochs=2, **named).fit(X, y)
    auroc = roc_auc_score(Y, model.anomaly_score(X))
    options = {} if isinstance(anomaly, int) else {"pos_label": anomaly}
    roc = RocCurveDisplay.from_estimator(model, X, y, **options)
    assert roc.roc_auc == pytest.approx(auroc)
    for kind in (PrecisionRecallDisplay, DetCurveDisplay):
        drawn = kind.from_estimator(model, X, y, pos_label=anomaly)
        assert drawn.pos_label == anomaly
    matrix = ConfusionMatrixDisplay.from_estimator(model, X, y).confusion_matrix
    assert np.trace(matrix) / 40 == pytest.approx(accuracy_score(y, model.predict(X)))


def test_displays_of_scikit_learn_for_a_detector(detector):
    scores = -detector.score_samples(X)
    for kind in (RocCurveDisplay, PrecisionRecallDisplay, DetCurveDisplay):
        kind.from_predictions(Y, scores)
    roc = RocCurveDisplay.from_predictions(Y, scores)
    assert roc.roc_auc == pytest.approx(roc_auc_score(Y, detector.anomaly_score(X)))
    verdicts = ConfusionMatrixDisplay.from_predictions(
        np.where(Y == 1, -1, 1), detector.predict(X)
    )
    assert verdicts.confusion_matrix.sum() == 40
