"""Courses of the learning rate, as shares of the first one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """Share of the first learning rate in each published epoch, counted from 0."""

    def at(self, epoch: int) -> float: ...


@dataclass(frozen=True)
class Decay:
    """Times `factor` after every epoch."""

    factor: float

    def at(self, epoch: int) -> float:
        return self.factor**epoch


@dataclass(frozen=True)
class Steps:
    """Times `factor` from each of the `milestones` on."""

    factor: float
    milestones: tuple[int, ...]

    def at(self, epoch: int) -> float:
        return self.factor ** sum(epoch >= m for m in self.milestones)


@dataclass(frozen=True)
class Course:
    """The published schedule over a run that may be shorter.

    Parameters
    ----------
    schedule : Schedule
    published : int
        Number of epochs of the paper.
    passes : int
        Passes over the normal images that make an epoch of the paper.
    planned : int
        Passes of this run.
    way : {"scaled", "cut"}
        "scaled" squeezes the whole schedule into the run; "cut" breaks it off.
    """

    schedule: Schedule
    published: int
    passes: int
    planned: int
    way: str

    def __call__(self, n_done: int) -> float:
        """Share of the first learning rate after some passes."""
        if self.way == "cut":
            return self.schedule.at(n_done // self.passes)
        return self.schedule.at(n_done * self.published // self.planned)
