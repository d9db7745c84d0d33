"""Slow changes of light: what is taken out, and what stays."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skfcdd import FCDDClassifier, FCDDDetector
from skfcdd._engine.light import FlatField, LocalLevel, contrast_of, darkness, smooth
from skfcdd._engine.preprocessing import Preprocess
from skfcdd._inputs.images import ImageArray
from skfcdd.baselines import AutoencoderDetector, PatchCoreDetector, PCADetector
from skfcdd.datasets import make_defects
from skfcdd.exceptions import ModelFileError
from skfcdd.persistence import load, save

FORMS = ("flat-field", "local")
SIZE = (40, 48)


@pytest.fixture(scope="module")
def images():
    return make_defects(40, image_size=SIZE, anomaly_fraction=0, random_state=0).images


def quick(estimator=FCDDDetector, **params):
    return estimator(
        **{
            "max_epochs": 1,
            "random_state": 0,
            "validation_fraction": 0.1,
            "weights": None,
        }
        | params
    )


def learn(values, normalize, size=None, **params):
    rows = np.arange(len(values))
    return Preprocess.learn(ImageArray(values), rows, normalize, size, **params)


def plane(size, start=1.0, down=0.0, right=0.0):
    """A level that changes by this much from one border to the other."""
    y, x = (torch.linspace(0, 1, n, dtype=torch.float64) for n in size)
    return start + down * y[:, None] + right * x


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


# -- smoothing -----------------------------------------------------------------------


@given(
    size=st.tuples(st.integers(8, 50), st.integers(8, 50)),
    slopes=st.tuples(*[st.floats(-1, 1)] * 3),
    sigma=st.floats(1, 8),
)
def test_smoothing_leaves_slopes_alone(size, slopes, sigma):
    down, right, both = slopes
    image = plane(size, 0.5, down, right)
    image += both * plane(size, 0, 1, 0) * plane(size, 0, 0, 1)
    assert_allclose(smooth(image, (sigma, 2 * sigma)), image, atol=1e-8)


def test_smoothing_is_a_fit_of_lines():
    """Against weighted least squares at each pixel of each axis."""
    values = noise(30).numpy()
    fitted = []
    for i in range(30):
        distance = np.arange(30) - i
        weights = np.exp(-0.5 * (distance / 3.0) ** 2) * (np.abs(distance) <= 9)
        fitted.append(np.polyfit(distance, values, 1, w=np.sqrt(weights))[1])
    rows = torch.from_numpy(values)[:, None].expand(30, 12)
    assert_allclose(smooth(rows, (3.0, 2.0)), np.transpose([fitted] * 12), atol=1e-8)
    assert_allclose(smooth(rows.T, (2.0, 3.0)), [fitted] * 12, atol=1e-8)


def test_smoothing_calms_noise():
    image = noise(200, 200)
    inner = smooth(image, (8.0, 8.0))[30:-30, 30:-30]
    # The share of the variance of independent pixels that a Gaussian leaves.
    assert inner.std() / image.std() == pytest.approx(1 / (16 * np.pi**0.5), rel=0.3)


def test_a_single_pixel_is_its_own_level():
    assert_allclose(smooth(torch.full((1, 5), 0.3), (1.0, 1.0)), 0.3, rtol=1e-5)


# -- flat field ----------------------------------------------------------------------


@pytest.mark.parametrize("dark", [0.0, 0.4])
def test_a_flat_field_makes_a_slope_even(dark):
    light = plane(SIZE, 0.5, 0.4, -0.2) * torch.tensor([1.0, 0.7])[:, None, None]
    field = FlatField.learn(light - dark, dark)
    corrected = field((light - dark)[None].float())
    assert_allclose(
        corrected,
        corrected.mean(dim=(2, 3), keepdim=True).expand(corrected.shape),
        rtol=1e-5,
    )


@given(seed=st.integers(0, 99), dark=st.floats(0, 2))
def test_a_flat_field_keeps_the_mean(seed, dark):
    mean = noise(3, *SIZE, seed=seed)
    field = FlatField.learn(mean, dark)
    corrected = field(mean[None].float())[0]
    assert_allclose(corrected.mean(dim=(1, 2)), mean.mean(dim=(1, 2)), rtol=1e-4)


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_even_light_changes_nothing(level):
    field = FlatField.learn(torch.full((2, *SIZE), level), 0.0)
    assert_allclose(field.gain, 1.0, rtol=1e-6)
    image = noise(1, 2, *SIZE).float()
    assert_allclose(field(image), image, rtol=1e-5)


def test_dead_regions_stay_finite():
    mean = torch.full((1, 64, 64), 0.5)
    mean[:, :40] = 0.0
    gain = FlatField.learn(mean, 0.0).gain
    assert gain.isfinite().all() and gain.min() > 0
    assert gain.max() / gain.min() < 20


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_division_is_by_light_from_zero(dtype):
    """Not from the least value that good images happen to have."""
    rng = np.random.RandomState(0)
    light = plane(SIZE, 100, 60, 40).numpy()
    values = (light * rng.uniform(0.98, 1.02, (20, *SIZE))).astype(dtype)[..., None]
    preprocess = learn(values, "flat-field")
    unit = preprocess.unit(
        torch.from_numpy(values.astype("float32").transpose(0, 3, 1, 2))
    )
    corrected = preprocess.light(unit) * (preprocess.high - preprocess.low)
    corrected = (corrected + preprocess.low)[:, 0].numpy()
    expected = values[..., 0] / light
    assert_allclose(corrected / corrected.mean(), expected / expected.mean(), rtol=0.02)


def test_darkness():
    assert darkness(0.0, 255.0) == 0
    assert darkness(100.0, 150.0) == 2
    assert darkness(-1.0, 1.0) == 0


# -- local level ---------------------------------------------------------------------


def local(dark=0.0, n_channels=1, contrast=0.2):
    return LocalLevel(torch.full((n_channels,), 0.5), dark, (5.0, 6.0), contrast)


@given(gain=st.floats(0.5, 2), seed=st.integers(0, 99), channels=st.integers(1, 4))
def test_a_local_level_takes_gains_out(gain, seed, channels):
    image = 0.3 + 0.4 * noise(2, channels, *SIZE, seed=seed)
    light = local(n_channels=channels).double()
    assert_allclose(light(gain * image), light(image), atol=1e-6)


@given(down=st.floats(-0.3, 0.3), right=st.floats(-0.3, 0.3))
def test_a_local_level_takes_slopes_out(down, right):
    light = local().double()
    slope = plane(SIZE, 1 - down / 2 - right / 2, down, right)
    assert_allclose(light(0.5 * slope[None, None]), 0.5, atol=1e-6)
    fine = 0.5 + 0.1 * torch.sin(2 * torch.arange(SIZE[1], dtype=torch.float64))
    even = fine.expand(1, 1, *SIZE)
    change = (light(even * slope) - light(even)).abs()
    assert change.max() < 0.1 * (light(even) - 0.5).abs().max()


def test_a_local_level_takes_offsets_out_of_even_images():
    image = 0.5 + 0.1 * torch.sin(2 * torch.arange(SIZE[1])).expand(1, 1, *SIZE)
    before, after = local()(image), local()(image + 0.2)
    assert_allclose(after, before, atol=0.03)
    assert (before - 0.5).abs().max() > 0.1


@pytest.mark.parametrize("level", [0.0, 0.2, 1.0])
def test_images_without_contrast_have_none(level):
    image = torch.full((2, 1, *SIZE), level, requires_grad=True)
    result = local()(image)
    assert_allclose(result.detach(), 0.5, atol=1e-3)
    (gradient,) = torch.autograd.grad(result.square().sum(), image)
    assert gradient.isfinite().all()


def test_large_defects_keep_their_edges():
    image = 0.5 + 0.02 * noise(1, 1, 128, 128)
    image[..., 32:96, 32:96] *= 0.8
    light = LocalLevel(torch.tensor([0.5]), 0.0, (16.0, 16.0), 0.05).double()
    change = (light(image) - 0.5)[0, 0]
    edge, middle = change[33:36, 40:88].mean(), change[60:68, 60:68].mean()
    assert edge < -0.03
    assert abs(middle) < abs(edge) / 2


@pytest.mark.parametrize("piece", [1, 25, 512])
@pytest.mark.parametrize(
    "window", [(0, 90, 0, 100), (20, 61, 30, 75), (0, 10, 85, 100), (55, 90, 0, 1)]
)
def test_windows_have_the_level_of_the_whole(window, piece, monkeypatch):
    monkeypatch.setattr("skfcdd._engine.light._PIECE", piece)
    light, image = local(), noise(1, 1, 90, 100).float()
    rows, columns = slice(*window[:2]), slice(*window[2:])
    part = light.window(lambda y, x: image[..., y, x], rows, columns)
    assert_allclose(part, light.changes(image)[..., rows, columns], atol=1e-5)


def test_contrast_is_the_root_mean_square():
    changes = noise(3, 2, 5, 6)
    expected = np.sqrt((changes.numpy() ** 2).mean(axis=(1, 2, 3)))
    assert_allclose(contrast_of(changes), expected)


# -- what is learned -----------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float64"])
@pytest.mark.parametrize("block", [None, 5000])
def test_corrected_images_are_standardised(form, dtype, block, monkeypatch):
    if block is not None:
        monkeypatch.setattr("skfcdd._engine.preprocessing._BLOCK", block)
    values = np.random.RandomState(0).uniform(50, 200, (20, *SIZE, 2)).astype(dtype)
    values[..., 1] //= 2
    preprocess = learn(values, form, size=(24, 30))
    batch = preprocess(preprocess.unit(ImageArray(values).take(np.arange(20))))
    assert batch.shape == (20, 2, 24, 30)
    assert_allclose(batch.mean(dim=(0, 2, 3)), 0, atol=1e-4)
    assert_allclose(batch.std(dim=(0, 2, 3), correction=0), 1, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n_channels", [1, 3])
def test_pretrained_networks_get_photographs(form, n_channels):
    values = np.random.RandomState(0).randint(0, 255, (9, *SIZE, n_channels), "uint8")
    preprocess = learn(values, form, pretrained=True, n_inputs=3)
    usual = learn(values, "imagenet", pretrained=True, n_inputs=3)
    assert torch.equal(preprocess.mean, usual.mean)
    assert torch.equal(preprocess.std, usual.std)
    unit = preprocess.unit(ImageArray(values).take(np.arange(9)))
    assert preprocess(unit).shape == (9, 3, *SIZE)
    # Where light is even, images are hardly changed.
    assert_allclose(preprocess.light(unit).mean(), unit.mean(), atol=0.05)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("level", [0, 7, 255])
def test_constant_images(form, dtype, level):
    preprocess = learn(np.full((4, 9, 8, 3), level, dtype), form)
    # Among so many noisy images, levels overshoot to below 0 at some borders.
    noise = torch.rand(200, 3, 9, 8, generator=torch.Generator().manual_seed(0))
    for images in (torch.full((2, 3, 9, 8), float(level)), 255 * noise):
        assert preprocess(preprocess.unit(images)).isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_tables_have_no_light(form):
    with pytest.raises(ValueError, match=rf"normalize='{form}'.*8 pixels.*\(1, 30\)"):
        quick(normalize=form).fit(np.random.RandomState(0).uniform(size=(40, 30)))


# -- estimators ----------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_saved_models_answer_alike(form, precision, images, tmp_path):
    X = images / 300.0 + 0.1
    model = quick(normalize=form, precision=precision).fit(X)
    loaded = load(save(model, tmp_path / "m"))
    assert_array_equal(loaded.anomaly_score(X), model.anomaly_score(X))
    assert_array_equal(loaded.explain(X), model.explain(X))
    first, second = (m.net_.module_.preprocess for m in (model, loaded))
    assert type(first.light) is type(second.light)
    numbers = second.state_dict()
    for name, value in first.state_dict().items():
        assert torch.equal(value, numbers[name])


def changed(path, light):
    """Let the file of a model say something else of its light."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    for name in parts:
        if name.endswith(".json"):
            document = json.loads(parts[name])
            if "model" in document:
                network = document["model"]["network"]
                network.pop("light")
                network.update(light)
                parts[name] = json.dumps(document).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, part in parts.items():
            file.writestr(name, part)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "light",
    [
        {"form": "sunshine"},
        {"form": "local", "sigmas": [0, 3]},
        {"form": "local", "sigmas": [3]},
        {"form": "local", "sigmas": [1e9, 3]},
        "local",
        {},
    ],
)
def test_impossible_light_is_refused(form, light, images, tmp_path):
    path = save(quick(normalize=form, resize=32).fit(images), tmp_path / "m")
    changed(path, {"light": light})
    with pytest.raises(ModelFileError, match="invalid illumination"):
        load(path)


