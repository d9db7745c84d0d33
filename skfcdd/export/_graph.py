"""Fitted estimator as a single module that computes all results from raw images.

The export plan defines the form of the input, and the images for the verification.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from skfcdd._engine.explanation import HeatmapMaker
from skfcdd._engine.inference import n_pooled
from skfcdd._engine.inside import Inside
from skfcdd._engine.light import FlatField
from skfcdd._engine.model import FittedModel
from skfcdd._engine.module import FCDDModule
from skfcdd._engine.other_size import field_at
from skfcdd._engine.preprocessing import Preprocess, resize
from skfcdd._inputs.images import ImageArray
from skfcdd._inputs.lazy_arrays import read
from skfcdd._verdicts import limit
from skfcdd.export._equivalence import generate_images
from skfcdd.heatmaps import heatmap_sigmas
from skfcdd.receptive_field import ReceptiveField

__all__ = ["Plan", "ScoringGraph", "make_plan"]


class ScoringGraph(nn.Module):
    """Module that computes scores, labels and heatmaps of raw images.

    Everything is computed in float32, except for the pooling of scores and the labels,
    which are computed in float64 as in the estimators.

    Parameters
    ----------
    model : FittedModel
        The fitted model. Its network is copied.
    channels_first : bool, default=False
        Whether images have shape (n, c, h, w) instead of (n, h, w, c).
    dynamic_size : bool, default=False
        Whether images may differ in size from those of ``fit``.
    """

    def __init__(
        self,
        model: FittedModel,
        *,
        channels_first: bool = False,
        dynamic_size: bool = False,
    ) -> None:
        super().__init__()
        module = copy.deepcopy(model.module).cpu()
        module.memory = copy.deepcopy(model.memory)
        self.module: FCDDModule = module.float().eval().requires_grad_(False)
        # torch archives store whole contiguous tensors, not views.
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.data = tensor.data.contiguous().clone()
        self.limits = module.preprocess.low, module.preprocess.high
        self.channels_first = channels_first
        self.dynamic_size = dynamic_size
        self.convention = model.convention
        self.threshold = float(model.threshold)
        self.limit = limit(self.threshold)
        self.pooling = model.judging.score_pooling
        weights = model.cell_weights
        self.weighted = (
            None if weights is None else _WeightedPool(self.pooling, weights)
        )
        self.resize = _resizer(module.preprocess, model.images.shape)
        self.upsample = _upsampler(model, module, dynamic_size)
        if module.preprocess.contrast:
            module.preprocess = _Contrast(module.preprocess)

    @property
    def names(self) -> list[str]:
        """Names of the outputs, in order."""
        names = ["score", "probability", "label"]
        if self.upsample is not None:
            names.append("heatmap")
        if self.convention.judges_pixels:
            names.append("mask")
        return names

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute all results for raw images (n, h, w, c)."""
        images = images.float()
        if not self.channels_first:
            images = images.permute(0, 3, 1, 2)
        low, high = self.limits
        unit = (images - low) / (high - low)
        anomaly_maps: Tensor = self.module(self.resize(unit))
        cells = anomaly_maps.double()
        if self.weighted is None:
            score = pool(cells, self.pooling, dynamic=self.dynamic_size).float()
        else:
            score = self.weighted(cells).float()
        answers = {"score": score}
        decisive = score
        if self.upsample is not None:
            heatmaps = self.upsample(anomaly_maps, images)
            answers["heatmap"] = heatmaps
            if self.convention.judges_pixels:  # the threshold applies to pixels
                decisive = heatmaps.amax(dim=(1, 2))
                mask = heatmaps.double() > self.limit
                answers["mask"] = mask.to(torch.uint8)
        # Labels and probabilities are computed from the rounded score that is returned,
        # so that they agree with it.
        decisive = decisive.double()
        on = (decisive > self.threshold) & (decisive <= self.limit)
        decisive = torch.where(on, self.threshold, decisive)
        probability = 1 - torch.exp(decisive * (-math.log(2) / self.threshold))
        answers["probability"] = probability.float()
        answers["label"] = self._label(decisive)
        return {name: answers[name] for name in self.names}

    def _label(self, decisive: Tensor) -> Tensor:
        """Return the index in ``classes_``; for detectors, 1 or -1."""
        anomalous = (decisive > self.limit).long()
        if self.convention.kind == "detector":
            return 1 - 2 * anomalous
        return anomalous if self.convention.anomaly_sign > 0 else 1 - anomalous


