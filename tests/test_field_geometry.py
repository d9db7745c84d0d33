"""Where cells lie, for modules that bring maps of several scales together."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skfcdd import FCDDClassifier
from skfcdd.backbones import list_backbones, make_backbone, measure_backbone
from skfcdd.exceptions import ReceptiveFieldWarning
from skfcdd.heatmaps import GaussianUpsampler
from skfcdd.persistence import load, save
from skfcdd.persistence._encoding import Decoder, Encoder
from skfcdd.receptive_field import ReceptiveField, measure_receptive_field
from skfcdd.receptive_field._check import check_places
from skfcdd.receptive_field._probe import Probe


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    """Many tiny forward passes wait for each other's threads on a busy machine."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_num_threads(n_threads)


def smoothing(module):
    """The module with weights that are highest in the middle: a spot stays there."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            rows, columns = (
                torch.arange(1.0, k + 1).minimum(torch.arange(k, 0.0, -1))
                for k in layer.kernel_size
            )
            kernel = rows[:, None] * columns
            share = kernel / kernel.sum() / layer.weight.shape[1]
            layer.weight.data.copy_(share.expand_as(layer.weight))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module.eval()


def place_of_spot(module, field, spot):
    """Middle of the highest pixels of the heatmap of an image with a bright spot."""
    image, size = spot, tuple(spot.shape[2:])
    with torch.no_grad():
        features = module(image)
    cells = features.square().sum(dim=1).double()
    heatmap = GaussianUpsampler(size, tuple(cells.shape[1:]), field)(cells)[0]
    highest = heatmap >= (1 - 1e-9) * heatmap.max()
    return highest.nonzero().double().mean(dim=0).tolist()


def assert_spots_stay(module, size, stride, apart=(0, 0)):
    """Heatmaps peak within half a stride, of the coarsest map, of a bright spot.

    Or further off where the maps that are joined lie apart.
    """
    module = smoothing(module)
    field = measure_receptive_field(module, size, 1)
    shares = (0.3, 0.41, 0.5, 0.68)
    for places in zip(shares, reversed(shares), strict=True):
        spot = torch.zeros(1, 1, *size)
        start = [int(p * n) for p, n in zip(places, size, strict=True)]
        width = [math.ceil(j) for j in stride]  # some cell sees of it
        rows, columns = (slice(a, a + k) for a, k in zip(start, width, strict=True))
        spot[..., rows, columns] = 1.0
        found = place_of_spot(module, field, spot)
        for axis in (0, 1):
            middle = start[axis] + (width[axis] - 1) / 2
            # A pixel is the finest that a heatmap can tell.
            assert abs(found[axis] - middle) <= stride[axis] / 2 + 0.5 + apart[axis]
    return field


def conv(n_in, n_out, stride, kernel=3, **options):
    options = {"padding": kernel // 2, "bias": False, **options}
    return nn.Conv2d(n_in, n_out, kernel, stride, **options)


class Join(nn.Module):
    """A map, and a deeper one brought to its size: behind it as channels, or added."""

    def __init__(self, first, deeper, how="cat", **resize):
        super().__init__()
        self.first, self.deeper = first, deeper
        self.how, self.resize = how, resize or {"mode": "bilinear"}

    def forward(self, x):
        first = self.first(x)
        deeper = F.interpolate(self.deeper(first), first.shape[2:], **self.resize)
        return torch.cat([first, deeper], 1) if self.how == "cat" else first + deeper


def pyramid(stride, how="cat", **resize):
    layers = [conv(1, 4, 2)]
    while 2 ** len(layers) < stride:
        layers.append(conv(4, 4, 2))
    return Join(nn.Sequential(*layers), conv(4, 4, 2), how, **resize)


SIZES = [(64, 64), (128, 96), (101, 67), (224, 130)]
RESIZES = [
    {"mode": "bilinear"},
    {"mode": "bilinear", "align_corners": True},
    {"mode": "nearest"},
    {"mode": "area"},
    {"mode": "bicubic"},
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", RESIZES, ids=str)
@pytest.mark.parametrize("how", ["cat", "add"])
@pytest.mark.parametrize("stride", [2, 4, 8])
def test_maps_brought_together(size, resize, how, stride):
    field = assert_spots_stay(pyramid(stride, how, **resize), size, (2 * stride,) * 2)
    assert field.stride == pytest.approx((stride, stride), rel=0.1)
    if how == "cat":  # the finest map says where cells lie
        assert field.stride == (stride, stride)
        assert field.offset == (0.0, 0.0)


@pytest.mark.parametrize(("stage", "grid"), [(2, (4, 3)), (3, (8, 7)), (4, (16, 15))])
@pytest.mark.parametrize("size", [128, 224])
def test_stages_of_inverted_residuals(stage, grid, size):
    network = make_backbone(
        "efficientnet_lite0", (size, size, 3), weights=None, stages=[stage, stage + 1]
    )
    field = measure_receptive_field(network, (size, size), 3)
    assert (field.stride[0], field.offset[0]) == grid
    assert field == measure_backbone(network, (size, size), 3)


class UNet(nn.Module):
    def __init__(self, up):
        super().__init__()
        self.one, self.two, self.three = conv(1, 4, 2), conv(4, 4, 2), conv(4, 4, 2)
        self.up, self.back = up, conv(4, 4, 1)

    def forward(self, x):
        one = self.one(x)
        two = self.two(one)
        two = two + self.up(self.three(two))[..., : two.shape[2], : two.shape[3]]
        return one + self.up(self.back(two))[..., : one.shape[2], : one.shape[3]]


class Shuffled(nn.Sequential):
    """Cells of a pixel shuffle, which share what they see."""

    def __init__(self):
        super().__init__(conv(1, 4, 2), conv(4, 16, 2), nn.PixelShuffle(2))


ENLARGING = [
    (UNet(nn.ConvTranspose2d(4, 4, 2, 2, bias=False)), 8),
    (UNet(nn.ConvTranspose2d(4, 4, 4, 2, 1, bias=False)), 8),
    (nn.Sequential(conv(1, 4, 4), nn.ConvTranspose2d(4, 4, 3, 2, 1, 1)), 4),
    (Shuffled(), 4),
    (nn.Sequential(conv(1, 4, 4, 5), nn.Upsample(scale_factor=2)), 4),
    (nn.Sequential(conv(1, 4, 4), nn.Upsample(scale_factor=4, mode="bilinear")), 4),
    (nn.Sequential(conv(1, 4, 8), nn.Upsample(scale_factor=4)), 8),
]


@pytest.mark.parametrize("size", [(64, 64), (96, 128), (75, 90)])
@pytest.mark.parametrize(("module", "stride"), ENLARGING)
def test_maps_made_larger(module, stride, size):
    assert_spots_stay(module, size, (stride, stride))


@pytest.mark.parametrize("size", [(64, 64), (96, 130), (37, 51)])
@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])
@pytest.mark.parametrize("n_cells", [4, 7])
def test_pooling_to_a_size(pool, n_cells, size):
    module = nn.Sequential(conv(1, 4, 1), pool(n_cells))
    field = assert_spots_stay(module, size, tuple(n / n_cells for n in size))
    assert field.stride == pytest.approx(tuple(n / n_cells for n in size), rel=0.1)
    for axis in (0, 1):
        centers = field.centers(n_cells, axis)
        middle = centers[0] + centers[-1]
        assert middle == pytest.approx(size[axis] - 1, abs=2.5)


class Same(nn.Module):
    """The padding that TensorFlow calls "same", which depends on the size."""

    def __init__(self, kernel):
        super().__init__()
        self.layer = conv(1, 4, 2, kernel, padding=0)
        self.kernel = kernel

    def forward(self, x):
        h, w = ((-(-n // 2) - 1) * 2 + self.kernel - n for n in x.shape[2:])
        pad = (w // 2, w - w // 2, h // 2, h - h // 2)
        return self.layer(F.pad(x, pad))


@pytest.mark.parametrize("size", [(64, 64), (63, 64), (20, 33)])
@pytest.mark.parametrize("kernel", [3, 4, 5])
def test_padding_that_depends_on_the_size(kernel, size):
    field = assert_spots_stay(Same(kernel), size, (2, 2))
    for axis in (0, 1):
        missing = (-(-size[axis] // 2) - 1) * 2 + kernel - size[axis]
        assert field.stride[axis] == 2
        assert field.offset[axis] == (kernel - 1) / 2 - missing // 2


@pytest.mark.parametrize("size", [(64, 64), (41, 90)])
def test_fields_with_holes(size):
    module = nn.Sequential(
        conv(1, 4, 2), conv(4, 4, 1, dilation=6, padding=6), conv(4, 4, 2)
    )
    field = assert_spots_stay(module, size, (4, 4))
    assert field == ReceptiveField((31, 31), (4, 4), (0.0, 0.0))


class Moved(nn.Module):
    """Cells in another order along the rows."""

    def __init__(self, order):
        super().__init__()
        self.layer, self.order = conv(1, 4, 4), order

    def forward(self, x):
        return self.order(self.layer(x))


class Squeezed(nn.Module):
    """Cells that lie closer together at the start than at the end."""

    def __init__(self):
        super().__init__()
        self.layer = conv(1, 4, 1)

    def forward(self, x):
        x = self.layer(x)
        places = (torch.linspace(0, 1, 12) ** 2 * (x.shape[2] - 1)).long()
        return x[:, :, places, ::4]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (lambda x: x.flip(2), lambda k: k[::-1]),
        (lambda x: x.roll(3, 2), lambda k: np.roll(k, 3)),
        (lambda x: torch.cat([x[:, :, ::2], x[:, :, 1::2]], 2), None),
    ],
)
def test_cells_in_another_order(order, expected):
    field = assert_spots_stay(Moved(order), (64, 48), (4, 4))
    k = 4.0 * np.arange(16)
    k = np.concatenate([k[::2], k[1::2]]) if expected is None else expected(k)
    assert np.abs(field.centers(16) - k).max() <= 0.5  # the first cell sees less
    assert field.centers(12, 1).tolist() == list(range(0, 48, 4))
    assert field.stride == (4, 4)


def test_cells_that_are_not_evenly_spaced():
    module = Squeezed()
    field = measure_receptive_field(module, (96, 96), 1)
    places = (np.linspace(0, 1, 12) ** 2 * 95).astype(int)
    assert np.abs(field.centers(12) - places).max() <= 0.5
    assert field.stride[0] == pytest.approx(95 / 11)
    with pytest.raises(ValueError, match="12 cells"):
        field.centers(13)


POOL = st.sampled_from(["conv", "max", "avg"])
RESIZE = st.sampled_from(RESIZES[:4])


@st.composite
def networks(draw):
    """A chain of strided layers, its maps joined from the coarsest to one of them."""
    layers, strides, made = [], [], (1, 1)
    for _ in range(draw(st.integers(1, 3))):
        stride = draw(st.sampled_from([(1, 1), (2, 2), (2, 1), (1, 2)]))
        kernel = draw(st.sampled_from([1, 3, 5]))
        dilation = draw(st.integers(1, 2))
        kind, n_in = draw(POOL), 1 if not layers else 2
        layer = conv(n_in, 2, stride, kernel, dilation=dilation)
        layer.padding = (kernel // 2 * dilation,) * 2
        if kind != "conv":
            pool = nn.MaxPool2d if kind == "max" else nn.AvgPool2d
            layer = nn.Sequential(conv(n_in, 2, 1), pool(3, stride, 1))
        layers.append(layer)
        made = (made[0] * stride[0], made[1] * stride[1])
        strides.append(made)
    return layers, strides, draw(st.sampled_from(["cat", "add"])), draw(RESIZE)


class Chain(nn.Module):
    def __init__(self, layers, how, resize):
        super().__init__()
        self.layers, self.how, self.resize = nn.ModuleList(layers), how, resize

    def forward(self, x):
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        size = maps[0].shape[2:]
        maps = [maps[0], *(F.interpolate(m, size, **self.resize) for m in maps[1:])]
        return torch.cat(maps, 1) if self.how == "cat" else sum(maps)


@given(parts=networks(), h=st.integers(40, 90), w=st.integers(40, 90))
def test_any_network_of_these_parts(parts, h, w):
    layers, strides, how, resize = parts
    apart = (0, 0)
    if resize.get("align_corners"):  # the last cells of all maps are laid on another
        apart = tuple(k - j for j, k in zip(strides[0], strides[-1], strict=True))
    field = assert_spots_stay(Chain(layers, how, resize), (h, w), strides[-1], apart)
    u, v = (-(-n // j) for n, j in zip((h, w), strides[0], strict=True))
    for axis, (n_cells, n) in enumerate(((u, h), (v, w))):
        centers = field.centers(n_cells, axis)
        assert -strides[-1][axis] <= centers.min() <= centers.max()
        assert centers.max() <= n - 1 + strides[-1][axis]


class Wide(nn.Sequential):
    """Cells of a fixed number, each of which sees all of a small image."""

    def __init__(self):
        super().__init__(
            *(conv(1, 1, 1, 5, dilation=8, padding=16) for _ in range(3)),
            nn.AdaptiveAvgPool2d(8),
        )


def test_cells_that_cannot_be_placed_are_spread_evenly():
    with pytest.warns(ReceptiveFieldWarning, match="be spread evenly") as caught:
        field = measure_receptive_field(Wide(), (32, 64), 1)
    assert len(caught) == 1
    assert field.extent == (math.inf, math.inf)
    assert field.stride == (4, 8)
    assert field.offset == (1.5, 3.5)
    assert field.regular


class Channels(nn.Module):
    """Channels that are split, mixed, repeated and written into."""

    def __init__(self):
        super().__init__()
        self.one, self.two = conv(1, 6, 2), conv(3, 3, 1, 5, groups=3)
        self.norm, self.three = nn.BatchNorm2d(12), conv(12, 24, 1, groups=4)
        self.group = conv(3, 3, 1, 3, dilation=3, padding=3)

    def forward(self, x):
        left, right = self.one(x).chunk(2, dim=1)
        x = F.relu(torch.cat([left, self.two(right), self.group(left), right], 1), True)
        x += x.mean(dim=1, keepdim=True)[:, :, :1, :1] * 0 + 1
        x = self.norm(x).view(len(x), 3, 4, *x.shape[2:]).transpose(1, 2)
        x = self.three(x.reshape(len(x), 12, *x.shape[3:]))
        return F.pad(F.max_pool2d(x, 2), (0, 0, 0, 0, 0, 1))


THIN = [
    Channels(),
    UNet(nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, groups=2)),
    Shuffled(),
    pyramid(4, "add"),
    pyramid(4, "cat", mode="bicubic"),
    Moved(lambda x: torch.softmax(x, 1) * x.flip(1)),
    nn.Sequential(conv(1, 4, 2), nn.PReLU(4), nn.GroupNorm(2, 4), conv(4, 4, 2)),
]
NETWORKS = [("efficientnet_lite0", 3), ("mobilenet_v3_small", 3), ("resnet18", 2)]
NETWORKS += [("squeezenet1_1", 3), ("vgg11_bn", 3), ("efficientnet_b0", 2)]


@pytest.mark.parametrize(
    "module",
    [*THIN, *(make_backbone(n, (64, 64, 1), weights=None, cut=k) for n, k in NETWORKS)],
)
def test_channels_that_are_alike_are_computed_once_and_rightly(module):
    """NaN reach the same cells, in the same channels, as in the whole network."""
    thin, full = Probe(module), Probe(module)
    full.thin = False
    images = torch.zeros(4, 1, 72, 64, dtype=torch.float64)
    images[0, :, 30:33, 20:22] = images[1, :, :, :9] = images[2, :, 50:] = math.nan
    with torch.no_grad():
        found, expected = thin(images), full(images)
    assert thin.thin
    assert torch.equal(found.any(dim=1), expected.any(dim=1))
    patterns = {tuple(c.flatten().tolist()) for c in expected.unbind(1)}
    assert {tuple(c.flatten().tolist()) for c in found.unbind(1)} == patterns
    assert measured(module, thin=True) == measured(module, thin=False)


def measured(module, *, thin):
    with pytest.MonkeyPatch.context() as patch:
        if not thin:
            patch.setattr(Probe, "_run", lambda self, x: self._computed(x, thin=False))
        return measure_receptive_field(module, (36, 48), 1)


class Quotient(nn.Module):
    """0 / 0 where all numbers are zero."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x):
        x = self.layer(x)
        return x / x.abs()


class Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x[:, :, ::2, ::2].clone()


class OwnKernel(nn.Sequential):
    """Code that torch cannot look into."""

    def forward(self, x):
        return Function.apply(super().forward(x))


class WithoutBatches(nn.Sequential):
    def forward(self, x):
        assert len(x) == 1
        return super().forward(x)


@pytest.mark.parametrize(
    ("module", "stride"),
    [
        (Quotient(), 1),
        (OwnKernel(conv(1, 4, 1)), 2),
        (WithoutBatches(conv(1, 4, 1)), 1),
    ],
)
def test_code_that_takes_no_short_cuts(module, stride):
    field = measure_receptive_field(module, (24, 32), 1)
    assert field == ReceptiveField((3, 3), (stride, stride), (0, 0))


def built_in():
    for name in list_backbones():
        for size in [(64, 64), (65, 97)]:
            yield name, None, size
    yield from (("efficientnet_lite0", [k, k + 1], (128, 96)) for k in (1, 2, 3, 4))
    yield from (("resnet18", [k, k + 1], (97, 64)) for k in (1, 2, 3))


@pytest.mark.parametrize(("name", "stages", "size"), list(built_in()))
def test_no_false_alarms(name, stages, size):
    """Warnings are errors."""
    network = make_backbone(name, (*size, 3), weights=None, stages=stages)
    check_places(network, measure_backbone(network, size, 3), 3, size)


