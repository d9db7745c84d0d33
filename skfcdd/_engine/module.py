"""The trained network (normalisation, backbone and objective) and its factory."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from skfcdd._engine.memory import NormalMemory
from skfcdd._engine.preprocessing import Preprocess
from skfcdd._engine.settings import NetworkSettings
from skfcdd.backbones import freeze_backbone, make_backbone, measure_backbone
from skfcdd.backbones._choice import choose_recipe
from skfcdd.exceptions import ReceptiveFieldWarning
from skfcdd.heatmaps import GaussianUpsampler, heatmap_sigmas
from skfcdd.objectives import Objective, resolve_objective
from skfcdd.receptive_field import ReceptiveField
from skfcdd.receptive_field._check import check_places
from skfcdd.receptive_field._effective import effective_field

__all__ = [
    "ALIKE",
    "FCDDModule",
    "Network",
    "make_module",
    "numbers_of",
    "set_upsampler",
]

# Image sizes with the same remainder modulo this number have the same cell positions.
ALIKE = 64


class FCDDModule(nn.Module):
    """Network that maps images to anomaly maps.

    Parameters
    ----------
    preprocess : Preprocess
    backbone : torch.nn.Module
        Maps (n, c, h, w) to (n, d, u, v).
    objective : Objective
        Objective whose head has been built.
    upsample : torch.nn.Module
        Upsamples anomaly maps to heatmaps of the network input size.
    split : int, default=0
        Number of frozen layers, if the backbone is a
        :class:`~skfcdd.backbones.StagedNetwork`.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        backbone: nn.Module,
        objective: Objective,
        upsample: nn.Module,
        split: int = 0,
    ) -> None:
        super().__init__()
        self.split = split
        # Set in copies for fast inference: precision of frozen layers, and number of
        # images that pass through the network at once.
        self.frozen_dtype: torch.dtype | None = None
        self.at_once: int | None = None
        # Set in copies for inference: the memory bank whose map is added.
        self.memory: NormalMemory | None = None
        self.preprocess = preprocess
        self.backbone = backbone
        self.objective = objective
        self.upsample = upsample
        # Spread of the scores of some images before any training.
        self.initial_spread: float | None = None

    def train(self, mode: bool = True) -> FCDDModule:
        """Set training or evaluation mode; frozen layers stay in evaluation mode.

        Otherwise, their batch normalisation would continue to update its statistics.
        """
        super().train(mode)
        if self.split:
            for path in self.backbone.paths[: self.split]:  # type: ignore[index]
                self.backbone.get_submodule(path).eval()
        return self

    def trains_depthwise(self) -> bool:
        """Whether layers after the frozen ones have depthwise convolutions.

        On a CPU, gradients of such convolutions take twice as long in bfloat16 as in
        float32; everything else is faster in bfloat16.
        """
        if not self.split:
            return False
        behind = self.backbone.paths[self.split :]  # type: ignore[index]
        layers = [m for p in behind for m in self.backbone.get_submodule(p).modules()]
        return any(
            isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1
            for layer in layers
        )

    def features(self, images: Tensor) -> Tensor:
        """Compute features (n, d, u, v) of images in the unit range."""
        return self.features_of(self._normalized(images))

    def features_of(self, normalized: Tensor) -> Tensor:
        """Compute features (n, d, u, v) of normalised images."""
        if not self.split:
            features: Tensor = self.backbone(normalized)
            return features
        kept = self._head(normalized)
        behind: Tensor = self.backbone.tail(kept, self.split)  # type: ignore[operator]
        return behind

    def frozen_features(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the inputs of the trained layers from images in the unit range."""
        groups = [self._head(self._normalized(part)) for part in self.groups(images)]
        if len(groups) == 1:
            return groups[0]
        return tuple(torch.cat(parts) for parts in zip(*groups, strict=True))

    def _head(self, normalized: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs of frozen layers that later layers need."""
        dtype = normalized.dtype
        if self.frozen_dtype is not None:
            normalized = normalized.to(self.frozen_dtype)
        kept: tuple[Tensor, ...] = self.backbone.head(  # type: ignore[operator]
            normalized, self.split
        )
        if self.frozen_dtype is not None:
            kept = tuple(part.to(dtype) for part in kept)
        return kept

    def groups(self, images: Tensor) -> tuple[Tensor, ...]:
        """Split images into groups that pass through the network together."""
        if self.at_once is None or len(images) <= self.at_once:
            return (images,)
        return torch.split(images, self.at_once)

    def _normalized(self, images: Tensor) -> Tensor:
        images = self.preprocess.filled(images.to(self.preprocess.mean.dtype))
        images = self.preprocess(images)
        return images.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Compute anomaly maps (n, u, v), float32, of unit-range images (n, c, h, w).

        The output of :meth:`frozen_features` is accepted in place of images.
        """
        if isinstance(images, tuple):
            tail = self.backbone.tail(images, self.split)  # type: ignore[operator]
            maps: Tensor = self.objective(tail)
            return maps
        groups = [self.maps_of(self._normalized(part)) for part in self.groups(images)]
        return groups[0] if len(groups) == 1 else torch.cat(groups)

    def maps_of(self, normalized: Tensor) -> Tensor:
        """Compute anomaly maps (n, u, v) of normalised images: the sum of all parts."""
        first, *others = self.parts_of(normalized)
        return first + others[0] if others else first

    def parts_of(self, normalized: Tensor) -> list[Tensor]:
        """Compute the summands of the anomaly maps: FCDD's, and the memory bank's."""
        if self.memory is None:
            return [self.objective(self.features_of(normalized))]
        own, kept = self.own_map(normalized)
        return [own, self.memory(kept, own.shape[1:])]

    def own_map(self, normalized: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the FCDD map only, and the output of the last frozen layer."""
        kept = self._head(normalized)
        tail = self.backbone.tail(kept, self.split)  # type: ignore[operator]
        return self.objective(tail), kept[-1]

    def mean_of(self, maps: Tensor) -> Tensor:
        """Average anomaly maps (n, u, v) over the pixels that count."""
        mean: Tensor = self.upsample.mean(maps)  # type: ignore[operator]
        return mean

    def parts(self, images: Tensor) -> Tensor:
        """Compute the summands (k, n, u, v) of anomaly maps of unit-range images."""
        groups = [
            torch.stack(self.parts_of(self._normalized(part)))
            for part in self.groups(images)
        ]
        return torch.cat(groups, dim=1)


class Network:
    """Untrained backbone and objective, as specified by settings.

    Parameters
    ----------
    settings : NetworkSettings
    input_shape : tuple of int (h, w, c)
        Shape of the network input.

    Attributes
    ----------
    backbone : torch.nn.Module
    objective : Objective
        Objective whose head has been built.
    split : int
        Number of frozen layers of the backbone.
    n_inputs : int
        Number of channels that the first layer takes.
    map_shape : tuple of int (u, v)
        Number of cells of the map, per axis.
    """

    def __init__(
        self, settings: NetworkSettings, input_shape: tuple[int, int, int]
    ) -> None:
        self.input_shape = input_shape
        h, w, n_channels = input_shape
        network = make_backbone(
            settings.backbone,
            input_shape,
            weights=settings.weights,
            cut=settings.cut,
            stages=settings.stages,
        )
        self.n_inputs: int = getattr(network, "n_channels", None) or n_channels
        recipe = choose_recipe(settings.backbone, settings.weights)
        self.effective = recipe.effective
        frozen = settings.frozen
        if frozen == "auto":
            frozen = recipe.frozen
            if frozen is not None:  # leave at least one stage to train
                frozen = min(frozen, len(network.stage_names) - 1)  # type: ignore[arg-type]
        self.backbone, self.split = freeze_backbone(network, frozen)
        self.objective: Objective = resolve_objective(settings.loss)
        with torch.no_grad():
            features = self.backbone.eval()(torch.zeros(1, n_channels, h, w))
        self.backbone.train()
        self.map_shape = (int(features.shape[2]), int(features.shape[3]))
        self.objective.build(features.shape[1])
        if not self.objective.uses_bias:
            remove_biases(self.backbone)

    def measure(self) -> ReceptiveField:
        """Measure the receptive field of cells; warn if positions do not match it."""
        h, w, n_channels = self.input_shape
        if not self.objective.spatial:  # positions of cells do not matter
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ReceptiveFieldWarning)
                return measure_backbone(self.backbone, (h, w), n_channels)
        field = measure_backbone(self.backbone, (h, w), n_channels)
        check_places(self.backbone, field, n_channels, (h, w))
        if not self.effective:
            return field
        rows, columns = (min(n, 2 * ALIKE + n % ALIKE) for n in (h, w))
        return effective_field(self.backbone, field, n_channels, (rows, columns))


