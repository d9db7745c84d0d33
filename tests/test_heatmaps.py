"""Upsampling against a plain transposed convolution, and its invariants."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skfcdd.heatmaps import GaussianUpsampler, default_sigma, gaussian_matrix
from skfcdd.receptive_field import ReceptiveField


def transposed_convolution(cells, size, field, sigma):
    """The paper's upsampling: a k x k Gaussian kernel put around every cell."""
    bells = []
    for k in field.extent:
        axis = torch.arange(k, dtype=torch.float64) - (k - 1) / 2
        bells.append(torch.exp(-(axis**2) / (2 * sigma**2)))
    kernel = torch.outer(*bells)[None, None]
    full = F.conv_transpose2d(cells[:, None], kernel, stride=field.stride)[:, 0]
    # The kernel of the first cell starts at its first pixel, mostly outside.
    starts = [
        int(offset - (k - 1) / 2)
        for offset, k in zip(field.offset, field.extent, strict=True)
    ]
    top, left = (max(0, start) for start in starts)
    padded = F.pad(full, (left, size[1], top, size[0]))
    top, left = (max(0, -start) for start in starts)
    return padded[:, top : top + size[0], left : left + size[1]]


FIELDS = [
    ReceptiveField((16, 16), (4, 4), (1.5, 1.5)),
    ReceptiveField((9, 9), (4, 4), (0.0, 0.0)),
    ReceptiveField((9, 14), (3, 5), (4.0, 8.5)),  # first fields inside of the image
]


@pytest.mark.parametrize("size", [(32, 32), (33, 33), (32, 44), (45, 36)])
@pytest.mark.parametrize("field", FIELDS)
def test_equals_transposed_convolution_up_to_the_normalisation(size, field):
    shape = tuple(
        math.floor((n - 1 - o) / j) + 1
        for n, o, j in zip(size, field.offset, field.stride, strict=True)
    )
    sigma = 2.0
    upsample = GaussianUpsampler(size, shape, field, sigma).double()
    rng = torch.Generator().manual_seed(0)
    single = torch.zeros(shape[0] * shape[1], *shape, dtype=torch.float64)
    single.view(len(single), -1).fill_diagonal_(1.0)
    plain = transposed_convolution(single, size, field, sigma)
    ours = upsample(single)
    # The same bell for every cell, scaled to the mean of one cell.
    scale = plain.sum(dim=(1, 2)) * len(single) / (size[0] * size[1])
    assert_allclose(ours, plain / scale[:, None, None], rtol=1e-6, atol=1e-9)
    inner = scale.view(shape)[2:-2, 2:-2]
    assert_allclose(inner, inner[0, 0].expand_as(inner), rtol=1e-6)  # one constant
    cells = torch.rand(2, *shape, generator=rng, dtype=torch.float64)
    combined = torch.einsum("nk,khw->nhw", cells.flatten(1), ours)
    assert_allclose(upsample(cells), combined, rtol=1e-6)


@given(
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    extent=st.one_of(st.floats(1, 80), st.just(math.inf)),
    stride=st.floats(0.5, 12),
    offset=st.floats(-20, 40),
    sigma=st.one_of(st.none(), st.floats(0.05, 100)),
)
def test_mean_is_kept(size, shape, extent, stride, offset, sigma):
    field = ReceptiveField((extent,) * 2, (stride,) * 2, (offset,) * 2)
    upsample = GaussianUpsampler(size, shape, field, sigma)
    cells = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    heatmaps = upsample(cells)
    assert heatmaps.shape == (3, *size)
    assert (heatmaps >= 0).all()
    assert heatmaps.isfinite().all()
    assert_allclose(heatmaps.mean(dim=(1, 2)), cells.mean(dim=(1, 2)), rtol=1e-5)


def test_a_hot_cell_shines_at_the_centre_of_its_field():
    field = ReceptiveField((9, 17), (4, 6), (3.0, 5.0))
    upsample = GaussianUpsampler((40, 66), (10, 11), field)
    cells = torch.zeros(1, 10, 11)
    cells[0, 4, 7] = 1.0
    heatmap = upsample(cells)[0]
    peak = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    assert peak == (3 + 4 * 4, 5 + 6 * 7)
    rows, columns = torch.nonzero(heatmap, as_tuple=True)
    assert (rows.min(), rows.max()) == (19 - 4, 19 + 4)  # painted within the field
    assert (columns.min(), columns.max()) == (47 - 8, 47 + 8)


