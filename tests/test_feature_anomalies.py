"""Anomalies made of features: what is changed, where, and how they are trained on."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from _small import make_images, quick
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import label
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from skfcdd import FCDDDetector, FCDDSegmenter
from skfcdd._engine.altered import Alteration, spreads
from skfcdd._engine.batches import TrainingData
from skfcdd._engine.feature_store import CachedTrainingData
from skfcdd._engine.preprocessing import Preprocess
from skfcdd._inputs.images import ImageArray
from skfcdd.anomalies import (
    FEATURE_ANOMALIES,
    FeatureAnomaly,
    FeatureMix,
    FeatureNoise,
    confetti,
    resolve_synthetic,
)
from skfcdd.anomalies._mixture import resolve_kinds
from skfcdd.feature_cache import FeatureCache
from skfcdd.metrics import pixel_roc_auc_score

KINDS = [
    FeatureNoise(),
    FeatureNoise(0.5, size=1),
    FeatureMix(),
    FeatureMix("other", size=0.3),
    FeatureMix("same", 0.5),
]
# Stages of a small network that is quick to train.
FROZEN = {"backbone": "fcdd32_s", "frozen": 1}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_maps(n, sizes, channels=3, seed=0):
    maps = tuple(torch.randn(n, channels, *s, generator=generator(seed)) for s in sizes)
    return maps, tuple(torch.ones(channels) for _ in sizes)


sides = st.integers(1, 9)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
@given(
    n=st.integers(1, 6),
    size=st.tuples(sides, sides),
    finer=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    more=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    seed=st.integers(0, 99),
)
def test_changes_are_in_one_box(kind, n, size, finer, more, seed):
    fine = tuple(s * f + m for s, f, m in zip(size, finer, more, strict=True))
    maps, spread = make_maps(n, [fine, size], seed=seed)
    before = [x.clone() for x in maps]
    image_size = (fine[0] * 4, fine[1] * 4)
    changed, masks = kind(maps, spread, image_size, generator(seed))
    again, _ = kind(maps, spread, image_size, generator(seed))
    assert masks.shape == (n, 1, *image_size)
    assert masks.dtype == torch.bool
    for x, old, new, other in zip(maps, before, changed, again, strict=True):
        assert torch.equal(x, old)
        assert new.shape == x.shape
        assert new.dtype == x.dtype
        assert torch.equal(new, other)
    for mask in masks[:, 0].numpy():
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        assert_array_equal(mask, rows[:, None] & columns[None])
        assert label(mask)[1] == 1
    # A coarse cell outside the mask is as it was, and one inside is not.
    rows, columns = (
        (np.arange(length) + 0.5) * whole / length
        for length, whole in zip(size, image_size, strict=True)
    )
    inside = masks[:, 0][:, rows.astype(int)][:, :, columns.astype(int)]
    moved = (changed[1] != maps[1]).any(dim=1)
    assert not moved[~inside].any()
    if size[0] * size[1] * n > 1:
        assert moved[inside].all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_features_keep_their_type(kind, dtype):
    maps, spread = make_maps(4, [(8, 8)])
    changed, _ = kind((maps[0].to(dtype),), spread, (32, 32), generator())
    assert changed[0].dtype == dtype


def test_global_chance_is_left_alone():
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    for kind in KINDS:
        kind(*make_maps(3, [(6, 6)]), (24, 24), generator())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("size", "share"), [(1, 1.0), (0.5, 0.25), ((0.25, 0.25), 1 / 16)]
)
def test_size_of_the_box(size, share):
    maps, spread = make_maps(50, [(8, 16)])
    _, masks = FeatureNoise(size=size)(maps, spread, (64, 128), generator())
    assert_allclose(masks.float().mean(dim=(1, 2, 3)), share)


def test_boxes_lie_everywhere():
    maps, spread = make_maps(400, [(8, 8)])
    _, masks = FeatureNoise()(maps, spread, (8, 8), generator())
    often = masks[:, 0].float().mean(dim=0)
    assert often.min() > 0.25 * often.max()
    assert_allclose(often, often.flip(0, 1), atol=0.08)
    assert masks.float().mean(dim=(1, 2, 3)).max() < 0.42


def test_noise_is_in_units_of_the_spread_of_each_channel():
    maps, _ = make_maps(60, [(16, 16), (8, 8)], channels=4)
    spread = torch.tensor([0.0, 0.5, 1.0, 4.0])
    changed, _ = FeatureNoise(0.7, size=1)(
        maps, (spread, 2 * spread), (64, 64), generator()
    )
    for factor, old, new in zip((1, 2), maps, changed, strict=True):
        noise = (new - old).transpose(0, 1).flatten(1)
        assert_allclose(noise.std(dim=1), 0.7 * factor * spread, rtol=0.05)
        assert_allclose(noise.mean(dim=1), torch.zeros(4), atol=0.2)
        assert abs(torch.corrcoef(noise[1:]) - torch.eye(3)).max() < 0.05


@pytest.mark.parametrize("opacity", [1.0, 0.25])
def test_cells_of_the_next_image(opacity):
    maps = (torch.arange(5.0).view(5, 1, 1, 1).expand(5, 2, 6, 6).contiguous(),)
    (changed,), masks = FeatureMix("other", opacity)(
        maps, (torch.ones(2),), (6, 6), generator()
    )
    new = (torch.arange(5.0) + 1) % 5
    expected = torch.lerp(torch.arange(5.0), new, opacity).view(5, 1, 1, 1)
    torch.testing.assert_close(changed, torch.where(masks, expected, maps[0]))


def test_cells_that_change_places():
    n, u, v = 30, 6, 9
    cells = torch.arange(float(n * u * v)).view(n, 1, u, v).expand(-1, 2, -1, -1)
    (changed,), masks = FeatureMix("same")(
        (cells,), (torch.ones(2),), (u, v), generator()
    )
    for old, new, mask in zip(cells, changed, masks[:, 0], strict=True):
        if mask.sum() > 1:  # a single cell has no other to change with
            assert torch.equal(new.flatten(1).sort().values, old.flatten(1))
        assert (new[:, mask] != old[:, mask]).all()
        assert torch.equal(new[0], new[1])  # all channels of a cell go together


def test_both_sources_are_drawn():
    values = torch.arange(40.0).view(40, 1, 1, 1).expand(-1, 1, 8, 8)
    (changed,), _ = FeatureMix(size=0.5)(
        (values,), (torch.ones(1),), (8, 8), generator()
    )
    foreign = (changed != values).any(dim=(1, 2, 3)).float().mean()
    assert 0.25 < foreign < 0.75


@pytest.mark.parametrize("size", [1, 4, 7])
def test_spread_is_that_of_all_cells(size):
    maps = [torch.randn(13, 3, 4, 5) * 3 + 50, torch.rand(13, 2, 1, 1)]
    found = spreads(13, size, "cpu", lambda part: tuple(x[part] for x in maps))
    for x, spread in zip(maps, found, strict=True):
        assert_allclose(spread, x.double().numpy().std(axis=(0, 2, 3)), rtol=1e-4)


@dataclass(frozen=True)
class Lift(FeatureAnomaly):
    """A kind that is easy to recognise."""

    by: float = 1000.0

    def change(self, features, inside, spread, generator):
        return [x + self.by for x in features]


def make_source(kinds, share, **options):
    images, y, masks = make_images(n_anomalous=8)
    return TrainingData(
        ImageArray(images[..., None]),
        np.flatnonzero(y == 0),
        np.flatnonzero(y == 1),
        Preprocess(0.0, 1.0, [0.0], [1.0]),
        torch.Generator().manual_seed(0),
        masks=masks,
        has_mask=np.ones(len(y), dtype=bool),
        alter=Alteration(kinds, (torch.ones(1),), share),
        encode=lambda x: (x,),
        **options,
    )


def cached(data):
    return CachedTrainingData.over(
        data, cache=FeatureCache(), stored=torch.float32, dtype=torch.float32
    )


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("prepare", [lambda data: data, cached], ids=["plain", "kept"])
def test_batches_with_anomalies_of_features(prepare, trusted):
    kinds = (Lift(1000.0), Lift(2000.0))
    data = make_source(kinds, 2 / 3, plant=confetti, trust_planted=trusted)
    source = prepare(data)
    normal = torch.from_numpy(data.images.data[data.normal, ..., 0]).float()
    found = []
    for _ in range(3):
        for (x,), target in source.batches(8, "cpu"):
            own = x[~target.anomalous, 0]
            assert_array_equal(np.unique(own.amax(dim=0) < 300), [True])
            lifted = x[:, 0].amax(dim=(1, 2)) > 300
            assert not (lifted & ~target.anomalous).any()
            assert torch.equal(target.masks[lifted], x[lifted] > 300)
            assert (target.has_mask[lifted] == trusted).all()
            back = torch.where(x > 1500, x - 2000, x)
            back = torch.where(back > 300, back - 1000, back)[lifted, 0]
            # Each is made of a normal image of its own batch.
            alike = (back[:, None] == own[None]).all(dim=(2, 3))
            assert alike.any(dim=1).all()
            assert (own[:, None] == normal[None]).all(dim=(2, 3)).any(dim=1).all()
            found += [int(lifted.sum()), int((x.amax(dim=(1, 2, 3)) > 1500).sum())]
    n_synthetic = 3 * (data.n_slots(8) - data._plan_sources(data.n_slots(8))[0])
    n_lifted, n_most = sum(found[::2]), sum(found[1::2])
    assert n_lifted == pytest.approx(n_synthetic * 2 / 3, abs=3)
    assert n_most == pytest.approx(n_lifted / 2, rel=0.35)


@given(
    n_kinds=st.integers(1, 3),
    share=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    fraction=st.floats(0.05, 0.95),
    batch_size=st.integers(2, 40),
)
def test_composition(n_kinds, share, fraction, batch_size):
    plant = confetti if share < 1 else None
    data = make_source((Lift(),) * n_kinds, share, plant=plant)
    data = replace(data, anomaly_fraction=fraction)
    plain = replace(data, alter=None, plant=confetti)
    for source, same in ((data, plain), (cached(data), cached(plain))):
        sizes = [
            [len(t.anomalous) for _, t in each.batches(batch_size, "cpu")]
            for each in (source, same)
        ]
        assert sizes[0] == sizes[1]
        numbers = source._plan_sources(source.n_slots(batch_size))
        synthetic = same._plan_sources(same.n_slots(batch_size))[2]
        assert numbers[2] + numbers[3] == synthetic
        assert numbers[3] == round(share * synthetic)


PARAMS = {
    "noise": {"synthetic": "feature_noise"},
    "mix": {"synthetic": "feature_mix"},
    "own": {"synthetic": Lift()},
    "mixture": {"synthetic": ("confetti", "feature_noise", FeatureMix("same"))},
    "not kept": {"synthetic": ("mixed", "feature_mix"), "feature_cache": None},
    "augmented": {"synthetic": "feature_noise", "augment": "shift"},
    "masks": {"synthetic": ("feature_noise", "blobs"), "pixel_loss": 0.2},
    "all masks": {"synthetic": "feature_mix", "pixel_loss": "all"},
    "stops early": {"synthetic": ("blobs", "feature_noise"), "early_stopping": True},
    "all frozen": {"synthetic": "feature_noise", "frozen": "all"},
    "two maps": {
        "synthetic": ("feature_noise", "feature_mix"),
        "backbone": "resnet18",
        "stages": (1, 2),
        "frozen": 2,
        "resize": 40,
    },
    "bfloat16": {
        "synthetic": ("feature_noise", "feature_mix"),
        "precision": "bfloat16",
    },
    "one vector": {"synthetic": "feature_noise", "loss": "hsc"},
    "normals alone": {"synthetic": "feature_noise", "loss": "dsvdd"},
}


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.CollapseWarning")
@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ReceptiveFieldWarning")
@pytest.mark.parametrize("case", PARAMS)
def test_fits(case):
    images, y, _ = make_images(n_anomalous=6)
    model = quick(**FROZEN | PARAMS[case])
    assert repr(clone(model)) == repr(model)
    scores = model.fit(images, y).anomaly_score(images)
    assert np.isfinite(scores).all()
    # The same chance gives the same model, copies and pickles answer alike.
    assert_array_equal(clone(model).fit(images, y).anomaly_score(images), scores)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.anomaly_score(images), scores)
    if case != "normals alone":
        other = clone(model).set_params(synthetic="confetti").fit(images, y)
        assert not np.array_equal(other.anomaly_score(images), scores)
    model.set_params(warm_start=True).fit(images, y)
    assert len(model.history_) > 3


@pytest.mark.parametrize("cache", ["auto", None])
@pytest.mark.parametrize("kind", ["feature_noise", "feature_mix"])
def test_finds_what_it_has_not_seen(kind, cache):
    images, y, masks = make_images(80, n_anomalous=16)
    model = FCDDSegmenter(
        **FROZEN, synthetic=kind, augment=None, feature_cache=cache,
        max_epochs=15, random_state=0, device="cpu",
    ).fit(images[y == 0])  # fmt: skip
    assert roc_auc_score(y, model.anomaly_score(images)) > 0.9
    assert pixel_roc_auc_score(masks, model.explain(images)) > 0.8


def test_other_estimators():
    images, _, _ = make_images()
    for kind in FEATURE_ANOMALIES:
        model = FCDDDetector(
            **FROZEN, synthetic=kind, max_epochs=2, random_state=0, device="cpu"
        )
        assert np.isfinite(model.fit(images).score_samples(images)).all()


@pytest.mark.parametrize("synthetic", ["feature_noise", ("blobs", FeatureMix())])
@pytest.mark.parametrize("frozen", [None, 0, "auto"])
def test_frozen_stages_are_asked_for(synthetic, frozen):
    images, _, _ = make_images()
    model = quick(frozen=1, backbone="fcdd32_s").fit(images)
    before = model.anomaly_score(images)
    model.set_params(synthetic=synthetic, frozen=frozen)
    with pytest.raises(ValueError, match=r"synthetic=.*frozen stages.*set frozen to 1"):
        model.fit(images)
    assert_array_equal(model.anomaly_score(images), before)


@pytest.mark.parametrize(
    ("synthetic", "error", "message"),
    [
        ("feature_nose", ValueError, "Did you mean 'feature_noise'"),
        (FeatureNoise, TypeError, r"an instance: FeatureNoise\(\)"),
        (FeatureNoise(0), ValueError, r"FeatureNoise\(strength=0\).*greater than 0"),
        (FeatureNoise(float("nan")), ValueError, "strength=nan"),
        (FeatureNoise("1"), ValueError, "strength='1'"),
        (FeatureNoise(size=0), ValueError, r"size=0\), but expected a number in"),
        (FeatureNoise(size=(0.5, 0.2)), ValueError, r"size=\(0.5, 0.2\)"),
        (("blobs", FeatureMix(size=1.5)), ValueError, r"FeatureMix\(size=1.5\)"),
        (FeatureMix(size=(0.1,)), ValueError, r"size=\(0.1,\)"),
        (FeatureMix(size="big"), ValueError, "size='big'"),
        (FeatureMix("here"), ValueError, r"source='here'.*'both', 'other', 'same'"),
        (FeatureMix(opacity=2), ValueError, r"opacity=2.*\(0, 1\]"),
    ],
)
def test_settings_that_are_wrong(synthetic, error, message):
    with pytest.raises(error, match=message):
        resolve_kinds(synthetic)
    with pytest.raises(error, match=message):
        quick(**FROZEN, synthetic=synthetic).fit(make_images()[0])


def test_nothing_to_plant_in_images():
    with pytest.raises(ValueError, match=r"in images: FeatureNoise\("):
        resolve_synthetic(("confetti", "feature_noise"))
    planted, made = resolve_kinds(("confetti", "feature_noise", FeatureMix("same")))
    assert planted == (confetti,)
    assert made == (FeatureNoise(), FeatureMix("same"))
