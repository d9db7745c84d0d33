"""A memory of normal features beside FCDD's map."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from skfcdd import FCDDClassifier, FCDDDetector, FCDDSegmenter
from skfcdd._engine.memory import DeepFeatures
from skfcdd.backbones import make_backbone
from skfcdd.datasets import make_defects
from skfcdd.memory_bank import MemoryBank
from skfcdd.persistence import load, save

SIDE = 64


@pytest.fixture(scope="module")
def data():
    return make_defects(60, image_size=SIDE, random_state=0)


@pytest.fixture(scope="module")
def good(data):
    return data.images[data.target == 0]


@pytest.fixture(scope="module")
def model(good):
    return FCDDClassifier(max_epochs=1, random_state=0).fit(good)


def slow_novelty(model, images):
    """The formula of the class, cell by cell, in float64."""
    fitted = model._fitted
    memory, module = fitted.memory, fitted.module.eval()
    unit = module.preprocess.unit(
        torch.from_numpy(np.moveaxis(images.reshape(*images.shape[:3], -1), -1, 1))
        .float()
        .contiguous()
    )
    with torch.no_grad():
        *_, kept = module.backbone.head(module.preprocess(unit), module.split)
        features = memory.features(kept).double()
        whole = slow_whole(memory, memory.features.maps(kept))
    blocks = slow_blocks(features.numpy(), memory.patch_size, memory.block)
    vectors = (torch.from_numpy(blocks) - memory.mean.double()) @ memory.axes.double()
    apart = (vectors[:, :, :, None] - memory.points.double()).norm(dim=-1)
    level, spread, factor, share = memory.units.tolist()
    excess = np.maximum((apart.amin(dim=3).numpy() - level) / spread, 0) ** 2
    excess = excess.repeat(memory.block, axis=1).repeat(memory.block, axis=2)
    local = factor * slow_average(excess, memory.width)
    return local + factor * share * whole[:, None, None]


def slow_whole(memory, maps):
    """Dissimilarity (n,) of the mean features of each image, one kernel at a time."""
    numbers = {k: v.double().numpy() for k, v in memory.whole.state_dict().items()}
    found = []
    for image in zip(*(m.double().numpy() for m in maps), strict=True):
        means = np.concatenate([stage.mean(axis=(1, 2)) for stage in image])
        standard = (means - numbers["center"]) * numbers["scale"]
        kernel = [math.exp(-np.sum((standard - s) ** 2)) for s in numbers["support"]]
        similarity = np.dot(numbers["dual"], kernel)
        found.append(max(float(numbers["top"]) - similarity, 0))
    return np.array(found)


def slow_blocks(features, patch_size, block):
    """Means (n, u, v, d) of blocks of cells, each a mean of its neighbours."""
    n, d, u, v = features.shape
    cells = slow_average(features.reshape(n * d, u, v), patch_size)
    cells = cells.reshape(n, d, u, v)
    found = np.empty((n, d, -(-u // block), -(-v // block)))
    for i, j in np.ndindex(found.shape[2:]):
        rows, columns = (slice(k * block, (k + 1) * block) for k in (i, j))
        found[:, :, i, j] = cells[:, :, rows, columns].mean(axis=(2, 3))
    return np.moveaxis(found, 1, 3)


def slow_average(maps, size):
    """Means of the cells of a square that lie in the map."""
    found, reach = np.empty_like(maps), size // 2
    for i, j in np.ndindex(maps.shape[1:]):
        square = maps[:, max(0, i - reach) : i + reach + 1]
        square = square[:, :, max(0, j - reach) : j + reach + 1]
        found[:, i, j] = square.mean(axis=(1, 2))
    return found


def test_the_default_has_a_memory_and_parts_add_up(model, data):
    parts = model.explain_parts(data.images[:6])
    whole = model.explain(data.images[:6])
    np.testing.assert_allclose(parts.defect + parts.novelty, whole, rtol=1e-4)
    np.testing.assert_allclose(
        whole.mean(axis=(1, 2)), model.anomaly_score(data.images[:6]), rtol=1e-4
    )
    assert parts.novelty.max() > 0


def test_the_map_is_the_formula(good, data):
    model = FCDDClassifier(max_epochs=1, precision="float32", random_state=0).fit(good)
    images = data.images[:3]
    memory = model._fitted.memory
    assert memory.width == 7  # a standard deviation of 2 cells
    assert memory.block == 2  # of which the features of the coarser stage are one
    expected = slow_novelty(model, images).mean(axis=(1, 2))
    found = model.explain_parts(images).novelty.mean(axis=(1, 2))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5)


def test_weight_is_a_ratio_of_spreads(good):
    scores = {}
    for weight in (0.5, 2.0):
        bank = MemoryBank(weight=weight, global_weight=weight / 2)
        m = FCDDClassifier(max_epochs=1, memory_bank=bank, random_state=0).fit(good)
        scores[weight] = m.explain_parts(good[:5])
    np.testing.assert_array_equal(scores[0.5].defect, scores[2.0].defect)
    np.testing.assert_allclose(
        4 * scores[0.5].novelty, scores[2.0].novelty, rtol=1e-4, atol=1e-6
    )


def test_none_is_the_network_alone(good, model):
    alone = FCDDClassifier(max_epochs=1, memory_bank=None, random_state=0).fit(good)
    parts = alone.explain_parts(good[:4])
    assert parts.novelty.max() == 0
    np.testing.assert_array_equal(parts.defect, alone.explain(good[:4]))
    # The memory does not change what the network learns.
    own = model.explain_parts(good[:4]).defect.mean(axis=(1, 2))
    np.testing.assert_allclose(own, parts.defect.mean(axis=(1, 2)), rtol=1e-5)


def test_what_was_never_seen_is_novel(model, good):
    strange = np.full_like(good[:1], 255)
    strange[:, ::2] = 0
    score = model.explain_parts(np.concatenate([good[:10], strange]))
    novelty = score.novelty.mean(axis=(1, 2))
    assert novelty[-1] > 3 * novelty[:-1].max()


@pytest.mark.parametrize("pooling", ["mean", "max", 0.1])
def test_every_pooling(good, pooling):
    m = FCDDDetector(max_epochs=1, score_pooling=pooling, random_state=0).fit(good)
    assert np.isfinite(m.score_samples(good)).all()


def test_saved_pickled_and_cloned(model, data, tmp_path):
    expected = model.anomaly_score(data.images)
    loaded = load(save(model, tmp_path / "m.skfcdd"))
    np.testing.assert_array_equal(loaded.anomaly_score(data.images), expected)
    np.testing.assert_array_equal(
        loaded.explain_parts(data.images[:2]).novelty,
        model.explain_parts(data.images[:2]).novelty,
    )
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.anomaly_score(data.images), expected)
    assert clone(model).memory_bank == "auto"


def test_fit_gives_the_same_bits(good, model):
    again = FCDDClassifier(max_epochs=1, random_state=0).fit(good)
    np.testing.assert_array_equal(
        again.anomaly_score(good[:9]), model.anomaly_score(good[:9])
    )


@pytest.mark.parametrize("size", [(300, 333), (290, 257)])
def test_large_images_are_the_same_in_tiles(good, size):
    m = FCDDClassifier(max_epochs=1, precision="float32", random_state=0).fit(good)
    large = np.tile(good[0], (6, 6) + (1,) * (good[0].ndim - 2))[: size[0], : size[1]]
    whole = m.explain_large(large, tile_size=4096)
    tiles = m.explain_large(large, tile_size=64)
    np.testing.assert_allclose(tiles, whole, rtol=1e-3, atol=1e-4 * whole.max())


def test_warm_start_keeps_what_it_knew(good):
    m = FCDDClassifier(max_epochs=1, warm_start=True, random_state=0).fit(good)
    mean = m._fitted.memory.mean.clone()
    m.fit(good[::-1])
    assert torch.equal(m._fitted.memory.mean, mean)
    assert len(m._fitted.memory.points) == MemoryBank.n_patches


def test_masks_and_segmenter(data):
    m = FCDDSegmenter(max_epochs=1, random_state=0).fit(data.images, data.masks)
    assert m._fitted.memory is not None
    assert m.predict(data.images[:2]).shape == (2, SIDE, SIDE)


def test_a_module_keeps_its_own_first_features(good):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(good.shape[3] if good.ndim == 4 else 1, 8, 5, 4),
        nn.ReLU(),
        nn.Conv2d(8, 8, 1),
    )
    m = FCDDClassifier(
        network, frozen=1, memory_bank=MemoryBank(), max_epochs=1, random_state=0
    ).fit(good)
    assert m.explain_parts(good[:2]).novelty.shape == (2, SIDE, SIDE)


def test_identical_images_make_all_else_novel():
    one = make_defects(1, image_size=SIDE, anomaly_fraction=0, random_state=0).images
    same = np.repeat(one, 20, axis=0)
    m = FCDDClassifier(max_epochs=1, random_state=0).fit(same)
    novelty = m.explain_parts(np.concatenate([one, 255 - one])).novelty
    assert np.isfinite(novelty).all()
    assert novelty[1].mean() > novelty[0].mean()


def test_position_tells_where():
    rng = np.random.RandomState(0)
    both = rng.randint(0, 20, (60, SIDE, SIDE)).astype(np.uint8)
    both[:, 8:24, 8:24] += 200
    good, fresh = both[:30], both[30:]
    moved = np.roll(good[:1], 24, axis=(1, 2))
    ratios = []
    for position in (0.0, 4.0):
        bank = MemoryBank(position=position)
        m = FCDDClassifier(memory_bank=bank, max_epochs=1, random_state=0).fit(good)
        novelty = m.explain_parts(np.concatenate([fresh, moved])).novelty
        novelty = novelty.mean(axis=(1, 2))
        ratios.append(novelty[-1] / novelty[:-1].mean())
    assert ratios[1] > 2 * ratios[0]
    with pytest.raises(ValueError, match="position"):
        m.explain_large(np.tile(good[0], (3, 3)))


@pytest.mark.parametrize("side", [(64, 64), (65, 97), (130, 71)])
def test_a_window_has_the_cells_of_the_whole(side):
    network = make_backbone(
        "efficientnet_lite0", (*side, 3), weights=None, stages=[3, 4]
    )
    features = DeepFeatures(network.eval(), 5, (*side, 3))
    assert features.factors[1] == [2.0, 2.0]
    with torch.no_grad():
        *_, kept = network.head(torch.rand(1, 3, *side), 5)
        found = features(kept)
    assert found.shape[2:] == tuple(-(-n // 8) for n in side)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"memory_bank": MemoryBank(), "frozen": 0}, "frozen"),
        ({"memory_bank": MemoryBank(), "weights": None}, "frozen"),
        ({"memory_bank": MemoryBank(stages=[1])}, "stages"),
        ({"memory_bank": MemoryBank(stages=[2, 9])}, "stages"),
        ({"memory_bank": MemoryBank(patch_size=2)}, "patch_size"),
        ({"memory_bank": MemoryBank(weight=0)}, "weight"),
        ({"memory_bank": MemoryBank(n_patches=0)}, "n_patches"),
        ({"memory_bank": MemoryBank(position=-1)}, "position"),
        ({"memory_bank": MemoryBank(), "loss": "hsc"}, "map"),
        ({"memory_bank": True}, "memory_bank"),
    ],
)
def test_refused(good, params, match):
    with pytest.raises(ValueError, match=match):
        FCDDClassifier(max_epochs=1, random_state=0, **params).fit(good)


def test_groups_are_measured_apart(good):
    """With near copies of few images, other images are less of a surprise."""
    rng = np.random.RandomState(0)
    X = np.repeat(good[:6], 5, axis=0)
    X = np.clip(X + rng.randint(-2, 3, X.shape), 0, 255).astype(np.uint8)
    names = np.repeat(np.arange(6), 5)
    level = {}
    for groups in (None, names):
        m = FCDDClassifier(max_epochs=1, random_state=0).fit(X, groups=groups)
        level[groups is None] = float(m._fitted.memory.units[0])
    assert level[False] > 1.5 * level[True]
