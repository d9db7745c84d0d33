"""Other methods behind the interface of the detector."""

from __future__ import annotations

import copy
import itertools
import pickle
import random

import joblib
import numpy as np
import pytest
import torch
from _small import make_images, maps_of, with_fitted, with_judging
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_outlier_detector
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skfcdd import FCDDDetector
from skfcdd._engine.coreset import greedy_coreset, nearest, nearest_distance
from skfcdd.backbones import list_backbones
from skfcdd.backbones._registry import lookup
from skfcdd.baselines import (
    BASELINES,
    AutoencoderDetector,
    PatchCoreDetector,
    PCADetector,
)
from skfcdd.baselines._upsampling import FlatUpsampler, balanced_matrix
from skfcdd.exceptions import ImageShapeError, RandomFeaturesWarning
from skfcdd.persistence import save
from skfcdd.receptive_field import ReceptiveField
from skfcdd.thresholds import FalseAlarmRate

MAKERS = {
    "pca": lambda **p: PCADetector(**{"n_components": 4, "random_state": 0, **p}),
    "autoencoder": lambda **p: AutoencoderDetector(
        **{"max_epochs": 12, "random_state": 0, "device": "cpu", **p}
    ),
    # A module brings its own weights, as far as anybody knows.
    "patchcore": lambda **p: PatchCoreDetector(
        **{"backbone": network(), "random_state": 0, "device": "cpu", **p}
    ),
}
every = pytest.mark.parametrize("name", MAKERS)


