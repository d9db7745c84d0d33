"""PatchCore: nearest neighbours of pretrained patch features."""

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

# The network of the paper, which uses its second and third stages.
_PRETRAINED = "wide_resnet50_2"


class PatchCoreDetector(BaselineDetector):
    """PatchCore detector: distance of pretrained patch features to normal ones.

    PatchCore (Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR
    2022) does not train a network. The features of a frozen network, averaged over
    small neighbourhoods, are stored for a coreset of the patches of normal images. The
    anomaly map of an image contains the distance of each patch to its nearest neighbour
    in this memory bank; the score is the largest distance.

    Parameters
    ----------
    backbone : str, torch.nn.Module or callable, default="auto"
        The network, as for :class:`~skfcdd.FCDDDetector`. "auto" means the network of
        the paper, "wide_resnet50_2", if `weights` is not None, and otherwise a small
        network that suits the image size.
    weights : str, path, mapping or None, default=None
        Pretrained weights, which are essential: "imagenet" for the official file, a
        path, a URL, or a state dict (see :func:`skfcdd.backbones.load_weights`). With
        None, weights are random and a warning is issued, unless the backbone is a
        module or a callable, which may have its own weights.
    stages : sequence of int, default=None
        Numbers of the stages whose features are concatenated, at the map size of the
        first. None uses the default stage of an architecture with ImageNet weights and
        the next one, whose maps have an eighth and a sixteenth of the image side; for
        other networks, only the default stage. Earlier stages detect smaller defects,
        but need more time and memory.
    patch_size : int, default=3
        Side length, in cells, of the neighbourhood over which features are averaged.
        Must be odd; 1 means no averaging.
    coreset_ratio : float, default=0.05
        Fraction of the sampled patches to keep, in (0, 1]. Scoring time, memory and the
        size of saved models are proportional to it; ``fit`` also takes longer if it is
        larger.
    max_patches : int, default=50_000
        Maximum number of patches from which the coreset is selected, sampled in equal
        numbers from all normal images. It limits the memory used by ``fit``.
    n_neighbors : int or None, default=None
        Number of neighbours for the score weighting of the paper, which reduces scores
        less if the nearest patch in the memory bank is itself isolated; 9 is common.
        Requires ``score_pooling="max"``. None disables the weighting.
    image_shape : tuple of int, default=None
        Shape of an image if X has flat rows: (h, w) or (h, w, c), or (c, h, w) with
        ``channels="first"``. None treats each row as an image with a single row of
        pixels.
    channels : {"first", "last"}, default=None
        Position of the channel axis in a four-dimensional X. Only needed if the shape
        of X is ambiguous.
    normalize : str, (mean, std) or None, default="auto"
        As for :class:`~skfcdd.FCDDDetector`: "auto" means "imagenet" if `weights` is
        not None.
    resize : int or tuple of int (h, w), default=None
        Size to which images are resized for the network. Heatmaps have the original
        size.
    score_pooling : {"max", "mean"} or float, default="max"
        How the score of an image is computed from its cells. A float is the fraction of
        the largest cells to average.
    heatmap_sigma : float, default=None
        Standard deviation, in pixels, of the Gaussian drawn for each cell. None uses
        half the distance between two cells. A change after ``fit`` takes effect when
        ``calibrate`` is called.
    threshold : str, Threshold or float, default="auto"
        Score above which an image is anomalous, or the rule that determines it on
        held-out images (see :mod:`skfcdd.thresholds`). "auto" means the 0.95 quantile
        of the normal scores, or the threshold implied by `contamination`; "natural" is
        not supported.
    contamination : "auto" or float, default="auto"
        A float in (0, 0.5] is the fraction of outliers in the training data: the
        threshold then labels this fraction of X as outliers. "auto" sets the
        threshold on held-out images, and labels about 5 % of them as outliers.
    validation_fraction : float, default=0.1
        Fraction of the normal images to hold out for the threshold.
    batch_size : int, default=16
        Minimum number of images per batch.
    device : str, default="auto"
        Device of the computation, as in torch. "auto" uses CUDA if available.
    precision : {"auto", "float64", "float32", "bfloat16"}, default="auto"
        Floating-point precision of the network, as for :class:`~skfcdd.FCDDDetector`;
        distances are computed in at least float32.
    random_state : int, RandomState instance or None, default=None
        Controls the held-out split, the patch sampling, the coreset, and random
        weights.

    Attributes
    ----------
    memory_ : ndarray of shape (n_kept, n_features)
        Features of the coreset patches.
    receptive_field_ : ReceptiveField
        Receptive field of a patch, in pixels of the network input.
    precision_ : {"float64", "float32", "bfloat16"}
        Floating-point precision of the network.
    offset_ : float
        ``decision_function(X) = score_samples(X) - offset_``.
    threshold_ : float
        The negative of `offset_`. Images with a higher anomaly score are outliers.
    image_shape_ : tuple of int (h, w, c)
        Shape of the images.
    n_features_in_ : int
        Number of values per image, h * w * c.
    feature_names_in_ : ndarray of str
        Names of the columns, if X was a table with column names.
    calibration_scores_ : ndarray of shape (n_calibration,), float64
        Scores of the held-out normal images, in increasing order.
    heatmap_scale_ : tuple of float (low, high)
        Values at which the colour scale of heatmaps begins and ends.
    pixel_threshold_ : float
        Heatmap value above which pixels are outlined in plots. The heatmaps of 95 % of
        the held-out normal images do not exceed it anywhere.

    Notes
    -----
    Three details differ from the published code. The coreset is selected from a random
    subset of all patches, which limits memory. Features of the stages are not averaged
    over channels to a common number. At the border, neighbourhoods are truncated rather
    than padded with zeros.

    Examples
    --------
    The detector is typically used with ImageNet weights,
    ``PatchCoreDetector(weights="imagenet")``. Here, the weights are random, so that
    nothing is downloaded:

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
    receptive_field_ = of_model("receptive_field", "Receptive field of a patch.")
    precision_ = of_model("runner.precision", "Precision of the network.")
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
        """Features of the coreset patches."""
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
        # A memory bank with a single patch has no neighbours for the weighting.
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
                f"Got n_neighbors={self.n_neighbors} with "
                f"score_pooling={self.score_pooling!r}, but the weighting by "
                "n_neighbors applies only to the maximum. Use score_pooling='max', or "
                "n_neighbors=None."
            )
        return super()._judging()

    def _check_parameters(self) -> None:
        if self.patch_size % 2 == 0:
            raise ValueError(
                f"Got patch_size={self.patch_size}, but expected an odd number, so "
                "that a cell is at the centre of its neighbourhood."
            )
        named = isinstance(self.backbone, str)
        if self.weights is None and named and not self.backbone.startswith("timm:"):
            warn_caller(
                "With weights=None, the features come from a network with random "
                "weights, and contain little information about images. Set "
                "weights='imagenet' or weights=PATH.",
                RandomFeaturesWarning,
            )

    def _module(
        self, lesson: Lesson
    ) -> tuple[PatchModule, ReceptiveField, tuple[int, int]]:
        """Create the frozen network with an empty memory bank."""
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
    """Fitted model with a memory bank of patches.

    Parameters
    ----------
    n_cells : tuple of int (u, v)
        Number of cells along each axis.
    n_neighbors : int or None
        Number of neighbours for the weighting of the largest distance, if any.
    """

    n_cells: tuple[int, int]
    n_neighbors: int | None

    def scores(
        self, images: ImageArray, rows: npt.NDArray[np.intp] | None = None
    ) -> npt.NDArray[np.float64]:
        """Score validated images, or some rows of them."""
        n_neighbors, module = self.n_neighbors, self.module
        if n_neighbors is None:
            return super().scores(images, rows)

        def weighted(batch: Tensor) -> Tensor:
            scores: Tensor = module.scores(batch, n_neighbors)
            return scores.double()

        parts = [part for _, part in in_batches(self.runner, images, rows, weighted)]
        return np.concatenate([np.empty(0), *parts])

    def heatmap_maker(self) -> Heatmaps:
        """Create the module that computes heatmaps of images in the unit range."""
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
    """Return the default stage and the next one, if ImageNet weights are known."""
    architecture = lookup(backbone)
    if architecture is None or architecture.cut is None:
        return None
    return [architecture.cut, architecture.cut + 1]
