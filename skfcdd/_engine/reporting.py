"""Messages of training: progress, collapse and interruption."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from skfcdd._engine.batches import TrainingData
from skfcdd._engine.checkpoint import Checkpoint
from skfcdd._engine.inside import planted
from skfcdd._engine.module import FCDDModule
from skfcdd._engine.net import FCDDNet, Listener, unwrapped
from skfcdd._utils.device import in_parts
from skfcdd._utils.warnings import warn_caller
from skfcdd.anomalies import confetti
from skfcdd.exceptions import CollapseWarning, InterruptedTrainingWarning

__all__ = ["CollapseWatch", "ProgressPrinter"]

# Number of normal images whose scores are monitored for collapse.
_PROBE_SIZE = 32
# Learning to separate anomalies increases the spread of the scores; if it falls below
# this fraction of the spread before training, the scores have collapsed to a constant.
_COLLAPSE_SHARE = 0.1


class ProgressPrinter(Listener):
    """Callback that prints a line for each epoch, with the remaining time."""

    reports = True

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Record the start time, and the epochs done by an earlier run."""
        self.n_epochs, self.n_done = net.max_epochs, len(net.history)
        self.n_before = self.n_done
        self.started = time.perf_counter()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Print the line of the epoch."""
        self.n_done += 1
        if net.reports:
            print(self._line(net.history[-1]), flush=True)

    def _line(self, row: dict[str, Any]) -> str:
        """Format an epoch as a line: losses, duration and remaining time."""
        spent = time.perf_counter() - self.started
        pace = spent / (self.n_done - self.n_before)
        left = round(pace * (self.n_epochs - self.n_done))
        width = len(str(self.n_epochs))
        parts = [f"epoch {self.n_done:{width}}/{self.n_epochs}"]
        parts += [f"{n} {row[n]:.4f}" for n in ("train_loss", "valid_loss") if n in row]
        if row.get("valid_loss_best"):
            parts[-1] += " *"
        clock = f"{left // 60}:{left % 60:02}"
        return "  ".join([*parts, f"{row['dur']:.1f} s", f"{clock} left"])


class CollapseWatch(Listener):
    """Callback that warns if scores collapse to a constant, or training is interrupted.

    Parameters
    ----------
    data : TrainingData
    rows : ndarray of int
        Held-out normal images.
    """

    def __init__(self, data: TrainingData, rows: npt.NDArray[np.intp]) -> None:
        self.data, self.rows = data, rows[:_PROBE_SIZE]

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Measure the spread of the scores before training."""
        module = unwrapped(net)
        if module.initial_spread is None:
            module.initial_spread = self._spread(net, module)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Report an interruption, and warn if the scores have collapsed.

        Raises
        ------
        ValueError
            If the scores are not finite.
        """
        _report_interruption(net)
        module = unwrapped(net)
        spread, before = self._spread(net, module), module.initial_spread
        assert before is not None
        if not math.isfinite(spread):
            raise ValueError(
                "Training diverged: the network's scores are not finite. Choose a "
                f"lower lr than {net.lr}, or check the images that augment and "
                "synthetic produce."
            )
        if spread < _COLLAPSE_SHARE * before:
            warn_caller(
                "The network gives nearly the same score to all images: the standard "
                f"deviation of the scores of varied images is {spread:.1e}, compared "
                f"with {before:.1e} before training. Train with anomalies (synthetic=, "
                "outlier_exposure=, or labels in y), or lower lr.",
                CollapseWarning,
            )

    @torch.no_grad()
    def _spread(self, net: FCDDNet, module: FCDDModule) -> float:
        """Compute the standard deviation of the scores of the probe images."""
        was_training = module.training
        probe = self._probe(net.device)
        module.eval()

        def scores(place: slice) -> torch.Tensor:
            return module.mean_of(module(probe[place]))

        parts = in_parts(len(probe), net.batch_size, probe.device, scores)
        spread = torch.cat([part for _, part in parts]).cpu().double().std(correction=0)
        module.train(was_training)
        return float(spread)

    def _probe(self, device: Any) -> torch.Tensor:
        """Return some normal images, and copies of them with synthetic anomalies."""
        parts = np.array_split(self.rows, -(-len(self.rows) // 4))
        unit, images = self.data.preprocess.unit, self.data.images
        probe = torch.cat([unit(images.take(part, device)) for part in parts])
        generator = torch.Generator(device).manual_seed(0)
        marked, _ = planted(confetti, probe, generator, self.data.preprocess.roi)
        return torch.cat([probe, marked])


def _report_interruption(net: Any) -> None:
    """Warn if training was interrupted within an epoch, and discard this epoch.

    skorch ends a training on a KeyboardInterrupt. Callbacks raise the same exception to
    stop a training, but only at the end of an epoch.
    """
    if not net.history or "train_loss" in net.history[-1]:
        return
    del net.history[-1]
    net.interrupted_ = True
    kept = next((c for _, c in net.callbacks_ if isinstance(c, Checkpoint)), None)
    further = "calling fit with warm_start=True continues from there"
    if kept is not None:
        further = f"calling fit again resumes from the checkpoint {str(kept.path)!r}"
    warn_caller(
        f"Training was interrupted in epoch {len(net.history) + 1} of "
        f"{net.max_epochs}. The estimator is fitted with the weights learned so far; "
        f"{further}.",
        InterruptedTrainingWarning,
    )