def network(n_channels=1):
    """Random features of 5 x 5 pixels, of every second one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = nn.Conv2d(n_channels, 8, 3), nn.Conv2d(8, 12, 3, 2)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())


@pytest.fixture(scope="module")
def data():
    return make_images(60, n_anomalous=20)


@pytest.fixture(scope="module")
def fitted(data):
    images, y, _ = data
    return {name: make().fit(images[y == 0]) for name, make in MAKERS.items()}


@every
def test_finds_and_shows_what_is_anomalous(name, data, fitted):
    images, y, masks = data
    model = fitted[name]
    assert roc_auc_score(y, model.anomaly_score(images)) > 0.95
    heatmaps = model.explain(images)
    assert heatmaps.shape == images.shape and heatmaps.dtype == np.float32
    assert heatmaps.min() >= 0
    assert roc_auc_score(masks.ravel(), heatmaps.ravel()) > 0.85
    assert_array_equal(np.concatenate(list(model.iter_explain(images))), heatmaps)
    low, high = model.heatmap_scale_
    assert 0 < low < high
    assert (heatmaps[y == 0] > low).mean() < 0.05
    assert (heatmaps[masks > 0] > low).mean() > 0.1


@every
def test_outlier_convention(name, data, fitted):
    images, y, _ = data
    model = fitted[name]
    assert is_outlier_detector(model)
    scores = model.score_samples(images)
    assert scores.dtype == np.float64
    assert_array_equal(scores, -model.anomaly_score(images))
    assert_array_equal(model.decision_function(images), scores - model.offset_)
    assert model.offset_ == -model.threshold_
    predicted = np.where(model.anomaly_score(images) > model.threshold_, -1, 1)
    assert_array_equal(model.predict(images), predicted)
    assert model.calibration_scores_.shape == (4,)
    assert (np.diff(model.calibration_scores_) >= 0).all()
    assert model.p_values(images[y == 1]).max() < 0.4


@every
def test_contamination_is_the_share_of_outliers_in_x(name, data):
    images, _, _ = data
    found = MAKERS[name](contamination=0.2).fit_predict(images)
    assert (found == -1).sum() == 12


@every
def test_known_outliers_are_left_out(name, data):
    images, y, _ = data
    taught = MAKERS[name]().fit(images, np.where(y, -1, 1))
    alone = MAKERS[name]().fit(images[y == 0])
    assert_array_equal(taught.anomaly_score(images), alone.anomaly_score(images))
    assert taught.threshold_ == alone.threshold_
    params = {"threshold": "youden", "validation_fraction": 0.4}
    sharp = MAKERS[name](**params).fit(images, np.where(y, -1, 1))
    assert (sharp.predict(images) == np.where(y, -1, 1)).mean() > 0.8


@every
def test_thresholds_of_all_kinds(name, data):
    images, y, _ = data
    params = {"threshold": FalseAlarmRate(0.25), "validation_fraction": 0.4}
    model = MAKERS[name](**params).fit(images[y == 0])
    assert (model.calibration_scores_ > model.threshold_).sum() <= 4
    assert MAKERS[name](threshold=0.5).fit(images[y == 0]).threshold_ == 0.5
    fresh = make_images(40, seed=1)[0]
    model.set_params(threshold="quantile").calibrate(fresh)
    assert_array_equal(model.calibration_scores_, np.sort(model.anomaly_score(fresh)))
    with pytest.raises(ValueError, match="threshold"):
        MAKERS[name](threshold="natural").fit(images)


@every
def test_same_seed_same_bits(name, data, fitted):
    images, y, _ = data
    torch.rand(1)
    again = MAKERS[name]().fit(images[y == 0])
    assert_array_equal(again.explain(images), fitted[name].explain(images))
    other = MAKERS[name](random_state=1).fit(images[y == 0])
    assert not np.array_equal(other.explain(images), again.explain(images))


@every
def test_global_random_state_is_left_as_found(name, data):
    def state():
        return (
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.random.get_rng_state().tolist(),
        )

    before = state()
    model = MAKERS[name]().fit(data[0])
    model.explain(data[0])
    assert state() == before


@every
def test_copies(name, data, fitted, tmp_path):
    images, model = data[0], fitted[name]
    assert clone(model).get_params().keys() == model.get_params().keys()
    joblib.dump(model, tmp_path / "model.joblib")
    for loaded in (
        pickle.loads(pickle.dumps(model)),
        joblib.load(tmp_path / "model.joblib"),
    ):
        assert_array_equal(loaded.anomaly_score(images), model.anomaly_score(images))
        assert_array_equal(loaded.explain(images), model.explain(images))
    with pytest.raises(TypeError, match=rf"Got {type(model).__name__}.*joblib"):
        save(model, tmp_path / "model.skfcdd")


@every
def test_scores_do_not_depend_on_the_company(name, data, fitted):
    images, model = data[0], fitted[name]
    scores = model.anomaly_score(images)
    order = np.random.RandomState(0).permutation(60)
    assert_allclose(model.anomaly_score(images[order]), scores[order], rtol=1e-7)
    assert_allclose(model.anomaly_score(images[5:6]), scores[5:6], rtol=1e-7)


@every
def test_colours_odd_sizes_and_resizing(name):
    rng = np.random.RandomState(0)
    images = rng.randint(0, 255, (20, 3, 13, 21)).astype(np.uint8)
    params = {"backbone": network(3)} if name == "patchcore" else {}
    model = MAKERS[name](resize=(17, 9), **params).fit(images)
    assert model.image_shape_ == (13, 21, 3)
    heatmaps = model.explain(images)
    assert heatmaps.shape == (20, 13, 21)
    cells = maps_of(model, images)
    assert_allclose(heatmaps.mean(axis=(1, 2)), cells.mean(axis=(1, 2)), rtol=1e-5)
    with pytest.raises(ImageShapeError, match=r"\(13, 21, 3\)"):
        model.predict(images[:, :, :12])


@pytest.mark.parametrize("name", ["pca", "autoencoder"])
def test_pixels_of_a_heatmap_sum_to_the_score(name, data, fitted):
    images, model = data[0], fitted[name]
    scores, plain = model.anomaly_score(images), model.explain(images)
    assert_allclose(plain.mean(axis=(1, 2)), scores, rtol=1e-6)
    smooth = with_judging(model, heatmap_sigma=2.0).explain(images)
    assert_allclose(smooth.mean(axis=(1, 2)), scores, rtol=1e-5)
    assert np.abs(np.diff(smooth)).mean() < np.abs(np.diff(plain)).mean() / 2


@every
@pytest.mark.parametrize("pooling", ["max", "mean", 0.1])
def test_pooling(name, data, pooling):
    images = data[0]
    model = MAKERS[name](score_pooling=pooling).fit(images)
    cells = maps_of(model, images)
    cells = np.sort(cells.reshape(60, -1), axis=1)
    count = {"max": 1, "mean": cells.shape[1]}.get(pooling)
    count = int(np.ceil(0.1 * cells.shape[1])) if count is None else count
    expected = cells[:, -count:].mean(axis=1)
    assert_allclose(model.anomaly_score(images), expected, rtol=1e-6)
    # As it was fitted: the threshold holds for this pooling.
    model.set_params(score_pooling="mean")
    assert_allclose(model.anomaly_score(images), expected, rtol=1e-6)


@every
def test_tables_and_pipelines(name):
    X = np.random.RandomState(0).normal(size=(50, 6))
    X[:, 3:] = X[:, :3]  # normal rows repeat themselves
    params = {"backbone": "auto"} if name == "patchcore" else {}
    model = MAKERS[name](**{**params, "score_pooling": "mean"})
    if name == "pca":
        model.set_params(n_components=3)
    model = make_pipeline(StandardScaler(), model)
    if name == "patchcore":
        with pytest.warns(RandomFeaturesWarning):
            model.fit(X)
    else:
        model.fit(X)
    odd = X.copy()
    odd[:, 5] += 4
    assert roc_auc_score(np.repeat([0, 1], 50), -model.score_samples(np.r_[X, odd])) > (
        0.9
    )


@every
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X.astype(float) * np.nan, "NaN"),
        (lambda X: X[:1], "n_samples = 1"),
        (lambda X: X[:0], "0 sample"),
    ],
)
def test_bad_images(name, data, change, message):
    with pytest.raises(ValueError, match=message):
        MAKERS[name]().fit(change(data[0]))


@every
def test_bad_labels_and_sizes(name, data):
    images = data[0]
    with pytest.raises(ValueError, match="only -1"):
        MAKERS[name]().fit(images, -np.ones(60))
    with pytest.raises(ValueError, match="60 images, but y has 3"):
        MAKERS[name]().fit(images, [1, 1, -1])
    with pytest.raises(ValueError, match=r"resize=\(3,\)"):
        MAKERS[name](resize=(3,)).fit(images)


@every
def test_a_failed_fit_leaves_the_earlier_one(name, data, fitted):
    images = data[0]
    model = pickle.loads(pickle.dumps(fitted[name]))
    scores = model.anomaly_score(images)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full((9, 5, 5), np.nan))
    assert_array_equal(model.anomaly_score(images), scores)


@given(
    st.integers(2, 70),
    st.integers(1, 12),
    st.floats(0.5, 3),
    st.floats(0, 1),
    st.integers(0, 9),
)
def test_maps_keep_their_mean_and_constants(n_pixels, n_cells, width, margin, seed):
    n_cells = min(n_cells, n_pixels)
    stride = n_pixels / n_cells
    field = ReceptiveField(
        (1, 1), (stride, stride), (margin * stride - 0.5, (stride - 1) / 2)
    )
    shape = (n_cells, n_cells)
    upsample = FlatUpsampler((n_pixels, n_pixels), shape, field, width * stride)
    cells = np.random.RandomState(seed).exponential(size=(2, *shape))
    heatmaps = upsample(torch.from_numpy(cells)).numpy()
    assert_allclose(heatmaps.mean((1, 2)), cells.mean((1, 2)), rtol=1e-5)
    assert heatmaps.min() >= 0
    assert_allclose(upsample(torch.ones(1, *shape)), 1, atol=0.02)
    # What lies above in the map lies above in the heatmap.
    falling = torch.linspace(2, 1, n_cells)[None, :, None].expand(1, *shape)
    rows = upsample(falling).mean(dim=2)[0].numpy()
    assert (np.diff(rows) <= 0.02).all()
    assert n_cells == 1 or rows[0] > rows[-1]


@pytest.mark.parametrize("sigma", [1e-3, 1e3])
def test_maps_with_gaussians_of_any_width(sigma):
    matrix = balanced_matrix(20, [2.0, 9.0, 16.0], sigma)
    assert np.isfinite(matrix).all()
    assert_allclose(matrix.sum(axis=0), 20 / 3)


# -- principal components ----------------------------------------------------------


def test_pca_is_the_residual_of_the_singular_vectors(data):
    images, y, _ = data
    values = images / 255.0
    params = {"normalize": None, "validation_fraction": 0.01, "random_state": 0}
    model = PCADetector(n_components=3, **params).fit(images[y == 0])
    held = np.isclose(
        model.anomaly_score(images[y == 0]), model.calibration_scores_[0], rtol=1e-12
    )
    train = values[y == 0][~held].reshape(39, -1)
    center = train.mean(axis=0)
    basis = np.linalg.svd(train - center, full_matrices=False)[2][:3]
    flat = values.reshape(60, -1) - center
    residual = (flat - flat @ basis.T @ basis) ** 2
    assert_allclose(model.explain(images).reshape(60, -1), residual, atol=1e-6)
    assert_allclose(model.anomaly_score(images), residual.mean(axis=1), rtol=1e-4)


def test_pca_that_keeps_all_reconstructs_what_it_saw(data):
    images = data[0]
    model = PCADetector(n_components=None, random_state=0).fit(images)
    scores = np.sort(model.anomaly_score(images))
    assert scores[53] < 1e-10 < 1e-4 < scores[54]  # the rest were held out


def test_pca_of_images_that_are_all_the_same():
    images = np.full((10, 8, 8), 7.0)
    model = PCADetector().fit(images)
    assert model.pca_.n_components_ == 0
    assert model.anomaly_score(images).max() == 0
    assert 0 < model.heatmap_scale_[0] < model.heatmap_scale_[1]
    dented = images.copy()
    dented[:, 2, 2] = 8
    assert (model.predict(dented) == -1).all()


def test_pca_with_too_many_components(data):
    with pytest.raises(ValueError, match="n_components=60"):
        PCADetector(n_components=60).fit(data[0])


def test_pca_of_two_images():
    with pytest.raises(ValueError, match="needs 2 normal images in addition"):
        PCADetector().fit(np.random.RandomState(0).uniform(size=(2, 9, 9)))


# -- autoencoder -------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (1, 50), (7, 9), (17, 33), (40, 3), (64, 40)]
)
def test_autoencoder_takes_any_size(shape):
    images = np.random.RandomState(0).uniform(size=(9, *shape))
    model = AutoencoderDetector(max_epochs=1, width=2, random_state=0).fit(images)
    assert model.explain(images).shape == images.shape


def test_autoencoder_learns_what_varies(data):
    """Better than the mean image, and than a code of a single number."""
    images, y, _ = data
    normal = images[y == 0]
    errors = []
    for n_latent in (1, 16):
        params = {"n_latent": n_latent, "normalize": "standard", "max_epochs": 40}
        model = MAKERS["autoencoder"](**params)
        shift = np.arange(40) % 10
        moved = np.stack([np.roll(x, s, 1) for x, s in zip(normal, shift, strict=True)])
        model.fit(moved)
        errors.append(model.anomaly_score(moved).mean())
    assert model.history_[-1]["train_loss"] < model.history_[0]["train_loss"] / 2
    values = (moved - moved.mean()) / moved.std()
    by_mean = ((values - values.mean(axis=0)) ** 2).mean()
    assert errors[1] < errors[0] and errors[1] < 0.5 * by_mean


def test_autoencoder_code_is_no_wider_than_said(data):
    module = MAKERS["autoencoder"](n_latent=5).fit(data[0]).net_.module_
    assert module.encoder(torch.zeros(1, 1, 16, 20).double()).shape == (1, 5)
    module = MAKERS["autoencoder"]().fit(data[0]).net_.module_
    assert module.encoder(torch.zeros(1, 1, 16, 20).double()).shape == (1, 40)


def test_autoencoder_trains_all_it_scores_with(data):
    model = MAKERS["autoencoder"](max_epochs=1).fit(data[0])
    module = model.net_.module_
    module.train()(torch.rand(4, 1, 16, 20).double()).mean().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_autoencoder_that_diverges_says_so(data):
    with pytest.raises(ValueError, match=r"diverged.*lr"):
        MAKERS["autoencoder"](lr=1e30).fit(data[0])


# -- PatchCore ---------------------------------------------------------------------


def slow_coreset(points, size, first):
    """By the definition, from all distances."""
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    taken = [first]
    while len(taken) < size:
        distance = apart[:, taken].min(axis=1)
        distance[taken] = -1
        taken.append(int(distance.argmax()))
    return taken


def test_coreset_by_definition():
    points = np.random.RandomState(0).normal(size=(80, 5))
    found = greedy_coreset(torch.from_numpy(points), 20, seed=3).tolist()
    assert found == slow_coreset(points, 20, found[0])


@given(st.lists(st.integers(0, 12), min_size=4, max_size=9), st.integers(1, 4))
def test_coreset_is_at_most_twice_as_wide_as_the_best(values, size):
    points = torch.tensor(values).double()[:, None]
    apart = (points - points.T).abs()
    found = greedy_coreset(points, size, seed=0)
    assert len(set(found.tolist())) == size  # also where points coincide

    def radius(rows):
        return apart[:, list(rows)].min(dim=1).values.max()

    best = min(map(radius, itertools.combinations(range(len(values)), size)))
    assert radius(found.tolist()) <= 2 * best + 1e-9


def test_coreset_behind_a_projection_covers_clusters():
    rng = np.random.RandomState(0)
    centers = rng.normal(size=(12, 600))
    points = np.repeat(centers, 30, axis=0) + 0.05 * rng.normal(size=(360, 600))
    found = greedy_coreset(torch.from_numpy(points).float(), 12, seed=0)
    assert sorted((found // 30).tolist()) == list(range(12))


@pytest.mark.parametrize("at_once", [100, 1 << 19])
def test_nearest_by_all_distances(monkeypatch, at_once):
    rng = np.random.RandomState(0)
    points, memory = rng.normal(size=(50, 7)), rng.normal(size=(33, 7))
    monkeypatch.setattr("skfcdd._engine.coreset._MOST_DISTANCES_CPU", at_once)
    tensors = torch.from_numpy(points), torch.from_numpy(memory)
    distance, index = nearest(*tensors)
    apart = np.linalg.norm(points[:, None] - memory[None], axis=2)
    assert_array_equal(index, apart.argmin(axis=1))
    assert_allclose(distance, apart.min(axis=1))
    assert_allclose(nearest_distance(*tensors), apart.min(axis=1))
    assert_allclose(nearest_distance(tensors[1], tensors[1]), 0, atol=1e-6)


def test_patches_that_are_remembered_are_at_no_distance(data):
    images, y, _ = data
    model = MAKERS["patchcore"](coreset_ratio=1.0).fit(images[y == 0])
    scores = model.anomaly_score(images[y == 0])
    assert (scores == 0).sum() == 36 and len(model.memory_) == 36 * 6 * 8


def test_memory_is_bounded_and_a_share(data):
    images, y, _ = data
    params = {"max_patches": 36 * 10, "coreset_ratio": 0.25}
    model = MAKERS["patchcore"](**params).fit(images[y == 0])
    assert model.memory_.shape == (90, 12)
    assert not hasattr(MAKERS["patchcore"](), "memory_")


def test_patches_are_means_over_the_neighbourhood(data):
    images = torch.from_numpy(data[0][:2]).double()[:, None] / 255
    model = MAKERS["patchcore"](precision="float64").fit(data[0])
    module = model._fitted.module
    maps = module.network(module.normalized(images))
    found = module.patches(images)
    for i, j in itertools.product(*map(range, maps.shape[2:])):
        rows, columns = slice(max(0, i - 1), i + 2), slice(max(0, j - 1), j + 2)
        expected = maps[:, :, rows, columns].mean(dim=(2, 3))
        assert_allclose(found[:, :, i, j], expected, rtol=1e-10)


def test_field_of_patches_and_of_stages():
    model = MAKERS["patchcore"]().fit(np.random.RandomState(0).rand(9, 32, 32))
    # 5 pixels for a cell, and one more cell of two pixels' stride on either side.
    assert model.receptive_field_.extent == (9.0, 9.0)
    assert model.receptive_field_.stride == (2.0, 2.0)


def test_scores_are_weighted_as_published(data):
    images, y, _ = data
    model = MAKERS["patchcore"](n_neighbors=5, precision="float64").fit(images[y == 0])
    memory = model.memory_
    unit = torch.from_numpy(images).double()[:, None] / 255
    patches = model._fitted.module.patches(unit).flatten(2).transpose(1, 2).numpy()
    for x, score in zip(patches, model.anomaly_score(images), strict=True):
        apart = np.linalg.norm(x[:, None] - memory, axis=2)
        place = apart.min(axis=1).argmax()
        star = apart[place].argmin()
        around = np.argsort(np.linalg.norm(memory - memory[star], axis=1))[:5]
        weight = 1 - np.exp(apart[place, star]) / np.exp(apart[place, around]).sum()
        assert_allclose(score, weight * apart[place, star], rtol=1e-6)


def test_a_memory_of_one_patch_has_no_neighbours(data):
    model = MAKERS["patchcore"](n_neighbors=9, coreset_ratio=1e-6).fit(data[0])
    assert len(model.memory_) == 1
    assert model.anomaly_score(data[0]).min() > 0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"patch_size": 2}, "patch_size=2.*odd"),
        ({"n_neighbors": 9, "score_pooling": "mean"}, "n_neighbors=9.*'mean'"),
        ({"coreset_ratio": 0.0}, "coreset_ratio"),
        ({"stages": [1]}, r"stages=\[1\] with a module"),
    ],
)
def test_parameters_that_do_not_go(data, params, message):
    with pytest.raises(ValueError, match=message):
        MAKERS["patchcore"](**params).fit(data[0])


def test_random_features_are_told(data):
    with pytest.warns(RandomFeaturesWarning, match="weights='imagenet'") as found:
        PatchCoreDetector(random_state=0).fit(data[0])
    assert found[0].filename == __file__


def test_stages_are_put_together_at_the_size_of_the_first():
    images = np.random.RandomState(0).uniform(size=(8, 32, 32))
    with pytest.warns(RandomFeaturesWarning):
        model = PatchCoreDetector("fcdd32_s", stages=[1, 3]).fit(images)
    assert model.memory_.shape[1] == 32 + 128
    assert model.receptive_field_.stride == (2.0, 2.0)
    # A cell of the last stage sees 18 pixels, its neighbours in the interpolation 4
    # more, and the two beside it in its neighbourhood as many each.
    assert model.receptive_field_.extent == (18.0 + 4 + 8, 18.0 + 4 + 8)


@pytest.mark.parametrize(
    ("given", "backbone", "stages"),
    [
        ({}, "wide_resnet50_2", [2, 3]),  # as published
        ({"backbone": "squeezenet1_0"}, "squeezenet1_0", [3, 4]),
        ({"backbone": "squeezenet1_0", "stages": [2]}, "squeezenet1_0", [2]),
    ],
)
def test_network_and_stages_by_default(monkeypatch, data, given, backbone, stages):
    asked = {}

    def stop(backbone, shape, **params):
        asked.update(params, backbone=backbone)
        raise InterruptedError

    monkeypatch.setattr("skfcdd.baselines._patchcore.make_backbone", stop)
    with pytest.raises(InterruptedError):
        PatchCoreDetector(weights="imagenet", **given).fit(data[0])
    expected = {"backbone": backbone, "weights": "imagenet", "stages": stages}
    assert asked == expected


@pytest.mark.parametrize("name", list_backbones())
def test_usual_stages_exist(name):
    architecture = lookup(name)
    if architecture.cut is not None:
        with torch.device("meta"):
            assert architecture.cut < len(architecture.build(3).stages)


def test_model_of_another_device_loads_on_a_cpu(data, fitted, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    model = fitted["patchcore"]
    expected = model.anomaly_score(data[0])
    runner = copy.copy(model._fitted.runner)
    runner.device = "cuda"
    model = with_fitted(model, runner=runner)
    with pytest.warns(UserWarning, match="device='cuda'.*on the CPU"):
        loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.anomaly_score(data[0]), expected)


def test_patchcore_on_real_tiles(shared_data):
    with np.load(shared_data / "magnetic_tile.npz", allow_pickle=False) as file:
        X, kind, mask, split = (file[k] for k in ("X", "kind", "mask", "split_tile"))
    train = np.flatnonzero(split == "train")[::6]
    test = np.flatnonzero((split == "test") & np.isin(kind, ["free", "fray"]))[::3]
    model = PatchCoreDetector(
        "squeezenet1_0",
        weights=shared_data / "squeezenet1_0_imagenet.safetensors",
        stages=[3],
        random_state=0,
    ).fit(X[train])
    frayed = kind[test] == "fray"
    assert roc_auc_score(frayed, model.anomaly_score(X[test])) > 0.75
    heatmaps = model.explain(X[test])
    assert roc_auc_score(mask[test].ravel(), heatmaps.ravel()) > 0.7


# -- by name -----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.RandomFeaturesWarning")
@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.CollapseWarning")
@pytest.mark.parametrize("name", BASELINES)
def test_baselines_by_name(name, data):
    images = data[0]
    model = BASELINES[name](random_state=0)
    if "max_epochs" in model.get_params():
        model.set_params(max_epochs=1)
    model.fit(images)
    assert is_outlier_detector(model)
    assert model.explain(images).shape == images.shape
    assert np.ptp(model.anomaly_score(images)) > 0


def test_objectives_by_name():
    model = BASELINES["deep_svdd"](lr=0.01)
    assert isinstance(model, FCDDDetector)
    assert (model.loss, model.lr) == ("dsvdd", 0.01)
    assert BASELINES["hsc"]().loss == "hsc"