@given(parts=networks(), h=st.integers(40, 90), w=st.integers(40, 90))
def test_no_false_alarms_with_any_network(parts, h, w):
    layers, _, how, resize = parts
    module = smoothing(Chain(layers, how, resize))
    check_places(module, measure_receptive_field(module, (h, w), 1), 1, (h, w))


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": (-1017.0, -1017.0), "stride": (16.0, 16.0)},
        {"offset": (-125.0, 7.0)},
        {"offset": (7.0, 70.0)},
        {"stride": (8.0, 2.0)},
        {"places": (tuple(range(120, -8, -8)), None)},
    ],
    ids=str,
)
def test_fields_that_are_wrong_are_told(wrong):
    network = make_backbone("efficientnet_lite0", (128, 128, 3), weights=None, cut=3)
    field = replace(measure_backbone(network, (128, 128), 3), **wrong)
    axis = "columns" if wrong.get("stride") == (8, 2) or "70" in str(wrong) else "rows"
    with pytest.warns(ReceptiveFieldWarning, match=f"spots at {axis} .* wrong places"):
        check_places(network, field, 3, (128, 128))


class Elsewhere(nn.Sequential):
    """Maps that are upside down, but for faint ones that see least."""

    def forward(self, x):
        x = super().forward(x)
        return torch.cat([1e-3 * x, F.avg_pool2d(x, 3, 1, 1).flip(2)], dim=1)


