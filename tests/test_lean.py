"""The fast copy of a trained network gives the answers of the network."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from _small import make_images, quick
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm

from skfcdd._engine import lean as lean_module
from skfcdd._engine.lean import fold_norms, lean
from skfcdd.backbones import make_backbone


def randomised(network):
    """The network with normalisation that makes a difference."""
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            if layer.running_mean is not None:
                nn.init.normal_(layer.running_mean, std=0.2)
                nn.init.uniform_(layer.running_var, 0.5, 1.5)
            if layer.affine:
                nn.init.normal_(layer.bias, std=0.2)
                nn.init.uniform_(layer.weight, 0.5, 1.5)
    return network


def n_norms(network):
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


@torch.no_grad()
def assert_same_output(folded, network, size):
    images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(1))
    expected = network.eval()(images)
    atol = 1e-5 * float(expected.abs().max())
    assert atol > 0
    torch.testing.assert_close(folded(images), expected, rtol=0, atol=atol)


@pytest.mark.parametrize(
    "name",
    [
        *("fcdd28", "fcdd224", "vgg11_bn", "resnet18", "squeezenet1_1"),
        *("mobilenet_v3_small", "efficientnet_b0", "efficientnet_lite0"),
    ],
)
def test_architectures_are_folded(name):
    size = (64, 72)
    network = randomised(make_backbone(name, (*size, 3), weights=None)).train()
    before = copy.deepcopy(network.state_dict())
    folded = fold_norms(network, torch.rand(1, 3, *size))
    assert n_norms(folded) == 0
    assert network.training and not folded.training
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
    assert_same_output(folded, network, size)
    assert_same_output(folded, network, (80, 65))  # the sample does not matter


class Layers(nn.Module):
    """A convolution and two normalisations, run as `way` says."""

    def __init__(self, way, convolution=nn.Conv2d):
        super().__init__()
        self.way = way
        self.conv = convolution(3, 3, 3, padding=1)
        self.norm, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.way(self, x)


class Standardised(nn.Conv2d):
    """Its weights have length 1, whatever they are."""

    def forward(self, x):
        weight = nn.functional.normalize(self.weight, dim=(1, 2, 3))
        return nn.functional.conv2d(x, weight, self.bias, padding=self.padding)


class Activated(nn.Conv2d):
    def forward(self, x):
        return super().forward(x).relu()


def skipping(self, x):
    x = self.conv(x)
    return self.norm(x) + x


def in_chain(self, x):
    return self.norm(self.conv(x))


def spectral(*args, **kwargs):
    return spectral_norm(nn.Conv2d(*args, **kwargs))


def parametrised(*args, **kwargs):
    return parametrizations.weight_norm(nn.Conv2d(*args, **kwargs))


KEPT = {
    "output used twice": Layers(skipping),
    "two norms of one output": Layers(
        lambda self, x: self.norm(self.conv(x)) * self.other(self.conv(x))
    ),
    "convolution run twice": Layers(
        lambda self, x: self.norm(self.conv(self.other(self.conv(x))))
    ),
    "norm run twice": Layers(lambda self, x: self.norm(self.norm(self.conv(x)))),
    "norm ahead": Layers(lambda self, x: self.conv(self.norm(x).relu())),
    "activation between": Layers(lambda self, x: self.norm(self.conv(x).relu_())),
    "scaled between": Layers(lambda self, x: self.norm(2 * self.conv(x))),
    "weights of the norm used": Layers(
        lambda self, x: self.norm(self.conv(x)) * self.norm.weight[:, None, None]
    ),
    "standardised weights": Layers(in_chain, Standardised),
    "activation within": Layers(in_chain, Activated),
    "spectral norm": Layers(in_chain, spectral),
    "parametrised weights": Layers(in_chain, parametrised),
    "no statistics": nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)
    ),
    "transposed": nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.BatchNorm2d(4)),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_cannot_be_folded_is_kept(case):
    network = randomised(KEPT[case])
    folded = fold_norms(network, torch.rand(1, 3, 16, 16))
    assert n_norms(folded) == n_norms(network)
    assert_same_output(folded, network, (20, 17))


def test_norms_without_weights_are_folded():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False)
    )
    folded = fold_norms(randomised(network), torch.rand(1, 3, 16, 16))
    assert n_norms(folded) == 0
    assert_same_output(folded, network, (16, 16))


class Residual(nn.Module):
    """An output of a convolution that is activated, and used as it was."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)
        self.act = nn.ReLU()

    def forward(self, x):
        before = self.norm(self.conv(x))
        return self.act(before) + 2 * before


