"""What a batch is made of, and how images are brought into it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skfcdd._engine.augmentation import AUGMENTATIONS, resolve_augment
from skfcdd._engine.batches import TrainingData
from skfcdd._engine.preprocessing import Preprocess
from skfcdd._inputs.images import ImageArray
from skfcdd.anomalies import scratches


def numbered(n, size=(6, 8), channels=1, start=0):
    """Images that all have their own number as value."""
    values = np.arange(start, start + n, dtype=np.uint8)[:, None, None, None]
    return ImageArray(np.broadcast_to(values, (n, *size, channels)).copy())


def as_is(size=None):
    return Preprocess(0.0, 1.0, [0.0], [1.0], size=size)


def invert(images, generator):
    """A kind of anomaly that is easy to recognise."""
    return -images - 1, torch.ones_like(images[:, :1], dtype=torch.bool)


def training_data(**changes):
    data = TrainingData(
        numbered(40),
        normal=np.arange(30),
        anomalous=np.arange(30, 40),
        preprocess=as_is(),
        generator=torch.Generator().manual_seed(0),
        plant=invert,
    )
    return replace(data, **changes)


def one_epoch(data, batch_size=10):
    batches = list(data.batches(batch_size, "cpu"))
    values = torch.cat([images[:, 0, 0, 0] for images, _ in batches])
    anomalous = torch.cat([target.anomalous for _, target in batches])
    return batches, values.numpy(), anomalous.numpy()


def test_every_normal_image_once_and_half_of_a_batch():
    data = training_data()
    batches, values, anomalous = one_epoch(data)
    assert len(batches) == data.n_batches(10) == 6
    assert_array_equal(np.sort(values[~anomalous]), np.arange(30))
    assert anomalous.mean() == 0.5
    # Ten real anomalies fill half of the slots, synthetic ones the rest.
    real = values[anomalous & (values >= 0)]
    assert_array_equal(np.unique(real), np.arange(30, 40))
    assert len(real) == 15
    planted = values[anomalous & (values < 0)]
    assert set(-planted - 1) <= set(range(30))


@given(
    n_normal=st.integers(1, 60),
    n_real=st.integers(0, 30),
    n_exposed=st.integers(0, 30),
    fraction=st.floats(0.05, 0.95),
    batch_size=st.integers(2, 40),
    plants=st.booleans(),
)
def test_composition(n_normal, n_real, n_exposed, fraction, batch_size, plants):
    data = training_data(
        images=numbered(90, (2, 3)),
        normal=np.arange(n_normal),
        anomalous=np.arange(60, 60 + n_real),
        exposed=numbered(30, (2, 3), start=100),
        exposed_index=np.arange(n_exposed),
        plant=invert if plants else None,
        anomaly_fraction=fraction,
    )
    batches, values, anomalous = one_epoch(data, batch_size)
    sizes = [len(images) for images, _ in batches]
    assert len(batches) == data.n_batches(batch_size)
    assert max(sizes) - min(sizes) <= 1
    assert_array_equal(np.sort(values[~anomalous]), np.arange(n_normal))
    n_slots = round(n_normal * fraction / (1 - fraction))
    assert anomalous.sum() == (n_slots if n_real or n_exposed or plants else 0)
    bad = values[anomalous]
    real, exposed, planted = (
        bad[(bad >= 60) & (bad < 90)],
        bad[bad >= 100],
        bad[bad < 0],
    )
    assert len(real) + len(exposed) + len(planted) == len(bad)
    if not plants:
        assert len(planted) == 0
    # Each source is used evenly, and a small one not too often while others are left.
    for found, n_images, is_last in (
        (real, n_real, not (n_exposed or plants)),
        (exposed, n_exposed, not plants),
    ):
        counts = np.unique(found, return_counts=True)[1]
        if len(found) >= n_images:
            assert len(counts) == n_images
        if len(counts):
            assert np.ptp(counts) <= 1
            assert is_last or counts.max() <= 10
    # Real anomalies come first: all of them, as far as there is room.
    assert len(np.unique(real)) == min(n_real, n_slots)
    # Each batch has its share of them.
    shares = [int(target.anomalous.sum()) for _, target in batches]
    assert max(shares) - min(shares) <= 1


def test_a_few_real_anomalies_are_not_shown_too_often():
    data = training_data(normal=np.arange(39), anomalous=np.array([39]))
    data = replace(data, anomaly_fraction=0.9)
    _, values, anomalous = one_epoch(data)
    assert (values[anomalous] == 39).sum() == 3


def test_sources_run_dry():
    none = training_data(plant=None, anomalous=np.empty(0, dtype=np.intp))
    assert not one_epoch(none)[2].any()
    real_alone = training_data(plant=None, anomalous=np.array([35]))
    _, values, anomalous = one_epoch(real_alone)
    assert (values[anomalous] == 35).all()
    assert anomalous.sum() == 30


def test_many_real_anomalies_take_all():
    data = training_data(normal=np.arange(8), anomalous=np.arange(8, 40))
    _, values, anomalous = one_epoch(data)
    assert len(np.unique(values[anomalous])) == 8


def test_exposed_outliers_are_fitted_in():
    exposed = numbered(20, size=(9, 5), channels=3, start=100)
    data = training_data(
        anomalous=np.empty(0, dtype=np.intp),
        exposed=exposed,
        exposed_index=np.array([3, 7]),
        exposed_range=(0.0, 255.0),
        plant=None,
    )
    batches, values, anomalous = one_epoch(data)
    assert_allclose(np.unique(values[anomalous]), [103 / 255, 107 / 255], rtol=1e-5)
    assert all(images.shape[1:] == (1, 6, 8) for images, _ in batches)
    colour = replace(
        data,
        images=numbered(40, channels=3),
        exposed=numbered(4),
        exposed_index=np.array([1]),
    )
    images, target = next(iter(colour.batches(10, "cpu")))
    assert images.shape[1:] == (3, 6, 8)
    assert_allclose(images[target.anomalous].numpy(), 1 / 255, rtol=1e-5)


def test_masks_of_real_and_synthetic_anomalies():
    masks = np.zeros((40, 6, 8), dtype=np.uint8)
    masks[30:, 2:4, 1:3] = 255
    known = np.ones(40, dtype=bool)
    known[35] = False
    data = training_data(masks=masks, has_mask=known)
    for images, target in data.batches(10, "cpu"):
        values = images[:, 0, 0, 0]
        expected = (values >= 0) & (values != 35)
        assert_array_equal(target.has_mask, expected)
        real = target.anomalous & (values >= 0)
        for mask in target.masks[real]:
            assert_array_equal(mask[0], masks[30] > 0)
        assert not target.masks[~target.anomalous].any()
    for _, target in replace(data, trust_planted=True).batches(10, "cpu"):
        assert target.has_mask.sum() >= len(target.has_mask) - 2


@pytest.mark.parametrize("size", [(3, 4), (2, 3), (12, 16), (5, 20)])
def test_masks_of_resized_images_cover_what_they_touch(size):
    """A new pixel is anomalous if any part of it was, and not else."""
    masks = np.zeros((40, 6, 8), dtype=np.uint8)
    masks[30:, 2, 1] = 1
    masks[30:, 5, 6:] = 1
    scale = np.array([6, 8]) / size
    expected = np.zeros(size, dtype=bool)
    for y, x in np.ndindex(*size):
        top, left = np.floor(np.array([y, x]) * scale + 1e-9).astype(int)
        bottom, right = np.ceil(np.array([y + 1, x + 1]) * scale - 1e-9).astype(int)
        expected[y, x] = masks[30, top:bottom, left:right].any()
    data = training_data(
        masks=masks, has_mask=np.ones(40, dtype=bool), preprocess=as_is(size)
    )
    for images, target in data.batches(10, "cpu"):
        real = target.anomalous & (images[:, 0, 0, 0] >= 0)
        assert images.shape[2:] == size
        for mask in target.masks[real]:
            assert_array_equal(mask[0], expected)


def test_masks_move_with_augmented_images():
    """Where an image is bright, its mask is set, shifted and mirrored or not."""
    rng = np.random.RandomState(0)
    masks = rng.uniform(size=(40, 32, 32)) < 0.1
    masks[:30] = False
    data = training_data(
        images=ImageArray((255 * masks).astype(np.uint8)[..., None]),
        masks=masks,
        has_mask=np.ones(40, dtype=bool),
        augment=resolve_augment(["shift", "horizontal_flip", "transpose"]),
        plant=None,
    )
    moved = 0
    for images, target in data.batches(10, "cpu"):
        assert torch.equal(images > 0, target.masks)
        bad = target.masks[target.anomalous, 0].numpy()
        moved += sum(not (mask == masks).all(axis=(1, 2)).any() for mask in bad)
    assert moved > 20


def test_bright_images_are_no_anomalies_after_jitter():
    """Jitter takes white above the range; planting must leave it alone elsewhere."""
    seen = []

    def plant(images, generator):
        changed, masks = scratches(images, generator)
        seen.append((images, changed, masks))
        return changed, masks

    white = ImageArray(np.full((40, 32, 32, 1), 255, dtype=np.uint8))
    data = training_data(
        images=white,
        anomalous=np.empty(0, dtype=np.intp),
        preprocess=Preprocess(0.0, 255.0, [0.0], [1.0]),
        augment=resolve_augment("jitter"),
        plant=plant,
    )
    one_epoch(data)
    images, changed, masks = (torch.cat(parts) for parts in zip(*seen, strict=True))
    assert (images > 1.03).any(dim=3).any()
    assert torch.equal(torch.where(masks, images, changed), images)
    assert masks.float().mean(dim=(1, 2, 3)).max() < 0.2


def test_arrays_of_the_user_are_left_alone():
    masks = np.zeros((40, 6, 8), dtype=np.uint8)
    masks[30:, 2:4, 1:3] = 255
    images, exposed = numbered(40), numbered(9, start=50)
    arrays = [images.data, exposed.data, masks]
    before = [array.copy() for array in arrays]
    data = training_data(
        images=images,
        anomalous=np.arange(30, 35),
        exposed=exposed,
        exposed_index=np.arange(9),
        masks=masks,
        has_mask=np.ones(40, dtype=bool),
        augment=[in_place],
    )
    for batch, target in data.batches(10, "cpu"):
        batch += 7
        target.masks.logical_not_()
    for array, copied in zip(arrays, before, strict=True):
        assert_array_equal(array, copied)


def in_place(images, masks, generator):
    images.mul_(2)
    return images, masks.logical_not_()


def test_same_seed_same_batches():
    augment = resolve_augment(list(AUGMENTATIONS))

    def run():
        data = training_data(
            augment=augment, generator=torch.Generator().manual_seed(7)
        )
        return torch.cat([images for images, _ in data.batches(10, "cpu")])

    assert torch.equal(run(), run())
    data = training_data(reseed=5)
    epochs = [torch.cat([i for i, _ in data.batches(10, "cpu")]) for _ in "ab"]
    assert torch.equal(*epochs)


@pytest.mark.parametrize(
    "dtype", ["uint8", "bool", "uint16", ">u2", "int64", "float16", ">f8", "float32"]
)
@pytest.mark.parametrize("first", [False, True])
def test_images_of_any_type_and_layout(dtype, first, tmp_path):
    rng = np.random.RandomState(0)
    values = rng.randint(0, 2, (7, 4, 5, 3)).astype(dtype)
    stored = np.memmap(tmp_path / "images", dtype=dtype, mode="w+", shape=values.shape)
    stored[:] = values
    expected = values.astype(np.float32)
    expected = expected if first else expected.transpose(0, 3, 1, 2)
    for data in (values, stored, np.asfortranarray(values), values[::-1][::-1]):
        data.flags.writeable = False
        images = ImageArray(data, channels_first=first)
        batch = images.take(np.array([5, 0]))
        assert batch.dtype == torch.float32
        assert_array_equal(batch.numpy(), expected[[5, 0]])
        batch += 1  # the caller's array is not behind it
        assert_array_equal(images.take(slice(0, 2)).numpy(), expected[:2])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("first", [False, True])
def test_images_that_live_on_the_device(dtype, first):
    """Where they fit, they are copied there once, as they are, and read from there."""
    values = np.random.RandomState(0).randint(0, 255, (7, 4, 5, 3)).astype(dtype)
    values.flags.writeable = False
    images = ImageArray(values, channels_first=first)
    there = images.resident("cpu", free=10 * values.nbytes)
    assert isinstance(there.data, torch.Tensor) and there.data.dtype.itemsize in (1, 4)
    assert there.image_shape == images.image_shape and len(there) == 7
    for index in (np.array([5, 0, 5]), slice(2, 4)):
        index = np.arange(7)[index]
        assert torch.equal(there.take(index), images.take(index))
    assert images.resident("cpu", free=2 * values.nbytes) is images


def test_values_that_torch_does_not_know_stay_where_they_are():
    images = ImageArray(np.zeros((3, 4, 4, 1), dtype=">u2"))
    assert images.resident("cpu", free=1 << 30) is images


@pytest.mark.parametrize("real", [np.arange(30, 40), np.empty(0, dtype=np.intp)])
@pytest.mark.parametrize("at_once", [1, 6 * 8 * 5 * 3, 1 << 21])
def test_anomalies_are_planted_on_images_of_their_batch(real, at_once, monkeypatch):
    """However many batches are made together; each has its share of all sources."""
    monkeypatch.setattr("skfcdd._engine.batches._TOGETHER_CPU", at_once)
    data = training_data(anomalous=real)
    seen = []
    for images, target in data.batches(10, "cpu"):
        values = images[:, 0, 0, 0]
        assert len(values) == 10 and int(target.anomalous.sum()) == 5
        normal, anomalous = values[~target.anomalous], values[target.anomalous]
        planted = anomalous[anomalous < 0]
        assert set((-planted - 1).tolist()) <= set(normal.tolist())
        assert set(anomalous[anomalous >= 0].tolist()) <= set(real.tolist())
        assert len(set(planted.tolist())) == len(planted)
        seen += normal.tolist()
    assert sorted(seen) == list(range(30))
