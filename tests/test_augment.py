"""Augmentations: images and masks move together, within what is promised."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skfcdd import FCDDDetector
from skfcdd._engine import training
from skfcdd._engine.augmentation import AUGMENTATIONS, resolve_augment
from skfcdd._engine.optimization import resolve_max_epochs
from skfcdd.feature_cache import FeatureCache

MOVES = sorted(set(AUGMENTATIONS) - {"jitter"})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def spotted(n=20, size=(32, 32), channels=2):
    """Images that are 1 where their mask is, and 0 elsewhere."""
    masks = torch.rand(n, 1, *size, generator=generator(9)) < 0.2
    return masks.float().repeat(1, channels, 1, 1), masks


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
@given(
    n=st.integers(1, 4),
    channels=st.integers(1, 4),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_any_shape(name, n, channels, size):
    images, masks = spotted(n, size, channels)
    given_images, given_masks = images.clone(), masks.clone()
    changed, moved = AUGMENTATIONS[name](images, masks, generator())
    assert changed.shape == images.shape and changed.dtype == torch.float32
    assert moved.shape == masks.shape and moved.dtype == torch.bool
    assert torch.equal(images, given_images)
    assert torch.equal(masks, given_masks)


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("size", [(32, 32), (33, 48)])
def test_masks_move_along(name, size):
    images, masks = spotted(size=size)
    changed, moved = AUGMENTATIONS[name](images, masks, generator())
    assert torch.equal(changed, moved.expand_as(changed).float())
    n_still = sum(map(torch.equal, changed, images))
    if name == "transpose" and size[0] != size[1]:
        assert n_still == 20
    elif name == "shift":
        assert n_still < 5
    else:  # half of the images, each by its own chance
        assert 4 <= n_still <= 16


def test_mirrors_against_numpy():
    images = torch.rand(40, 3, 8, 8, generator=generator())
    masks = images[:, :1] > 0.5
    for name, mirror in (
        ("horizontal_flip", lambda image: image[:, :, ::-1]),
        ("vertical_flip", lambda image: image[:, ::-1]),
        ("transpose", lambda image: image.transpose(0, 2, 1)),
    ):
        changed, _ = AUGMENTATIONS[name](images, masks, generator(1))
        for before, after in zip(images.numpy(), changed.numpy(), strict=True):
            assert any(np.array_equal(after, b) for b in (before, mirror(before)))


@pytest.mark.parametrize("size", [(32, 48), (15, 16), (64, 1)])
def test_shift_against_reflected_padding(size):
    reach = [n // 16 for n in size]
    h, w = size
    images = torch.rand(60, 2, h, w, generator=generator())
    changed, _ = AUGMENTATIONS["shift"](images, images[:, :1] > 0.5, generator(1))
    pads = [(0, 0), (0, 0), (reach[0],) * 2, (reach[1],) * 2]
    padded = np.pad(images.numpy(), pads, mode="reflect")
    places = [(y, x) for y in range(2 * reach[0] + 1) for x in range(2 * reach[1] + 1)]
    seen = set()
    for around, after in zip(padded, changed.numpy(), strict=True):
        found = [
            (y, x)
            for y, x in places
            if np.array_equal(around[:, y : y + h, x : x + w], after)
        ]
        assert len(found) == 1
        seen.update(found)
    # Every shift up to the reach occurs on both axes, no shift included.
    assert {y for y, _ in seen} == set(range(2 * reach[0] + 1))
    assert {x for _, x in seen} == set(range(2 * reach[1] + 1))


def test_jitter_is_a_small_gain_and_offset():
    images = torch.rand(200, 3, 8, 8, generator=generator()).double()
    masks = images[:, :1] > 0.5
    changed, moved = AUGMENTATIONS["jitter"](images, masks, generator(1))
    assert torch.equal(moved, masks)
    gains, offsets = [], []
    for before, after in zip(images.numpy(), changed.numpy(), strict=True):
        gain, rest = np.polyfit(before.ravel() - before.mean(), after.ravel(), 1)
        assert np.allclose(after, gain * (before - before.mean()) + rest, atol=1e-7)
        gains.append(gain)
        offsets.append(rest - before.mean())
    assert 0.9 <= min(gains) < 0.92 and 1.08 < max(gains) <= 1.1
    assert -0.05 <= min(offsets) < -0.04 and 0.04 < max(offsets) <= 0.05


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_chance_comes_from_the_generator_alone(name):
    images, masks = spotted()
    state = torch.random.get_rng_state()
    runs = [
        AUGMENTATIONS[name](images, masks, generator(seed))[0] for seed in (3, 3, 4)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(torch.random.get_rng_state(), state)


def own_augmentation(images, masks, generator):
    return images + 1, masks


def test_names_and_callables_keep_their_order():
    assert resolve_augment(None) == ()
    assert resolve_augment("shift") == [AUGMENTATIONS["shift"]]
    assert resolve_augment(own_augmentation) == [own_augmentation]
    mixed = resolve_augment(("jitter", own_augmentation))
    assert mixed == [AUGMENTATIONS["jitter"], own_augmentation]


def test_errors():
    with pytest.raises(ValueError, match=r"augment='blur'.*'jitter'"):
        resolve_augment("blur")
    with pytest.raises(TypeError, match="3 in augment"):
        resolve_augment(["shift", 3])


@pytest.mark.parametrize(
    ("n", "params", "expected"),
    [
        (60, {}, ["shift", "jitter"]),
        (130, {}, []),
        (60, {"augment": None}, []),
        (60, {"augment": "vertical_flip"}, ["vertical_flip"]),
        (60, {"feature_cache": FeatureCache()}, []),
        (60, {"feature_cache": None}, []),
        (130, {"weights": None}, ["shift", "jitter"]),
    ],
)
def test_few_images_are_varied(n, params, expected, monkeypatch):
    found = []

    def stop(settings, module, data, *rest):
        found.extend(data.augment)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_net", stop)
    X = np.random.RandomState(0).randint(0, 256, (n, 64, 64), dtype=np.uint8)
    model = FCDDDetector(memory_bank=None, **params)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert found == [AUGMENTATIONS[name] for name in expected]


@pytest.mark.parametrize(
    ("n", "params", "expected"),
    [
        (60, {}, 0.008),
        (130, {}, 0.004),
        (60, {"lr": 0.001}, 0.001),
        (60, {"max_epochs": 5}, 0.004),
        (60, {"weights": None}, 0.001),
    ],
)
def test_few_images_are_trained_at_a_higher_rate(n, params, expected, monkeypatch):
    found = []

    def stop(module, settings, **rest):
        found.append(settings.lr)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "make_net", stop)
    X = np.random.RandomState(0).randint(0, 256, (n, 64, 64), dtype=np.uint8)
    with pytest.raises(KeyboardInterrupt):
        FCDDDetector(memory_bank=None, **params).fit(X)
    assert found == [expected]


def test_auto_takes_at_least_some_steps():
    assert resolve_max_epochs("auto", 3) == 50
    assert resolve_max_epochs("auto", 3, least_steps=250) == 84
    assert resolve_max_epochs("auto", 60, least_steps=250) == 15
    assert resolve_max_epochs("auto", 1000, least_steps=250) == 5
    assert resolve_max_epochs(7, 3, least_steps=250) == 7