def test_files_that_say_nothing_of_light_have_none(images, tmp_path):
    model = quick(normalize="standard").fit(images)
    path = save(model, tmp_path / "m")
    changed(path, {})
    assert_array_equal(load(path).explain(images), model.explain(images))


@pytest.mark.parametrize("form", FORMS)
def test_training_goes_on_under_the_same_light(form, images):
    model = quick(normalize=form, warm_start=True).fit(images)
    before = {
        k: v.clone() for k, v in model.net_.module_.preprocess.state_dict().items()
    }
    model.fit(images[::-1] // 2)
    after = model.net_.module_.preprocess.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("loss", ["fcdd", "hsc"])
def test_equal_images_get_equal_answers(form, loss, images):
    model = quick(FCDDClassifier, normalize=form, loss=loss).fit(images)
    together, alone = model.explain(images[:8]), model.explain(images[3:4])
    assert_allclose(together[3], alone[0], rtol=1e-4, atol=1e-5 * together.max())
    assert np.isfinite(model.explain(np.zeros_like(images[:2]))).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", [PCADetector, AutoencoderDetector])
def test_other_methods_see_the_corrected_image(form, method, images):
    params = {"max_epochs": 1} if method is AutoencoderDetector else {}
    model = method(normalize=form, random_state=0, **params).fit(images)
    scores = model.score_samples(images)
    assert np.isfinite(scores).all()
    if form == "local":
        dimmed = model.score_samples((images * 0.8).astype("uint8"))
        assert np.median(np.abs(dimmed / scores - 1)) < 0.2


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.RandomFeaturesWarning")
def test_patches_see_the_corrected_image(images):
    model = PatchCoreDetector(weights=None, normalize="local", random_state=0)
    assert np.isfinite(model.fit(images).explain(images[:3])).all()


def test_tiles_need_light_that_is_known_everywhere(images):
    model = quick(normalize="flat-field").fit(images)
    with pytest.raises(ValueError, match=r"flat-field.*\(40, 48\).*'local'"):
        model.explain_large(images[0], tile_size=16)
