"""Features of frozen stages are kept, and nothing else changes."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from _small import make_images, quick
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from skfcdd import FCDDSegmenter
from skfcdd._engine.batches import TrainingData
from skfcdd._engine.feature_store import CachedTrainingData, FeatureStore
from skfcdd._engine.preprocessing import Preprocess
from skfcdd._inputs.images import ImageArray
from skfcdd.anomalies import resolve_synthetic
from skfcdd.backbones import freeze_backbone, make_backbone
from skfcdd.feature_cache import FeatureCache
from skfcdd.metrics import pixel_roc_auc_score

BATCH = 8


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return freeze_backbone(make_backbone("fcdd28_wide", (16, 20, 1)).eval(), 1)


def make_source(**options):
    """Normal images, real and synthetic anomalies, exposed images."""
    images, y, masks = make_images(n_anomalous=8)
    return TrainingData(
        ImageArray(images[..., None]),
        np.flatnonzero(y == 0),
        np.flatnonzero(y == 1),
        Preprocess(0.0, 255.0, [0.4], [0.1]),
        torch.Generator().manual_seed(0),
        masks=masks,
        has_mask=np.ones(len(y), dtype=bool),
        exposed=ImageArray(make_images(7, seed=3)[0][..., None]),
        exposed_index=np.arange(7)[::-1],
        plant=resolve_synthetic("confetti"),
        **options,
    )


def cached(encode, data=None, *, stored=torch.float32, **settings):
    data = make_source(trust_planted=True) if data is None else data
    return CachedTrainingData.over(
        replace(data, encode=encode),
        cache=FeatureCache(**settings),
        stored=stored,
        dtype=torch.float32,
    )


def one(x):
    """The image itself as its feature: the same draws, and nothing computed ahead."""
    return (x,)


@pytest.mark.parametrize("refresh", [0.0, 0.3, 1.0])
@torch.no_grad()
def test_features_are_those_of_the_images(network, refresh):
    module, split = network
    plain = cached(one, refresh=refresh)
    kept = cached(lambda x: module.head(x, split), refresh=refresh)
    for _ in range(3):  # epochs
        for (images, a), (features, b) in zip(
            plain.batches(BATCH, "cpu"), kept.batches(BATCH, "cpu"), strict=True
        ):
            assert_allclose(module.tail(features, split), module(*images), atol=1e-5)
            for name in ("anomalous", "masks", "has_mask"):
                assert torch.equal(getattr(a, name), getattr(b, name))


def test_batches_hold_what_they_would_without_a_cache():
    data = make_source(trust_planted=True)
    plain = [(len(x), int(t.anomalous.sum())) for x, t in data.batches(BATCH, "cpu")]
    kept = [
        (len(x[0]), int(t.anomalous.sum()))
        for x, t in cached(one).batches(BATCH, "cpu")
    ]
    assert kept == plain


def test_masks_lie_where_the_images_were_changed():
    source = cached(one)
    normal = {x.tobytes() for x in source.images.data[source.normal]}
    for (images,), target in source.batches(BATCH, "cpu"):
        raw = (images * 255).round().byte().numpy()[:, 0, :, :, None]
        same = np.array([x.tobytes() in normal for x in raw])
        assert_array_equal(same, ~target.anomalous.numpy())
        assert not target.masks[~target.anomalous].any()
        assert target.masks[target.anomalous].any(dim=(1, 2, 3)).all()


@pytest.mark.parametrize(("refresh", "share"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_refreshed_share_of_the_bank(refresh, share):
    data = make_source()
    data.exposed_index = np.empty(0, dtype=int)
    source = cached(one, data, refresh=refresh)
    list(source.batches(BATCH, "cpu"))
    places = source._first_planted + np.arange(source._n_bank)
    before = source._store.read(places, torch.float32)[0]
    list(source.batches(BATCH, "cpu"))
    after = source._store.read(places, torch.float32)[0]
    changed = (before != after).flatten(1).any(dim=1).float().mean()
    assert changed == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_file_and_memory_are_alike(tmp_path, dtype):
    like = (torch.zeros(1, 3, 4, 5), torch.zeros(1, 2, 2, 1))
    values = tuple(torch.randn(6, *x.shape[1:]) for x in like)
    stores = [
        FeatureStore(9, like, dtype, "cpu", path) for path in (None, tmp_path / "f")
    ]
    rows = np.array([8, 2, 0])
    for store in stores:
        store.write(slice(3, 9), values)
        store.write(slice(0, 3), tuple(v[:3] for v in values))
        for part, value in zip(store.read(rows, torch.float32), values, strict=True):
            expected = torch.stack([value[5], value[2], value[0]])
            assert_allclose(part, expected.to(dtype).float())
            assert part.is_contiguous(memory_format=torch.channels_last)


def test_values_that_do_not_fit_are_refused():
    store = FeatureStore(1, (torch.zeros(1, 1, 1, 1),), torch.float16, "cpu")
    with pytest.raises(ValueError, match=r"float16.*reach 1e\+05.*'bfloat16'"):
        store.write([0], (torch.full((1, 1, 1, 1), 1e5),))


@pytest.mark.parametrize("loss", ["fcdd", "hsc", "dsvdd"])
@pytest.mark.parametrize("frozen", [1, "block1", "all"])
def test_training_leaves_frozen_stages_alone(loss, frozen, tmp_path):
    images, y, _ = make_images(n_anomalous=6)
    params = {"backbone": "fcdd32_s", "frozen": frozen, "loss": loss}
    models = [
        quick(**params, feature_cache=FeatureCache(memory, str(tmp_path))).fit(
            images, y
        )
        for memory in (1 << 30, 0)
    ]
    assert not list(tmp_path.iterdir())  # the file is gone
    # In a file or in memory: the same bits.
    scores = [model.anomaly_score(images) for model in models]
    assert_array_equal(*scores)
    backbone = models[0].net_.module_.backbone
    assert backbone.norm1.num_batches_tracked == 0
    assert not backbone.conv1.weight.requires_grad
    if frozen != "all":
        assert backbone.norm2.num_batches_tracked > 0
        assert backbone.conv2.weight.requires_grad
    assert_array_equal(
        pickle.loads(pickle.dumps(models[0])).anomaly_score(images), scores[0]
    )


def test_frozen_weights_do_not_move():
    images, y, _ = make_images(n_anomalous=6)
    torch.manual_seed(5)
    mine = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3)
    )
    model = quick(backbone=mine, frozen=2, weight_decay=0.5).fit(images, y)
    fitted = model.net_.module_.backbone
    for name, value in mine[:2].state_dict().items():
        assert torch.equal(fitted.state_dict()[name], value)
    assert not torch.equal(fitted.state_dict()["3.weight"], mine[3].weight)


def test_cached_and_plain_training_find_the_same():
    images, _, masks = make_images(60, n_anomalous=12)
    heatmaps = [
        FCDDSegmenter(
            "fcdd32_s", frozen=1, augment=None, feature_cache=cache,
            max_epochs=10, random_state=0,
        ).fit(images, masks).explain(images)
        for cache in ("auto", None)
    ]  # fmt: skip
    figures = [pixel_roc_auc_score(masks, h) for h in heatmaps]
    assert min(figures) > 0.9
    assert figures[0] == pytest.approx(figures[1], abs=0.05)


def test_what_cannot_be_cached():
    images, y, _ = make_images(n_anomalous=6)
    with pytest.raises(ValueError, match=r"augment='shift'.*augment=None"):
        quick(frozen=1, augment="shift", feature_cache=FeatureCache()).fit(images, y)
    for frozen in (None, "auto"):  # which freezes nothing of these networks
        model = quick(frozen=frozen, augment=None, feature_cache=FeatureCache())
        with pytest.raises(ValueError, match=rf"frozen={frozen!r}.*freeze a stage"):
            model.fit(images, y)
    for settings, message in (
        ({"bank": 0}, r"bank=0.*greater than 0"),
        ({"refresh": 2}, r"refresh=2.*\[0, 1\]"),
        ({"dtype": "int8"}, "dtype='int8'.*'bfloat16'"),
        ({"memory": -1}, "memory=-1"),
    ):
        with pytest.raises(ValueError, match=message):
            quick(frozen=1, feature_cache=FeatureCache(**settings)).fit(images, y)


def test_a_full_disk_is_told(monkeypatch):
    images, y, _ = make_images(n_anomalous=6)
    monkeypatch.setattr(
        "shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})()
    )
    model = quick(frozen=1, feature_cache=FeatureCache(memory=0))
    with pytest.raises(OSError, match=r"MiB left.*feature_cache=None"):
        model.fit(images, y)


def test_augmentation_is_still_possible():
    images, y, _ = make_images(n_anomalous=6)
    model = quick(frozen=1, augment="shift").fit(images, y)
    assert model.net_.module_.backbone.norm1.num_batches_tracked == 0