def test_what_is_used_again_is_not_overwritten():
    network = randomised(Residual())
    folded = fold_norms(network, torch.rand(1, 3, 16, 16))
    assert n_norms(folded) == 0 and not folded.act.inplace
    assert_same_output(folded, network, (16, 16))


def plain_activations(network):
    """Activations that are computed in a pass of their own."""
    fused = [m.activation for m in network.modules() if hasattr(m, "activation")]
    acts = [m for m in network.modules() if isinstance(m, (nn.ReLU, nn.ReLU6))]
    return [m for m in acts if not any(m is other for other in fused)]


ONEDNN = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="needs oneDNN"
)


@ONEDNN
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_are_computed_along_with_convolutions(dtype, monkeypatch):
    """To the last bit as one after the other, one shared by two convolutions too."""
    network = randomised(make_backbone("efficientnet_lite0", (64, 64, 3), weights=None))
    sample = torch.rand(2, 3, 64, 64)
    fused = fold_norms(network, sample)
    assert not plain_activations(fused) and plain_activations(network)
    monkeypatch.setattr(lean_module, "can_fuse", lambda *pair: False)
    apart = fold_norms(network, sample)
    acts = plain_activations(apart)
    assert acts and all(act.inplace for act in acts)
    assert not any(getattr(m, "inplace", False) for m in network.modules())
    x = sample.to(dtype).to(memory_format=torch.channels_last)
    with torch.no_grad():
        found, expected = fused.to(dtype)(x), apart.to(dtype)(x)
    rtol = 1e-5 if dtype == torch.float32 else 0.02
    assert_allclose(found.float(), expected.float(), rtol=rtol, atol=rtol)
    assert found.dtype == dtype and expected.abs().max() > 0.1


@ONEDNN
def test_fused_convolutions_have_gradients_and_other_types():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU6())
    folded = fold_norms(network, torch.rand(1, 3, 9, 9))
    assert not plain_activations(folded)
    x = 20 * torch.rand(2, 3, 9, 9) - 10
    for dtype in (torch.float32, torch.float64):
        image = x.to(dtype)
        expected = copy.deepcopy(network).to(dtype)(image)
        found = copy.deepcopy(folded).to(dtype)(image).detach()
        assert_allclose(found, expected.detach(), rtol=1e-5, atol=1e-6)
    x.requires_grad_()
    folded(x).sum().backward()
    slope = x.grad.clone()
    x.grad = None
    network(x).sum().backward()
    assert_allclose(slope, x.grad, rtol=1e-5, atol=1e-6)


def test_activations_that_come_first_overwrite_nothing():
    layers = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU())
    folded = fold_norms(layers, torch.ones(1, 3, 9, 9))
    assert not folded[0].inplace and len(plain_activations(folded)) == 1


# -- within a fitted model -------------------------------------------------------------

IMAGES, Y, _ = make_images(24, size=(64, 64), n_anomalous=6)


@pytest.fixture(scope="module")
def model():
    """The default, in the precision that processors with bfloat16 take."""
    return quick(max_epochs=1, precision="mixed").fit(IMAGES, Y)


def test_answers_of_the_network_itself(model):
    exact = model._fitted.in_float32()
    plain = copy.deepcopy(model.net_.module_).eval()
    plain.memory = model._fitted.memory
    with torch.no_grad():
        unit = torch.from_numpy(IMAGES / np.float32(255))[:, None]
        maps = plain(unit).numpy().astype(float)
    expected = maps.mean(axis=(1, 2))
    assert_allclose(exact.scores(model._check_images(IMAGES)), expected, rtol=1e-4)
    lowered = model.anomaly_score(IMAGES)
    assert_allclose(lowered, expected, rtol=0.05)
    assert np.corrcoef(lowered, expected)[0, 1] > 0.99


