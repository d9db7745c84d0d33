"""Data larger than memory, devices with too little of it, images of any size."""

from __future__ import annotations

import tracemalloc
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skfcdd import FCDDClassifier, FCDDDetector, FCDDSegmenter
from skfcdd._engine.bands import banded_gaussians
from skfcdd.backbones import measure_backbone
from skfcdd.datasets import make_defects
from skfcdd.exceptions import ImageShapeError, OutOfMemoryWarning, ValueRangeWarning
from skfcdd.heatmaps import gaussian_matrix, heatmap_sigmas

da = pytest.importorskip("dask.array")
zarr = pytest.importorskip("zarr")


def quick(estimator=FCDDClassifier, **params):
    return estimator(
        **{"max_epochs": 1, "random_state": 0, "validation_fraction": 0.1} | params
    )


@pytest.fixture(scope="module")
def images():
    return make_defects(40, image_size=(40, 48), random_state=0).images


@pytest.fixture(scope="module")
def model(images):
    return quick().fit(images)


@pytest.fixture(scope="module")
def wide():
    """A model with a small receptive field, for images of other sizes."""
    images = make_defects(30, image_size=96, anomaly_fraction=0, random_state=0).images
    colours = np.stack([images, images[::-1], 255 - images], axis=-1)
    return quick(precision="float32").fit(colours)


@pytest.fixture(scope="module")
def colours():
    images = make_defects(12, image_size=128, anomaly_fraction=0, random_state=0).images
    return np.stack([images] * 3, axis=-1)


def as_zarr(images, folder):
    array = zarr.create_array(
        str(folder / "images.zarr"),
        shape=images.shape,
        chunks=(7, *images.shape[1:]),
        dtype=images.dtype,
    )
    array[:] = images
    return array


def as_memmap(images, folder):
    array = np.memmap(folder / "images", images.dtype, "w+", shape=images.shape)
    array[:] = images
    return array


