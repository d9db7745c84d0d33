"""Synthetic anomalies: what is changed, where, and by what chance."""

from __future__ import annotations

import itertools
import math
import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from skfcdd.anomalies import (
    SYNTHETIC_ANOMALIES,
    blobs,
    confetti,
    mixed,
    resolve_synthetic,
    scratches,
)
from skfcdd.anomalies._drawing import Draw, n_drawings, paint
from skfcdd.anomalies._noise import perlin_noise

KINDS = sorted(SYNTHETIC_ANOMALIES)
PLACED = ["confetti", "blobs", "scratches", "cutpaste", "perlin", "mixed"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def textures(n=16, channels=1, size=(64, 64), seed=0):
    """Images with content everywhere, in the unit range."""
    return torch.rand(n, channels, *size, generator=generator(seed)) * 0.4 + 0.3


@pytest.mark.parametrize("kind", KINDS)
@given(
    n=st.integers(1, 6) | st.sampled_from([127, 128, 131, 650]),
    channels=st.sampled_from([1, 2, 3, 4, 13]),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 99),
)
def test_changes_are_where_the_mask_says(kind, n, channels, size, seed):
    images = textures(n, channels, size, seed)
    before = images.clone()
    changed, masks = SYNTHETIC_ANOMALIES[kind](images, generator(seed))
    assert torch.equal(images, before)
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert masks.shape == (n, 1, *size)
    assert masks.dtype == torch.bool
    assert masks.any(dim=(1, 2, 3)).all()
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert torch.equal(torch.where(masks, images, changed), images)
    if kind in PLACED:
        moved = (changed - images).abs().amax(dim=1, keepdim=True)
        assert (moved[masks] > 0.02).all()


@pytest.mark.parametrize("kind", KINDS)
def test_chance_comes_from_the_generator_alone(kind):
    images = textures()
    torch.manual_seed(0)
    states = random.getstate(), np.random.get_state()[1].tolist()
    state = torch.random.get_rng_state()
    first = SYNTHETIC_ANOMALIES[kind](images, generator(3))
    second = SYNTHETIC_ANOMALIES[kind](images, generator(3))
    other = SYNTHETIC_ANOMALIES[kind](images, generator(4))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states


@pytest.mark.parametrize("kind", PLACED)
def test_images_of_a_batch_differ(kind):
    images = textures(1).expand(12, -1, -1, -1)
    changed, masks = SYNTHETIC_ANOMALIES[kind](images, generator())
    assert len({mask.numpy().tobytes() for mask in masks}) == 12
    assert len({image.numpy().tobytes() for image in changed}) == 12


def test_drawings_are_used_in_four_mirror_images():
    n = 130
    drawings = torch.rand(n_drawings(n), 2, 6, 9, generator=generator())
    assert len(drawings) == 33
    changed, masks = paint(torch.zeros(n, 3, 6, 9), drawings, torch.ones(n, 2, 3))
    strongest = drawings.amax(dim=1, keepdim=True)
    for turn, axes in enumerate([(), (2,), (3,), (2, 3)]):
        rows = slice(33 * turn, min(n, 33 * turn + 33))
        expected = strongest.flip(axes)[: len(changed[rows])] if axes else strongest
        expected = torch.where(expected > 0.03, expected, 0).expand(-1, 3, -1, -1)
        torch.testing.assert_close(changed[rows], expected)
        assert torch.equal(masks[rows], expected[:, :1] > 0.03)


@pytest.mark.parametrize("kind", PLACED)
def test_many_images_get_anomalies_as_few_do(kind):
    """Shared drawings change neither sizes nor contrasts, and no two images alike."""
    images = textures(1).expand(640, -1, -1, -1)
    changed, masks = SYNTHETIC_ANOMALIES[kind](images, generator())
    # Equal ones would have to be drawn alike by chance.
    assert len({image.numpy().tobytes() for image in changed}) == 640
    few = [SYNTHETIC_ANOMALIES[kind](images[:64], generator(s)) for s in range(10)]
    for measure in (
        lambda x, m: m.float().mean(dim=(1, 2, 3)),
        lambda x, m: (x - images[:1]).abs().amax(dim=(1, 2, 3)),
    ):
        expected = torch.cat([measure(*pair) for pair in few])
        assert ks_2samp(measure(changed, masks), expected).pvalue > 0.001


@pytest.mark.parametrize("kind", ["confetti", "blobs", "cutpaste", "perlin"])
def test_sizes_go_with_the_image(kind):
    shares = []
    for side in (64, 128, 224):
        images = torch.full((64, 1, side, side), 0.5)
        if kind == "cutpaste":  # content that differs from place to place
            images = images + torch.linspace(-0.4, 0.4, side)
        shares.append(SYNTHETIC_ANOMALIES[kind](images, generator())[1].float().mean())
    assert max(shares) < 1.6 * min(shares)
    assert min(shares) > 0.003
    assert max(shares) < 0.3


def test_rectangles_of_the_published_size():
    images = torch.full((400, 1, 224, 224), 0.5)
    _, masks = confetti(images, generator(), max_shapes=1)
    inside = masks.float().sum(dim=(1, 2, 3)).sqrt()
    assert inside.max() < 54 + 6  # soft edges add a few pixels
    assert inside.median() > 15


