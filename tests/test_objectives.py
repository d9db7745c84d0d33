"""Objectives: values and gradients against closed forms and slow references."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skfcdd import FCDDClassifier
from skfcdd._engine.module import Network, make_module
from skfcdd._engine.preprocessing import Preprocess
from skfcdd._engine.settings import NetworkSettings
from skfcdd.objectives import (
    BCE,
    DSVDD,
    FCDD,
    HSC,
    OBJECTIVES,
    Focal,
    Objective,
    anomaly_nll,
    pixel_loss,
    pseudo_huber,
    resolve_objective,
)
from skfcdd.objectives._head import MapHead

PHI = np.logspace(-8, 4, 49)


def reference_map(phi):
    """sqrt(phi^2 + 1) - 1 without cancellation, one number at a time."""
    return np.array([math.expm1(0.5 * math.log1p(p * p)) for p in np.ravel(phi)])


def reference_nll(s):
    """-log(1 - exp(-s)), one number at a time, from the series where s is tiny."""
    return np.array(
        [
            -math.log(-math.expm1(-v)) if v < 1 else -math.log1p(-math.exp(-v))
            for v in np.ravel(s)
        ]
    )


@pytest.mark.parametrize("sign", [-1, 1])
def test_map_and_gradient_from_tiny_to_huge(sign):
    phi = torch.tensor(sign * PHI, dtype=torch.float32, requires_grad=True)
    A = pseudo_huber(phi)
    A.sum().backward()
    exact = phi.detach().double().numpy()
    assert_allclose(A.detach().numpy(), reference_map(exact), rtol=2e-6)
    assert_allclose(phi.grad.numpy(), exact / np.sqrt(exact**2 + 1), rtol=2e-6)


def test_known_values_of_the_map():
    A = pseudo_huber(torch.tensor([0.0, 0.75, -math.sqrt(3), 4 / 3]))
    assert_allclose(A.numpy(), [0, 0.25, 1, 2 / 3], rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_of_anomalies_and_its_gradient(dtype):
    s = torch.tensor(np.logspace(-16, 1.4, 60), dtype=dtype, requires_grad=True)
    loss = anomaly_nll(s)
    loss.sum().backward()
    exact = s.detach().double().numpy()
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert_allclose(loss.detach().numpy(), reference_nll(exact), rtol=tolerance)
    assert_allclose(s.grad.numpy(), -1 / np.expm1(exact), rtol=tolerance)


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-38, math.log(2), 100.0, 1e4])
def test_loss_of_anomalies_is_finite_everywhere(value):
    s = torch.tensor([value], requires_grad=True)
    loss = anomaly_nll(s)
    loss.backward()
    assert loss.isfinite().all()
    assert s.grad.isfinite().all()
    assert loss.item() >= 0
    if value == 100.0:
        assert_allclose(loss.item(), math.exp(-100), atol=1e-44)


def fcdd_loss(phi, anomalous):
    objective = FCDD()
    cells = objective.cells(phi[:, None])
    return objective.loss(cells.mean(dim=(1, 2)), anomalous)


def slow_fcdd_loss(phi, anomalous):
    """Equation 3 of the paper, image by image and cell by cell."""
    losses = []
    for image, bad in zip(phi, anomalous, strict=True):
        s = sum(reference_map(image)) / image.size
        losses.append(reference_nll(s)[0] if bad else s)
    return np.array(losses)


@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e-2, 1.0, 30.0, 1e4])
def test_objective_against_a_slow_version(scale):
    rng = np.random.RandomState(0)
    exact = (scale * rng.standard_normal((6, 3, 4))).astype(np.float32).astype(float)
    anomalous = np.array([True, False] * 3)
    phi = torch.tensor(exact, dtype=torch.float32, requires_grad=True)
    loss = fcdd_loss(phi, torch.tensor(anomalous))
    loss.sum().backward()
    assert_allclose(
        loss.detach().numpy(), slow_fcdd_loss(exact, anomalous), rtol=1e-5, atol=1e-30
    )
    s = reference_map(exact).reshape(6, -1).mean(axis=1)
    slope = np.where(anomalous, -1 / np.expm1(np.minimum(s, 700)), 1.0)
    gradient = slope[:, None, None] * exact / np.sqrt(exact**2 + 1) / 12
    assert_allclose(phi.grad.numpy(), gradient, rtol=2e-5, atol=1e-37)


@pytest.mark.parametrize("phi", [0.0, 1e-8, math.sqrt(101**2 - 1)])
@pytest.mark.parametrize("anomalous", [True, False])
def test_extremes_under_autocast(phi, anomalous):
    """The head and what lies behind it keep full precision: s = 0, tiny, and 100."""
    objective = FCDD()
    objective.build(1)
    with torch.no_grad():
        objective.head.weight.fill_(1.0)
        objective.head.bias.zero_()
    features = torch.full((1, 1, 2, 2), phi, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cells = objective(features)
        assert cells.dtype == torch.float32
        loss = objective.loss(cells.mean(dim=(1, 2)), torch.tensor([anomalous]))
    loss.sum().backward()
    s = reference_map(phi)[0]
    expected = (reference_nll(s)[0] if s > 0 else 87.3365) if anomalous else s
    assert_allclose(loss.item(), expected, rtol=1e-5, atol=1e-40)
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_half_precision_ends_before_the_head(name):
    """Cells and losses of bfloat16 features have all digits of float32."""
    objective = resolve_objective(name)
    objective.build(6)
    features = torch.randn(8, 6, 4, 5, generator=torch.Generator().manual_seed(0))
    features = (1e-2 * features).bfloat16().requires_grad_()
    anomalous = torch.arange(8) % 2 == 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cells = objective(features)
        loss = objective.loss(cells.mean(dim=(1, 2)), anomalous)
    loss.sum().backward()
    assert features.grad.isfinite().all()
    assert cells.dtype == loss.dtype == torch.float32
    objective.double()
    exact = objective.cells(objective.head(features.detach().double()))
    assert_allclose(cells.detach(), exact.detach(), rtol=1e-4)
    expected = objective.loss(exact.mean(dim=(1, 2)), anomalous)
    assert_allclose(loss.detach(), expected.detach(), rtol=1e-4)


def test_objective_is_cross_entropy_in_p():
    s = torch.rand(50, dtype=torch.float64) * 5
    anomalous = torch.rand(50) < 0.5
    p = 1 - torch.exp(-s)
    expected = F.binary_cross_entropy(p, anomalous.double(), reduction="none")
    for objective in (FCDD(), HSC(), BCE(), Focal(gamma=0.0)):
        assert_allclose(objective.loss(s, anomalous), expected, rtol=1e-9)


def test_single_cell_cross_entropy_is_logistic_regression():
    logits = torch.linspace(-6, 6, 25, dtype=torch.float64)
    anomalous = torch.arange(25) % 2 == 0
    objective = BCE()
    s = objective.cells(logits[:, None, None, None]).mean(dim=(1, 2))
    expected = F.binary_cross_entropy_with_logits(
        logits, anomalous.double(), reduction="none"
    )
    assert_allclose(objective.loss(s, anomalous), expected, rtol=1e-9)


def test_focal_loss_formula():
    s = torch.tensor([0.3, 0.3, 2.0, 2.0], dtype=torch.float64)
    anomalous = torch.tensor([True, False, True, False])
    p = 1 - np.exp(-s.numpy())
    right = np.where(anomalous, p, 1 - p)
    expected = -((1 - right) ** 2) * np.log(right)
    assert_allclose(Focal().loss(s, anomalous), expected, rtol=1e-12)


@given(s=st.floats(0, 300, width=32), gamma=st.floats(0, 8))
@example(s=0.0, gamma=0.5)
@example(s=200.0, gamma=0.5)
def test_focal_loss_is_finite_everywhere(s, gamma):
    scores = torch.tensor([s, s], requires_grad=True)
    loss = Focal(gamma=gamma).loss(scores, torch.tensor([True, False]))
    loss.sum().backward()
    assert loss.isfinite().all() and (loss >= 0).all()
    assert scores.grad.isfinite().all()
    assert scores.grad[0] <= 0 <= scores.grad[1]


def test_vector_objectives():
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert_allclose(HSC().cells(vectors)[:, 0, 0], [math.sqrt(26) - 1, 0], rtol=1e-6)
    objective = DSVDD(n_components=2)
    objective.build(5)
    features = torch.randn(20, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    objective.start(features)
    center = objective.center.clone()
    mean = objective.head(features).mean(dim=0).detach()
    far = mean.abs() >= 0.1
    assert_allclose(center[far].numpy(), mean[far].numpy(), rtol=1e-5)
    assert (center.abs() >= 0.1 - 1e-7).all()
    assert not center.requires_grad
    cells = objective.cells(vectors)[:, 0, 0].detach()
    assert_allclose(cells, ((vectors - center) ** 2).sum(dim=1), rtol=1e-6)
    loss = objective.loss(cells, torch.tensor([False, True]))
    assert_allclose(loss, [float(cells[0]), 0.0])
    assert all("bias" not in name for name, _ in objective.named_parameters())


def slow_pixel_loss(heatmaps, masks, over):
    losses = []
    for image, mask in zip(heatmaps, masks, strict=True):
        normal = anomalous = count = 0.0
        for value, bad in zip(image.ravel(), mask.ravel(), strict=True):
            normal += 0 if bad else value
            anomalous += value if bad else 0
            count += bool(bad)
        loss = normal / image.size
        if count:
            s = anomalous / (image.size if over == "all" else count)
            loss += -math.log(1 - math.exp(-s))
        losses.append(loss)
    return losses


@pytest.mark.parametrize("over", ["anomalous", "all"])
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_pixel_loss_against_a_slow_version(over, shape, share, seed):
    rng = np.random.RandomState(seed)
    heatmaps, masks = rng.uniform(1e-3, 3, shape), rng.uniform(size=shape) < share
    result = pixel_loss(torch.tensor(heatmaps), torch.tensor(masks), over=over)
    assert_allclose(result, slow_pixel_loss(heatmaps, masks, over), rtol=1e-10)
    numbers = torch.tensor(255 * masks.astype(np.uint8))
    assert torch.equal(pixel_loss(torch.tensor(heatmaps), numbers, over=over), result)


@pytest.mark.parametrize("over", ["anomalous", "all"])
@pytest.mark.parametrize("value", [0.0, 1e-30, 100.0])
def test_pixel_loss_is_finite_everywhere(over, value):
    heatmaps = torch.full((3, 4, 4), value, requires_grad=True)
    masks = torch.zeros(3, 4, 4, dtype=torch.bool)
    masks[1, 0, 0], masks[2] = True, True
    loss = pixel_loss(heatmaps, masks, over=over)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert heatmaps.grad.isfinite().all()


def test_cost_of_small_and_large_defects():
    heatmaps = torch.full((2, 10, 10), 0.5)
    masks = torch.zeros(2, 10, 10, dtype=torch.bool)
    masks[0, 0, 0], masks[1] = True, True
    even = pixel_loss(heatmaps, masks, over="anomalous")
    published = pixel_loss(heatmaps, masks, over="all")
    assert_allclose(even[0] - 0.5 * 0.99, even[1], rtol=1e-5)
    assert published[0] > 5 * published[1]


def test_pixel_loss_refuses_shapes_that_would_spread():
    with pytest.raises(ValueError, match=r"\(2, 4, 4\) and \(2, 1, 4, 4\)"):
        pixel_loss(torch.ones(2, 4, 4), torch.ones(2, 1, 4, 4, dtype=torch.bool))


def test_pixel_loss_refuses_other_means():
    with pytest.raises(ValueError, match=r"over='every'.*'anomalous' or 'all'"):
        pixel_loss(torch.ones(1, 2, 2), torch.ones(1, 2, 2) > 0, over="every")


def test_normal_pixels_without_a_mask_cost_their_score():
    heatmaps = torch.rand(3, 4, 4, requires_grad=True)
    loss = pixel_loss(heatmaps, torch.zeros(3, 4, 4, dtype=torch.bool))
    assert_allclose(loss.detach(), heatmaps.detach().mean(dim=(1, 2)), rtol=1e-6)
    loss.sum().backward()
    assert heatmaps.grad.isfinite().all()


@pytest.mark.parametrize("name", ["fcdd", "hsc", "bce", "focal"])
def test_a_batch_of_anomalies_alone_is_pushed_up(name):
    objective = OBJECTIVES[name]()
    s = torch.full((4,), 0.5, requires_grad=True)
    objective.loss(s, torch.ones(4, dtype=torch.bool)).sum().backward()
    assert (s.grad < 0).all()


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_cells_are_scores(name):
    objective = resolve_objective(name)
    objective.build(6)
    features = torch.randn(3, 6, 4, 5)
    objective.start(features)
    cells = objective(features)
    assert cells.shape == ((3, 4, 5) if objective.spatial else (3, 1, 1))
    assert (cells >= 0).all()
    cells.mean().backward()
    for parameter in objective.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@pytest.mark.parametrize("frozen", [None, 1])
def test_every_parameter_is_trained_and_the_centre_is_not(name, frozen):
    preprocess, shape = Preprocess(0.0, 1.0, [0.0], [1.0]), (16, 20, 1)
    estimator = FCDDClassifier("fcdd28", name, frozen=frozen)
    network = Network(NetworkSettings.of(estimator.get_params(deep=False)), shape)
    module = make_module(network, preprocess, network.measure(), None, shape)
    images = torch.rand(8, 1, 16, 20, generator=torch.Generator().manual_seed(0))
    objective = module.objective
    objective.start(module.features(images))
    center = getattr(objective, "center", torch.zeros(0)).clone()
    loss = objective.loss(module(images).mean(dim=(1, 2)), torch.arange(8) % 2 == 0)
    loss.mean().backward()
    out = network.backbone.paths[: network.split]
    for key, parameter in module.named_parameters():
        if key.removeprefix("backbone.").split(".")[0] in out:
            assert parameter.grad is None
            continue
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().max() > 0
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    optimizer.step()
    assert torch.equal(getattr(objective, "center", torch.zeros(0)), center)


class AbsoluteMap(Objective):
    """One's own objective: a map of absolute values, and a loss of its own."""

    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = weight

    def cells(self, phi):
        return phi[:, 0].abs()

    def loss(self, s, anomalous):
        return self.weight * super().loss(s, anomalous)


