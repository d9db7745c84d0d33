"""A training under watch: scores that collapse or are not finite, interruption."""

from __future__ import annotations

import math
import warnings

import numpy as np
import numpy.typing as npt
import torch

from skfcdd._engine.batches import TrainingData
from skfcdd._engine.net import FCDDModule, FCDDNet
from skfcdd._utils.memory import in_parts
from skfcdd.anomalies import confetti
from skfcdd.exceptions import CollapseWarning, InterruptedTrainingWarning

__all__ = ["fit_watched"]

# Number of normal images whose scores are watched for collapse.
_PROBE_SIZE = 32
# Learning to tell anomalies apart spreads the scores; scores that end up with less
# than this share of their spread before training are on the way to a constant.
_COLLAPSE_SHARE = 0.1


def fit_watched(
    net: FCDDNet,
    module: FCDDModule,
    data: TrainingData,
    held_normal: npt.NDArray[np.intp],
    device: str,
) -> FCDDNet:
    """Train, and warn if the scores of varied images end up alike.

    Raises
    ------
    ValueError
        If the scores are not finite.
    """
    rows = held_normal[:_PROBE_SIZE]
    if module.initial_spread is None:
        probe = _probe(data, rows, device)
        module.initial_spread = _spread(module, probe, net.batch_size)
        del probe  # training has the memory for itself
    net = net.fit(data, None).single()
    net.reporter = None
    _report_interruption(net)
    spread = _spread(net.module_, _probe(data, rows, device), net.batch_size)
    if not math.isfinite(spread):
        raise ValueError(
            f"Training diverged: the network's scores are not finite. Choose a lower "
            f"lr than {net.lr}, or check what augment and synthetic make of the images."
        )
    if spread < _COLLAPSE_SHARE * module.initial_spread:
        warnings.warn(
            f"The network gives nearly the same score to everything: the scores of "
            f"varied images spread by {spread:.1e}, and by {module.initial_spread:.1e} "
            f"before training. Train against anomalies (synthetic=, "
            f"outlier_exposure=, or labels in y), or with a lower lr.",
            CollapseWarning,
            stacklevel=7,
        )
    return net


def _report_interruption(net: FCDDNet) -> None:
    """Say how far training got, if it was broken off within an epoch.

    skorch takes a KeyboardInterrupt for a wish to end. Callbacks end a training so, but
    after an epoch.
    """
    if not net.history or "train_loss" in net.history[-1]:
        return
    del net.history[-1]
    net.interrupted_ = True
    further = "fit with warm_start=True goes on from there"
    if net.checkpoint is not None:
        further = f"fit again goes on from the checkpoint {str(net.checkpoint.path)!r}"
    warnings.warn(
        f"Training was interrupted in epoch {len(net.history) + 1} of "
        f"{net.max_epochs}. The estimator is fitted with what the network has learned "
        f"until then; {further}.",
        InterruptedTrainingWarning,
        stacklevel=8,
    )


def _probe(data: TrainingData, rows: npt.NDArray[np.intp], device: str) -> torch.Tensor:
    """Some normal images, and the same with anomalies that are always alike."""
    parts = np.array_split(rows, -(-len(rows) // 4))
    loaded = [data.preprocess.unit(data.images.take(part, device)) for part in parts]
    images = torch.cat(loaded)
    generator = torch.Generator(device).manual_seed(0)
    return torch.cat([images, confetti(images, generator)[0]])


@torch.no_grad()
def _spread(module: FCDDModule, probe: torch.Tensor, batch_size: int) -> float:
    """Standard deviation of the scores of some images."""
    was_training = module.training
    module.to(probe.device).eval()

    def scores(place: slice) -> torch.Tensor:
        return module(probe[place]).mean(dim=(1, 2))

    parts = in_parts(len(probe), batch_size, probe.device, scores)
    spread = torch.cat([part for _, part in parts]).cpu().double().std(correction=0)
    module.train(was_training)
    return float(spread)
