"""PatchCore: nearest neighbours among pretrained features of patches."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skfcdd._engine.coreset import greedy_coreset
from skfcdd._engine.inference import FixedRunner, in_batches
from skfcdd._engine.memorizing import draw_cells
from skfcdd._engine.model import FittedModel, Judging
from skfcdd._engine.preprocessing import Preprocess
from skfcdd._inputs.images import ImageArray
from skfcdd._scoring import of_model
from skfcdd._utils.sklearn import Interval, StrOptions, store_parameters
from skfcdd._utils.warnings import warn_caller
from skfcdd.backbones import make_backbone
from skfcdd.backbones._registry import lookup
from skfcdd.baselines._base import BaselineDetector, Heatmaps, Lesson
from skfcdd.baselines._patches import PatchModule
from skfcdd.baselines._upsampling import FlatUpsampler
from skfcdd.exceptions import RandomFeaturesWarning
from skfcdd.receptive_field import ReceptiveField

__all__ = ["PatchCoreDetector"]

# The network of the paper, which takes its second and third stage.
_PRETRAINED = "wide_resnet50_2"


class PatchCoreDetector(BaselineDetector):
    """Compare patches with those of normal images, by features of a pretrained network.

    PatchCore (Roth et al., "Towards Total Recall in Industrial Anomaly Detection",
    CVPR 2022). Nothing is trained: features of a frozen network, averaged over small
    neighbourhoods, are kept for a few patches of normal images that stand for all of
    them (a coreset). The map of an image is the distance of each of its patches to the
    nearest one that is kept, and its score the greatest of these.

    Parameters
    ----------
    backbone : str, torch.nn.Module or callable, default="auto"
        The network, as for :class:`~skfcdd.FCDDDetector`. "auto" takes that of the
        paper, "wide_resnet50_2", if `weights` are given, and else a small one that
        suits the size of the images.
    weights : str, path, mapping or None, default=None
        Pretrained weights, on which all depends: "imagenet" for the official file, a
        path, an address, or a state dict, see :func:`skfcdd.backbones.load_weights`.
        None leaves the weights random, with a warning, unless the backbone is a module
        or a callable, which may have brought its own.
    stages : sequence of int, default=None
        Numbers of the stages whose features are put together, at the size of the map
        of the first. None takes the usual stage of an architecture with ImageNet
        weights and the one behind it, maps of an eighth and of a sixteenth of the
        sides; of other networks the usual stage alone. Earlier stages show smaller
        defects, and need more time and memory.
    patch_size : int, default=3
        Odd number of cells per side over which features are averaged. 1 does not
        average.
    coreset_ratio : float, default=0.05
        Share of the drawn patches that is kept, in (0, 1]. Time of scoring, memory and
        size of the model are proportional to it; time of ``fit`` grows with it too.
    max_patches : int, default=50_000
        At most so many patches of the normal images are drawn, as many of each, from
        which those to keep are chosen. Bounds the memory of ``fit``.
    n_neighbors : int or None, default=None
        Weight scores by how alone the nearest patch is among so many neighbours, as
        the paper does; 9 is usual. Needs ``score_pooling="max"``. None does not.
    image_shape : tuple of int, default=None
        Layout of an image, where X has flat rows: (h, w) or (h, w, c); (c, h, w) with
        ``channels="first"``. None takes flat rows for images of one row.
    channels : {"first", "last"}, default=None
        Order of the axes of a four-dimensional X. Needed only where both readings are
        possible.
    normalize : str, (mean, std) or None, default="auto"
        As for :class:`~skfcdd.FCDDDetector`: "auto" takes "imagenet" where `weights`
        are given.
    resize : int or tuple of int (h, w), default=None
        Size to which images are brought for the network. Heatmaps come back at the
        original size.
    score_pooling : {"max", "mean"} or float, default="max"
        How the cells of an image make its score. A float is the share of greatest
        cells to average.
    heatmap_sigma : float, default=None
        Standard deviation in pixels of the Gaussian of a cell. None takes half the
        distance between two cells. A change after ``fit`` takes effect
        in ``calibrate``.
    threshold : str, Threshold or float, default="auto"
        The score above which an image is anomalous, or the rule that finds it on
        images held out, see :mod:`skfcdd.thresholds`. "auto" takes the quantile 0.95
        of normal scores, or what `contamination` says; all but "natural" are possible.
    contamination : "auto" or float, default="auto"
        A float is the share of outliers in the X of ``fit``, in (0, 0.5]: the
        threshold then calls as many of X outliers. "auto" sets it on held-out images,
        of which it may call 0.05 outliers.
    validation_fraction : float, default=0.1
        Share of the normal images to hold out for the threshold.
    batch_size : int, default=16
        Least number of images that go through the network together.
    device : str, default="auto"
        Where to compute, as torch names it. "auto" takes CUDA where there is one.
    precision : {"auto", "float64", "float32", "bfloat16"}, default="auto"
        In which the network computes, as for :class:`~skfcdd.FCDDDetector`; distances
        are computed in float32 at least.
    random_state : int, RandomState instance or None, default=None
        Chance of what is held out, drawn and kept, and of weights that are not given.

    Attributes
    ----------
    memory_ : ndarray of shape (n_kept, n_features)
        Features of the patches that are kept.
    receptive_field_ : ReceptiveField
        What a patch sees, in pixels that the network sees.
    precision_ : {"float64", "float32", "bfloat16"}
        In which the network computes.
    offset_ : float
        ``decision_function(X) = score_samples(X) - offset_``.
    threshold_ : float
        Its negative: an image with a greater anomaly score is an outlier.
    image_shape_ : tuple of int (h, w, c)
        Shape of the images.
    n_features_in_ : int
        h * w * c.
    feature_names_in_ : ndarray of str
        Names of the columns, where X was a table with names.
    calibration_scores_ : ndarray of shape (n_calibration,), float64
        Scores of the normal images that were held out, in increasing order.
    heatmap_scale_ : tuple of float (low, high)
        Where the colours of heatmaps begin and end.
    pixel_threshold_ : float
        Pixels of heatmaps above it are outlined in pictures. The heatmaps of 95 % of
        the held-out normal images nowhere exceed it.

    Notes
    -----
    Three things differ from the published code. Patches to keep are chosen among a
    random part of all patches, which bounds memory. Features of the stages are not
    brought to a common number by averaging over channels. At the border,
    neighbourhoods end instead of being filled up with zeros.

    Examples
    --------
    With weights of ImageNet, ``PatchCoreDetector(weights="imagenet")``; here with a
    random network, so that nothing is downloaded:

    >>> import warnings
    >>> from skfcdd.baselines import PatchCoreDetector
    >>> from skfcdd.datasets import make_defects
    >>> data = make_defects(n_samples=40, image_size=32, random_state=0)
    >>> normal = data.images[data.target == 0]
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     model = PatchCoreDetector(random_state=0).fit(normal)
    >>> model.explain(data.images).shape
    (40, 32, 32)
    """

    _parameter_constraints: dict[str, Any] = {
        **BaselineDetector._parameter_constraints,
        "backbone": [str, torch.nn.Module, callable],
        "weights": [str, os.PathLike, Mapping, None],
        "stages": [tuple, list, None],
        "patch_size": [Interval(Integral, 1, None, closed="left")],
        "coreset_ratio": [Interval(Real, 0, 1, closed="right")],
        "max_patches": [Interval(Integral, 1, None, closed="left")],
        "n_neighbors": [Interval(Integral, 2, None, closed="left"), None],
        "device": [str],
        "precision": [StrOptions({"auto", "float64", "float32", "bfloat16"})],
    }
    receptive_field_ = of_model("receptive_field", "What a cell sees.")
    precision_ = of_model("runner.precision", "In which the network computes.")
    _cells_shape: tuple[int, int]
    _neighbors: int | None

    def __init__(
        self,
        backbone: Any = "auto",
        *,
        weights: Any = None,
        stages: Sequence[int] | None = None,
        patch_size: int = 3,
        coreset_ratio: float = 0.05,
        max_patches: int = 50_000,
        n_neighbors: int | None = None,
        image_shape: tuple[int, ...] | None = None,
        channels: str | None = None,
        normalize: Any = "auto",
        resize: Any = None,
        score_pooling: str | float = "max",
        heatmap_sigma: float | None = None,
        threshold: Any = "auto",
        contamination: str | float = "auto",
        validation_fraction: float = 0.1,
        batch_size: int = 16,
        device: str = "auto",
        precision: str = "auto",
        random_state: Any = None,
    ) -> None:
        store_parameters(self, locals())

    @property
    def memory_(self) -> npt.NDArray[np.floating]:
        """Features of the patches that are kept."""
        check_is_fitted(self)
        memory: npt.NDArray[np.floating] = self._fitted.module.memory.cpu().numpy()
        return memory

    def _learn(self, lesson: Lesson) -> PatchModel:
        self._check_parameters()
        module, field, n_cells = self._module(lesson)
        runner = FixedRunner(module, lesson.device, lesson.precision, self.batch_size)
        cells = draw_cells(
            runner,
            lesson.images,
            lesson.rows,
            lambda images: module.patches(images).permute(0, 2, 3, 1),
            n_cells=self.max_patches,
            seed=lesson.seed,
        )
        drawn = torch.from_numpy(cells.reshape(-1, cells.shape[2]))
        n_kept = max(1, round(self.coreset_ratio * len(drawn)))
        kept = greedy_coreset(drawn, n_kept, seed=lesson.seed, device=lesson.device)
        module.memory = drawn[kept].to(lesson.device)
        # A single patch in memory has no neighbours to be weighed against.
        alone = self.n_neighbors is None or n_kept == 1
        return PatchModel(
            runner=runner,
            receptive_field=field,
            n_cells=n_cells,
            n_neighbors=None if alone else min(int(self.n_neighbors or 0), n_kept),
            **self._known(lesson),
        )

    def _judging(self) -> Judging:
        if self.n_neighbors is not None and self.score_pooling != "max":
            raise ValueError(
                f"Got n_neighbors={self.n_neighbors} with score_pooling="
                f"{self.score_pooling!r}; it weighs the greatest distance alone. "
                f"Expected score_pooling='max' or n_neighbors=None."
            )
        return super()._judging()

    def _check_parameters(self) -> None:
        if self.patch_size % 2 == 0:
            raise ValueError(
                f"Got patch_size={self.patch_size}, but expected an odd number, so "
                f"that a cell lies in the middle of its neighbourhood."
            )
        named = isinstance(self.backbone, str)
        if self.weights is None and named and not self.backbone.startswith("timm:"):
            warn_caller(
                "The features are those of a random network: weights=None. They tell "
                "little of images; give weights='imagenet' or the path of a file.",
                RandomFeaturesWarning,
            )

    def _module(
        self, lesson: Lesson
    ) -> tuple[PatchModule, ReceptiveField, tuple[int, int]]:
        """The frozen network, with an empty memory."""
        shape = lesson.input_shape
        backbone, stages = self.backbone, self.stages
        if isinstance(backbone, str):
            if backbone == "auto" and self.weights is not None:
                backbone = _PRETRAINED
            stages = _usual_stages(backbone) if stages is None else stages
        network = make_backbone(backbone, shape, weights=self.weights, stages=stages)
        preprocess = Preprocess.learn(
            lesson.images,
            lesson.rows,
            self.normalize,
            lesson.size,
            pretrained=self.weights is not None,
            n_inputs=getattr(network, "n_channels", None) or shape[2],
        )
        module = PatchModule(preprocess, network, self.patch_size)
        module.requires_grad_(False).eval()
        field, n_cells = module.measure(shape)
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module.to(lesson.device, lesson.dtype), field, n_cells


@dataclass(frozen=True, kw_only=True)
class PatchModel(FittedModel):
    """A memory of patches.

    Parameters
    ----------
    n_cells : tuple of int (u, v)
        Number of cells per axis.
    n_neighbors : int or None
        Neighbours in memory that weigh the greatest distance.
    """

    n_cells: tuple[int, int]
    n_neighbors: int | None

    def scores(
        self, images: ImageArray, rows: npt.NDArray[np.intp] | None = None
    ) -> npt.NDArray[np.float64]:
        """Scores of validated images, or of some rows of them."""
        n_neighbors, module = self.n_neighbors, self.module
        if n_neighbors is None:
            return super().scores(images, rows)

        def weighted(batch: Tensor) -> Tensor:
            scores: Tensor = module.scores(batch, n_neighbors)
            return scores.double()

        parts = [part for _, part in in_batches(self.runner, images, rows, weighted)]
        return np.concatenate([np.empty(0), *parts])

    def heatmap_maker(self) -> Heatmaps:
        """Heatmaps of images in the unit range."""
        h, w = self.image_size
        size = self.module.preprocess.size or (h, w)
        assert self.receptive_field is not None
        upsample = FlatUpsampler(
            (h, w),
            self.n_cells,
            self.receptive_field,
            self.judging.heatmap_sigma,
            (h / size[0], w / size[1]),
        )
        return Heatmaps(self.module, upsample)


def _usual_stages(backbone: str) -> list[int] | None:
    """The usual stage and the one behind it, where ImageNet weights are known."""
    architecture = lookup(backbone)
    if architecture is None or architecture.cut is None:
        return None
    return [architecture.cut, architecture.cut + 1]
