"""Training in several processes, on one machine or on many, through Accelerate.

Each process makes the same batches, from the same seeds, and works on its share of
each; their gradients are averaged. So there is nothing to be told apart from training
in one process but the statistics of batch normalisation, which are of the shares.
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
    """Device of this process, where all together use devices of a kind.

    Also joins the processes together.
    """
    on_cpu = torch.device(device).type == "cpu"
    own = Accelerator(cpu=on_cpu).device
    return "cpu" if on_cpu else str(own)


def shared_seeds(seeds: list[int]) -> list[int]:
    """The seeds of the first process, in all of them."""
    shared: list[int] = broadcast_object_list(list(seeds))
    return shared


@dataclass(frozen=True)
class _Shares(Batches):
    """The share that one process has in each batch."""

    process: int
    n_processes: int

    def __iter__(self) -> Iterator[tuple[Any, BatchTarget]]:
        for x, target in super().__iter__():
            n = len(target.anomalous)
            # Where there are fewer images than processes, several take the same one.
            shared = max(n, self.n_processes)
            device = target.anomalous.device
            index = torch.arange(self.process, shared, self.n_processes, device=device)
            index %= n
            # Shares may differ by an image, which is to count like any other.
            weight = len(index) * self.n_processes / shared
            yield take(x, index), replace(target.take(index), weight=weight)


class ParallelFCDDNet(AccelerateMixin, FCDDNet):  # type: ignore[misc]
    """An FCDDNet that is one of several processes while it trains."""

    def __init__(self, module: Any, **kwargs: Any) -> None:
        on_cpu = torch.device(kwargs["device"]).type == "cpu"
        accelerator = Accelerator(cpu=on_cpu, device_placement=False)
        # An empty module cannot be shared.
        kwargs["criterion"] = object
        self.reports = accelerator.is_main_process
        # Accelerate's mixin wants a log of skorch to redirect.
        del kwargs["callbacks__print_log"]
        kwargs["callbacks__print_log__sink"] = noop
        # Callbacks that end the training want the module as it was in training.
        super().__init__(
            module, accelerator=accelerator, unwrap_after_train=False, **kwargs
        )

    def get_iterator(self, dataset: TrainingData, training: bool = False) -> Batches:
        """Shares of batches that are already on the device."""
        accelerator = self.accelerator
        return _Shares(
            dataset,
            self.batch_size,
            self.device,
            accelerator.process_index,
            accelerator.num_processes,
        )

    def infer(self, x: Tensor | tuple[Tensor, ...], **fit_params: Any) -> Tensor:
        """Anomaly maps of a batch."""
        return FCDDNet.infer(self, x, **fit_params)

    def _fetch(self, losses: Tensor) -> list[float]:
        """Losses of whole batches, so that all processes decide alike by them."""
        mean: Tensor = self.accelerator.reduce(losses, reduction="mean")
        return mean.tolist()

    def single(self) -> FCDDNet:
        """A net with the same module and history that needs no Accelerate."""
        with torch.no_grad():  # agree on the statistics of batch normalisation
            for buffer in self.module_.buffers():
                buffer.copy_(broadcast(buffer))
        self._unwrap_accelerator()
        left = {"accelerator", "unwrap_after_train", "callbacks__print_log__sink"}
        params = self.get_params(deep=False)
        params = {name: value for name, value in params.items() if name not in left}
        params["train_split"] = None
        # A schedule holds on to the optimiser of this process.
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