IMAGES = np.random.RandomState(0).randint(0, 256, (12, 48, 48), dtype=np.uint8)


def quick(**params):
    params = {
        "max_epochs": 1,
        "weights": None,
        "random_state": 0,
        "validation_fraction": 0.1,
        **params,
    }
    return FCDDClassifier(**params)


def test_fit_says_where_heatmaps_cannot_be_trusted():
    backbone = smoothing(Elsewhere(conv(1, 4, 2), conv(4, 4, 2)))
    with pytest.warns(ReceptiveFieldWarning, match="wrong places"):
        quick(backbone=backbone).fit(IMAGES)
    quick(backbone=backbone, loss="hsc").fit(IMAGES)  # has no cells
    quick(backbone=smoothing(pyramid(4))).fit(IMAGES)


def test_models_of_cells_that_are_on_no_grid(tmp_path):
    backbone = smoothing(Moved(lambda x: x.roll(3, 2)))
    model = quick(backbone=backbone).fit(IMAGES)
    field = model.receptive_field_
    assert not field.regular
    save(model, tmp_path / "model.skfcdd")
    loaded = load(tmp_path / "model.skfcdd", backbone=backbone)
    assert loaded.receptive_field_ == field
    assert np.array_equal(loaded.explain(IMAGES), model.explain(IMAGES))
    with pytest.raises(ValueError, match="regular grid"):
        model.explain_large(np.zeros((96, 96), np.uint8), tile_size=32)


def test_stored_fields_say_no_more_than_they_must():
    field = ReceptiveField((6.0, 6.0), (4.0, 4.0), (1.5, 1.5))
    stored = Encoder().encode(field, "field")
    assert set(stored["fields"]) == {"extent", "stride", "offset"}
    assert Decoder().decode(stored) == field
    placed = replace(field, places=((1.0, 7.0), None))
    assert Decoder().decode(Encoder().encode(placed, "field")) == placed


@pytest.mark.parametrize(
    "size", [pytest.param((128, 128), marks=pytest.mark.nightly), (91, 110)]
)
def test_no_false_alarm_without_padding(size):
    """Spots are near the border of what cells see in the middle."""
    module = nn.Sequential(*(conv(1, 1, 1, 11, padding=0) for _ in range(7)))
    check_places(module, measure_receptive_field(module, size, 1), 1, size)
