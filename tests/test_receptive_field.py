"""Measured receptive fields against the recursion over layers, and odd modules."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skfcdd.backbones import make_backbone, measure_backbone
from skfcdd.receptive_field import ReceptiveField, measure_receptive_field

# r, j and the first centre by hand, from kernels, strides and paddings.
BY_HAND = {
    "tiny": (5, 1, 0.0),
    "fcdd28": (16, 4, 1.5),
    "fcdd28_wide": (16, 4, 1.5),
    "fcdd32": (32, 4, 1.5),
    "fcdd32_s": (18, 4, 1.5),
    "fcdd32_lw3k": (22, 4, 1.5),
    "fcdd224": (59, 8, 0.0),
    "fcdd224_wide": (59, 8, 0.0),
}


@pytest.fixture(autouse=True)
def one_thread():
    """Many tiny forward passes wait for each other's threads on a busy machine."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def by_recursion(module, axis=0):
    """Extent, stride and first centre from the layers of a sequence."""
    extent, stride, center = 1.0, 1.0, 0.0
    for layer in module:
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            k, s, p, d = (
                v[axis] if isinstance(v, tuple) else v
                for v in (
                    layer.kernel_size,
                    layer.stride,
                    layer.padding,
                    layer.dilation,
                )
            )
            reach = d * (k - 1)
            extent += reach * stride
            center += (reach / 2 - p) * stride
            stride *= s
    return extent, stride, center


@pytest.mark.parametrize(
    ("name", "size"),
    [*((name, (32, 32)) for name in BY_HAND), ("fcdd224", (61, 48))],
)
def test_networks_of_the_paper(name, size):
    module = make_backbone(name, (*size, 1))
    field = measure_receptive_field(module, size, 1)
    r, j, c = BY_HAND[name]
    assert field == ReceptiveField((r, r), (j, j), (c, c))
    assert by_recursion(module.children()) == (r, j, c)


def test_maps_put_together():
    sizes = {2: (35, 4, 5.0), 3: (107, 8, 9.0), 4: (155, 16, 17.0)}  # by hand
    for stages in ([2], [2, 3], [2, 3, 4]):
        network = make_backbone("squeezenet1_0", (128, 96, 1), stages=stages)
        field = measure_backbone(network, (128, 96), 1)
        _, j, c = sizes[stages[0]]
        r, last_j, _ = sizes[stages[-1]]
        # Bilinear interpolation reaches to the next cell of the coarser map.
        r += last_j if len(stages) > 1 else 0
        assert field == ReceptiveField((r, r), (j, j), (c, c))
        assert network(torch.zeros(1, 1, 128, 96)).isfinite().all()


PER_AXIS = st.tuples(st.integers(1, 5), st.integers(1, 5))
LAYER = st.tuples(
    PER_AXIS,
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    PER_AXIS.map(lambda pair: (pair[0] - 1, pair[1] - 1)),
    st.tuples(st.integers(1, 3), st.integers(1, 2)),
)


@given(layers=st.lists(LAYER, min_size=1, max_size=3))
def test_any_chain_of_convolutions(layers):
    """Kernels, strides, paddings and dilations of all sorts, other ones per axis."""
    module = nn.Sequential(
        *(nn.Conv2d(1, 1, k, s, padding=p, dilation=d) for k, s, p, d in layers)
    )
    size = (96, 110)  # a field fits in
    found = measure_receptive_field(module, size, 1)
    for axis in (0, 1):
        expected = by_recursion(module, axis)
        assert (found.extent[axis], found.stride[axis], found.offset[axis]) == expected


def test_axes_are_measured_apart():
    module = nn.Sequential(
        nn.Conv2d(2, 3, (3, 7), stride=(1, 3), padding=(0, 2)), nn.Conv2d(3, 1, (1, 2))
    )
    field = measure_receptive_field(module, (40, 50), 2)
    assert field.extent == (3, 10)
    assert field.stride == (1, 3)
    assert field.offset == (1.0, 2.5)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(1, 1, 5, padding=2)

    def forward(self, x):
        return x + torch.relu(self.wide(x))


