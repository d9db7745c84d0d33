"""Seeds, and use of torch's global generators without side effects."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Generator, nn

__all__ = ["draw_seeds", "on_host", "seeded", "undisturbed"]

# Weight initialisation and dropout use the global generators. Concurrent trainings
# would otherwise interfere with each other's random numbers.
_turn = threading.RLock()
# Packages whose layers draw no random numbers in evaluation mode.
_QUIET = {"skfcdd", "timm", "torch", "torchvision"}


def _after_fork() -> None:
    """Reset the lock in a forked process, and limit the process to one thread.

    A forked process does not have the threads of its parent. The one that would release
    the lock is missing, and OpenMP would wait forever for its worker threads.
    """
    global _turn
    _turn = threading.RLock()
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def draw_seeds(random_state: Any) -> list[int]:
    """Draw four seeds: for the split, the weights, the batches and exposed outliers."""
    if random_state is None:  # numpy's global generator belongs to the caller
        return [int(s) for s in np.random.SeedSequence().generate_state(4)]
    rng = check_random_state(random_state)
    return [int(s) for s in rng.randint(np.iinfo(np.int32).max, size=4)]


@contextmanager
def seeded(seed: int | None, device: str) -> Iterator[None]:
    """Seed torch's global generators temporarily, and restore them afterwards.

    Other threads wait for their turn. With None, the generators are only restored.
    """
    used = torch.device(device)
    devices = [used] if used.type == "cuda" else []
    with _turn, torch.random.fork_rng(devices=devices):
        if seed is not None:  # not by torch.manual_seed, which seeds all devices
            torch.default_generator.manual_seed(seed)
            if used.type == "cuda":
                with torch.cuda.device(used):
                    torch.cuda.manual_seed(seed)
            elif used.type != "cpu":
                torch.get_device_module(used).manual_seed(seed)
        yield


def on_host(generator: Generator) -> Generator:
    """Return `generator` if it is on the CPU, otherwise a CPU generator seeded from it.

    Use it for numbers that are needed in Python, because reading them from a device
    would synchronise its queue. The state of `generator` determines all of them.
    """
    if generator.device.type == "cpu":
        return generator
    seed = [generator.initial_seed(), generator.get_offset()]
    generator.set_offset(seed[1] + 4)  # offsets are multiples of 4
    state = np.random.SeedSequence(seed).generate_state(1)
    return Generator().manual_seed(int(state[0]))


def undisturbed(module: nn.Module, device: str) -> AbstractContextManager[None]:
    """Return a context for evaluating a network that preserves the random state.

    Only networks with third-party code can draw random numbers in evaluation mode; for
    all others, the context does nothing, and threads need not wait for each other.
    """
    packages = {type(part).__module__.split(".")[0] for part in module.modules()}
    return nullcontext() if packages <= _QUIET else seeded(None, device)