def make_module(
    network: Network,
    preprocess: Preprocess,
    field: ReceptiveField,
    sigma: float | None,
    image_shape: tuple[int, ...],
) -> FCDDModule:
    """Assemble the module of a network, for training or for loading weights.

    Parameters
    ----------
    network : Network
    preprocess : Preprocess
    field : ReceptiveField
        Receptive field of the cells of the network.
    sigma : float or None
        Standard deviation of the Gaussians, in pixels of the raw images.
    image_shape : tuple of int (h, w, ...)
        Shape of the raw images.
    """
    module = FCDDModule(
        preprocess, network.backbone, network.objective, nn.Identity(), network.split
    )
    set_upsampler(module, network.map_shape, field, sigma, image_shape)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module.train()


def set_upsampler(
    module: FCDDModule,
    map_shape: tuple[int, int],
    field: ReceptiveField,
    sigma: float | None,
    image_shape: tuple[int, ...],
) -> None:
    """Set the upsampler for training: that of ``explain``, at network input size."""
    h, w = module.preprocess.size or image_shape[:2]
    scale = (image_shape[0] / h, image_shape[1] / w)
    sigmas = heatmap_sigmas(field, sigma, scale)
    own = (sigmas[0] / scale[0], sigmas[1] / scale[1])
    reference, roi = module.preprocess.mean, module.preprocess.roi
    seen = None if roi is None else roi.seen.cpu().numpy()
    upsample = GaussianUpsampler((h, w), map_shape, field, own, roi=seen)
    module.upsample = upsample.to(reference.device, reference.dtype)


def numbers_of(part: str, numbers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries of a state dict that belong to a submodule, without prefix."""
    prefix = part + "."
    return {
        name.removeprefix(prefix): value
        for name, value in numbers.items()
        if name.startswith(prefix)
    }


def remove_biases(module: nn.Module) -> None:
    """Remove the biases of all trainable layers, in place."""
    for layer in module.modules():
        bias = getattr(layer, "bias", None)
        if isinstance(bias, nn.Parameter) and bias.requires_grad:
            layer.register_parameter("bias", None)
