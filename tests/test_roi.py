"""A region of interest: pixels outside never count."""

from __future__ import annotations

import json
import pickle
import re
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone

from skfcdd import FCDDClassifier, FCDDDetector, FCDDSegmenter
from skfcdd._answers import read_truth
from skfcdd._engine.inference import pool_maps
from skfcdd._engine.inside import Inside, planted
from skfcdd._engine.other_size import field_at
from skfcdd._engine.surroundings import SPREAD, Surroundings, reach_of
from skfcdd._inputs.packed import pack_mask, unpack_mask
from skfcdd.anomalies import mixed
from skfcdd.cli import main
from skfcdd.datasets import ImageFiles, make_defects
from skfcdd.exceptions import ImageFileError, ImageShapeError
from skfcdd.heatmaps import GaussianUpsampler, gaussian_matrix
from skfcdd.inspection import additivity_error
from skfcdd.memory_bank import MemoryBank
from skfcdd.metrics import (
    PIXEL_SCORERS,
    PixelHistogram,
    aupro_score,
    f1_max_score,
    intersection_over_union_score,
    pixel_average_precision_score,
    pixel_roc_auc_score,
)
from skfcdd.monitoring import image_statistics
from skfcdd.objectives import pixel_loss
from skfcdd.onnx import OnnxFCDD
from skfcdd.persistence import load, read_info, save
from skfcdd.receptive_field import ReceptiveField
from tests._small import make_images, maps_of, quick

pytestmark = pytest.mark.filterwarnings("ignore::skfcdd.exceptions.FewImagesWarning")

SIZE = (24, 32)
IMAGES, LABELS, MASKS = make_images(48, SIZE, 12, seed=1)
NORMAL = IMAGES[:36]
# A rectangle, a triangle and a lonely pixel.
ROI = np.zeros(SIZE, dtype=bool)
ROI[4:15, 5:21] = True
ROI[18:23, 22:30] = np.tri(5, 8, dtype=bool)
ROI[1, 29] = True
FIELD = ReceptiveField(extent=(9, 9), stride=(4, 4), offset=(1.5, 1.5))

CASES = {
    "mean": {},
    "max": {"score_pooling": "max"},
    "share": {"score_pooling": 0.2},
    "sigma": {"heatmap_sigma": 1.0},
    "contrast": {"normalize": "contrast"},
    "standard": {"normalize": "standard"},
    "flat-field": {"normalize": "flat-field"},
    "local": {"normalize": "local"},
    "resize": {"resize": (40, 28), "normalize": "standard"},
    "pixels": {"pixel_loss": "anomalous"},
    "double": {"precision": "float64"},
    "hsc": {"loss": "hsc"},
    "flips": {"augment": ("horizontal_flip", "shift")},
    "memory": {
        "backbone": "fcdd32_s",
        "frozen": 1,
        "memory_bank": MemoryBank(n_patches=50, max_patches=500),
        "synthetic": ("mixed", "feature_noise"),
    },
}


