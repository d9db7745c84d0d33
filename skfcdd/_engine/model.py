"""The fitted model: everything that predictions depend on, frozen by ``fit``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from skfcdd._engine.explanation import HeatmapMaker
from skfcdd._engine.inference import FixedRunner, in_batches, pool_maps
from skfcdd._engine.lean import lean
from skfcdd._engine.memory import Deepest, NormalMemory
from skfcdd._engine.module import FCDDModule
from skfcdd._engine.settings import NetworkSettings
from skfcdd._engine.split import UsedImages
from skfcdd._inputs.images import ImageArray
from skfcdd._inputs.ranges import scale_problem
from skfcdd._utils.warnings import warn_caller
from skfcdd._verdicts import Convention, middle_of
from skfcdd.backbones import measure_backbone
from skfcdd.exceptions import ValueRangeWarning
from skfcdd.receptive_field import ReceptiveField
from skfcdd.thresholds import Calibration

__all__ = ["MEMORY", "FittedModel", "ImageFormat", "Judging"]

# Prefix of the names of the tensors of a memory bank.
MEMORY = "memory"

Scores = npt.NDArray[np.float64]
Batches = Iterator[tuple[slice, npt.NDArray[np.float32]]]


@dataclass(frozen=True)
class ImageFormat:
    """Format of the images of ``fit``, and options for reading them from files.

    Parameters
    ----------
    shape : tuple of int (h, w, c)
    channels : {"first", "last"} or None
        Parameter `channels` of the estimator.
    layout : tuple of int or None
        Parameter `image_shape` of the estimator.
    dtype : str
        Type of the raw values.
    channels_first : bool
        Whether the raw images had channels first.
    reading : mapping or None
        Options of :class:`~skfcdd.datasets.ImageFiles`, if the images were files.
    """

    shape: tuple[int, int, int]
    channels: str | None = None
    layout: tuple[int, ...] | None = None
    dtype: str = "uint8"
    channels_first: bool = False
    reading: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Judging:
    """Parameters that affect predictions but not the training.

    Updated by ``fit`` and by ``calibrate``.
    """

    threshold: Any
    contamination: str | float
    score_pooling: str | float
    heatmap_sigma: float | None
    min_area: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedModel:
    """Result of ``fit``, on which estimators, files and exported graphs are based.

    Parameters
    ----------
    runner : Runner
        The network, with the device, precision and batch size to run it with.
    images : ImageFormat
    judging : Judging
    convention : Convention
        Convention by which scores are converted to labels.
    receptive_field : ReceptiveField or None
        Receptive field of the cells, in pixels of the network input.
    threshold : float
    calibration_scores : ndarray of float64
        Scores of the normal images that set the threshold, in increasing order.
    calibration_groups : ndarray of int or None
        Group of each of these images; None if every image is its own group.
    calibration : Calibration or None
        Summary of the calibration; None for files of earlier versions.
    heatmap_scale : tuple of float (low, high)
        Limits of the colour scale of heatmaps.
    normal_peak : float or None
        Value that the heatmaps of nearly all held-out normal images do not exceed.
    network : NetworkSettings or None
        Settings of the network.
    network_digests : mapping of str to str
        Digests of these settings.
    used : UsedImages
        Images that the network was trained on.
    split_seed : int
        Seed of the split, reused by warm starts.
    history : tuple of dict
        Records of the epochs of training.
    n_earlier : int
        Number of these epochs that belong to earlier trainings.
    versions : mapping of str to str
        Versions of the libraries used for training.
    memory : NormalMemory or None
        Memory bank whose map is added to that of the network; on the CPU.
    """

    runner: Any
    images: ImageFormat
    judging: Judging
    convention: Convention
    receptive_field: ReceptiveField | None = None
    threshold: float = float("nan")
    calibration_scores: Scores = field(default_factory=lambda: np.empty(0))
    calibration_groups: npt.NDArray[np.int64] | None = None
    calibration: Calibration | None = None
    heatmap_scale: tuple[float, float] = (0.0, 1.0)
    normal_peak: float | None = None
    network: NetworkSettings | None = None
    network_digests: Mapping[str, str] = field(default_factory=dict)
    used: UsedImages = field(default_factory=UsedImages)
    split_seed: int = 0
    history: tuple[dict[str, Any], ...] = ()
    n_earlier: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    memory: NormalMemory | None = None

    @property
    def module(self) -> Any:
        """The network."""
        return self.runner.module_

    @cached_property
    def fast(self) -> Any:
        """Copy of the network that is optimised for inference."""
        if not isinstance(self.module, FCDDModule):
            return self.module
        size = self.module.preprocess.size or self.image_size
        return lean(self.module, self.runner.precision, size, self.memory)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields without cached properties."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def reach(self) -> tuple[float, float]:
        """Height and width in pixels of the area on which a cell depends."""
        assert self.receptive_field is not None
        own = self.receptive_field
        if self.memory is None:
            return own.extent
        network = Deepest(self.module, self.memory.features)
        h, w = self.module.preprocess.size or self.image_size
        deep = measure_backbone(network, (h, w), self.images.shape[2])
        # Coarse cells are interpolated, and all are averaged with their neighbours.
        rows, columns = (
            max(r, far + j + self.memory.breadth * k)
            for r, far, j, k in zip(
                own.extent, deep.extent, deep.stride, own.stride, strict=True
            )
        )
        return rows, columns

    @property
    def pixel_threshold(self) -> float:
        """Heatmap value above which pixels are outlined in pictures."""
        if self.convention.judges_pixels:
            return self.threshold
        low, high = self.heatmap_scale
        if self.normal_peak is not None:
            return max(low, self.normal_peak)
        return middle_of(low, high)

    @property
    def roi(self) -> npt.NDArray[np.bool_] | None:
        """Mask (h, w) of the pixels of raw images that count; None if all do."""
        inside = self.module.preprocess.roi
        return None if inside is None else inside.inside.cpu().numpy()

    @cached_property
    def cell_weights(self) -> npt.NDArray[np.float64] | None:
        """Weights (u, v) of the cells, which sum to 1; None if all are equal."""
        module = self.module
        if module.preprocess.roi is None or not module.objective.spatial:
            return None
        maker: Any = self.heatmap_maker()
        weights: npt.NDArray[np.float64] = maker.upsample.weights
        return weights

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors of the network and of its memory bank, by name."""
        numbers = dict(self.module.state_dict())
        if self.memory is not None:
            own = self.memory.state_dict()
            numbers |= {f"{MEMORY}.{name}": value for name, value in own.items()}
        return numbers

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """Records of the epochs of training."""
        return [dict(epoch) for epoch in self.history]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the raw images."""
        return self.images.shape[:2]

    @property
    def map_shape(self) -> tuple[int, int]:
        """Number of cells of the anomaly map, per axis."""
        upsample = self.module.upsample
        return int(upsample.rows.shape[1]), int(upsample.columns.shape[1])

    def in_float32(self) -> FittedModel:
        """Return a model that runs in float32 where this one uses bfloat16."""
        net = self.runner
        if net.precision not in ("bfloat16", "mixed"):
            return self
        runner = FixedRunner(net.module_, net.device, "float32", net.batch_size)
        return replace(self, runner=runner)

    def heatmap_maker(self) -> nn.Module:
        """Return the network that maps unit-range images to heatmaps."""
        assert self.receptive_field is not None
        field, sigmas = self.receptive_field, self.heatmap_sigmas
        return HeatmapMaker(self.fast, field, self.image_size, sigmas)

    @property
    def heatmap_sigmas(self) -> float | tuple[float, float] | None:
        """Standard deviation of the Gaussians in pixels, or one per axis.

        None stands for :func:`~skfcdd.heatmaps.default_sigma`. With a memory bank, the
        default is half the distance between two cells, the smallest standard deviation
        that does not produce a grid pattern.
        """
        sigma, field = self.judging.heatmap_sigma, self.receptive_field
        if sigma is not None or self.memory is None or field is None:
            return sigma
        seen = self.module.preprocess.size or self.image_size
        rows, columns = (
            max(1.0, stride * n / own / 2)
            for stride, n, own in zip(field.stride, self.image_size, seen, strict=True)
        )
        return rows, columns

    def scores(
        self, images: ImageArray, rows: npt.NDArray[np.intp] | None = None
    ) -> Scores:
        """Compute the scores of validated images; `rows` selects some of them."""
        pooling, weights = self.judging.score_pooling, self.cell_weights
        parts = [
            pool_maps(maps, pooling, weights) for _, maps in self.maps(images, rows)
        ]
        return np.concatenate([np.empty(0), *parts])

    def maps(
        self, images: ImageArray, rows: npt.NDArray[np.intp] | None = None
    ) -> Batches:
        """Yield anomaly maps (k, u, v) by batches; `rows` selects some images."""
        return in_batches(self.runner, images, rows, self.fast)

    def heatmaps(
        self, images: ImageArray, rows: npt.NDArray[np.intp] | None = None
    ) -> Batches:
        """Yield heatmaps (k, h, w) by batches; `rows` selects some images."""
        maker = self.heatmap_maker().to(self.runner.device).eval()
        # In float32 even if the network is in float64, so that all methods agree.
        return in_batches(self.runner, images, rows, lambda unit: maker(unit).float())

    def warn_about_range(self, images: ImageArray) -> None:
        """Warn if values of images are on a different scale from those of ``fit``."""
        preprocess = self.module.preprocess
        problem = scale_problem(
            str(images.data.dtype),
            lambda: images.limits()[1],
            self.images.dtype,
            (preprocess.low, preprocess.high),
        )
        if problem is not None:
            warn_caller(problem, ValueRangeWarning)
