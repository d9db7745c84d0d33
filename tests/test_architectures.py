"""Architectures with pretrained weights against torchvision, whose keys they have.

The table holds the state-dict keys and shapes of torchvision 0.29.1's models, heads
included, and the names of the files of their first ImageNet weights.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from skfcdd.backbones import StagedNetwork
from skfcdd.backbones._efficientnet import efficientnet_b0
from skfcdd.backbones._mobilenet import mobilenet_v3_small
from skfcdd.backbones._registry import lookup
from skfcdd.backbones._resnet import resnet18, resnet34, resnet50, wide_resnet50_2
from skfcdd.backbones._squeezenet import squeezenet1_0, squeezenet1_1
from skfcdd.backbones._vgg import vgg11_bn, vgg16_bn

TABLE = json.loads((Path(__file__).parent / "data/torchvision_keys.json").read_text())
BUILD = {
    build.__name__: build
    for build in (
        *(vgg11_bn, vgg16_bn, resnet18, resnet34, resnet50, wide_resnet50_2),
        *(squeezenet1_0, squeezenet1_1, mobilenet_v3_small, efficientnet_b0),
    )
}
VGG = [(64, 64), (128, 32), (256, 16), (512, 8), (512, 4)]
BASIC = [(64, 16), (128, 8), (256, 4), (512, 2)]
BOTTLENECK = [(256, 16), (512, 8), (1024, 4), (2048, 2)]
# Channels and cells per side of each stage for images of 64x64 pixels.
STAGES = {
    "vgg11_bn": VGG,
    "vgg16_bn": VGG,
    "resnet18": BASIC,
    "resnet34": BASIC,
    "resnet50": BOTTLENECK,
    "wide_resnet50_2": BOTTLENECK,
    # No padding in the first convolution; poolings round up.
    "squeezenet1_0": [(96, 29), (256, 14), (512, 7), (512, 3)],
    "squeezenet1_1": [(64, 31), (128, 15), (256, 7), (512, 3)],
    "mobilenet_v3_small": [(16, 32), (16, 16), (24, 8), (48, 4), (576, 2)],
    "efficientnet_b0": [(16, 32), (24, 16), (40, 8), (112, 4), (1280, 2)],
}
# How many of torchvision's `features` each stage ends behind.
ENDS = {
    "vgg11_bn": [3, 7, 14, 21, 28],
    "vgg16_bn": [6, 13, 23, 33, 43],
    "squeezenet1_0": [2, 6, 11, 13],
    "squeezenet1_1": [2, 5, 8, 13],
    "mobilenet_v3_small": [1, 2, 4, 9, 13],
    "efficientnet_b0": [2, 3, 4, 6, 9],
}
HEADS = ("classifier.", "fc.")


def without_values(name: str, stage: int, n_channels: int = 3) -> StagedNetwork:
    """A network up to a stage that has shapes alone, which takes no time to make."""
    with torch.device("meta"):
        return StagedNetwork(BUILD[name](n_channels), [stage]).eval()


def import_torchvision():
    """The package, or the test is skipped."""
    try:
        return importlib.import_module("torchvision")
    # Beside a torch of another build, its operators cannot be registered.
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")


def test_table_is_complete():
    assert set(TABLE) == set(BUILD) == set(STAGES)


@pytest.mark.parametrize("name", BUILD)
def test_keys_and_shapes_are_those_of_torchvision(name):
    # The counters of batch normalisation are among them on both sides.
    expected = {
        key: tuple(shape)
        for key, shape in TABLE[name]["shapes"].items()
        if not key.startswith(HEADS)
    }
    state = without_values(name, len(STAGES[name])).state_dict()
    got = {key: tuple(value.shape) for key, value in state.items()}
    assert got == expected


@pytest.mark.parametrize("name", BUILD)
def test_weights_are_the_first_official_ones(name):
    architecture = lookup(name)
    assert architecture is not None
    address = "https://download.pytorch.org/models/" + TABLE[name]["file"]
    assert architecture.url == address


@pytest.mark.parametrize("name", BUILD)
@pytest.mark.parametrize("n_channels", [1, 3])
def test_channels_and_cells_of_each_stage(name, n_channels):
    images = torch.empty(1, n_channels, 64, 64, device="meta")
    for stage, (channels, side) in enumerate(STAGES[name], start=1):
        network = without_values(name, stage, n_channels)
        assert network(images).shape == (1, channels, side, side)


@pytest.mark.parametrize("name", BUILD)
def test_weights_start_at_a_sensible_scale(name):
    torch.manual_seed(0)
    network = StagedNetwork(BUILD[name](3), [len(STAGES[name])])
    with torch.no_grad():
        features = network(torch.randn(4, 3, 64, 64))
    assert torch.isfinite(features).all()
    assert 0.05 < features.std() < 20


def randomise(model: nn.Module) -> None:
    """Give normalisations statistics and weights that make a difference."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.bias):
                nn.init.normal_(values, std=0.2)
            for values in (module.running_var, module.weight):
                nn.init.uniform_(values, 0.5, 1.5)


def reference_features(model: nn.Module, name: str, images: torch.Tensor):
    """Output of each stage by torchvision's own layers."""
    if name in ENDS:
        ends = ENDS[name]
        steps = [
            model.features[start:end]
            for start, end in zip([0, *ends], ends, strict=False)
        ]
    else:
        stem = [model.conv1, model.bn1, model.relu, model.maxpool, model.layer1]
        steps = [nn.Sequential(*stem), model.layer2, model.layer3, model.layer4]
    for step in steps:
        images = step(images)
        yield images.clone()  # activations may overwrite it


@pytest.mark.parametrize("name", BUILD)
def test_features_are_those_of_torchvision(name):
    torchvision = import_torchvision()
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    randomise(model)
    images = torch.rand(2, 3, 75, 66)  # sides that halvings leave a rest of
    with torch.no_grad():
        references = list(reference_features(model, name, images))
        assert len(references) == len(STAGES[name])
        for stage, expected in enumerate(references, start=1):
            network = without_values(name, stage)
            missing, _ = network.load_state_dict(
                model.state_dict(), strict=False, assign=True
            )
            assert not missing
            scale = float(expected.std())
            assert scale > 1e-3
            torch.testing.assert_close(
                network(images), expected, rtol=1e-5, atol=1e-5 * scale
            )
