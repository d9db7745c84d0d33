"""One training run: what is held out, what the batches hold, and what comes of it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skfcdd._engine.augmentation import resolve_augment
from skfcdd._engine.batches import TrainingData
from skfcdd._engine.checkpoint import Checkpoint
from skfcdd._engine.feature_store import CachedTrainingData, stored_dtype
from skfcdd._engine.fingerprint import weights_digest
from skfcdd._engine.module import build_module, build_net, build_network
from skfcdd._engine.net import FCDDModule, FCDDNet
from skfcdd._engine.preprocessing import Preprocess, resolve_size
from skfcdd._engine.reporting import Reporter
from skfcdd._engine.split import Split
from skfcdd._engine.watch import fit_watched
from skfcdd._inputs.images import ImageArray, check_images
from skfcdd._inputs.labels import Truth
from skfcdd._utils.device import lowered, resolve_device, resolve_precision
from skfcdd._utils.memory import in_parts
from skfcdd._utils.random import seeded
from skfcdd.anomalies import resolve_synthetic
from skfcdd.exceptions import ReceptiveFieldWarning
from skfcdd.feature_cache import FeatureCache
from skfcdd.objectives import Objective
from skfcdd.receptive_field import ReceptiveField

__all__ = ["Previous", "Trained", "draw_seeds", "train"]

# Above this share of both sides of an image, a cell sees nearly everything.
_BLURRING_SHARE = 0.9


@dataclass(frozen=True)
class Trained:
    """What a training run gives.

    Parameters
    ----------
    net : FCDDNet
        The trained net.
    receptive_field : ReceptiveField
        In pixels of the images that the network sees.
    split : Split
        What was held out.
    split_seed : int
        Chance of the split, with which training goes on: images that were held out
        once must not be trained on later.
    """

    net: FCDDNet
    receptive_field: ReceptiveField
    split: Split
    split_seed: int


class Previous(NamedTuple):
    """What training goes on from."""

    net: FCDDNet
    receptive_field: ReceptiveField
    split_seed: int


def train(
    estimator: Any,
    images: ImageArray,
    truth: Truth,
    previous: Previous | None,
    report: Callable[[Callable[[], Trained]], Reporter],
) -> Trained:
    """Train a network with the parameters of `estimator`.

    Parameters
    ----------
    estimator : BaseFCDD
        Its parameters are read, nothing is written.
    images : ImageArray
        Normal images and anomalies.
    truth : Truth
        Which are anomalies, and their masks.
    previous : Previous or None
        The net to go on with.
    report : callable
        Makes the reporter of the epochs, out of what gives the present state.

    Returns
    -------
    Trained
    """
    if isinstance(estimator.feature_cache, FeatureCache):
        estimator.feature_cache.check()
    begun = _begun(previous) if estimator.checkpoint is not None else ""
    checkpoint = Checkpoint.of(estimator, images, truth, begun)
    seeds = draw_seeds(estimator.random_state)
    if checkpoint is not None:
        seeds = checkpoint.agree(seeds)
    device = resolve_device(estimator.device)
    if estimator.accelerate:
        seeds, device = _join_processes(seeds, device)
    split_seed = seeds[0] if previous is None else previous.split_seed
    split = Split.draw(
        truth.anomalous,
        estimator.validation_fraction,
        np.random.RandomState(split_seed),
        stop_early=estimator.early_stopping,
    )
    estimator._check_rule(len(split.held_normal), truth)
    anomalies = {
        "plant": resolve_synthetic(estimator.synthetic),
        **_exposure(estimator, images, seeds[3]),
    }
    with seeded(seeds[1], device):
        module, field = _module(estimator, images, split, previous)
        data = _data(
            estimator,
            images,
            truth,
            split,
            module,
            torch.Generator(device).manual_seed(seeds[2]),
            **anomalies,
        )
        net = _net(estimator, module, data, split, device)
        module.to(device)
        # Most objectives look at nothing, which spares a pass over the images.
        if previous is None and type(module.objective).start is not Objective.start:
            _start_objective(module, data, estimator.batch_size, device)
        net.reporter = report(lambda: Trained(net, field, split, split_seed))
        net.checkpoint, net.begun_ = checkpoint, begun
        with _cached(estimator, data, net, module) as source:
            if checkpoint is not None:
                checkpoint.replay(source, estimator.batch_size, device)
            net = fit_watched(net, module, source, split.held_normal, device)
    return Trained(net, field, split, split_seed)


def _data(
    estimator: Any,
    images: ImageArray,
    truth: Truth,
    split: Split,
    module: FCDDModule,
    generator: torch.Generator,
    **anomalies: Any,
) -> TrainingData:
    """The source of batches, with images on the GPU where they fit."""
    device = generator.device
    if device.type == "cuda":
        images = images.resident(str(device), torch.cuda.mem_get_info(device)[0])
    learns = module.objective.uses_anomalies
    return TrainingData(
        images,
        split.normal,
        split.anomalous,
        module.preprocess,
        generator,
        masks=truth.masks,
        has_mask=truth.has_mask,
        augment=resolve_augment(estimator.augment, frozen=module.split > 0),
        anomaly_fraction=estimator.anomaly_fraction if learns else 0.0,
        trust_planted=estimator.pixel_loss is not None,
        **anomalies,
    )


def _begun(previous: Previous | None) -> str:
    """Digest of the weights that training goes on from.

    What was interrupted is the training that began before it.
    """
    if previous is None:
        return ""
    net = previous.net
    return net.begun_ if net.interrupted_ else weights_digest(net.module_)


def _join_processes(seeds: list[int], device: str) -> tuple[list[int], str]:
    """Seeds that all processes share, and the device of this one."""
    try:
        from skfcdd._engine.distributed import own_device, shared_seeds
    except ImportError as error:
        raise ImportError(
            "accelerate=True needs the package accelerate: pip install "
            "'skfcdd[accelerate]'."
        ) from error
    device = own_device(device)
    return shared_seeds(seeds), device


def draw_seeds(random_state: Any) -> list[int]:
    """Four seeds: of the split, the weights, the batches and the exposed outliers."""
    if random_state is None:  # the global generator of numpy is the caller's
        return [int(s) for s in np.random.SeedSequence().generate_state(4)]
    rng = check_random_state(random_state)
    return [int(s) for s in rng.randint(np.iinfo(np.int32).max, size=4)]


def _exposure(estimator: Any, images: ImageArray, seed: int) -> dict[str, Any]:
    """Exposed outliers, the rows of them to use, and their range of values."""
    if estimator.outlier_exposure is None:
        return {}
    exposed = check_images(
        BaseEstimator(),
        estimator.outlier_exposure,
        channels=estimator.channels,
        image_shape=estimator.image_shape,
    )
    rows = np.random.RandomState(seed).permutation(len(exposed))
    return {
        "exposed": exposed,
        "exposed_index": rows[: estimator.oe_limit],
        "exposed_range": _exposed_range(exposed, images),
    }


def _exposed_range(
    exposed: ImageArray, images: ImageArray
) -> tuple[float, float] | None:
    """Raw values of exposed outliers that become 0 and 1; None for those of X."""
    if exposed.data.dtype == np.uint8:
        return 0.0, 255.0
    if exposed.data.dtype.kind == images.data.dtype.kind:
        return None
    low, high = exposed.limits()
    return low, high if high > low else low + 1.0


def _module(
    estimator: Any,
    images: ImageArray,
    split: Split,
    previous: Previous | None,
) -> tuple[FCDDModule, ReceptiveField]:
    """A fresh network, or the present one where training goes on."""
    if previous is not None:
        # A copy, so that a failure leaves the present network as it is.
        return copy.deepcopy(previous.net.module_), previous.receptive_field
    size = resolve_size(estimator.resize)
    h, w = size or images.image_shape[:2]
    seen_shape = (h, w, images.image_shape[2])
    network, n_inputs, frozen = build_network(estimator, seen_shape)
    preprocess = Preprocess.learn(
        images,
        split.normal,
        estimator.normalize,
        size,
        pretrained=estimator.weights is not None,
        n_inputs=n_inputs,
    )
    module, field = build_module(preprocess, network, frozen, seen_shape, estimator)
    share = min(field.share((h, w)))
    if module.objective.spatial and share > _BLURRING_SHARE and min(h, w) >= 16:
        warnings.warn(
            f"A cell of the map sees {field.extent} of {(h, w)} pixels, so the "
            f"heatmaps cannot tell places apart. Choose a backbone with a smaller "
            f"receptive field, or larger images.",
            ReceptiveFieldWarning,
            stacklevel=7,
        )
    return module, field


def _net(
    estimator: Any, module: FCDDModule, data: TrainingData, split: Split, device: str
) -> FCDDNet:
    """The net, with a validation set where training may stop early."""
    h, w = module.preprocess.size or data.images.image_shape[:2]
    precision = resolve_precision(estimator.precision, device, h * w)
    module.to(torch.float64 if precision == "float64" else torch.float32)
    validation = None
    if estimator.early_stopping:
        validation = replace(
            data,
            normal=split.stop_normal,
            anomalous=split.stop_anomalous,
            augment=(),
            # The same anomalies in each epoch make the losses comparable.
            reseed=data.generator.initial_seed(),
        )
    return build_net(
        module,
        estimator,
        device=device,
        precision=precision,
        n_batches=data.n_batches(estimator.batch_size),
        has_masks=data.masks is not None,
        validation=validation,
    )


@contextmanager
def _cached(
    estimator: Any, data: TrainingData, net: FCDDNet, module: FCDDModule
) -> Iterator[TrainingData]:
    """The source of batches, of features where those of frozen stages are kept."""
    settings = estimator.feature_cache
    if settings is None or (settings == "auto" and not _can_cache(module, data)):
        yield data
        return
    settings = FeatureCache() if settings == "auto" else settings
    if not _can_cache(module, data):
        raise ValueError(
            f"feature_cache={settings} keeps the features of frozen stages of images "
            f"that nothing changes. Got frozen={estimator.frozen!r} and "
            f"augment={estimator.augment!r}; freeze a stage, and take augment=None."
        )

    @torch.no_grad()
    def encode(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with lowered(net.precision, images.device):
            return module.frozen_features(images)

    source = CachedTrainingData.over(
        data,
        encode=encode,
        cache=settings,
        stored=stored_dtype(settings, net.precision),
        dtype=module.preprocess.mean.dtype,
    )
    try:
        yield source
    finally:
        source.close()


def _can_cache(module: FCDDModule, data: TrainingData) -> bool:
    return module.split > 0 and not data.augment


@torch.no_grad()
def _start_objective(
    module: FCDDModule, data: TrainingData, batch_size: int, device: str
) -> None:
    """Let the objective look at the features of some normal images."""
    module.eval()
    rows = data.normal[:: max(1, len(data.normal) // (4 * batch_size))]

    def features(place: slice) -> torch.Tensor:
        raw = data.images.take(rows[place], device)
        return module.features(data.preprocess.unit(raw))

    parts = in_parts(len(rows), batch_size, device, features)
    module.objective.start(torch.cat([part for _, part in parts]))
    module.train()
