"""Monitoring of a stream that may be interrupted at any time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from skfcdd.exceptions import CalibrationError
from skfcdd.monitoring._monitor import DriftMonitor
from skfcdd.monitoring._required import n_scores_required
from skfcdd.monitoring._statistics import STATISTICS

__all__ = ["StreamMonitor"]


class StreamMonitor:
    """Drift monitor that is calibrated on the first images of a stream.

    It processes rows of a journal with the statistics of each image. The state is saved
    from time to time, after rows have been written to the journal. After an
    interruption, the rows that the saved state does not include are read from the
    journal again, so that no image is lost or counted twice.

    Parameters
    ----------
    path : Path
        File in which the state is saved.
    n_usual : int
        Number of images to calibrate on.
    false_alarm_probability : float
        Probability of an alarm ever being raised without drift, in (0, 1).

    Raises
    ------
    CalibrationError
        If `n_usual` is too small for an alarm with this probability.
    ValueError
        If the file is damaged, or belongs to a stream with other settings.
    """

    def __init__(
        self, path: Path, n_usual: int, false_alarm_probability: float
    ) -> None:
        needed = n_scores_required(false_alarm_probability / len(STATISTICS))
        if n_usual < needed:
            raise CalibrationError(
                f"Got {n_usual} images to calibrate drift detection on, but an alarm "
                f"with a false_alarm_probability of {false_alarm_probability:g} needs "
                f"at least {needed}. Wait for more, or allow a higher probability."
            )
        self.path = path
        self.n_usual = n_usual
        self.false_alarm_probability = false_alarm_probability
        self.monitor: DriftMonitor | None = None
        self._usual: list[list[float]] = []
        self._skipped = 0
        if path.exists():
            self.monitor = DriftMonitor.load(path)
            self._check_same(self.monitor)
            self._skipped = n_usual + self.monitor.n_seen_

    def _check_same(self, monitor: DriftMonitor) -> None:
        found = monitor.alarm_probability_, monitor.n_calibration_
        if found != (self.false_alarm_probability, self.n_usual):
            raise ValueError(
                f"{str(self.path)!r} belongs to a stream that was started with a "
                f"false-alarm probability of {found[0]:g}, on {found[1]} images. Use "
                "the same settings, or remove the file to start again."
            )

    @property
    def alarm(self) -> bool:
        """Whether an alarm has been raised."""
        return self.monitor is not None and self.monitor.alarm_

    def replay(self, rows: Iterable[dict[str, Any]]) -> None:
        """Process rows of the journal that the saved state does not include."""
        for row in rows:
            if "score" not in row:
                continue
            if self._skipped:
                self._skipped -= 1
                continue
            self.feed([row])
        self._skipped = 0

    def feed(self, rows: Iterable[dict[str, Any]]) -> None:
        """Process the rows of further images, in order."""
        for row in rows:
            numbers = [float(row[name]) for name in STATISTICS]
            if self.monitor is not None:
                self.monitor.update([numbers])
                continue
            self._usual.append(numbers)
            if len(self._usual) == self.n_usual:
                self.monitor = DriftMonitor(
                    self.false_alarm_probability, random_state=0
                ).fit(np.array(self._usual))
                self._usual = []

    def save(self) -> None:
        """Write the state, if there is one."""
        if self.monitor is not None:
            self.monitor.save(self.path)

    def told(self) -> dict[str, Any]:
        """Summarise the state for JSON."""
        monitor = self.monitor
        if monitor is None:
            return {"calibrated": False, "n_usual": len(self._usual)}
        column = monitor.alarm_column_
        return {
            "calibrated": True,
            "n_seen": monitor.n_seen_,
            "alarm": monitor.alarm_,
            "alarm_at": monitor.alarm_at_,
            "by": None if column is None else STATISTICS[column],
            "p_value": monitor.p_value_,
        }
