"""Training in several processes, on one or more machines, through Accelerate.

Each process makes the same batches from the same seeds and trains on its share of each;
gradients are averaged. The result matches training in one process except for the batch
statistics of batch normalisation, which are computed on the shares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list
from skorch.callbacks import PassthroughScoring
from skorch.hf import AccelerateMixin
from skorch.utils import noop
from torch import Tensor

from skfcdd._engine.batches import BatchTarget, TrainingData
from skfcdd._engine.net import Batches, FCDDNet, Listener, take

__all__ = ["ParallelFCDDNet", "own_device", "shared_seeds"]


def own_device(device: str) -> str:
    """Return the device of this process, of the same kind as `device`.

    Also initialises the process group.
    """
    on_cpu = torch.device(device).type == "cpu"
    own = Accelerator(cpu=on_cpu).device
    return "cpu" if on_cpu else str(own)


def shared_seeds(seeds: list[int]) -> list[int]:
    """Broadcast the seeds of the first process to all processes."""
    shared: list[int] = broadcast_object_list(list(seeds))
    return shared


@dataclass(frozen=True)
class _Shares(Batches):
    """Batches reduced to the share of one process."""

    process: int
    n_processes: int

    def __iter__(self) -> Iterator[tuple[Any, BatchTarget]]:
        for x, target in super().__iter__():
            n = len(target.anomalous)
            # If there are fewer images than processes, several processes take the same
            # image.
            shared = max(n, self.n_processes)
            device = target.anomalous.device
            index = torch.arange(self.process, shared, self.n_processes, device=device)
            index %= n
            # Shares may differ by one image; weight them so that all images count
            # equally.
            weight = len(index) * self.n_processes / shared
            yield take(x, index), replace(target.take(index), weight=weight)


class ParallelFCDDNet(AccelerateMixin, FCDDNet):  # type: ignore[misc]
    """FCDDNet that trains as one of several processes."""

    def __init__(self, module: Any, **kwargs: Any) -> None:
        on_cpu = torch.device(kwargs["device"]).type == "cpu"
        accelerator = Accelerator(cpu=on_cpu, device_placement=False)
        # Accelerate cannot wrap a criterion without parameters.
        kwargs["criterion"] = object
        self.reports = accelerator.is_main_process
        # Accelerate's mixin requires a skorch log to redirect.
        del kwargs["callbacks__print_log"]
        kwargs["callbacks__print_log__sink"] = noop
        # Callbacks that stop the training need the wrapped module.
        super().__init__(
            module, accelerator=accelerator, unwrap_after_train=False, **kwargs
        )

    def get_iterator(self, dataset: TrainingData, training: bool = False) -> Batches:
        """Return the shares of batches of this process, already on the device."""
        accelerator = self.accelerator
        return _Shares(
            dataset,
            self.batch_size,
            self.device,
            accelerator.process_index,
            accelerator.num_processes,
        )

    def infer(self, x: Tensor | tuple[Tensor, ...], **fit_params: Any) -> Tensor:
        """Compute the anomaly maps of a batch."""
        return FCDDNet.infer(self, x, **fit_params)

    def _fetch(self, losses: Tensor) -> list[float]:
        """Return the losses of whole batches, so that all processes decide alike."""
        mean: Tensor = self.accelerator.reduce(losses, reduction="mean")
        return mean.tolist()

    def single(self) -> FCDDNet:
        """Return a net with the same module and history, without Accelerate."""
        with torch.no_grad():  # synchronise the statistics of batch normalisation
            for buffer in self.module_.buffers():
                buffer.copy_(broadcast(buffer))
        self._unwrap_accelerator()
        left = {"accelerator", "unwrap_after_train", "callbacks__print_log__sink"}
        params = self.get_params(deep=False)
        params = {name: value for name, value in params.items() if name not in left}
        params["train_split"] = None
        # A learning-rate schedule keeps a reference to the optimiser of this process.
        params["callbacks"] = [
            (name, callback)
            for name, callback in self.callbacks_
            if name not in {"lr_schedule", "epoch_timer", "print_log", "early_stopping"}
            and not isinstance(callback, (PassthroughScoring, Listener))
        ]
        net = FCDDNet(**params, callbacks__print_log=None)
        net.initialize()
        net.history = self.history
        return net