def test_frozen_layers_alone_are_in_bfloat16(model):
    module, fast = model._fitted.module, model._fitted.fast
    of_module, of_fast = (
        [
            {p.dtype for p in m.backbone.get_submodule(path).parameters()}
            for path in module.backbone.paths
        ]
        for m in (module, fast)
    )
    assert not any(types - {torch.float32} for types in of_module)
    frozen, trained = of_fast[: module.split], of_fast[module.split :]
    assert set().union(*frozen) == {torch.bfloat16}
    assert set().union(*trained) == {torch.float32}
    assert fast.objective is module.objective


@pytest.mark.parametrize("n", [1, 2, 5])
def test_groups_do_not_change_answers(n, model, monkeypatch):
    scores, heatmaps = model.anomaly_score(IMAGES), model.explain(IMAGES)
    monkeypatch.setattr(lean_module, "_AT_ONCE", n * 64 * 64)
    other = copy.deepcopy(model)
    assert other._fitted.fast.at_once == n
    assert_allclose(other.anomaly_score(IMAGES), scores, rtol=1e-5)
    assert_allclose(
        other.explain(IMAGES), heatmaps, rtol=1e-4, atol=1e-5 * heatmaps.max()
    )


def test_groups_hand_on_the_same_features(model):
    fast = copy.copy(model._fitted.fast)
    unit = torch.from_numpy(IMAGES / np.float32(255))[:, None]
    with torch.no_grad():
        fast.at_once = None
        (whole,) = fast.frozen_features(unit)
        fast.at_once = 5
        (grouped,) = fast.frozen_features(unit)
    assert whole.dtype == torch.float32
    torch.testing.assert_close(grouped, whole, rtol=0, atol=1e-2 * float(whole.max()))


def test_a_network_without_frozen_layers_is_taken_as_it_is():
    fitted = quick(max_epochs=1, frozen=None).fit(IMAGES, Y)._fitted
    assert fitted.fast is fitted.module
    assert lean(fitted.module, "float32", (64, 64)) is fitted.module


def test_the_copy_is_not_stored(model):
    model.anomaly_score(IMAGES)
    assert "fast" in vars(model._fitted)
    loaded = pickle.loads(pickle.dumps(model))
    assert "fast" not in vars(loaded._fitted)
    assert "fast" not in vars(copy.deepcopy(model)._fitted)
    assert_array_equal(loaded.anomaly_score(IMAGES), model.anomaly_score(IMAGES))


def test_going_on_with_training_makes_a_new_copy():
    model = quick(max_epochs=1, warm_start=True).fit(IMAGES, Y)
    before = model.anomaly_score(IMAGES)
    model.fit(IMAGES, Y)
    assert np.abs(model.anomaly_score(IMAGES) / before - 1).min() > 1e-6


class Opaque(nn.Module):
    """A network whose parts fit no pattern."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = randomised(Layers(skipping, spectral))

    def forward(self, x):
        return self.layers(x.expand(-1, 3, -1, -1))


@pytest.mark.parametrize(
    ("precision", "rtol"), [("float32", 1e-5), ("mixed", 0.05), ("bfloat16", 0.05)]
)
def test_frozen_networks_of_ones_own(precision, rtol):
    images, y, _ = make_images(24, size=(32, 32), n_anomalous=6)
    model = quick(backbone=Opaque(), frozen="all", precision=precision, max_epochs=1)
    model.fit(images, y)
    with torch.no_grad():
        unit = torch.from_numpy(images / np.float32(255))[:, None]
        maps = model.net_.module_.eval()(unit).numpy().astype(float)
    assert_allclose(model.anomaly_score(images), maps.mean(axis=(1, 2)), rtol=rtol)
