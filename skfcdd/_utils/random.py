"""torch's global generators: used by one thread at a time, and left as found."""

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

# Weights are drawn from the global generators, and so is dropout. Two trainings at a
# time would draw from each other's chance.
_turn = threading.RLock()
# Packages whose layers draw nothing while they are evaluated.
_QUIET = {"skfcdd", "timm", "torch", "torchvision"}


def _after_fork() -> None:
    """A forked process has none of the threads of the one it comes from.

    Neither one that could give the lock back, nor those of OpenMP, for which it would
    wait forever: it computes with one thread.
    """
    global _turn
    _turn = threading.RLock()
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def draw_seeds(random_state: Any) -> list[int]:
    """Four seeds: of the split, the weights, the batches and the exposed outliers."""
    if random_state is None:  # the global generator of numpy is the caller's
        return [int(s) for s in np.random.SeedSequence().generate_state(4)]
    rng = check_random_state(random_state)
    return [int(s) for s in rng.randint(np.iinfo(np.int32).max, size=4)]


@contextmanager
def seeded(seed: int | None, device: str) -> Iterator[None]:
    """Run with torch's global generators seeded, and leave them as they were.

    Other threads wait. With None the generators are restored, but not seeded.
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
    """A generator on the CPU whose chance comes from that of `generator`.

    For numbers that Python must know: to fetch them from a device would stop its queue.
    The state of `generator` says all there is to know of it.
    """
    if generator.device.type == "cpu":
        return generator
    seed = [generator.initial_seed(), generator.get_offset()]
    generator.set_offset(seed[1] + 4)  # offsets are multiples of 4
    state = np.random.SeedSequence(seed).generate_state(1)
    return Generator().manual_seed(int(state[0]))


def undisturbed(module: nn.Module, device: str) -> AbstractContextManager[None]:
    """Evaluate a network such that the caller's chance is left as found.

    Only networks with code of others can draw while they are evaluated; for all else
    threads need not wait for each other.
    """
    packages = {type(part).__module__.split(".")[0] for part in module.modules()}
    return nullcontext() if packages <= _QUIET else seeded(None, device)
