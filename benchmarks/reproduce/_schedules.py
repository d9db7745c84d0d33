"""Learning-rate schedules, as factors of the initial rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """Factor of the initial learning rate by published epoch, counted from 0."""

    def at(self, epoch: int) -> float: ...


@dataclass(frozen=True)
class Decay:
    """Multiplication by `factor` after every epoch."""

    factor: float

    def at(self, epoch: int) -> float:
        return self.factor**epoch


@dataclass(frozen=True)
class Steps:
    """Multiplication by `factor` at each of the `milestones`, in epochs."""

    factor: float
    milestones: tuple[int, ...]

    def at(self, epoch: int) -> float:
        return self.factor ** sum(epoch >= m for m in self.milestones)


@dataclass(frozen=True)
class Course:
    """Published schedule, applied to a run that may be shorter.

    Parameters
    ----------
    schedule : Schedule
        Published schedule.
    published : int
        Number of epochs in the paper.
    passes : int
        Number of passes over the normal images in one epoch of the paper.
    planned : int
        Number of passes in this run.
    way : {"scaled", "cut"}
        "scaled" compresses the whole schedule to the run; "cut" truncates it.
    """

    schedule: Schedule
    published: int
    passes: int
    planned: int
    way: str

    def __call__(self, n_done: int) -> float:
        """Return the factor of the initial learning rate after `n_done` passes."""
        if self.way == "cut":
            return self.schedule.at(n_done // self.passes)
        return self.schedule.at(n_done * self.published // self.planned)
