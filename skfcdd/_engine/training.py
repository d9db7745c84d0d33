"""One training run: hold-out split, training data, and result."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from skfcdd._engine.batches import TrainingData
from skfcdd._engine.checkpoint import Checkpoint
from skfcdd._engine.exposure import exposure
from skfcdd._engine.fingerprint import weights_digest
from skfcdd._engine.inference import FixedRunner
from skfcdd._engine.memorizing import recollect
from skfcdd._engine.model import FittedModel
from skfcdd._engine.module import FCDDModule, Network, make_module, set_upsampler
from skfcdd._engine.net import FCDDNet, Listener, unwrapped
from skfcdd._engine.optimization import make_net
from skfcdd._engine.preprocessing import Preprocess
from skfcdd._engine.recollection import Recollection
from skfcdd._engine.reporting import CollapseWatch, ProgressPrinter
from skfcdd._engine.settings import Settings
from skfcdd._engine.sourcing import (
    cached,
    make_alteration,
    make_encoder,
    training_data,
)
from skfcdd._engine.split import Split, UsedImages
from skfcdd._inputs.groups import units
from skfcdd._inputs.images import ImageArray
from skfcdd._inputs.labels import Targets
from skfcdd._utils.device import in_parts, resolve_precision
from skfcdd._utils.random import draw_seeds, seeded
from skfcdd._utils.warnings import warn_caller
from skfcdd.anomalies._mixture import mixture, resolve_kinds
from skfcdd.exceptions import ReceptiveFieldWarning
from skfcdd.feature_cache import FeatureCache
from skfcdd.objectives import Objective
from skfcdd.receptive_field import ReceptiveField

__all__ = ["Trained", "train"]

Digests = npt.NDArray[np.uint64]

# A receptive field that exceeds this fraction of both sides of an image covers nearly
# all of it.
_BLURRING_SHARE = 0.9


@dataclass(frozen=True)
class Trained:
    """Result of a training run; during the run, `net` is the network being trained.

    Parameters
    ----------
    net : FCDDNet
    receptive_field : ReceptiveField
        Receptive field in pixels of the network input.
    split : Split
        The hold-out split.
    split_seed : int
        Seed of the split, reused by warm starts.
    used : UsedImages
        All images that the network has seen in training, this one or earlier ones.
    recollection : Recollection or None
        Memory bank that has yet to be scaled to the units of the FCDD map.
    """

    net: FCDDNet
    receptive_field: ReceptiveField
    split: Split
    split_seed: int
    used: UsedImages
    recollection: Recollection | None = None

    def model(
        self, blank: FittedModel, previous: FittedModel | None, images: ImageArray
    ) -> FittedModel:
        """Create the fitted model, which does not have a threshold yet.

        Parameters
        ----------
        blank : FittedModel
            Model with everything that is known before training.
        images : ImageArray
            Images of ``fit``.
        previous : FittedModel or None
            Model from which training continued.
        """
        net = self.net
        earlier: tuple[dict[str, Any], ...] = ()
        if previous is not None:
            # The epochs of the interrupted training were restored from a checkpoint.
            resumed = net.n_done_ > 0 and previous.runner.interrupted_
            earlier = previous.history[: previous.n_earlier if resumed else None]
        runner: Any = net
        if unwrapped(net) is not net.module_:  # still wrapped for distributed training
            size = net.batch_size
            runner = FixedRunner(unwrapped(net), net.device, net.precision, size)
        model = replace(
            blank,
            runner=runner,
            receptive_field=self.receptive_field,
            used=self.used,
            split_seed=self.split_seed,
            history=(*earlier, *net.history),
            n_earlier=len(earlier),
        )
        if self.recollection is None:
            return model
        return self.recollection.joined(model, images)


def train(
    settings: Settings,
    images: ImageArray,
    targets: Targets,
    previous: FittedModel | None = None,
    prepare: Callable[[Split, int, Digests], None] = lambda *_: None,
    listeners: Callable[[Trained], Sequence[Listener]] = lambda trained: (),
    given: tuple[Split, Digests] | None = None,
) -> Trained:
    """Train a network.

    Parameters
    ----------
    settings : Settings
    images : ImageArray
        Normal images and anomalies.
    targets : Targets
        Labels, masks, groups and weights of the images.
    previous : FittedModel, default=None
        Model from which to continue training.
    prepare : callable, optional
        Called before training, with the split, its seed and the digests of the images.
    listeners : callable, optional
        Takes the `Trained` object of this run, and returns callbacks that follow it.
    given : (Split, ndarray of uint64), default=None
        Split to use, and the digests of the images. None draws a split.

    Returns
    -------
    Trained
    """
    if isinstance(settings.feature_cache, FeatureCache):
        settings.feature_cache.check()
    begun = _begun(previous) if settings.checkpoint is not None else ""
    checkpoint = Checkpoint.of(settings, images, targets, begun)
    seeds = draw_seeds(settings.random_state)
    if checkpoint is not None:
        seeds = checkpoint.agree(seeds)
    if settings.accelerate:
        seeds, settings = _join_processes(seeds, settings)
    split_seed, used = seeds[0], UsedImages()
    if previous is not None:
        split_seed, used = previous.split_seed, previous.used
    digests = images.digests() if given is None else given[1]
    together = units(digests, targets.groups)
    if given is None:
        split = _split(settings, targets, split_seed, digests, together, used)
    else:
        split = given[0]
    prepare(split, split_seed, digests)
    anomalies = {
        "plant": mixture(resolve_kinds(settings.synthetic)[0]),
        **exposure(settings, images, seeds[3]),
    }
    with seeded(seeds[1], settings.device):
        module, field = _module(settings, images, split, previous)
        size = module.preprocess.size or images.image_shape[:2]
        precision = _place(module, settings, size)
        generator = torch.Generator(settings.device).manual_seed(seeds[2])
        data = training_data(
            settings, images, targets, split, module, generator, **anomalies
        )
        data.encode = make_encoder(module, precision, size)
        recollection = recollect(
            settings,
            module,
            precision,
            images,
            split.normal,
            together[split.normal],
            previous,
            split_seed,
        )
        data.alter = make_alteration(settings, data)
        net = _net(settings, module, data, split, precision, targets.class_weight)
        # Most objectives do not override `start`, and need no pass over the images.
        if previous is None and type(module.objective).start is not Objective.start:
            _start_objective(module, data, settings)
        net.begun_ = begun
        used = used.joined(split, digests)
        trained = Trained(net, field, split, split_seed, used, recollection)
        with cached(settings, data, net, module) as source:
            own: list[Listener] = [CollapseWatch(source, split.held_normal)]
            if checkpoint is not None:
                checkpoint.follow(net, source)
                own.append(checkpoint)
            if settings.verbose:
                own.append(ProgressPrinter())
            net.callbacks = [*net.callbacks, *own, *listeners(trained)]
            net = net.fit(source, None).single()
    return replace(trained, net=net)


def _split(
    settings: Settings,
    targets: Targets,
    seed: int,
    digests: Digests,
    together: npt.NDArray[np.intp],
    used: UsedImages,
) -> Split:
    """Split the images into those to train on and those to hold out."""
    fraction = settings.validation_fraction
    if fraction is None:
        return Split.whole(targets.anomalous, targets.kept)
    return Split.draw(
        targets.anomalous,
        float(fraction),
        np.random.RandomState(seed),
        stop_early=settings.early_stopping,
        digests=digests,
        used=used,
        kept=targets.kept,
        together=together,
    )


def _begun(previous: FittedModel | None) -> str:
    """Compute the digest of the weights that training continues from.

    For an interrupted training, these are the weights that it started from.
    """
    if previous is None:
        return ""
    net = previous.runner
    return net.begun_ if net.interrupted_ else weights_digest(net.module_)


def _join_processes(seeds: list[int], settings: Settings) -> tuple[list[int], Settings]:
    """Return the seeds that all processes share, and settings with the local device."""
    try:
        from skfcdd._engine.distributed import own_device, shared_seeds
    except ImportError as error:
        raise ImportError(
            "accelerate=True needs the package accelerate: pip install "
            "'skfcdd[accelerate]'."
        ) from error
    settings = settings.with_device(own_device(settings.device))
    return shared_seeds(seeds), settings


def _module(
    settings: Settings,
    images: ImageArray,
    split: Split,
    previous: FittedModel | None,
) -> tuple[FCDDModule, ReceptiveField]:
    """Make a new network, or copy the previous one if training continues."""
    sigma, shape = settings.heatmap_sigma, images.image_shape
    if previous is not None:
        module: FCDDModule = copy.deepcopy(previous.runner.module_)
        field = previous.receptive_field
        assert field is not None
        set_upsampler(module, previous.map_shape, field, sigma, shape)
        return module, field
    size = settings.network.resize
    h, w = size or shape[:2]
    network = Network(settings.network, (h, w, shape[2]))
    preprocess = Preprocess.learn(
        images,
        split.normal,
        settings.network.normalize,
        size,
        pretrained=settings.network.weights is not None,
        n_inputs=network.n_inputs,
        roi=settings.roi,
    )
    field = network.measure()
    module = make_module(network, preprocess, field, sigma, shape)
    share = min(field.share((h, w)))
    if module.objective.spatial and share > _BLURRING_SHARE and min(h, w) >= 16:
        warn_caller(
            f"Each cell of the map sees {field.extent[0]:.0f} x {field.extent[1]:.0f} "
            f"of the {h} x {w} pixels, so the heatmaps cannot localise defects. Choose "
            "a backbone with a smaller receptive field, or larger images.",
            ReceptiveFieldWarning,
        )
    return module, field


def _place(module: FCDDModule, settings: Settings, size: tuple[int, int]) -> str:
    """Move a module to the training device, and return the precision."""
    h, w = size
    precision = resolve_precision(
        settings.precision, settings.device, h * w, apart=module.trains_depthwise()
    )
    dtype = torch.float64 if precision == "float64" else torch.float32
    module.to(settings.device, dtype)
    return precision


def _net(
    settings: Settings,
    module: FCDDModule,
    data: TrainingData,
    split: Split,
    precision: str,
    class_weight: tuple[float, float] | None,
) -> FCDDNet:
    """Create the net, with a validation set if training may stop early."""
    validation = None
    if settings.early_stopping:
        validation = replace(
            data,
            normal=split.stop_normal,
            anomalous=split.stop_anomalous,
            augment=(),
            # The same anomalies in each epoch make the losses comparable.
            reseed=data.generator.initial_seed(),
        )
    return make_net(
        module,
        settings.for_training(len(data)),
        precision=precision,
        n_batches=data.n_batches(settings.batch_size),
        has_masks=data.masks is not None,
        class_weight=class_weight if module.objective.uses_anomalies else None,
        validation=validation,
    )


@torch.no_grad()
def _start_objective(
    module: FCDDModule, data: TrainingData, settings: Settings
) -> None:
    """Initialise the objective with the features of some normal images."""
    module.eval()
    size, device = settings.batch_size, settings.device
    rows = data.normal[:: max(1, len(data.normal) // (4 * size))]

    def features(place: slice) -> torch.Tensor:
        raw = data.images.take(rows[place], device)
        return module.features(data.preprocess.unit(raw))

    parts = in_parts(len(rows), size, device, features)
    module.objective.start(torch.cat([part for _, part in parts]))
    module.train()