class Gated(nn.Module):
    """Squeeze and excitation: every cell sees everything."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 3, stride=2, padding=1)

    def forward(self, x):
        x = self.layer(x)
        return x * torch.sigmoid(x.mean(dim=(2, 3), keepdim=True))


class OneSize(nn.Module):
    """Refuses all sizes but one, as many networks do, and each in its own way."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        if x.shape[2:] != (16, 16):
            raise self.error("16 x 16 only")
        return x[:, :, ::4, ::4]


class Cropped(nn.Module):
    """Nothing is left of a narrow strip."""

    def forward(self, x):
        return x[:, :, 5:-4, 5:-4]


ODD = [
    (nn.Conv2d(1, 1, 3, dilation=4, padding=4), (9, 1, 0.0)),
    (nn.Conv2d(1, 1, 3, dilation=8, padding=8), (17, 1, 0.0)),
    (nn.Conv2d(1, 1, 4, stride=2, padding=1), (4, 2, 0.5)),
    (nn.Sequential(nn.ZeroPad2d((2, 0, 2, 0)), nn.Conv2d(1, 1, 3)), (3, 1, -1.0)),
    (Residual(), (5, 1, 0.0)),
    (nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=2)), (2, 1, None)),
    (nn.Sequential(nn.MaxPool2d(2), Residual()), (10, 2, 0.5)),
    (OneSize(RuntimeError), (1, 4, 0.0)),
    (OneSize(ValueError), (1, 4, 0.0)),
    (OneSize(AssertionError), (1, 4, 0.0)),
    (Cropped(), (1, 1, 5.0)),
]


@pytest.mark.parametrize(("module", "expected"), ODD)
def test_other_modules(module, expected):
    field = measure_receptive_field(module, (16, 16), 1)
    r, j, c = expected
    assert field.extent == (r, r)
    if c is not None:
        assert field.stride == (j, j)
        assert field.offset == (c, c)


def test_weights_of_zero_count():
    layer = nn.Conv2d(1, 1, 5)
    nn.init.zeros_(layer.weight)
    assert measure_receptive_field(layer, (20, 20), 1).extent == (5, 5)


def test_global_modules_are_infinite():
    field = measure_receptive_field(Gated(), (16, 32), 1)
    assert field.extent == (math.inf, math.inf)
    assert field.stride == (2, 2)
    assert field.share((16, 32)) == (1.0, 1.0)


def test_a_size_that_the_module_refuses():
    with pytest.raises(ValueError, match="16 x 16 only"):
        measure_receptive_field(OneSize(ValueError), (8, 8), 1)


def test_field_larger_than_the_image():
    module = make_backbone("fcdd224", (24, 24, 1))
    field = measure_receptive_field(module, (24, 24), 1)
    assert field.extent == (59, 59)
    assert field.share((24, 24)) == (1.0, 1.0)


def test_module_is_left_as_it_was():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
    module.double()[1].eval()
    module[0].weight.requires_grad_(False)
    module[0].bias.grad = torch.ones(2, dtype=torch.float64)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    state = torch.random.get_rng_state()
    measure_receptive_field(module, (12, 12), 1)
    assert module.training
    assert not module[1].training
    assert [p.requires_grad for p in module.parameters()] == [False, True, True, True]
    assert torch.equal(module[0].bias.grad, torch.ones(2, dtype=torch.float64))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.backends.mkldnn.enabled
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])


def test_centers():
    field = ReceptiveField((6, 9), (4, 2), (1.5, -1.0))
    assert field.centers(3).tolist() == [1.5, 5.5, 9.5]
    assert field.centers(2, axis=1).tolist() == [-1.0, 1.0]


@pytest.mark.parametrize(("name", "stage"), [("fcdd224", 5), ("vgg11_bn", 2)])
def test_table_of_the_documentation(name, stage):
    path = Path(__file__).parents[1] / "docs" / "backbones.md"
    rows = [line for line in path.read_text().splitlines() if f"| `{name}` |" in line]
    cells = [cell.strip() for cell in rows[stage - 1].split("|")[3:6]]
    network = make_backbone(name, (224, 224, 3), cut=stage)
    field = measure_backbone(network, (224, 224), 3)
    measured = (field.extent[0], field.stride[0], field.offset[0])
    assert [float(cell) for cell in cells] == list(measured)