SOURCES = {
    "zarr": as_zarr,
    "dask": lambda images, folder: da.from_array(images, chunks=9),
    "memmap": as_memmap,
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_arrays_in_chunks_are_images(source, colour, dtype, images, tmp_path):
    values = np.stack([images] * 3, axis=-1) if colour else images
    values = values.astype(dtype)
    array = SOURCES[source](values, tmp_path)
    expected, found = quick().fit(values), quick().fit(array)
    assert found.n_features_in_ == expected.n_features_in_
    assert found.image_shape_ == (40, 48, 3 if colour else 1)
    assert found.threshold_ == expected.threshold_
    assert_array_equal(found.anomaly_score(array), expected.anomaly_score(values))
    assert_array_equal(found.explain(array[:5]), expected.explain(values[:5]))


@pytest.mark.parametrize("source", ["zarr", "dask"])
def test_bad_arrays_in_chunks(source, images, model, tmp_path):
    with pytest.raises(ImageShapeError, match=r"fitted with \(40, 48, 1\)"):
        model.predict(SOURCES[source](images[:, :24], tmp_path))
    broken = images.astype("float32")
    broken[33, 3, 3] = np.nan
    with pytest.raises(ValueError, match=r"X contains NaN"):
        quick().fit(SOURCES[source](broken, tmp_path / "other"))


def test_text_in_chunks():
    text = da.from_array(np.full((4, 8, 8), "a"))
    with pytest.raises(ValueError, match=r"X must contain real numbers.*<U1"):
        quick().fit(text)


def test_outlier_exposure_in_chunks(images):
    exposed = np.random.RandomState(0).randint(0, 255, (9, 32, 32), dtype=np.uint8)
    models = [
        quick(outlier_exposure=array, synthetic=None).fit(images)
        for array in (exposed, da.from_array(exposed, chunks=4))
    ]
    assert_array_equal(*(m.anomaly_score(images) for m in models))


@pytest.mark.parametrize("estimator", [FCDDClassifier, FCDDSegmenter, FCDDDetector])
def test_heatmaps_go_where_one_wants_them(estimator, images, tmp_path):
    images = np.concatenate([images] * 3)
    model = quick(estimator).fit(images)
    expected = model.explain(images)
    parts = list(model.iter_explain(images))
    assert len(parts) > 1
    assert_array_equal(np.concatenate(parts), expected)
    for out in (
        np.memmap(tmp_path / "maps", np.float32, "w+", shape=expected.shape),
        as_zarr(np.zeros_like(expected), tmp_path),
        np.zeros(expected.shape, dtype=np.float64),
    ):
        assert model.explain(images, out=out) is out
        assert_array_equal(out[:], expected)


@pytest.mark.parametrize(
    "out", [np.zeros((3, 40, 48)), np.zeros((40, 40, 48), int), [0.0]]
)
def test_places_that_heatmaps_do_not_fit_into(out, model, images):
    with pytest.raises(
        ValueError, match=r"out must be a floating-point array of shape \(40, 40, 48"
    ):
        model.explain(images, out=out)


def test_images_are_checked_before_the_first_heatmap_is_asked_for(model):
    with pytest.raises(ImageShapeError):
        model.iter_explain(np.zeros((2, 8, 8), dtype=np.uint8))


def test_memory_is_bounded_by_the_batch(model, images, tmp_path):
    many = np.memmap(tmp_path / "many", np.uint8, "w+", shape=(20_000, 40, 48))
    tracemalloc.start()  # NumPy tells it what it allocates
    try:
        for _ in zip(range(3), model.iter_explain(many), strict=False):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < many.nbytes / 10


class Cramped(torch.nn.Module):
    """A device that holds no more than some images."""

    def __init__(self, limit, error=torch.OutOfMemoryError):
        super().__init__()
        self.limit, self.error, self.sizes = limit, error, []
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = torch.nn.Conv2d(1, 4, 3, stride=2)

    def forward(self, images):
        if images.isnan().any():  # the receptive field is being measured
            return self.conv(images)
        if len(images) > self.limit:
            raise self.error("DefaultCPUAllocator: can't allocate memory")
        self.sizes.append(len(images))
        return self.conv(images)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_batches_are_halved_where_memory_ends(error, images):
    backbone = Cramped(99, error)
    model = quick(backbone=backbone, precision="float32").fit(images)
    expected = model.anomaly_score(images), model.explain(images)
    cramped = model.net_.module_.backbone
    cramped.limit, cramped.sizes = 5, []
    with pytest.warns(OutOfMemoryWarning, match="ran out of memory") as caught:
        scores = model.anomaly_score(images)
    assert len(caught) == 1
    assert set(cramped.sizes) == {5}
    assert_allclose(scores, expected[0], rtol=1e-5)
    with pytest.warns(OutOfMemoryWarning):
        assert_allclose(model.explain(images), expected[1], rtol=1e-4, atol=1e-7)


def test_training_goes_on_with_parts_of_batches(images):
    params = {"precision": "float32", "max_epochs": 2, "batch_size": 16}
    whole = quick(backbone=Cramped(99), **params).fit(images)
    with pytest.warns(OutOfMemoryWarning, match="ran out of memory") as caught:
        parts = quick(backbone=Cramped(4), **params).fit(images)
    # Training says so once, for all of its batches of 16.
    assert len([w for w in caught if " 8 image" in str(w.message)]) == 1
    # Without batch normalisation, parts add up to the same gradients.
    assert_allclose(whole.anomaly_score(images), parts_score(parts, images), rtol=1e-3)


def parts_score(model, images):
    model.net_.module_.backbone.limit = 99
    return model.anomaly_score(images)


def test_no_memory_for_a_single_image(images):
    with pytest.raises(torch.OutOfMemoryError):
        quick(backbone=Cramped(0)).fit(images)
    model = quick(backbone=Cramped(99)).fit(images)
    model.net_.module_.backbone.limit = 0
    with (
        pytest.warns(OutOfMemoryWarning),
        pytest.raises(torch.OutOfMemoryError),
    ):
        model.predict(images)


def test_other_errors_pass(model, images):
    broken = quick().fit(images)
    broken.net_.module_.backbone = torch.nn.Conv2d(3, 1, 1)
    with pytest.raises(RuntimeError, match="channels"):
        broken.predict(images)


def untiled(model, image, field=None):
    """The heatmap of an image by the network as it is, all at once."""
    module = model._fitted.fast.eval()  # with its memory, if it has one
    raw = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        cells = module(module.preprocess.unit(raw))[0].numpy().astype(float)
    field = field or model.receptive_field_
    sigmas = heatmap_sigmas(field, model._fitted.heatmap_sigmas)
    rows, columns = (
        gaussian_matrix(
            image.shape[axis],
            field.centers(cells.shape[axis], axis),
            sigmas[axis],
            extent=field.extent[axis],
        )
        for axis in (0, 1)
    )
    return rows @ cells @ columns.T


@pytest.mark.parametrize("size", [(333, 517), (96, 700), (256, 128), (101, 67)])
@pytest.mark.parametrize("tile_size", [16, 100, 5000])
def test_tiles_make_the_heatmap_of_the_whole(size, tile_size, wide):
    image = np.random.RandomState(0).randint(0, 255, (*size, 3), dtype=np.uint8)
    image[20:60, 30:60] = 255
    tiled = wide.explain_large(image, tile_size=tile_size)
    # Where the first cell lies depends on the size, and what it looks at lies aside.
    known, backbone = wide.receptive_field_, wide.net_.module_.backbone
    middle = measure_backbone(backbone, size, 3).offset
    aside = np.subtract(known.offset, measure_backbone(backbone, (96, 96), 3).offset)
    field = replace(known, offset=tuple(middle + aside))
    expected = untiled(wide, image, field)
    assert tiled.shape == size and tiled.dtype == np.float32
    assert_allclose(tiled, expected, rtol=2e-4, atol=1e-6 * expected.max())


@pytest.mark.parametrize("normalize", ["standard", "contrast", "local"])
@pytest.mark.parametrize("backbone", ["fcdd224", "squeezenet1_1", "resnet18"])
def test_tiles_of_any_network(normalize, backbone, colours):
    model = quick(
        backbone=backbone,
        cut={"squeezenet1_1": 1, "resnet18": 2}.get(backbone),
        normalize=normalize,
        precision="float32",
    ).fit(colours)
    image = np.random.RandomState(0).randint(0, 255, (410, 301, 3), dtype=np.uint8)
    expected = untiled(model, image)
    tiled = model.explain_large(image, tile_size=64)
    assert_allclose(tiled, expected, rtol=1e-3, atol=1e-5 * expected.max())


class Enlarging(torch.nn.Module):
    """Cells that share what lies in larger neighbourhoods."""

    def __init__(self, pool, factor):
        super().__init__()
        with torch.random.fork_rng():  # made before any test
            torch.manual_seed(0)
            self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.pool, self.factor = pool, factor

    def forward(self, images):
        coarse = torch.nn.functional.avg_pool2d(self.conv(images), self.pool)
        return torch.nn.functional.interpolate(coarse, scale_factor=self.factor)


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning")
@pytest.mark.parametrize(
    ("backbone", "params", "period"),
    [
        ("fcdd224", {"stages": [1, 5]}, 8),
        ("resnet18", {"stages": [2, 3]}, 16),
        (Enlarging(4, 2.0), {}, 4),
        (Enlarging(3, 3.0), {}, 3),
    ],
)
def test_tiles_of_networks_that_enlarge_maps(backbone, params, period, colours):
    model = quick(backbone=backbone, precision="float32", **params).fit(colours)
    image = np.random.RandomState(0).randint(0, 255, (432, 288, 3), dtype=np.uint8)
    tiled = model.explain_large(image, tile_size=50)
    expected = untiled(model, image)
    assert_allclose(tiled, expected, rtol=1e-3, atol=1e-5 * expected.max())
    with pytest.raises(ImageShapeError, match=rf"of {period} pixels high\. Got 431"):
        model.explain_large(image[:431])


def test_tiles_of_a_network_without_padding(colours):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = torch.nn.Sequential(
            torch.nn.Conv2d(3, 2, (71, 1)), torch.nn.Conv2d(2, 2, (1, 71))
        )
    model = quick(backbone=backbone, precision="float32").fit(colours)
    for size in [(180, 150), (131, 193)]:
        image = np.random.RandomState(0).randint(0, 255, (*size, 3), dtype=np.uint8)
        expected = untiled(model, image)
        tiled = model.explain_large(image, tile_size=50)
        assert_allclose(tiled, expected, rtol=1e-3, atol=1e-5 * expected.max())


class Finer(torch.nn.Module):
    """Two cells a pixel."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images):
        maps = self.conv(images)
        return torch.nn.functional.interpolate(maps, scale_factor=2.0)


class Placed(Finer):
    """Cells that know where they are."""

    def forward(self, images):
        maps = self.conv(images)
        return maps + torch.arange(maps.shape[3], device=maps.device)


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.CollapseWarning")
@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        # Its maps of 2 stages have no fixed ratio of sizes.
        ("squeezenet1_1", "depends on where a window is cut out"),
        (Finer(), r"cells of this network are \(0.5, 0.5\) pixels apart"),
        (Placed(), "depends on where a window is cut out"),
    ],
)
def test_networks_without_tiles(backbone, message, colours):
    stages = [1, 2] if isinstance(backbone, str) else None
    model = quick(backbone=backbone, stages=stages).fit(colours)
    with pytest.raises(ValueError, match=message):
        model.explain_large(colours[0])


@given(
    st.integers(1, 3000),
    st.integers(1, 1500),
    st.floats(1, 16),
    st.floats(-20, 20),
    st.floats(0.5, 12),
    st.floats(1, 60),
)
@settings(max_examples=60)
def test_gaussians_without_their_zeros(n_pixels, n, stride, offset, sigma, extent):
    centers = offset + stride * np.arange(n)
    expected = gaussian_matrix(n_pixels, centers, sigma, extent=extent)
    found = np.zeros((n_pixels, n))
    for band in banded_gaussians(n_pixels, centers, sigma, extent):
        found[band.pixels, band.near] = band.weights
    assert_allclose(found, expected, rtol=1e-5, atol=1e-7 * n_pixels / n)


def test_large_images_on_another_scale(wide):
    image = np.random.RandomState(0).rand(300, 200, 3)
    with pytest.warns(ValueRangeWarning, match="If the scales differ"):
        wide.explain_large(image)


def test_a_tile_of_the_size_of_fit_is_an_image_of_fit(model, images):
    """An image of the usual size gets its usual heatmap."""
    for image, heatmap in zip(images[:3], model.explain(images[:3]), strict=True):
        tiled = model.explain_large(image)
        assert_allclose(tiled, heatmap, rtol=0.02, atol=0.01 * heatmap.max())


def test_large_images_from_files(wide, tmp_path):
    image = np.random.RandomState(0).randint(0, 255, (300, 200, 3), dtype=np.uint8)
    expected = wide.explain_large(image, tile_size=100)
    stored = as_memmap(image, tmp_path)
    out = np.memmap(tmp_path / "map", np.float32, "w+", shape=(300, 200))
    assert wide.explain_large(stored, tile_size=100, out=out) is out
    assert_array_equal(out, expected)
    chunked = da.from_array(image, chunks=(64, 64, -1))
    assert_array_equal(wide.explain_large(chunked, tile_size=100), expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((300, 300), np.uint8), r"one image with 3 channel\(s\)"),
        (np.zeros((1, 300, 300, 3), np.uint8), r"one image with 3 channel\(s\)"),
        (np.zeros((5, 300, 3), np.uint8), "smaller than the receptive field"),
        ("scan.png", r"one image with 3 channel\(s\)"),
        (None, r"one image with 3 channel\(s\)"),
        (np.full((300, 300, 3), np.nan), "image contains NaN"),
    ],
)
def test_bad_large_images(image, message, wide):
    with pytest.raises(ValueError, match=message):
        wide.explain_large(image)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"loss": "hsc"}, "no anomaly map that could be assembled"),
        ({"resize": 24}, "Fit without resize"),
    ],
)
def test_models_without_tiles(params, message, images):
    model = quick(**params).fit(images)
    with pytest.raises(ValueError, match=message):
        model.explain_large(images[0])


@pytest.mark.parametrize("tile_size", [0, 1.5, "all", True])
def test_bad_sizes_of_tiles(tile_size, wide):
    with pytest.raises(ValueError, match="tile_size must be an int of at least 1"):
        wide.explain_large(np.zeros((300, 300, 3), np.uint8), tile_size=tile_size)


def test_precision_is_reported(images):
    assert quick(precision="float32").fit(images).precision_ == "float32"
    rows = np.random.RandomState(0).uniform(size=(20, 4))
    assert quick().fit(rows).precision_ == "float64"
    assert quick().fit(images).precision_ in {"float32", "bfloat16"}


def test_bfloat16_scores_close_to_float32(images):
    """The same weights, scored in either: close, and whole numbers of no batch."""
    model = quick(precision="bfloat16").fit(images)
    low = model.anomaly_score(images)
    assert_allclose(model.anomaly_score(images[7:8]), low[7:8], rtol=1e-6)
    assert_allclose(model.explain(images).mean(axis=(1, 2)), low, rtol=1e-5)
    model.net_.precision = "float32"
    assert_allclose(model.anomaly_score(images), low, rtol=0.03)


def test_a_place_that_cannot_be_written_to(model, wide, images, tmp_path):
    closed = np.zeros(images.shape)
    closed.flags.writeable = False
    np.zeros(images.shape, np.float32).tofile(tmp_path / "maps")
    mapped = np.memmap(tmp_path / "maps", np.float32, "r", shape=images.shape)
    as_zarr(np.zeros(images.shape, np.float32), tmp_path)
    stored = zarr.open_array(str(tmp_path / "images.zarr"), mode="r")
    for out in (closed, mapped, stored):
        with pytest.raises(ValueError, match=r"out cannot be written to.*read-only"):
            model.explain(images, out=out)
    image = np.zeros((300, 200, 3), np.uint8)
    with pytest.raises(ValueError, match=r"out cannot be written to.*read-only"):
        wide.explain_large(image, out=np.broadcast_to(np.float32(0), (300, 200)))
    with pytest.raises(ValueError, match="Got Tensor of shape"):
        model.explain(images, out=torch.zeros(images.shape))


def test_views_and_files_are_not_copied(tmp_path, monkeypatch):
    """Crops, and files of types whose sums overflow, are read batch by batch."""
    whole = np.memmap(tmp_path / "images", np.float16, "w+", shape=(3000, 64, 64))
    whole[:] = np.random.RandomState(0).uniform(1e3, 2e3, (64, 64))
    crop = whole[:, 10:50, 4:52]
    monkeypatch.setattr("skfcdd._inputs.lazy_arrays._BLOCK", 1 << 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = quick().fit(np.array(crop[:40]))
        for X in (whole[:, :40, :48], crop, np.array(crop)[:, ::-1]):
            tracemalloc.start()
            try:
                model._check_images(X)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < X.nbytes / 4
    assert_array_equal(
        model.anomaly_score(crop[:9]), model.anomaly_score(np.array(crop[:9]))
    )
    crop[5, 3, 3] = np.nan
    with pytest.raises(ValueError, match="X contains NaN"):
        model.predict(crop)


def test_images_in_chunks_are_read_twice_at_most(model, images):
    class Counted:
        """Chunks that count how many images were read."""

        chunks = (8, 40, 48)

        def __init__(self, array):
            self.array, self.n_read = array, 0
            self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

        def __getitem__(self, index):
            part = self.array[index]
            self.n_read += len(part)
            return part

    counted = Counted(images.astype(np.float32))
    model.anomaly_score(counted)  # to look for NaN, and to score
    assert counted.n_read <= 2 * len(images) + 2


def test_masks_in_chunks(tmp_path):
    data = make_defects(40, image_size=(40, 48), random_state=0)
    masks = as_zarr(data.masks, tmp_path)
    for estimator in (FCDDClassifier, FCDDSegmenter):
        found, expected = (
            quick(estimator).fit(data.images, masks=m) for m in (masks, data.masks)
        )
        assert_array_equal(
            found.anomaly_score(data.images), expected.anomaly_score(data.images)
        )
    segmenter = quick(FCDDSegmenter).fit(data.images, masks)
    assert segmenter.threshold_ == expected.threshold_


@pytest.mark.parametrize("shape", [(10, 0, 64), (0, 8, 8)])
def test_chunks_without_images(shape):
    for X in (np.zeros(shape, np.uint8), da.zeros(shape, dtype=np.uint8)):
        with pytest.raises(ValueError, match=r"0 (sample|feature)"):
            quick().fit(X)
