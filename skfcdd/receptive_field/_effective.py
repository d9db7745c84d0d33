"""Centre of the effective receptive field of a trained network."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from skfcdd._utils.random import undisturbed
from skfcdd.receptive_field._field import ReceptiveField

__all__ = ["effective_field"]

# Number of noise images, each with its own mixture of the channels of a cell.
_IMAGES = 8
# Shifts are rounded to half pixels (1 / _STEP), so that rounding errors do not matter.
_STEP = 2


def effective_field(
    network: nn.Module,
    field: ReceptiveField,
    n_channels: int,
    image_shape: tuple[int, int],
) -> ReceptiveField:
    r"""Shift the cells of a receptive field to its effective centre.

    The effective receptive field (Luo et al., "Understanding the Effective Receptive
    Field in Deep Convolutional Neural Networks", NeurIPS 2016) is the energy of the
    gradient of a cell with respect to the image,
    :math:`E(p) = \sum (\partial y / \partial x_p)^2`, and its centre is
    :math:`\sum_p p\,E(p) / \sum_p E(p)`. Asymmetric padding shifts the centre of the
    pixels that a cell depends on. A network trained on mirrored images compensates for
    this with its weights, so its effective centre is elsewhere.

    Parameters
    ----------
    network : torch.nn.Module
        Network that maps (n, c, h, w) to (n, d, u, v). Its training mode is restored.
    field : ReceptiveField
        Receptive field of its cells, for images of this size.
    n_channels : int
        Number of image channels.
    image_shape : tuple of int (h, w)
        Size of the images.

    Returns
    -------
    ReceptiveField
        The field with a corrected `offset`; unchanged if its cells are not on a regular
        grid, or do not respond.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from skfcdd.receptive_field import measure_receptive_field
    >>> from skfcdd.receptive_field._effective import effective_field
    >>> network = nn.Conv2d(1, 1, 5, padding=2)
    >>> _ = network.weight.data.zero_()
    >>> network.weight.data[0, 0, 2, 0] = 1.0  # the left end of the receptive field
    >>> field = measure_receptive_field(network, (16, 16), 1)
    >>> effective_field(network, field, 1, (16, 16)).offset
    (0.0, -2.0)
    """
    if not field.regular:
        return field
    generator = torch.Generator().manual_seed(0)
    noise = 4 * torch.rand(_IMAGES, n_channels, *image_shape, generator=generator) - 2
    was_training = network.training
    network.eval()
    try:
        with undisturbed(network, "cpu"), torch.enable_grad():
            images = noise.requires_grad_()
            maps = network(images)
            cell = (maps.shape[2] // 2, maps.shape[3] // 2)
            mixed = torch.randn(maps.shape[:2], generator=generator)
            value = (maps[:, :, cell[0], cell[1]] * mixed).sum()
            (gradient,) = torch.autograd.grad(value, images)
    finally:
        network.train(was_training)
    energy = gradient.double().square().sum(dim=(0, 1))
    total = float(energy.sum())
    if not 0 < total < float("inf"):
        return field
    offset = []
    for axis in (0, 1):
        position = torch.arange(image_shape[axis], dtype=torch.float64)
        center = float((energy.sum(dim=1 - axis) * position).sum()) / total
        known = float(field.centers(cell[axis] + 1, axis)[-1])
        shift = round(_STEP * (center - known)) / _STEP
        offset.append(field.offset[axis] + shift)
    return replace(field, offset=(offset[0], offset[1]))