def pool(cells: Tensor, pooling: str | float, *, dynamic: bool = False) -> Tensor:
    """Pool cells (n, u, v) to scores (n,), as ``pool_maps`` in the engine does.

    With `dynamic`, the number of cells is known only when the graph runs.
    """
    flat = cells.flatten(1)
    if pooling == "mean" or pooling == 1:
        return flat.mean(dim=1)
    if pooling == "max":
        return flat.amax(dim=1)
    share, n_cells = float(pooling), flat.shape[1]
    if not dynamic:
        count = math.ceil(share * n_cells - 1e-9)
        return torch.topk(flat, count, dim=1).values.mean(dim=1)
    ranks = torch.arange(n_cells, dtype=torch.float64)
    kept = (ranks < share * n_cells - 1e-9).to(flat.dtype)
    return (flat.sort(dim=1, descending=True).values * kept).sum(dim=1) / kept.sum()


class _WeightedPool(nn.Module):
    """Weighted pooling of cells (n, u, v) to scores (n,), as in the engine."""

    inside: Tensor
    weights: Tensor

    def __init__(self, pooling: str | float, weights: npt.NDArray[np.float64]) -> None:
        super().__init__()
        inside = np.flatnonzero(weights)
        self.pooling, self.n_cells = pooling, len(inside)
        self.count = n_pooled(pooling, len(inside))
        self.register_buffer("inside", torch.from_numpy(inside))
        self.register_buffer("weights", torch.from_numpy(weights.ravel()[inside]))

    def forward(self, cells: Tensor) -> Tensor:
        flat = cells.flatten(1).index_select(1, self.inside)
        if self.count == self.n_cells:
            return (flat * self.weights).sum(dim=1)
        if self.pooling == "max":
            return flat.amax(dim=1)
        top = torch.topk(flat, self.n_cells, dim=1)
        share, own = self.count / self.n_cells, self.weights[top.indices]
        left = (share - (own.cumsum(dim=1) - own)).clamp(min=0)
        return (top.values * torch.minimum(own, left)).sum(dim=1) / share


def _resizer(preprocess: Preprocess, image_shape: tuple[int, int, int]) -> nn.Module:
    """Create the module that resizes images to the input size of the network."""
    if preprocess.size is None:
        return nn.Identity()
    return _Resize(preprocess.size, image_shape[:2], preprocess.roi)


class _Contrast(nn.Module):
    """Standardisation of images to mean 0 and standard deviation 1, summed in float64.

    Runtimes sum long rows in different orders, which affects float32 results for images
    with little contrast.
    """

    mean: Tensor

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self.least_contrast = preprocess.least_contrast
        self.filled = preprocess.filled
        self.register_buffer("mean", preprocess.mean)

    def forward(self, images: Tensor) -> Tensor:
        axes = (1, 2, 3)
        images = images - images[:, :1, :1, :1]  # exactly 0 for constant images
        mean = images.mean(dim=axes, keepdim=True, dtype=torch.float64)
        centred = images - mean.float()
        square = (centred * centred).mean(dim=axes, keepdim=True, dtype=torch.float64)
        return centred / (square.sqrt().float() + self.least_contrast)


class _Resize(nn.Module):
    """Bilinear resizing as two matrix products, which all runtimes compute alike."""

    rows: Tensor
    columns: Tensor

    def __init__(
        self,
        size: tuple[int, int],
        image_shape: tuple[int, int],
        roi: Inside | None = None,
    ) -> None:
        super().__init__()
        self.roi = roi
        for axis, name in enumerate(("rows", "columns")):
            n = image_shape[axis]
            # Resizing is linear, so unit vectors determine the matrix.
            matrix = resize(torch.eye(n)[None, None], (size[axis], n))[0, 0]
            self.register_buffer(name, matrix)

    def forward(self, images: Tensor) -> Tensor:
        if self.roi is not None:
            images = self.roi.filled(images)
        return self.rows @ images @ self.columns.T


def _upsampler(
    model: FittedModel, module: FCDDModule, dynamic_size: bool
) -> _FixedUpsampler | _FreeUpsampler | None:
    """Create the upsampler of cells to heatmaps; None if the objective has no map."""
    if not module.objective.spatial:
        return None
    field, sigma = model.receptive_field, model.heatmap_sigmas
    assert field is not None
    if dynamic_size:
        return _FreeUpsampler(field, sigma, _offsets(model))
    maker = HeatmapMaker(module, field, model.image_size, sigma)
    return _FixedUpsampler(maker.upsample.float())


def _offsets(model: FittedModel) -> Tensor:
    """Return the offset of the cells (2, period) for each remainder of the image size.

    The padding, and with it the offset, may depend on the size modulo the stride.
    """
    field = model.receptive_field
    assert field is not None
    period = math.lcm(*(max(1, round(j)) for j in field.stride))
    found = [field_at(model, (rest, rest)).offset for rest in range(period)]
    return torch.tensor(found, dtype=torch.float64).T.contiguous()