def test_gradient():
    field = ReceptiveField((6, 6), (4, 4), (1.5, 1.5))
    upsample = GaussianUpsampler((8, 12), (2, 3), field).double()
    cells = torch.rand(2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(upsample, cells)


def test_full_precision_under_autocast():
    field = ReceptiveField((16, 16), (4, 4), (1.5, 1.5))
    upsample = GaussianUpsampler((32, 32), (8, 8), field)
    cells = torch.rand(2, 8, 8)
    plain = upsample(cells)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        heatmaps = upsample(cells)
    assert heatmaps.dtype == torch.float32
    assert_array_equal(heatmaps, plain)
    assert_allclose(heatmaps, upsample.double()(cells.double()), rtol=1e-6)


def test_a_map_of_ones_and_sums_of_maps():
    """Linear in the cells; equal cells far from the border give an even heatmap."""
    field = ReceptiveField((16, 9), (4, 3), (1.5, 1.0))
    upsample = GaussianUpsampler((64, 60), (16, 20), field, 4.0).double()
    rng = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 16, 20, generator=rng, dtype=torch.float64)
    assert_allclose(
        upsample(2 * a - 0.5 * b), 2 * upsample(a) - 0.5 * upsample(b), atol=1e-12
    )
    inner = upsample(torch.ones(1, 16, 20, dtype=torch.float64))[0, 16:-16, 16:-16]
    assert_allclose(inner, 1.0, atol=0.03)


def test_resized_images():
    """Twice the pixels: the same bells, twice as wide, at twice the place."""
    field = ReceptiveField((5, 5), (4, 4), (1.5, 1.5))
    small = GaussianUpsampler((16, 16), (4, 4), field, 2.0).double()
    large = GaussianUpsampler((32, 32), (4, 4), field, 4.0, scale=(2, 2)).double()
    cells = torch.zeros(1, 4, 4, dtype=torch.float64)
    cells[0, 1, 2] = 1
    halved = F.avg_pool2d(large(cells)[:, None], 2)[:, 0]
    assert halved.argmax() == small(cells).argmax()
    assert_allclose(halved.mean(), small(cells).mean())
    # Pixel k of the small image covers pixels 2 k and 2 k + 1 of the large one.
    for upsample, row, column in ((small, 5.5, 9.5), (large, 11.5, 19.5)):
        shares = upsample(cells)[0] / upsample(cells).sum()
        places = torch.arange(len(shares), dtype=torch.float64)
        assert_allclose((shares.sum(dim=1) * places).sum(), row, rtol=1e-6)
        assert_allclose((shares.sum(dim=0) * places).sum(), column, rtol=1e-6)


def test_default_sigma_goes_by_the_pixels_of_the_heatmap():
    field = ReceptiveField((8, 20), (4, 4), (1.5, 1.5))
    twice = GaussianUpsampler((32, 32), (4, 4), field, scale=(2, 2))
    for name, extent in (("rows", 16), ("columns", 40)):
        expected = gaussian_matrix(
            32, [3.5, 11.5, 19.5, 27.5], default_sigma(extent, 8), extent=extent
        )
        assert_allclose(getattr(twice, name), expected, rtol=1e-6)


@pytest.mark.parametrize("extent", [5, 16, 31])
def test_published_sigma_of_small_fields(extent):
    assert default_sigma(extent) == pytest.approx(math.log10(0.45 * extent + 1) + 0.25)


def test_sigma_of_large_fields_and_wide_strides():
    assert default_sigma(32) == default_sigma(63) == 10
    assert default_sigma(64) == default_sigma(math.inf) == 12
    assert default_sigma(16, stride=8) == 4  # no grid of single spots
    matrix = gaussian_matrix(64, 3.5 + 8 * np.arange(8), default_sigma(16, 8))
    ripple = np.ptp(matrix.sum(axis=1)[16:48])
    assert ripple < 0.03


def test_errors():
    with pytest.raises(ValueError, match=r"sigma=0.*greater than 0"):
        gaussian_matrix(4, [1.0], 0)
    with pytest.raises(ValueError, match="sigma=nan"):
        gaussian_matrix(4, [1.0], math.nan)