def test_own_objectives():
    assert isinstance(resolve_objective(AbsoluteMap), AbsoluteMap)
    mine = AbsoluteMap(weight=3.0)
    mine.build(4)
    copied = resolve_objective(mine)
    copied.build(5)
    assert mine.head.in_channels == 4  # the user's own is not built anew
    features = torch.randn(2, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    cells = copied(features)
    assert_allclose(cells.detach(), copied.head(features)[:, 0].abs().detach())
    s = torch.tensor([0.5, 0.7])
    anomalous = torch.tensor([True, False])
    assert torch.equal(copied.loss(s, anomalous), 3 * FCDD().loss(s, anomalous))


def test_heads_are_as_small_as_they_can_be():
    for name in OBJECTIVES:
        objective = resolve_objective(name)
        objective.build(7)
        shapes = {key: tuple(v.shape) for key, v in objective.head.named_parameters()}
        weight = next(v for k, v in shapes.items() if k.endswith("weight"))
        if objective.spatial:
            assert weight == (1, 7, 1, 1)
        else:
            assert weight == (64, 7)
            assert any(k.endswith("bias") for k in shapes) == (name != "dsvdd")


def test_names_classes_and_instances():
    assert isinstance(resolve_objective("focal"), Focal)
    assert isinstance(resolve_objective(HSC), HSC)
    mine = Focal(gamma=3.0)
    copied = resolve_objective(mine)
    assert copied is not mine
    assert copied.gamma == 3.0
    with pytest.raises(ValueError, match="Did you mean 'fcdd'"):
        resolve_objective("fcd")
    with pytest.raises(ValueError, match=r"or an Objective\.$"):
        resolve_objective("zzz")
    with pytest.raises(TypeError, match="loss=3"):
        resolve_objective(3)
    with pytest.raises(NotImplementedError):
        Objective().cells(torch.zeros(1, 1, 1, 1))


def test_anomalies_take_no_part_where_they_must_not():
    assert not DSVDD.uses_anomalies
    assert_array_equal(
        DSVDD().loss(torch.tensor([1.0, 2.0]), torch.tensor([True, False])), [0, 2]
    )


def head_gradients(head, features, weights):
    """Map and gradients of a head, in single precision."""
    features = features.detach().requires_grad_()
    head.zero_grad()
    phi = head(features)
    (phi * weights).sum().backward()
    gradients = [features.grad, *(p.grad for p in head.parameters())]
    return phi.detach(), [g.float().clone() for g in gradients]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "layout", [torch.channels_last, torch.contiguous_format], ids=["last", "first"]
)
def test_head_in_bfloat16_maps_in_single_precision(bias, layout):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 32, 5, 7, generator=generator).bfloat16()
    features = features.contiguous(memory_format=layout)
    weights = torch.randn(6, 1, 5, 7, generator=generator)
    head = MapHead(32)
    if not bias:
        head.register_parameter("bias", None)
    phi, gradients = head_gradients(head, features, weights)
    full, expected = head_gradients(head, features.float(), weights)
    torch.testing.assert_close(phi, full)
    assert len(gradients) == (3 if bias else 2)
    for mine, theirs in zip(gradients, expected, strict=True):
        assert float((mine - theirs).norm() / theirs.norm()) < 0.01  # 8 bits


def test_head_leaves_frozen_features_alone():
    features = torch.ones(1, 4, 2, 2, dtype=torch.bfloat16)
    head = MapHead(4)
    head(features).sum().backward()
    assert features.grad is None
    torch.testing.assert_close(head.weight.grad, torch.full((1, 4, 1, 1), 4.0))
    torch.testing.assert_close(head.bias.grad, torch.tensor([4.0]))


def test_head_gives_many_values():
    """In bfloat16 cells that differ by less than a part in 256 would be equal."""
    features = torch.linspace(1, 1.2, 1000).reshape(1, 1, 10, 100)
    features = torch.cat([features, 1 - features], dim=1).bfloat16()
    objective = FCDD()
    objective.build(channels=2)
    objective.head.weight.data[:] = torch.tensor([1.0, 0.1]).view(1, 2, 1, 1)
    n_features = len(torch.unique(features[:, 0]))
    with torch.autocast("cpu", torch.bfloat16):
        cells = objective(features)
    assert cells.dtype == torch.float32
    assert len(torch.unique(cells)) > n_features
