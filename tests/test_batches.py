"""What a batch is made of, and how images are brought into it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skfcdd._augment import AUGMENTATIONS, resolve_augment
from skfcdd._batches import InferenceData, TrainingData
from skfcdd._images import ImageArray
from skfcdd._preprocess import Preprocess


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
    sizes = [len(images) for images, _ in batches]
    assert max(sizes) - min(sizes) <= 2
    # Ten real anomalies fill half of the slots, synthetic ones the rest.
    real = values[anomalous & (values >= 0)]
    assert_array_equal(np.unique(real), np.arange(30, 40))
    assert len(real) == 15
    planted = values[anomalous & (values < 0)]
    assert set(-planted - 1) <= set(range(30))


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.8])
def test_share_of_anomalies(fraction):
    _, _, anomalous = one_epoch(training_data(anomaly_fraction=fraction))
    assert anomalous.mean() == pytest.approx(fraction, abs=0.03)
    assert (~anomalous).sum() == 30


def test_a_few_real_anomalies_are_not_shown_too_often():
    data = training_data(normal=np.arange(39), anomalous=np.array([39]))
    data = replace(data, anomaly_fraction=0.9)
    _, values, anomalous = one_epoch(data)
    assert (values[anomalous] == 39).sum() == 10


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


def test_small_masks_survive_shrinking():
    masks = np.zeros((40, 6, 8), dtype=np.uint8)
    masks[30:, 2, 1] = 1
    data = training_data(
        masks=masks, has_mask=np.ones(40, dtype=bool), preprocess=as_is((3, 4))
    )
    for images, target in data.batches(10, "cpu"):
        real = target.anomalous & (images[:, 0, 0, 0] >= 0)
        assert images.shape[2:] == (3, 4)
        assert target.masks[real].any(dim=(1, 2, 3)).all()


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


def test_inference_in_order():
    data = InferenceData(numbered(7), as_is(), rows=np.array([6, 2, 4]))
    batches = [images[:, 0, 0, 0].tolist() for images, _ in data.batches(2, "cpu")]
    assert batches == [[6, 2], [4]]
    assert len(data) == 3


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
@pytest.mark.parametrize("size", [(32, 32), (33, 48)])
def test_augmentations_move_masks_along(name, size):
    rng = np.random.RandomState(0)
    masks = torch.from_numpy(rng.uniform(size=(20, 1, *size)) < 0.2)
    images = masks.float().repeat(1, 2, 1, 1)
    before = images.clone()
    changed, moved = AUGMENTATIONS[name](
        images, masks, torch.Generator().manual_seed(0)
    )
    assert torch.equal(images, before)
    assert changed.shape == images.shape
    middle = changed.mean(dim=(1, 2, 3), keepdim=True)
    assert torch.equal(changed[:, :1] > middle, moved)
    same = [torch.equal(a, b) for a, b in zip(changed, images, strict=True)]
    still = name == "transpose" and size[0] != size[1]
    assert all(same) if still else 0 <= sum(same) < 18


def test_shift_against_a_slow_version():
    images = torch.rand(30, 1, 32, 48)
    masks = torch.zeros_like(images, dtype=torch.bool)
    changed, _ = AUGMENTATIONS["shift"](images, masks, torch.Generator().manual_seed(1))
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (2, 2), (3, 3)), mode="reflect")
    offsets = set()
    for i in range(30):
        found = [
            (dy, dx)
            for dy in range(5)
            for dx in range(7)
            if np.array_equal(padded[i, :, dy : dy + 32, dx : dx + 48], changed[i])
        ]
        assert len(found) == 1
        offsets.update(found)
    assert len(offsets) > 10


def test_jitter_stays_small():
    images = torch.rand(50, 3, 8, 8)
    changed, _ = AUGMENTATIONS["jitter"](
        images, images[:, :1] > 2, torch.Generator().manual_seed(1)
    )
    assert (changed - images).abs().max() <= 0.05 + 0.1 * 0.7
    mean = (changed - images).mean(dim=(1, 2, 3)).abs()
    assert mean.max() <= 0.05 + 1e-6


def own_augmentation(images, masks, generator):
    return images + 1, masks


def test_augment_names_and_callables():
    assert resolve_augment(None) == ()
    assert resolve_augment("shift") == [AUGMENTATIONS["shift"]]
    assert resolve_augment(own_augmentation) == [own_augmentation]
    mixed = resolve_augment(("jitter", own_augmentation))
    assert mixed == [AUGMENTATIONS["jitter"], own_augmentation]
    with pytest.raises(ValueError, match="'jitter'"):
        resolve_augment("blur")
    with pytest.raises(TypeError, match="3 in augment"):
        resolve_augment([3])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_preprocessing_against_numpy(dtype, monkeypatch):
    rng = np.random.RandomState(0)
    values = (rng.uniform(size=(50, 6, 5, 3)) * [50, 100, 200]).astype(dtype)
    rows = np.arange(0, 50, 2)
    whole = Preprocess.learn(ImageArray(values), rows, "standard", None)
    monkeypatch.setattr("skfcdd._preprocess._BLOCK", 300)
    blocks = Preprocess.learn(ImageArray(values), rows, "standard", None)
    normal = values[rows].astype(float)
    low, high = (0, 255) if dtype == np.uint8 else (normal.min(), normal.max())
    assert (whole.low, whole.high) == (low, high)
    unit = (normal - low) / (high - low)
    for preprocess in (whole, blocks):
        mean, std = unit.mean(axis=(0, 1, 2)), unit.std(axis=(0, 1, 2))
        assert_allclose(preprocess.mean.flatten(), mean, rtol=1e-4)
        assert_allclose(preprocess.std.flatten(), std, rtol=1e-4)
        batch = preprocess.unit(ImageArray(values).take(rows))
        normalised = preprocess(batch)
        assert_allclose(normalised.mean(dim=(0, 2, 3)), [0, 0, 0], atol=1e-4)
        assert_allclose(normalised.std(dim=(0, 2, 3), correction=0), [1] * 3, rtol=1e-4)


def test_contrast_normalisation_takes_out_light():
    images = torch.rand(4, 2, 8, 8)
    preprocess = Preprocess(0.0, 1.0, [0.0, 0.0], [1.0, 1.0], contrast=True)
    brighter = preprocess(images * 1.5 + 0.2)
    assert_allclose(brighter, preprocess(images), atol=1e-2)
    assert preprocess(torch.ones(1, 2, 4, 4)).abs().max() < 1e-3


def test_constant_images_and_given_values():
    images = ImageArray(np.full((4, 8, 8, 1), 7.0))
    preprocess = Preprocess.learn(images, np.arange(4), "standard", None)
    assert preprocess(preprocess.unit(images.take([0]))).isfinite().all()
    given = Preprocess.learn(numbered(9, (8, 8)), np.arange(9), (0.5, 0.25), None)
    assert (given.mean.item(), given.std.item()) == (0.5, 0.25)
    none = Preprocess.learn(numbered(9, (8, 8)), np.arange(9), None, None)
    assert torch.equal(none(torch.ones(1, 1, 2, 2)), torch.ones(1, 1, 2, 2))
