"""Range, size and normalisation against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from skfcdd._engine.preprocessing import Preprocess, resize
from skfcdd._inputs.images import ImageArray

DTYPES = ["uint8", "uint16", "int32", "float16", "float32", "float64"]


def coloured(dtype, n=50, size=(10, 9)):
    """Images whose channels have different levels."""
    rng = np.random.RandomState(0)
    values = rng.uniform(size=(n, *size, 3)) * [50, 100, 200] + [5, 0, 10]
    return values.astype(dtype)


def learn(values, normalize, *, size=None, first=False, rows=None):
    rows = np.arange(len(values)) if rows is None else rows
    return Preprocess.learn(ImageArray(values, first), rows, normalize, size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("block", [None, 300])
def test_statistics_of_the_normal_images(dtype, first, block, monkeypatch):
    if block is not None:  # several blocks, the last one not full
        monkeypatch.setattr("skfcdd._engine.preprocessing._BLOCK", block)
    values, rows = coloured(dtype), np.arange(0, 50, 2)
    values[1::2] = np.array(255).astype(dtype)  # the others must not count
    normal = values[rows].astype(float)
    stored = values.transpose(0, 3, 1, 2) if first else values
    preprocess = learn(stored, "standard", first=first, rows=rows)
    low, high = (0, 255) if dtype == "uint8" else (normal.min(), normal.max())
    assert_allclose((preprocess.low, preprocess.high), (low, high), rtol=1e-6)
    unit = (normal - low) / (high - low)
    assert_allclose(preprocess.mean.flatten(), unit.mean(axis=(0, 1, 2)), rtol=1e-4)
    assert_allclose(preprocess.std.flatten(), unit.std(axis=(0, 1, 2)), rtol=1e-4)
    batch = preprocess.unit(ImageArray(stored, first).take(rows))
    assert_allclose(batch, unit.transpose(0, 3, 1, 2), atol=1e-6)
    normalised = preprocess(batch)
    assert_allclose(normalised.mean(dim=(0, 2, 3)), [0, 0, 0], atol=1e-4)
    assert_allclose(normalised.std(dim=(0, 2, 3), correction=0), [1] * 3, rtol=1e-4)


def test_booleans_are_zero_and_one():
    values = np.random.RandomState(0).uniform(size=(5, 8, 8, 1)) < 0.5
    preprocess = learn(values, "auto")
    assert (preprocess.low, preprocess.high) == (0.0, 1.0)
    batch = preprocess.unit(ImageArray(values).take([0, 1]))
    assert torch.equal(batch[:, 0], torch.from_numpy(values[:2, ..., 0]).float())


@given(
    gain=st.floats(0.5, 2),
    offset=st.floats(-1, 1),
    seed=st.integers(0, 99),
    channels=st.integers(1, 4),
)
def test_contrast_takes_out_gain_and_offset(gain, offset, seed, channels):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(4, channels, 9, 8, generator=generator)
    preprocess = Preprocess(0.0, 1.0, [0.0] * channels, [1.0] * channels, contrast=True)
    normalised = preprocess(images)
    flat = images.flatten(1).double().numpy()
    expected = (flat - flat.mean(axis=1)[:, None]) / (flat.std(axis=1) + 1e-3)[:, None]
    assert_allclose(normalised.flatten(1), expected, atol=1e-4)
    # A faint image is amplified a little less than a strong one.
    assert_allclose(preprocess(gain * images + offset), normalised, atol=0.02)


@pytest.mark.parametrize("normalize", ["auto", "standard", "contrast", None])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("level", [0, 7, 255])
def test_constant_images(normalize, dtype, level):
    values = np.full((4, 8, 8, 3), level, dtype)
    preprocess = learn(values, normalize)
    normalised = preprocess(preprocess.unit(ImageArray(values).take([0, 1])))
    assert normalised.isfinite().all()
    if normalize is not None:
        assert normalised.abs().max() < 1e-2
    other = preprocess(preprocess.unit(torch.rand(2, 3, 8, 8) * 255))
    assert other.isfinite().all()


@pytest.mark.parametrize(
    ("size", "resized", "contrast"),
    [
        ((8, 8), None, True),
        ((1, 30), None, False),
        ((7, 90), None, False),
        ((7, 90), (16, 16), True),
        ((90, 90), (4, 90), False),
    ],
)
def test_auto_goes_by_the_shorter_side_that_the_network_sees(size, resized, contrast):
    values = np.random.RandomState(0).uniform(size=(4, *size, 1))
    assert learn(values, "auto", size=resized).contrast is contrast
    assert learn(values, "contrast", size=resized).contrast


def test_given_values():
    values = coloured("uint8")
    one = learn(values, (0.5, 0.25))
    assert one.mean.flatten().tolist() == [0.5] * 3
    assert one.std.flatten().tolist() == [0.25] * 3
    each = learn(values, ([0.5, 0.25, 0.0], np.array([1.0, 2.0, 4.0])))
    assert each(torch.ones(1, 3, 1, 1)).flatten().tolist() == [0.5, 0.375, 0.25]
    nothing = learn(values, None)
    images = torch.rand(2, 3, 5, 5)
    assert torch.equal(nothing(images), images)


@pytest.mark.parametrize(
    "normalize",
    [(0.5,), (0.5, 0.0), (0.5, -1.0), ([0.5] * 2, [0.2] * 2), ("a", "b"), (None, 1.0)],
)
def test_given_values_that_cannot_be_used(normalize):
    with pytest.raises(ValueError, match=r"normalize=.*\(mean, std\).*or 3"):
        learn(coloured("uint8"), normalize)


@pytest.mark.parametrize("size", [(5, 9), (20, 7), (40, 40)])
def test_images_come_at_the_size_of_the_network(size):
    values = coloured("uint8", n=6, size=(20, 18))
    preprocess = learn(values, "standard", size=size)
    batch = preprocess.unit(ImageArray(values).take(np.arange(6)))
    assert batch.shape == (6, 3, *size)
    assert batch.min() >= -1e-6
    assert batch.max() <= 1 + 1e-6
    unit = torch.from_numpy(values / 255).permute(0, 3, 1, 2)
    assert_allclose(batch.mean(dim=(2, 3)), unit.mean(dim=(2, 3)), atol=0.03)


def test_shrinking_smooths():
    """A fine chessboard becomes grey, a constant and a slope stay what they are."""
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2
    small = resize(board[None, None].float(), (8, 8))
    assert_allclose(small, 0.5, atol=0.05)
    assert_allclose(resize(torch.full((1, 1, 9, 9), 0.3), (4, 5)), 0.3, rtol=1e-6)
    slope = torch.arange(32.0).expand(1, 1, 32, 32)
    inner = resize(slope, (16, 16))[0, 0, 4:-4, 4:-4]
    assert_allclose(inner, F.avg_pool2d(slope, 2)[0, 0, 4:-4, 4:-4], rtol=1e-5)


def test_statistics_follow_the_network():
    preprocess = learn(coloured("uint8"), "standard")
    assert not list(preprocess.parameters())
    assert preprocess.double().mean.dtype == torch.float64