def test_plain_and_coloured_confetti():
    images = torch.full((200, 3, 32, 32), 0.5)
    changed, masks = confetti(images, generator(), max_shapes=1)
    spread = torch.where(masks, changed, 0.5).std(dim=1, correction=0)
    plain = spread.amax(dim=(1, 2)) < 1e-4
    assert 0.3 < plain.float().mean() < 0.7


@pytest.mark.parametrize("kind", [confetti, blobs, scratches])
def test_darker_and_brighter_strong_and_faint(kind):
    images = torch.full((300, 1, 64, 64), 0.5)
    change = (kind(images, generator())[0] - images).flatten(1)
    strongest = change.gather(1, change.abs().argmax(dim=1, keepdim=True))[:, 0]
    assert 0.3 < (strongest > 0).float().mean() < 0.7
    assert strongest.abs().min() < 0.12
    assert strongest.abs().max() > 0.4


def test_scratches_are_thin_and_long():
    _, masks = scratches(torch.full((100, 1, 224, 224), 0.5), generator())
    assert masks.sum(dim=(1, 2, 3)).max() <= 8 * 224
    assert masks.float().mean() < 0.02
    extents = [
        max(int(np.ptp(axis.numpy())) for axis in torch.nonzero(m, as_tuple=True))
        for m in masks[:, 0]
    ]
    assert max(extents) > 100
    assert min(extents) < 40


def test_whole_images():
    images = textures(50, 3)
    for kind in ("solid", "gaussian", "uniform"):
        changed, masks = SYNTHETIC_ANOMALIES[kind](images, generator())
        assert masks.all()
        spread = changed.std(dim=(2, 3))
        assert (spread < 1e-6).all() if kind == "solid" else (spread > 0.05).all()


def test_mixture_shares_a_batch_out():
    images = textures(10)
    plant = resolve_synthetic(("solid", "uniform"))
    changed, _ = plant(images, generator())
    assert (changed.std(dim=(2, 3)) < 1e-6).sum() == 5
    single = {
        bool(plant(images[:1], generator(seed))[0].std() < 1e-6) for seed in range(20)
    }
    assert single == {True, False}
    assert mixed(images[:1], generator())[1].any()


def own_kind(images, generator):
    return 1 - images, torch.ones_like(images[:, :1], dtype=torch.bool)


def test_own_kinds():
    plant = resolve_synthetic(own_kind)
    images = textures(3)
    assert torch.equal(plant(images, generator())[0], 1 - images)
    both = pickle.loads(pickle.dumps(resolve_synthetic(["confetti", own_kind])))
    assert both(images, generator())[1].any(dim=(1, 2, 3)).all()
    assert resolve_synthetic(None) is None


WRONG = {
    "a tuple": lambda x, g: x,
    "images of shape": lambda x, g: (x[:1], x[:, :1] > 0),
    r"masks of shape \(3, 1, 64, 64\) and dtype torch.bool. Got \(3, 64, 64\)": (
        lambda x, g: (x, x[:, 0] > 0)
    ),
    "torch.bool. Got .*float32": lambda x, g: (x, x[:, :1]),
    "NaN or infinity": lambda x, g: (x / 0, x[:, :1] > 0),
}


@pytest.mark.parametrize("message", WRONG)
def test_own_kinds_that_go_wrong(message):
    with pytest.raises(ValueError, match=message):
        resolve_synthetic(WRONG[message])(textures(3), generator())


@pytest.mark.parametrize(
    ("synthetic", "error", "message"),
    [
        ("confeti", ValueError, "Did you mean 'confetti'"),
        (("blobs", "x"), ValueError, "expected names of"),
        ([], ValueError, "empty"),
        (3, TypeError, "synthetic=3"),
        ((None,), TypeError, "synthetic="),
    ],
)
def test_names_that_are_wrong(synthetic, error, message):
    with pytest.raises(error, match=message):
        resolve_synthetic(synthetic)


def test_perlin_noise_is_that_of_its_definition():
    """Slopes at the corners of a cell, faded into each other, one value at a time."""
    size, n = (9, 14), 3
    noise = perlin_noise(Draw(torch.Generator().manual_seed(5)), n, size)
    draw = Draw(torch.Generator().manual_seed(5))
    py, px = (int(p) for p in draw.log_uniform(2, low=2, high=16))
    py, px = min(py, size[0]), min(px, size[1])
    angles = draw.uniform(n, py + 1, px + 1, high=2 * math.pi).double()

    def fade(t):
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    for k, row, column in itertools.product(range(n), *map(range, size)):
        y, x = (row + 0.5) * py / size[0], (column + 0.5) * px / size[1]
        total = 0.0
        for i, j in itertools.product((int(y), int(y) + 1), (int(x), int(x) + 1)):
            angle = float(angles[k, i, j])
            slope = math.sin(angle) * (y - i) + math.cos(angle) * (x - j)
            total += slope * fade(1 - abs(y - i)) * fade(1 - abs(x - j))
        assert float(noise[k, 0, row, column]) == pytest.approx(total, abs=1e-5)