@pytest.fixture(scope="module", params=CASES)
def model(request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return quick(roi=ROI, **CASES[request.param]).fit(NORMAL)


def with_other_surroundings(images, roi=ROI, seed=0):
    other = np.random.RandomState(seed).randint(0, 256, images.shape)
    return np.where(roi, images, other).astype(images.dtype)


def test_nothing_outside_changes_a_result(model):
    other = with_other_surroundings(IMAGES)
    assert (other != IMAGES).any()
    assert_array_equal(model.anomaly_score(other), model.anomaly_score(IMAGES))
    assert_array_equal(model.explain(other), model.explain(IMAGES))


def test_heat_is_confined_and_adds_up(model):
    heatmaps, parts = model.explain(IMAGES), model.explain_parts(IMAGES)
    assert heatmaps[:, ~ROI].max() == 0 and heatmaps[:, ROI].max() > 0
    assert_array_equal(parts.score, model.anomaly_score(IMAGES))
    assert_array_equal(parts.heatmap, heatmaps)
    peak = heatmaps.max()
    assert_allclose(parts.defect + parts.novelty, heatmaps, atol=2e-6 * peak)
    if model.score_pooling == "mean":
        means = heatmaps[:, ROI].mean(axis=1, dtype=np.float64)
        assert_allclose(means, model.anomaly_score(IMAGES), rtol=1e-5)
        assert additivity_error(model, IMAGES).max() < 1e-5


def test_a_model_in_a_file_or_a_pickle_is_the_same(model, tmp_path):
    for copy in (load(save(model, tmp_path / "m")), pickle.loads(pickle.dumps(model))):
        assert_array_equal(copy.roi_, ROI)
        assert_array_equal(copy.explain(IMAGES), model.explain(IMAGES))
        assert_array_equal(copy.anomaly_score(IMAGES), model.anomaly_score(IMAGES))
        assert copy.get_params()["roi"].dtype == bool
    found = read_info(tmp_path / "m")
    told = found["model"]["network"]["roi"]
    assert told == {"n_pixels": int(ROI.sum()), "spread": SPREAD}
    assert "roi" not in found["parameters"]


@pytest.mark.parametrize("estimator", [FCDDClassifier, FCDDDetector, FCDDSegmenter])
@pytest.mark.parametrize("pooling", ["mean", 0.2])
def test_a_region_of_all_pixels_changes_no_bit(estimator, pooling):
    params = {"max_epochs": 2, "random_state": 0, "score_pooling": pooling}
    first = estimator(**params).fit(NORMAL)
    second = estimator(**params, roi=np.ones(SIZE)).fit(NORMAL)
    assert second.roi_ is None
    assert first.threshold_ == second.threshold_
    assert_array_equal(first.anomaly_score(IMAGES), second.anomaly_score(IMAGES))
    assert_array_equal(first.explain(IMAGES), second.explain(IMAGES))


def test_the_same_region_in_any_form(tmp_path):
    corners = [(5, 4), (21, 4), (21, 15), (5, 15)]
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[4:15, 5:21] = 255
    path = tmp_path / "mask.png"
    Image.fromarray(mask).save(path)
    two = mask.copy()
    two[:4, :2] = 255
    forms = {
        "array": (mask, mask),
        "booleans": (mask > 0, mask),
        "lists": ((mask > 0).astype(int).tolist(), mask),
        "floats": ((mask > 0).astype(np.float32), mask),
        "path": (path, mask),
        "text": (str(path), mask),
        "points": (corners, mask),
        "points as an array": (np.array(corners), mask),
        "turned round": (corners[::-1], mask),
        "polygons": ([corners, [(0, 0), (2, 0), (2, 4), (0, 4)]], two),
        "of several lengths": ([corners, [(0, 0), (4, 0), (0, 8)]], None),
    }
    for name, (roi, expected) in forms.items():
        found = quick(roi=roi, max_epochs=1).fit(NORMAL).roi_
        assert found.dtype == bool and found.shape == SIZE
        if expected is not None:
            assert_array_equal(found, expected > 0, err_msg=name)


def test_pixels_whose_centres_are_inside_a_polygon():
    points = [(3.2, 1.1), (28.9, 6.3), (15.4, 21.7), (17, 9)]
    found = quick(roi=points, max_epochs=1).fit(NORMAL).roi_
    matplotlib_path = pytest.importorskip("matplotlib.path")
    y, x = np.indices(SIZE) + 0.5
    inside = matplotlib_path.Path(points).contains_points(
        np.stack([x.ravel(), y.ravel()], axis=1)
    )
    assert_array_equal(found, inside.reshape(SIZE))


@pytest.mark.parametrize("keep_aspect", [False, True])
def test_a_region_in_pixels_of_files_that_are_resized(tmp_path, keep_aspect):
    paths = []
    for k in range(8):
        paths.append(tmp_path / f"{k}.png")
        Image.fromarray(np.kron(NORMAL[k], np.ones((3, 2), np.uint8))).save(paths[-1])
    files = ImageFiles(paths, resize=SIZE, keep_aspect=keep_aspect)
    assert files.sizes[0] == (72, 64)
    mask = np.zeros((72, 64), dtype=np.uint8)
    mask[12:48, 8:40] = 1
    Image.fromarray(mask * 255).save(tmp_path / "mask.png")
    corners = [(8, 12), (40, 12), (40, 48), (8, 48)]
    expected = np.zeros(SIZE, dtype=bool)
    if keep_aspect:  # 72 x 64 becomes 24 x 21, with 5 columns to the left of it
        columns = ((np.arange(21) + 0.5) * 64 / 21).astype(int)
        rows = np.arange(24) * 3 + 1
        expected[:, 5:26] = mask[rows][:, columns]
    else:
        expected[4:16, 4:20] = True
    for roi in (tmp_path / "mask.png", mask, corners, expected):
        found = quick(roi=roi, max_epochs=1).fit(files).roi_
        assert_array_equal(found, expected)


BAD = {
    "another size": (np.ones((24, 31)), ImageShapeError, r"\(24, 31\).*\(24, 32\)"),
    "turned": (np.ones((32, 24)), ImageShapeError, "Pass a mask of"),
    "three axes": (np.ones((1, 24, 32)), TypeError, "mask of shape"),
    "empty": (np.zeros(SIZE), ValueError, "no pixel inside"),
    "nothing": ([], TypeError, "polygon"),
    "grey": (np.arange(24 * 32).reshape(SIZE), ValueError, "1 .or 255. for pixels"),
    "negative": (-np.ones(SIZE), ValueError, "for pixels that count"),
    "NaN": (np.where(ROI, np.nan, 0), ValueError, "NaN"),
    "texts": (np.full(SIZE, "a"), TypeError, "dtype <U1"),
    "two points": ([(1, 2), (3, 4)], ValueError, "at least 3 points"),
    "NaN in points": ([(1, 2), (3, 4), (np.nan, 5)], ValueError, "finite"),
    "one of them short": (
        [[(1, 2), (9, 4), (7, 9)], [(1, 2), (3, 4)]],
        ValueError,
        "polygon 1",
    ),
    "beside the image": ([(40, 2), (50, 2), (45, 9)], ValueError, "no pixel inside"),
    "between centres": ([(1, 1), (1.4, 1), (1, 1.4)], ValueError, "no pixel inside"),
    "a number": (3, ValueError, "roi"),
    "no file": ("no_such_mask.png", FileNotFoundError, "no such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_region(case):
    roi, error, words = BAD[case]
    with pytest.raises(error, match=words):
        quick(roi=roi).fit(NORMAL)


def test_files_that_are_no_mask(tmp_path):
    path = tmp_path / "mask.png"
    path.write_bytes(b"no image")
    with pytest.raises(ImageFileError, match=r"mask\.png"):
        quick(roi=path).fit(NORMAL)
    Image.fromarray(np.full((5, 5), 255, np.uint8)).save(path)
    with pytest.raises(ImageShapeError, match=r"mask\.png"):
        quick(roi=path).fit(NORMAL)


def test_files_of_several_sizes_have_no_common_pixels(tmp_path):
    for k in range(6):
        Image.fromarray(NORMAL[k][: 24 - k]).save(tmp_path / f"{k}.png")
    files = ImageFiles(sorted(tmp_path.glob("*.png")), resize=SIZE)
    with pytest.raises(ValueError, match="6 sizes"):
        quick(roi=[(1, 1), (9, 1), (9, 9)]).fit(files)
    with pytest.raises(ImageShapeError, match="several sizes"):
        quick(roi=np.ones((23, 32))).fit(files)
    assert quick(roi=ROI, max_epochs=1).fit(files).roi_.sum() == ROI.sum()


def test_a_gaussian_that_reaches_no_pixel_inside():
    field = ReceptiveField(extent=(1, 1), stride=(8, 8), offset=(3.5, 3.5))
    roi = np.zeros((16, 16), dtype=bool)
    roi[0, 0] = True
    with pytest.raises(ValueError, match="heatmap_sigma"):
        GaussianUpsampler((16, 16), (2, 2), field, 0.1, roi=roi)


def test_parameters_are_left_as_they_were():
    roi = ROI.copy()
    model = quick(roi=roi, max_epochs=1)
    assert clone(model).roi is not roi
    model.fit(NORMAL)
    assert model.roi is roi and model.roi_ is not roi
    roi[:] = False
    assert_array_equal(model.roi_, ROI)
    assert clone(model).set_params(roi=None).fit(NORMAL).roi_ is None


def test_warm_start_keeps_the_region():
    model = quick(roi=ROI, max_epochs=1, warm_start=True).fit(NORMAL)
    model.set_params(roi=ROI.astype(int)).fit(NORMAL)
    other = with_other_surroundings(IMAGES)
    assert_array_equal(model.explain(other), model.explain(IMAGES))
    for roi in (None, ~ROI):
        with pytest.raises(ValueError, match="roi changed"):
            model.set_params(roi=roi).fit(NORMAL)


# The mathematics


@pytest.mark.parametrize("spread", [0, 1.0, SPREAD])
@pytest.mark.parametrize("shape", [(1, 50), (31, 4), (40, 57)])
def test_surroundings_are_an_average_that_fades_to_the_mean(shape, spread):
    """Pixel by pixel, from the formula."""
    rng = np.random.RandomState(0)
    inside = rng.rand(*shape) < 0.1
    inside[shape[0] // 2, 0] = True
    images = torch.from_numpy(rng.rand(2, 3, *shape))
    filled = Surroundings(torch.from_numpy(inside), spread)(images).numpy()
    known, values = np.argwhere(inside), images.numpy()[:, :, inside]
    level, reach = values.mean(axis=2), int(3 * spread)
    steps = np.arange(-reach, reach + 1)
    total = np.exp(-0.5 * (steps / max(spread, 1)) ** 2).sum() ** 2
    for y, x in np.ndindex(shape):
        if inside[y, x]:
            assert_array_equal(filled[:, :, y, x], images[:, :, y, x])
            continue
        away = np.abs(known - (y, x))
        weights = np.exp(-0.5 * (away**2).sum(axis=1) / max(spread, 1) ** 2) / total
        weights[(away > reach).any(axis=1)] = 0
        rest = ((values - level[..., None]) * weights).sum(axis=2)
        expected = level + rest / max(weights.sum(), 0.1)
        assert_allclose(filled[:, :, y, x], expected, atol=1e-6)


@pytest.mark.parametrize("spread", [0, SPREAD])
def test_the_fill_of_an_even_image_is_that_image(spread):
    image = torch.full((1, 2, *SIZE), 0.3)
    around = Surroundings(torch.from_numpy(ROI), spread)
    assert_array_equal(around(image), image)
    image[..., ~torch.from_numpy(ROI)] = torch.nan
    assert_array_equal(around(image), torch.full_like(image, 0.3))


def test_the_fill_has_no_edge_at_the_border():
    inside = torch.zeros(96, 96, dtype=torch.bool)
    inside[20:70, 30:80] = True
    bright = torch.linspace(0, 1, 96).expand(1, 1, 96, 96)  # from left to right
    rows = [Surroundings(inside, s)(bright)[0, 0, 45] for s in (0, SPREAD)]
    steps = [float(row.diff().abs().max()) for row in rows]
    assert steps[1] < steps[0] / 2
    far = 80 + reach_of(SPREAD)
    assert_allclose(rows[1][far + 1 :], rows[0][far + 1 :])


@pytest.mark.parametrize("sigma", [0.7, 2.0, 6.0])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (1.5, 2.0)])
def test_each_cell_spreads_its_weight_over_pixels_inside(sigma, scale):
    rows, columns = (round(n * s) for n, s in zip(SIZE, scale, strict=True))
    roi = np.random.RandomState(0).rand(rows, columns) < 0.1
    roi[rows // 3 : rows // 2, columns // 4 : columns // 2] = True
    upsample = GaussianUpsampler((rows, columns), (6, 8), FIELD, sigma, scale, roi)
    y, x = (
        (FIELD.centers(n, axis) + 0.5) * scale[axis] - 0.5
        for axis, n in enumerate((6, 8))
    )
    # Pixel by pixel and cell by cell.
    weights, expected = np.zeros((6, 8)), np.zeros((6, 8, rows, columns))
    for i, j in np.argwhere(roi):
        weights[np.abs(y - i).argmin(), np.abs(x - j).argmin()] += 1 / roi.sum()
    for u, v in np.argwhere(weights):
        extent = [9 * s for s in scale]
        own = np.outer(
            gaussian_matrix(rows, y, sigma, extent=extent[0])[:, u],
            gaussian_matrix(columns, x, sigma, extent=extent[1])[:, v],
        )
        own = np.where(roi, own, 0)
        expected[u, v] = own / own.sum() * weights[u, v] * roi.sum()
    assert_allclose(upsample.weights, weights)
    cells = torch.eye(48, dtype=torch.float64).view(48, 6, 8)
    found = upsample.double()(cells).numpy().reshape(expected.shape)
    assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_a_constant_map_is_warm_everywhere_inside():
    roi = np.zeros((64, 64), dtype=bool)
    roi[10:50, 8:60] = True
    heat = GaussianUpsampler((64, 64), (16, 16), FIELD, roi=roi)(torch.ones(1, 16, 16))
    inner = heat[0, 18:42, 16:52]
    assert float(inner.min()) > 0.9 and float(inner.max()) < 1.1
    assert float(heat[0][roi].min()) > 0.4 and float(heat.max()) < 2


@pytest.mark.parametrize("pooling", ["mean", "max", 0.05, 0.3, 0.51, 1.0])
def test_pooling_counts_a_cell_as_often_as_it_has_pixels(pooling):
    rng = np.random.RandomState(0)
    counts = rng.randint(0, 4, (5, 7))
    cells = rng.randint(0, 9, (20, 5, 7)).astype(float)  # with many ties
    weights = counts / counts.sum()
    copies = np.repeat(cells.reshape(20, -1), counts.ravel(), axis=1)
    n_cells, n_copies = (counts > 0).sum(), copies.shape[1]
    share = {"mean": 1.0, "max": 1 / n_copies}.get(pooling, pooling)
    if pooling not in ("mean", "max"):
        share = np.ceil(share * n_cells - 1e-9) / n_cells
    ordered = -np.sort(-copies, axis=1)
    left = np.clip(share * n_copies - np.arange(n_copies), 0, 1)
    expected = (ordered * left).sum(axis=1) / left.sum()
    assert_allclose(pool_maps(cells, pooling, weights), expected, rtol=1e-12)


@pytest.mark.parametrize("pooling", ["max", 0.3])
def test_scores_are_pooled_over_cells_inside(pooling):
    model = quick(roi=ROI, score_pooling=pooling).fit(NORMAL)
    maps, weights = maps_of(model, IMAGES), model._fitted.cell_weights
    assert (weights == 0).any()
    outside = np.where(weights == 0, 1e6, maps)
    assert_array_equal(
        pool_maps(maps, pooling, weights), pool_maps(outside, pooling, weights)
    )
    assert_array_equal(model.anomaly_score(IMAGES), pool_maps(maps, pooling, weights))


# Training


def test_a_loss_over_the_pixels_of_a_rectangle_is_that_of_the_crop():
    inside = np.zeros(SIZE, dtype=bool)
    inside[4:15, 5:21] = True
    heat = torch.rand(6, *SIZE)
    masks = torch.rand(6, *SIZE) < 0.1
    roi = Inside(inside, None)
    for over in ("anomalous", "all"):
        found = pixel_loss(roi.pixels(heat), roi.pixels(masks), over=over)
        crop = (slice(None), slice(4, 15), slice(5, 21))
        assert_allclose(found, pixel_loss(heat[crop], masks[crop], over=over))


def test_synthetic_anomalies_are_drawn_inside():
    inside = np.zeros((96, 96), dtype=bool)
    inside[60:75, 10:30] = np.tri(15, 20, dtype=bool)
    roi, generator = Inside(inside, None), torch.Generator().manual_seed(0)
    images = torch.rand(60, 1, 96, 96)
    changed, masks = planted(mixed, images, generator, roi)
    assert (masks & roi.seen).flatten(1).any(dim=1).float().mean() > 0.9
    far = torch.ones(96, 96, dtype=torch.bool)
    far[roi.box] = False
    assert_array_equal(changed[..., far], roi(images)[..., far])
    assert not masks[..., far].any()


def batches_of(model, images, targets, monkeypatch):
    """Targets of all batches of a training."""
    from skfcdd._engine.net import FCDDNet

    seen, plain = [], FCDDNet.get_loss

    def get_loss(self, y_pred, y_true, **kwargs):
        seen.append(y_true)
        return plain(self, y_pred, y_true, **kwargs)

    monkeypatch.setattr(FCDDNet, "get_loss", get_loss)
    model.fit(images, targets)
    return seen


def far_corner(images, generator):
    """An anomaly that never touches the region."""
    changed, masks = images.clone(), torch.zeros_like(images[:, :1], dtype=torch.bool)
    changed[..., -3:, :3] = 1
    masks[..., -3:, :3] = True
    return changed, masks


def test_anomalies_outside_are_trained_as_normal(monkeypatch):
    model = quick(roi=ROI, synthetic=far_corner, max_epochs=1, pixel_loss="anomalous")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        targets = batches_of(model, NORMAL, None, monkeypatch)
    assert len(targets) > 1
    assert not any(target.anomalous.any() or target.masks.any() for target in targets)
    targets = batches_of(quick(roi=ROI, max_epochs=1), NORMAL, None, monkeypatch)
    shares = [float(target.anomalous.float().mean()) for target in targets]
    assert np.mean(shares) > 0.35
    assert not any(target.masks[:, 0, ~torch.tensor(ROI)].any() for target in targets)


def quick_segmenter(**params):
    return FCDDSegmenter(
        max_epochs=3, random_state=0, validation_fraction=0.2, roi=ROI, **params
    )


def test_a_segmenter_marks_nothing_outside():
    masks = MASKS.copy()
    masks[-1] = 0
    masks[-1, -3:, :3] = 1  # far from the region
    assert not ((masks[-1] > 0) & ROI).any()
    with pytest.warns(UserWarning, match="count as normal"):
        model = quick_segmenter().fit(IMAGES, masks)
    found = model.predict(IMAGES)
    assert found[:, ~ROI].max() == 0 and found[:, ROI].any()
    assert (model.decision_function(IMAGES)[:, ~ROI] == -model.threshold_).all()
    for regions in model.regions(IMAGES):
        for region in regions:
            assert ROI[region.peak_at]
    within = np.where(ROI, masks, 0)
    assert model.score(IMAGES, masks) == model.score(IMAGES, within)
    assert model.score(IMAGES, masks) == pytest.approx(
        intersection_over_union_score(within, found)
    )
    with pytest.warns(UserWarning, match="count as normal"):
        model.calibrate(IMAGES + np.uint8(1), masks)


@pytest.mark.parametrize("case", ["pixels", "contrast", "flips", "memory", "resize"])
def test_training_does_not_see_what_is_outside(case):
    other = with_other_surroundings(IMAGES, seed=3)
    noise = np.where(ROI, MASKS, np.random.RandomState(0).rand(*MASKS.shape) < 0.3)
    noise[: len(NORMAL)] = 0
    kept = np.where(ROI, MASKS, 0).any(axis=(1, 2))
    kept[: len(NORMAL)] = True
    models = []
    for images, masks in ((IMAGES, np.where(ROI, MASKS, 0)), (other, noise)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = quick_segmenter(**{"pixel_loss": "anomalous", **CASES[case]})
            models.append(model.fit(images[kept], masks[kept]))
    first, second = models
    assert first.threshold_ == second.threshold_
    assert first.heatmap_scale_ == second.heatmap_scale_
    assert_array_equal(first.explain(IMAGES), second.explain(IMAGES))


def test_a_memory_keeps_cells_that_matter():
    data = make_defects(12, image_size=64, anomaly_fraction=0, random_state=0).images
    roi = np.zeros((64, 64), dtype=bool)
    roi[8:16, 8:16] = True
    bank = MemoryBank(n_patches=10_000)
    params = {"max_epochs": 1, "random_state": 0, "validation_fraction": 0.2}
    sizes = [
        len(
            FCDDDetector(memory_bank=bank, roi=r, **params)
            .fit(data)
            ._fitted.memory.points
        )
        for r in (None, roi)
    ]
    assert sizes[1] < sizes[0] / 2


# Other forms of a model


@pytest.mark.parametrize("case", ["mean", "max", "share", "resize", "contrast"])
def test_an_exported_model_agrees(case, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from skfcdd.export import to_onnx

    path = tmp_path / "m.onnx"
    model = quick(roi=ROI, precision="float32", **CASES[case]).fit(NORMAL)
    assert to_onnx(model, path, X=IMAGES).label_agreement == 1
    served = OnnxFCDD(path)
    assert_array_equal(served.roi_, ROI)
    heatmaps = served.explain(IMAGES)
    assert heatmaps[:, ~ROI].max() == 0
    assert_allclose(heatmaps, model.explain(IMAGES), atol=1e-4 * heatmaps.max())
    scores = served.anomaly_score(IMAGES)
    assert_allclose(scores, model.anomaly_score(IMAGES), rtol=1e-4)
    other = with_other_surroundings(IMAGES)
    assert_array_equal(served.anomaly_score(other), scores)
    with pytest.raises(ValueError, match="dynamic_size=True is not possible"):
        to_onnx(model, path, dynamic_size=True)


@pytest.mark.parametrize("normalize", ["standard", "contrast", "local"])
def test_large_images_of_the_same_size(normalize):
    size = (72, 80)
    images, *_ = make_images(12, size, seed=2)
    roi = np.zeros(size, dtype=bool)
    roi[20:60, 8:50] = True
    model = quick(roi=roi, normalize=normalize).fit(images)
    whole = model.explain(images[:1])[0]
    for tile in (16, 1024):
        found = model.explain_large(images[0], tile_size=tile)
        assert_allclose(found, whole, atol=1e-5 * whole.max())
        assert found[~roi].max() == 0
        other = with_other_surroundings(images[:1], roi)[0]
        assert_array_equal(model.explain_large(other, tile_size=tile), found)
    with pytest.raises(ImageShapeError, match="Pass roi="):
        model.explain_large(np.zeros((80, 80), np.uint8))


def whole_at_once(model, image, roi):
    """The heatmap of an image of any size, from the network itself and dense sums."""
    fitted = model._fitted
    module = fitted.module.eval()
    raw = torch.from_numpy(image).float()[None, None]
    filled = Inside(roi, None)(module.preprocess.unit(raw))
    with torch.no_grad():
        cells = module.maps_of(module.preprocess(filled))
    field = field_at(fitted, image.shape)
    sigma = fitted.heatmap_sigmas
    upsample = GaussianUpsampler(image.shape, cells.shape[1:], field, sigma, roi=roi)
    return upsample(cells)[0].numpy()


@pytest.mark.parametrize("fitted_with", ["a region", "none"])
@pytest.mark.parametrize("normalize", ["standard", "contrast"])
def test_a_region_of_a_large_image(fitted_with, normalize, monkeypatch):
    monkeypatch.setattr("skfcdd._engine.tiling._PIECE", 60)
    params = {"normalize": normalize, "backbone": "fcdd32_s", "precision": "float32"}
    small = ROI if fitted_with == "a region" else None
    model = quick(roi=small, **params).fit(NORMAL)
    size = (150, 131)
    image = make_images(1, size, 1, seed=3)[0][0]
    corners = [(20.0, 15), (120, 40), (90, 140), (12, 100)]
    inside = quick(roi=corners, max_epochs=1).fit(np.zeros((8, *size))).roi_
    expected = whole_at_once(model, image, inside)
    other = with_other_surroundings(image[None], inside)[0]
    for tile in (16, 1024):
        found = model.explain_large(image, tile_size=tile, roi=corners)
        assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * expected.max())
        assert found[~inside].max() == 0 and found[inside].max() > 0
        again = model.explain_large(other, tile_size=tile, roi=inside)
        assert_array_equal(again, found)


def test_a_region_for_the_large_image_replaces_that_of_fit():
    model = quick(roi=ROI, max_epochs=1, precision="float32").fit(NORMAL)
    found = model.explain_large(IMAGES[0])
    assert_array_equal(model.explain_large(IMAGES[0], roi=ROI), found)
    assert model.explain_large(IMAGES[0], roi=np.ones(SIZE))[~ROI].max() > 0
    with pytest.raises(ImageShapeError, match=r"\(24, 32\).*\(48, 64\)"):
        model.explain_large(np.zeros((48, 64), np.uint8), roi=ROI)
    with pytest.raises(ValueError, match="no pixel inside"):
        model.explain_large(np.zeros((48, 64), np.uint8), roi=np.zeros((48, 64)))


def test_files_with_an_impossible_region(tmp_path, monkeypatch):
    from skfcdd._engine.model import FittedModel
    from skfcdd.exceptions import ModelFileError

    model, plain = quick(roi=ROI, max_epochs=1).fit(NORMAL), FittedModel.state_dict
    for change in (
        {"preprocess.roi.inside": torch.zeros(SIZE, dtype=torch.bool)},
        {"preprocess.roi.inside": torch.ones(3, 3, dtype=torch.bool)},
        {"preprocess.roi.inside": torch.ones(SIZE)},
    ):
        with monkeypatch.context() as patched:
            patched.setattr(
                FittedModel,
                "state_dict",
                lambda self, change=change: plain(self) | change,
            )
            path = save(model, tmp_path / "m")
        with pytest.raises(ModelFileError, match="region of interest"):
            load(path)


@pytest.mark.parametrize("spread", [-1.0, 1e9, True, "8", None])
def test_files_with_an_impossible_fill(spread, tmp_path, monkeypatch):
    from skfcdd.exceptions import ModelFileError
    from skfcdd.persistence import _model

    model = quick(roi=ROI, max_epochs=1).fit(NORMAL)
    described = {"n_pixels": 1, "spread": spread}
    monkeypatch.setattr(_model, "_describe_roi", lambda roi: described)
    with pytest.raises(ModelFileError, match=r"spread=.*from 0 to 1024"):
        load(save(model, tmp_path / "m"))


def test_masks_are_packed_and_unpacked():
    rng = np.random.RandomState(0)
    for shape in ((1, 1), (3, 5), (17, 8)):
        mask = rng.rand(*shape) < 0.5
        assert_array_equal(unpack_mask(json.loads(json.dumps(pack_mask(mask)))), mask)
    packed = pack_mask(np.ones((4, 4), dtype=bool))
    for change in ({"shape": [4, 400]}, {"shape": [0, 4]}, {"bits": "eJwDAAAAAAE="}):
        with pytest.raises(ValueError):
            unpack_mask(packed | change)


# Metrics


def test_metrics_of_a_rectangle_are_those_of_the_crop():
    rng = np.random.RandomState(0)
    masks = np.kron(rng.rand(6, 4, 4) < 0.3, np.ones((1, 6, 8))).astype(int)
    heat = rng.rand(*masks.shape).round(2) + 0.3 * masks
    roi = np.zeros(SIZE, dtype=bool)
    roi[4:15, 5:21] = True
    crop = (slice(None), slice(4, 15), slice(5, 21))
    for metric in (
        pixel_roc_auc_score,
        pixel_average_precision_score,
        aupro_score,
        f1_max_score,
    ):
        for method in ("exact", "histogram"):
            found = metric(masks, heat, method=method, roi=roi)
            expected = metric(masks[crop], heat[crop], method=method)
            assert found == pytest.approx(expected)
    for average in ("image", "pixel"):
        found = intersection_over_union_score(
            masks, heat > 0.8, average=average, roi=roi
        )
        assert found == pytest.approx(
            intersection_over_union_score(
                masks[crop], heat[crop] > 0.8, average=average
            )
        )
    with pytest.raises(ImageShapeError, match="roi must have"):
        pixel_roc_auc_score(masks, heat, roi=roi[:-1])
    with pytest.raises(ValueError, match="no pixel"):
        PixelHistogram().update(masks, heat, ~np.ones(SIZE, dtype=bool))


def test_scorers_take_the_region_of_the_model():
    model = quick(roi=ROI).fit(NORMAL)
    heat = model.explain(IMAGES)
    for name, metric in (
        ("pixel_roc_auc", pixel_roc_auc_score),
        ("aupro", aupro_score),
    ):
        found = PIXEL_SCORERS[name](model, IMAGES, MASKS)
        assert found == metric(MASKS, heat, roi=ROI)
        assert found != metric(MASKS, heat)
    assert (
        PIXEL_SCORERS["f1_max"](model, IMAGES, MASKS)
        == f1_max_score(MASKS, heat, roi=ROI)[0]
    )


def test_statistics_of_a_rectangle_are_those_of_the_crop():
    roi = np.zeros(SIZE, dtype=bool)
    roi[4:15, 5:21] = True
    model = quick(roi=roi, max_epochs=1).fit(NORMAL)
    plain = quick(max_epochs=1).fit(NORMAL[:, 4:15, 5:21])
    found = image_statistics(model, IMAGES)[:, 1:]
    assert_allclose(found, image_statistics(plain, IMAGES[:, 4:15, 5:21])[:, 1:])


def test_labels_from_masks_are_those_inside():
    model = quick(roi=ROI, max_epochs=1).fit(NORMAL)
    expected = (MASKS > 0)[:, ROI].any(axis=1)
    assert 0 < expected.sum() < MASKS.any(axis=(1, 2)).sum()
    assert_array_equal(read_truth(model, MASKS, len(IMAGES)), expected)


# The command line


@pytest.fixture
def folder(tmp_path):
    tmp_path = tmp_path / "photos"
    for name, rows in (("train/good", range(24)), ("test/good", range(24, 36))):
        (tmp_path / name).mkdir(parents=True)
        for k in rows:
            Image.fromarray(IMAGES[k]).save(tmp_path / name / f"{k}.png")
    (tmp_path / "test/flaw").mkdir()
    for k in range(36, 48):
        Image.fromarray(IMAGES[k]).save(tmp_path / "test/flaw" / f"{k}.png")
    return tmp_path


@pytest.mark.parametrize("form", ["mask", "polygons"])
def test_a_region_on_the_command_line(folder, form, capsys):
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[4:15, 5:21] = mask[18:22, 24:30] = 255
    roi = str(folder.parent / "mask.png")
    Image.fromarray(mask).save(roi)
    if form == "polygons":
        roi = "5,4 21,4 21,15 5,15; 24,18.0 30,18 30,22 24,22"
    model = folder.parent / "m.skfcdd"
    command = ["fit", str(folder), "-o", str(model), "--roi", roi, "--quiet"]
    assert main([*command, "--epochs", "1", "--validation-fraction", "0.2"]) == 0
    found = load(model)
    assert_array_equal(found.roi_, mask > 0)
    capsys.readouterr()
    assert main(["info", str(model), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["model"]["network"]["roi"]
    assert told["n_pixels"] == (mask > 0).sum()
    masks = folder / "ground_truth/flaw"
    masks.mkdir(parents=True)
    for k in range(36, 48):
        Image.fromarray(255 * MASKS[k]).save(masks / f"{k}_mask.png")
    hit = (MASKS[36:] > 0)[:, mask > 0].any(axis=1)
    assert main(["evaluate", str(model), str(folder), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["n_anomalous"] == hit.sum()
    assert figures["n_outside"] == (~hit).sum() > 0
    page = folder.parent / "report.html"
    assert main(["report", str(model), str(folder), "-o", str(page), "--quiet"]) == 0
    truth = re.search(r'"truth": ?(\[[^]]*\])', page.read_text(encoding="utf-8"))
    assert sum(json.loads(truth[1])) == hit.sum()
    rows = np.concatenate([IMAGES[24:36], IMAGES[36:]])
    assert figures["pixel_auroc"] == pytest.approx(
        pixel_roc_auc_score(MASKS[24:], found.explain(rows), roi=mask > 0)
    )
    table = folder.parent / "regions.csv"
    scores = ["-o", str(folder.parent / "scores.csv"), "--regions", str(table)]
    assert main(["predict", str(model), str(folder / "test"), *scores]) == 0
    assert table.exists()


def test_comparison_counts_what_both_regions_agree_on(folder, capsys, monkeypatch):
    masks = folder / "ground_truth/flaw"
    masks.mkdir(parents=True)
    for k in range(36, 48):
        Image.fromarray(255 * MASKS[k]).save(masks / f"{k}_mask.png")
    left = np.zeros(SIZE, dtype=bool)
    left[:10, :20] = True
    regions = {"none": None, "roi": ROI, "same": ROI, "left": left}
    for name, roi in regions.items():
        save(quick(roi=roi, max_epochs=1).fit(NORMAL), folder / f"{name}.skfcdd")

    def told(*names):
        models = [str(folder / f"{name}.skfcdd") for name in names]
        assert main(["compare", *models, str(folder), "--json", "-q"]) == 0
        return json.loads(capsys.readouterr().out)

    hit = (MASKS[36:] > 0)[:, ROI].any(axis=1)
    found = told("roi", "same")
    assert (found["n_images"], found["n_anomalous"]) == (24, hit.sum())
    assert found["n_outside"] == (~hit).sum() and "n_left_out" not in found
    found = told("none", "roi")
    assert found["n_left_out"] == (~hit).sum() and "n_outside" not in found
    assert (found["n_images"], found["n_anomalous"]) == (24 - (~hit).sum(), hit.sum())
    found, other = told("roi", "left"), (MASKS[36:] > 0)[:, left].any(axis=1)
    assert (~hit & ~other).any() and (hit ^ other).any()
    assert found["n_outside"] == (~hit & ~other).sum()
    assert found["n_left_out"] == (hit ^ other).sum()
    assert found["n_anomalous"] == (hit & other).sum()
    monkeypatch.setattr("skfcdd.cli._console.is_terminal", lambda: True)
    models = [str(folder / f"{name}.skfcdd") for name in ("none", "roi")]
    assert main(["compare", *models, str(folder)]) == 0
    assert "of one model, excluded." in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("roi", "words"),
    [
        ("no.png", "no such file"),
        ("1,1 9,1", "--roi needs at least 3 points"),
        ("900,1 950,1 950,9", "no pixel inside"),
    ],
)
def test_what_is_no_region_on_the_command_line(folder, roi, words, capsys):
    command = ["fit", str(folder), "-o", str(folder / "m.skfcdd"), "--roi", roi]
    assert main([*command, "--epochs", "1"]) in (1, 2)
    printed = " ".join(capsys.readouterr().err.split())
    assert words in printed and "roi=" not in printed
    assert not (folder / "m.skfcdd").exists()
