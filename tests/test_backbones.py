"""The networks of the paper, and what may stand in their place."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from skfcdd.backbones import auto_name, list_backbones, make_backbone
from skfcdd.backbones._norm import NarrowBatchNorm2d
from skfcdd.exceptions import BackboneError

# Kernel and channels of each convolution, and the number of poolings.
LAYERS = {
    "fcdd28": ([(5, 8), (5, 16)], 2),
    "fcdd28_wide": ([(5, 128), (5, 128)], 2),
    "fcdd32": ([(5, 32), (5, 64), (5, 128)], 2),
    "fcdd32_s": ([(3, 32), (3, 64), (3, 128)], 2),
    "fcdd32_lw3k": ([(3, 128), (3, 256), (3, 256), (3, 128)], 2),
    "fcdd224": ([(5, 8), (5, 32), (3, 64), (3, 128), (3, 128)], 3),
    "fcdd224_wide": ([(5, 32), (5, 128), (3, 256), (3, 256), (3, 128)], 3),
}
CELLS = {"fcdd28": 7, "fcdd28_wide": 7, "fcdd224": 28, "fcdd224_wide": 28}


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_layers_of_the_paper(name):
    layers, n_poolings = LAYERS[name]
    size = int(name[4:].split("_")[0])
    module = make_backbone(name, (size, size, 3))
    convolutions = [m for m in module.children() if isinstance(m, nn.Conv2d)]
    assert [(m.kernel_size[0], m.out_channels) for m in convolutions] == layers
    assert sum(isinstance(m, nn.MaxPool2d) for m in module.children()) == n_poolings
    cells = CELLS.get(name, 8)
    with torch.no_grad():
        output = module(torch.zeros(2, 3, size, size))
    assert output.shape == (2, layers[-1][1], cells, cells)
    # The last convolution goes straight into the objective's.
    assert isinstance(list(module.children())[-1], (nn.Conv2d, nn.MaxPool2d))


def cells_along(n_pixels, layers):
    """Number of cells along an axis after the poolings, from their formula."""
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            k, p = layer.kernel_size, layer.padding
            n_pixels = (n_pixels + 2 * p - k) // 2 + 1
    return n_pixels


@pytest.mark.parametrize("name", ["tiny", "fcdd28", "fcdd32_s", "fcdd224"])
@pytest.mark.parametrize("size", [(8, 8), (9, 14), (31, 60), (65, 12)])
def test_cells_of_any_size(name, size):
    module = make_backbone(name, (*size, 2)).eval()
    with torch.no_grad():
        output = module(torch.zeros(1, 2, *size))
    # Convolutions keep the size; odd rows are dropped or not as poolings do.
    assert output.shape[2:] == tuple(cells_along(n, module.children()) for n in size)
    n_poolings = sum(isinstance(m, nn.MaxPool2d) for m in module.children())
    for n_pixels, n_cells in zip(size, output.shape[2:], strict=True):
        assert n_pixels // 2**n_poolings <= n_cells <= -(-n_pixels // 2**n_poolings)


@pytest.mark.parametrize(
    "size", [(1, 2), (2, 1), (1, 500), (7, 7), (8, 9), (28, 28), (96, 130), (512, 512)]
)
@pytest.mark.parametrize("n_channels", [1, 5])
def test_auto_takes_any_size(size, n_channels):
    module = make_backbone("auto", (*size, n_channels)).eval()
    with torch.no_grad():
        assert module(torch.zeros(1, n_channels, *size)).ndim == 4


def test_auto_goes_by_the_shorter_side():
    sizes = [(1, 2), (7, 90), (8, 8), (95, 400), (96, 96), (512, 512)]
    names = ["tiny", "tiny", "fcdd32_s", "fcdd32_s", "fcdd224", "fcdd224"]
    assert [auto_name(size) for size in sizes] == names
    assert set(names) < set(list_backbones())


def test_module_is_copied():
    mine = nn.Conv2d(1, 2, 3)
    made = make_backbone(mine, (8, 8, 1))
    assert made is not mine
    assert torch.equal(made.weight, mine.weight)
    with torch.no_grad():
        made.weight.zero_()
    assert mine.weight.abs().sum() > 0
    assert make_backbone(lambda: mine, (8, 8, 1)) is mine


def make_lazy():
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.LazyConv2d(6, 3, stride=2))


@pytest.mark.parametrize("backbone", [make_lazy, make_lazy()])
@pytest.mark.parametrize("n_channels", [1, 4])
def test_channels_may_be_left_open(backbone, n_channels):
    made = make_backbone(backbone, (16, 12, n_channels))
    assert made(torch.zeros(2, n_channels, 16, 12)).shape == (2, 6, 6, 4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_modules_of_any_precision(dtype):
    mine = nn.Conv2d(1, 2, 3).to(dtype)
    assert make_backbone(mine, (8, 8, 1)).weight.dtype == torch.float32
    assert mine.weight.dtype == dtype


def test_checks_leave_the_mode_alone():
    mine = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    assert make_backbone(mine, (8, 8, 1)).training
    assert mine[1].num_batches_tracked == 0


class Refusing(nn.Module):
    def forward(self, x):
        assert x.shape[2] == 224, "224 pixels only"
        return x


BAD = [
    ("fcdd225", BackboneError, "Did you mean 'fcdd224'"),
    ("net", BackboneError, "expected 'auto', one of"),
    ("fcdd28", BackboneError, "2x2 pixels with 1 channel"),
    (nn.Conv2d(3, 4, 1), BackboneError, r"1 channel\(s\).*3 channels"),
    (Refusing(), BackboneError, "cannot process images of 2x2 .*: 224 pixels only"),
    (nn.Flatten(), BackboneError, r"\(n, d, u, v\).*Got \(1, 4\)"),
    (lambda: "net", TypeError, "Got str"),
    (7, TypeError, "backbone=7"),
]


@pytest.mark.parametrize(("backbone", "error", "message"), BAD)
def test_errors(backbone, error, message):
    with pytest.raises(error, match=message):
        make_backbone(backbone, (2, 2, 1))


class Listed(nn.Module):
    def forward(self, x):
        return [x]


def test_output_that_is_no_tensor():
    with pytest.raises(BackboneError, match="Got list"):
        make_backbone(Listed(), (8, 8, 1))


def after_a_step(norm, images, weights):
    """Output, gradient of the images and state after a pass in both directions."""
    images = images.clone(memory_format=torch.preserve_format).requires_grad_()
    output = norm(images)
    (output * weights).sum().backward()
    known = [output.detach(), images.grad, norm.weight.grad, norm.bias.grad]
    return [*known, norm.running_mean, norm.running_var]


@pytest.mark.parametrize("channels", [1, 3, 8, 15])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)]
)
def test_narrow_normalisation_is_normalisation(channels, layout, training, dtype, rtol):
    """In any layout, which it keeps for what comes out and for the gradient."""
    generator = torch.Generator().manual_seed(channels)
    shape = (4, channels, 6, 5)
    images, weights = (
        torch.randn(shape, generator=generator, dtype=dtype).contiguous(
            memory_format=layout
        )
        for _ in range(2)
    )
    images = 3 * images + 1
    found, expected = (
        after_a_step(
            kind(channels, eps=1e-4).to(dtype).train(training), images, weights
        )
        for kind in (NarrowBatchNorm2d, nn.BatchNorm2d)
    )
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=rtol, atol=10 * rtol)
    assert found[0].is_contiguous(memory_format=layout)
    assert found[1].is_contiguous(memory_format=layout)


def test_narrow_normalisation_in_bfloat16():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 8, 16, 16, generator=generator).bfloat16()
    images = images.contiguous(memory_format=torch.channels_last)
    weights = torch.randn(8, 8, 16, 16, generator=generator)
    found = after_a_step(NarrowBatchNorm2d(8), images, weights)
    expected = after_a_step(nn.BatchNorm2d(8), images.double().float(), weights)
    for mine, theirs in zip(found, expected, strict=True):
        difference = (mine.float() - theirs).norm() / theirs.norm()
        assert difference < 0.01  # bfloat16 has 8 bits


def test_few_channels_are_normalised_the_narrow_way():
    """Networks of the paper with 8 channels; where there are 16, PyTorch's is fast."""
    norms = {
        name: [
            type(m)
            for m in make_backbone(name, (32, 32, 3)).modules()
            if isinstance(m, nn.BatchNorm2d)
        ]
        for name in LAYERS
    }
    assert norms["fcdd28"] == [NarrowBatchNorm2d]
    assert norms["fcdd224"] == [NarrowBatchNorm2d] + [nn.BatchNorm2d] * 3
    assert norms["fcdd32_s"] == [nn.BatchNorm2d] * 2