class _FixedUpsampler(nn.Module):
    """Upsampler to the image size of ``fit``."""

    def __init__(self, upsample: nn.Module) -> None:
        super().__init__()
        self.upsample = upsample

    def forward(self, cells: Tensor, images: Tensor) -> Tensor:
        heatmaps: Tensor = self.upsample(cells)
        return heatmaps


class _FreeUpsampler(nn.Module):
    """Upsampler to any size, which computes its Gaussians at run time.

    It implements the formula of :func:`skfcdd.heatmaps.gaussian_matrix`.
    """

    offsets: Tensor

    def __init__(
        self,
        field: ReceptiveField,
        sigma: float | tuple[float, float] | None,
        offsets: Tensor,
    ) -> None:
        super().__init__()
        self.field = field
        self.sigmas = heatmap_sigmas(field, sigma)
        self.register_buffer("offsets", offsets)

    def forward(self, cells: Tensor, images: Tensor) -> Tensor:
        rows = self._matrix(images.shape[2], cells.shape[1], 0)
        columns = self._matrix(images.shape[3], cells.shape[2], 1)
        return rows @ cells @ columns.T

    def _matrix(self, n_pixels: int, n_cells: int, axis: int) -> Tensor:
        cells = torch.arange(n_cells, dtype=torch.float64)
        offset = self.offsets[axis, n_pixels % self.offsets.shape[1]]
        centers = offset + cells * self.field.stride[axis]
        pixels = torch.arange(n_pixels, dtype=torch.float64)
        distance = (pixels[:, None] - centers).abs()
        nearest = distance.amin(dim=0)
        reach = nearest.clamp(min=(self.field.extent[axis] - 1) / 2) + 1e-6
        exponent = -0.5 * (distance / self.sigmas[axis]) ** 2
        exponent = exponent.masked_fill(distance > reach, -math.inf)
        weights = torch.exp(exponent - exponent.amax(dim=0))
        matrix: Tensor = weights / weights.mean(dim=0) / n_cells
        return matrix.float()


@dataclass(frozen=True)
class Plan:
    """Form of the input of the graph, and images for the verification."""

    groups: list[ImageArray]
    dynamic_size: bool

    @property
    def channels_first(self) -> bool:
        return self.groups[0].channels_first

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.groups[0].data.dtype)

    def free_axes(self, names: Callable[[str], Any]) -> dict[int, Any]:
        """Return the axes of dynamic length, named by `names`."""
        axes = {0: names("n")}
        if self.dynamic_size:
            first = 2 if self.channels_first else 1
            axes |= {first: names("h"), first + 1: names("w")}
        return axes


def make_plan(model: FittedModel, given: ImageArray | None, dynamic_size: bool) -> Plan:
    """Create an export plan; `given` contains images for the verification, if any."""
    h, w, n_channels = model.images.shape
    preprocess = model.module.preprocess
    limits = preprocess.low, preprocess.high
    first, is_bytes = model.images.channels_first, model.images.dtype == "uint8"
    if given is not None:
        raw, first = read(given.data, slice(None)), given.channels_first
        is_bytes = is_bytes and raw.dtype == np.uint8
    dtype = np.dtype(np.uint8 if is_bytes else np.float32)
    if given is not None:
        groups = [ImageArray(np.ascontiguousarray(raw, dtype=dtype), first)]
    else:
        resized = preprocess.size is not None
        groups = [
            generate_images((h, w), n_channels, limits, dtype, first, resized=resized)
        ]
    if dynamic_size:
        for size in _other_sizes(model):
            groups.append(generate_images(size, n_channels, limits, dtype, first))
    return Plan(groups, dynamic_size)


def _other_sizes(model: FittedModel) -> list[tuple[int, int]]:
    """Return other image sizes to verify; raise an error if only one is possible."""
    module, field = model.module, model.receptive_field
    assert field is not None
    reasons = {
        f"resize={module.preprocess.size}": module.preprocess.size is not None,
        "roi=, which refers to pixels of the training images": module.preprocess.roi
        is not None,
        "normalize='flat-field', fitted to each pixel": isinstance(
            module.preprocess.light, FlatField
        ),
        f"{type(module.objective).__name__}, which has no anomaly map": (
            not module.objective.spatial
        ),
        "a network whose cells depend on the whole image": not all(
            map(math.isfinite, field.extent)
        ),
        "a network whose cells are not on a regular grid": not field.regular,
    }
    for reason, holds in reasons.items():
        if holds:
            raise ValueError(
                f"dynamic_size=True is not possible with {reason}. Export with "
                "dynamic_size=False, and resize images to the training size."
            )
    h, w = (
        max(n, math.ceil(r))
        for n, r in zip(model.images.shape, field.extent, strict=False)
    )
    return [(h + h // 2 + 1, w + 3), (h, 2 * w + 5)]
