"""Verification that the cells of a network respond to their receptive fields."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from skfcdd._utils.random import undisturbed
from skfcdd._utils.warnings import warn_caller
from skfcdd.exceptions import ReceptiveFieldWarning
from skfcdd.receptive_field._field import ReceptiveField

__all__ = ["check_places"]

# Positions of the test spots, as fractions of the sides of the image.
_PLACES = ((0.3, 0.7), (0.5, 0.4), (0.7, 0.6))
# Tolerance for the centre of the response: this many strides, plus this fraction of the
# receptive field, because networks with random weights do not respond at its centre.
_STRIDES, _EXTENTS = 1.5, 1 / 8
# An axis with fewer pixels or cells is not informative.
_LEAST_PIXELS, _LEAST_CELLS = 16, 4

Floats = npt.NDArray[np.float64]


@torch.no_grad()
def check_places(
    module: nn.Module,
    field: ReceptiveField,
    n_channels: int,
    image_shape: tuple[int, int],
) -> None:
    """Warn if spots in an image change the map elsewhere than the field predicts.

    Parameters
    ----------
    module : torch.nn.Module
        Network that maps (n, c, h, w) to (n, d, u, v). Its training mode is restored.
    field : ReceptiveField
        Receptive field of its cells.
    n_channels : int
        Number of image channels.
    image_shape : tuple of int (h, w)
        Size of the images.

    Warns
    -----
    ReceptiveFieldWarning
        If the centre of the response is far from the spot.
    """
    if min(image_shape) < _LEAST_PIXELS:
        return
    was_training = module.training
    module.eval()
    try:
        with undisturbed(module, "cpu"):
            spots, expected, answers = _answers(module, field, n_channels, image_shape)
    finally:
        module.train(was_training)
    for axis, name in enumerate(("rows", "columns")):
        # If most cells that depend on a spot are on one side of it, so is the response.
        limits = np.sort(np.stack([spots[:, axis], expected[:, axis]]), axis=0)
        off = np.maximum(limits[0] - answers[:, axis], answers[:, axis] - limits[1])
        seen = min(field.extent[axis], image_shape[axis])
        allowed = _STRIDES * field.stride[axis] + _EXTENTS * seen
        if not np.isnan(off).all() and np.nanmedian(off) > allowed:
            warn_caller(
                f"According to the measured receptive field ({field}), spots at "
                f"{name} {_listed(spots[:, axis])} of an image of {image_shape} "
                f"pixels change the map around {name} {_listed(answers[:, axis])}, so "
                "heatmaps will show defects in the wrong places. Check that the "
                "backbone preserves positions.",
                ReceptiveFieldWarning,
            )
            return


def _answers(
    module: nn.Module,
    field: ReceptiveField,
    n_channels: int,
    image_shape: tuple[int, int],
) -> tuple[Floats, Floats, Floats]:
    """Return the centres of spots, of cells that depend on them, and of responses.

    The arrays have shape (n_spots, 2) and contain positions in pixels.
    """
    parameter = next(module.parameters(), torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, n_channels, *image_shape, generator=generator)
    noise = noise.to(parameter.device, parameter.dtype)
    usual = module(noise)
    spots, expected, answers = [], [], []
    for place in _PLACES:
        image, middle = _with_spot(noise, place, field)
        moved = (module(image) - usual).double().square().sum(dim=1)[0]
        spots.append(middle)
        expected.append(_cells_around(middle, field, usual.shape[2:]))
        answers.append(_middle(moved.cpu(), field))
    return np.array(spots), np.array(expected), np.array(answers)


def _with_spot(
    noise: Tensor, place: tuple[float, float], field: ReceptiveField
) -> tuple[Tensor, list[float]]:
    """Return an image with a bright spot one stride wide, and its centre."""
    image, ends = noise.clone(), []
    for share, n, stride in zip(place, noise.shape[2:], field.stride, strict=True):
        width = min(n, max(1, round(stride)))
        start = min(int(share * n), n - width)
        ends.append((start, start + width))
    rows, columns = (slice(*pair) for pair in ends)
    image[..., rows, columns] = 2.0
    return image, [(start + stop - 1) / 2 for start, stop in ends]


def _cells_around(
    spot: list[float], field: ReceptiveField, map_shape: Sequence[int]
) -> list[float]:
    """Return the centre of the cells that depend on a spot, or the spot if none do."""
    found = []
    for axis, (place, n_cells) in enumerate(zip(spot, map_shape, strict=True)):
        centers = field.centers(n_cells, axis)
        near = np.abs(centers - place) <= (field.extent[axis] + field.stride[axis]) / 2
        found.append(float(centers[near].mean()) if near.any() else place)
    return found


def _middle(moved: Tensor, field: ReceptiveField) -> list[float]:
    """Return the centre of mass of a map (u, v), in pixels; NaN if uninformative."""
    # Subtract the slight change of all cells that gates and normalisation cause.
    moved = (moved - moved.median()).clamp(min=0)
    found = []
    for axis in (0, 1):
        weights = moved.sum(dim=1 - axis).numpy()
        centers = field.centers(len(weights), axis)
        total = float(weights.sum())
        known = len(weights) >= _LEAST_CELLS and 0 < total < np.inf
        found.append(float(weights @ centers) / total if known else np.nan)
    return found


def _listed(values: Floats) -> str:
    return ", ".join(f"{value:.0f}" for value in values)
