"""Cells lie at the centre of what moves them most."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from skfcdd import FCDDClassifier
from skfcdd.backbones import make_backbone, measure_backbone
from skfcdd.datasets import make_defects
from skfcdd.receptive_field import ReceptiveField, measure_receptive_field
from skfcdd.receptive_field._effective import effective_field

SIZE = (40, 32)


def looking_at(row, column, size=7):
    """A layer whose cells see `size` pixels per axis, and look at one of them."""
    layer = nn.Conv2d(1, 3, size, stride=2, padding=size // 2, bias=False)
    layer.weight.data.zero_()
    layer.weight.data[:, :, row, column] = torch.tensor([[1.0], [-2.0], [3.0]])
    return layer


@pytest.mark.parametrize(("row", "column"), [(3, 3), (0, 6), (5, 1)])
def test_the_pixel_that_counts_is_the_centre(row, column):
    network = looking_at(row, column)
    field = measure_receptive_field(network, SIZE, 1)
    found = effective_field(network, field, 1, SIZE)
    assert found.offset == (field.offset[0] + row - 3, field.offset[1] + column - 3)
    assert (found.extent, found.stride) == (field.extent, field.stride)


def test_nothing_to_go_by_leaves_the_field():
    network = looking_at(0, 0)
    network.weight.data.zero_()
    field = measure_receptive_field(network, SIZE, 1)
    assert effective_field(network, field, 1, SIZE) == field
    places = (tuple(np.arange(20.0) ** 1.1), None)
    uneven = ReceptiveField((7, 7), (2, 2), (0, 0), places)
    assert effective_field(looking_at(0, 0), uneven, 1, SIZE) is uneven


def test_mode_and_generators_are_left_as_found():
    network = nn.Sequential(looking_at(1, 1), nn.BatchNorm2d(3)).train()
    field = measure_receptive_field(network, SIZE, 1)
    before, state = torch.get_rng_state(), network[1].running_mean.clone()
    effective_field(network, field, 1, SIZE)
    assert network.training and torch.equal(network[1].running_mean, state)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("size", [(128, 128), (130, 117)])
def test_pretrained_cells_look_aside_of_the_middle_of_what_they_see(size):
    network = make_backbone("efficientnet_lite0", (*size, 3), weights="imagenet", cut=3)
    field = measure_backbone(network, size, 3)
    found = effective_field(network, field, 3, size)
    aside = np.subtract(found.offset, field.offset)
    assert (aside >= -5).all() and (aside <= -2).all()  # 8 pixels between two cells


@pytest.mark.filterwarnings("ignore::skfcdd.exceptions.CollapseWarning")
def test_the_default_takes_it_and_the_networks_of_the_paper_do_not():
    images = make_defects(12, image_size=64, anomaly_fraction=0, random_state=0).images
    model = FCDDClassifier(max_epochs=1, random_state=0).fit(images)
    middle = measure_backbone(model.net_.module_.backbone, (64, 64), 1)
    assert model.receptive_field_.offset < middle.offset
    paper = FCDDClassifier(max_epochs=1, weights=None, random_state=0).fit(images)
    middle = measure_backbone(paper.net_.module_.backbone, (64, 64), 1)
    assert paper.receptive_field_ == middle
