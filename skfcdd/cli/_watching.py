"""Implementation of ``skfcdd watch``."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from skfcdd._verdicts import convention_of
from skfcdd.cli._console import Outcome, duration, many
from skfcdd.cli._model import AT_ONCE, Model
from skfcdd.datasets import ImageFiles
from skfcdd.datasets._found import SUFFIXES
from skfcdd.monitoring import STATISTICS
from skfcdd.monitoring._folder import Arrival, WatchedFolder
from skfcdd.monitoring._journal import Journal
from skfcdd.monitoring._statistics import image_numbers
from skfcdd.monitoring._stream import StreamMonitor

__all__ = ["Pace", "stopping", "watch"]

# Number of recent measurements of time used for statistics.
_TIMES = 1000
# Seconds between two saves of the state of the monitor; it is also saved at the end.
_SAVE = 10.0
Row = dict[str, Any]


@dataclass(frozen=True)
class Pace:
    """Timing of scans of a watched folder.

    Parameters
    ----------
    poll : float
        Seconds between scans.
    settle : float
        Seconds without changes after which a file counts as complete.
    patience : float
        Seconds without changes after which an unreadable file counts as damaged.
    once : bool
        Whether to stop when all files are processed.
    """

    poll: float = 1.0
    settle: float = 1.0
    patience: float = 30.0
    once: bool = False


@dataclass
class _Tally:
    """Counts of processed images so far."""

    n_images: int = 0
    n_anomalous: int = 0
    n_broken: int = 0
    latency: deque[float] = field(default_factory=lambda: deque(maxlen=_TIMES))
    scoring: deque[float] = field(default_factory=lambda: deque(maxlen=_TIMES))


def watch(
    model: Model,
    folder: Path,
    output: Path,
    pace: Pace,
    *,
    n_usual: int,
    false_alarm_probability: float,
    stop: threading.Event,
    say: Callable[[str], None],
) -> Outcome:
    """Score files as they are completed, until `stop` is set.

    One row per file is appended to `output`. After a restart, files that already have a
    row are skipped.
    """
    if not folder.is_dir():
        raise NotADirectoryError(
            f"{str(folder)!r} is not a folder that can be watched."
        )
    watched = WatchedFolder(
        folder, SUFFIXES, settle=pace.settle, patience=pace.patience
    )
    monitor = _monitor(output, n_usual, false_alarm_probability)
    with Journal(output) as journal:
        n_known = _take_up(journal, watched, monitor)
        if n_known:
            say(f"{many(n_known, 'file')} from earlier runs in {output}.")
        run = _Run(model, watched, journal, monitor, say)
        try:
            run.until(stop, pace)
        finally:
            # Not if rows are missing: their images will be processed again, and would
            # count twice.
            if monitor is not None and run.rows_are_written:
                monitor.save()
    return _outcome(run.tally, monitor, output)


def _monitor(output: Path, n_usual: int, probability: float) -> StreamMonitor | None:
    if n_usual == 0:
        return None
    return StreamMonitor(
        output.with_name(f"{output.name}.drift.json"), n_usual, probability
    )


def _take_up(
    journal: Journal, watched: WatchedFolder, monitor: StreamMonitor | None
) -> int:
    """Restore the state from the rows of earlier runs, and return their number."""
    n = 0

    def rows() -> Iterator[Row]:
        nonlocal n
        for row in journal.rows():
            watched.finish(row["path"], (row.get("modified_ns"), row.get("size")))  # type: ignore[arg-type]
            n += 1
            yield row

    if monitor is None:
        for _ in rows():
            pass
    else:
        monitor.replay(rows())
    return n


class _Run:
    """One run, which scores new files and writes their rows."""

    def __init__(
        self,
        model: Model,
        watched: WatchedFolder,
        journal: Journal,
        monitor: StreamMonitor | None,
        say: Callable[[str], None],
    ) -> None:
        self.model, self.watched, self.journal = model, watched, journal
        self.monitor, self.say, self.tally = monitor, say, _Tally()
        self.alarmed = monitor is not None and monitor.alarm
        self.rows_are_written = True
        self._saved = time.monotonic()

    def until(self, stop: threading.Event, pace: Pace) -> None:
        """Scan, score and wait until `stop` is set; a batch is always completed."""
        while not stop.is_set():
            started = time.monotonic()
            ready = self.watched.look()
            for start in range(0, len(ready), AT_ONCE):
                if stop.is_set():
                    return
                self._see_to(ready[start : start + AT_ONCE])
            if pace.once and not self.watched.n_waiting:
                return
            wait = pace.settle if pace.once else pace.poll
            stop.wait(max(0.0, wait - (time.monotonic() - started)))

    def _see_to(self, batch: list[Arrival]) -> None:
        done = list(self._judged(batch))
        if not done:
            return
        scored = [row for _, row in done if "score" in row]
        self.rows_are_written = False
        if self.monitor is not None:
            self.monitor.feed(scored)
            for row in scored:
                row["drift_alarm"] = self.monitor.alarm
        now = time.time()
        for arrival, row in done:
            row |= {"modified_ns": arrival.modified_ns, "size": arrival.size}
            row["latency"] = round(now - arrival.modified_ns / 1e9, 3)
        self.journal.append(row for _, row in done)
        self.rows_are_written = True
        for arrival, row in done:
            self.watched.finish(arrival.name, arrival.state)
            self._count(row)
        self._tell_of_drift()

    def _judged(self, batch: list[Arrival]) -> Iterator[tuple[Arrival, Row]]:
        """Yield rows of complete files, and errors of damaged ones."""
        try:
            rows = self._rows(batch)
        except (OSError, ValueError) as error:
            if len(batch) > 1:  # one unreadable file makes the whole batch fail
                for arrival in batch:
                    yield from self._judged([arrival])
                return
            if _is_there(batch[0]) and not self.watched.may_get_better(batch[0]):
                name = batch[0].name
                yield batch[0], {"path": name, "error": " ".join(str(error).split())}
            return
        for arrival, row in zip(batch, rows, strict=True):
            if _is_there(arrival):  # otherwise, the file was incomplete when read
                yield arrival, row

    def _rows(self, batch: list[Arrival]) -> list[Row]:
        started = time.perf_counter()
        estimator = self.model.estimator
        files = ImageFiles([arrival.path for arrival in batch], **self.model.options)
        images = files[:]
        found = self.model.judge(images, False)
        rows = found.rows(convention_of(estimator).judges_pixels)
        made = [
            {"path": arrival.name} | row
            for arrival, row in zip(batch, rows, strict=True)
        ]
        if self.monitor is not None:
            numbers = image_numbers(estimator, images)
            for row, values in zip(made, numbers.tolist(), strict=True):
                row |= dict(zip(STATISTICS[1:], map(_short, values), strict=True))
        self.tally.scoring.append((time.perf_counter() - started) / len(batch))
        return made

    def _count(self, row: Row) -> None:
        tally = self.tally
        if "error" in row:
            tally.n_broken += 1
            self.say(f"{row['path']}: {row['error']}")
            return
        tally.n_images += 1
        tally.n_anomalous += row["anomalous"]
        tally.latency.append(row["latency"])

    def _tell_of_drift(self) -> None:
        monitor = self.monitor
        if monitor is None:
            return
        if monitor.alarm and not self.alarmed:
            self.alarmed = True
            told = monitor.told()
            self.say(
                f"Drift: the images now differ from the first {monitor.n_usual} "
                f"(detected at image {told['alarm_at']} after them, by {told['by']})."
            )
        if time.monotonic() - self._saved > _SAVE:
            monitor.save()
            self._saved = time.monotonic()


def _is_there(arrival: Arrival) -> bool:
    """Whether a file still exists, and is unchanged since it was listed."""
    try:
        found = arrival.path.stat()
    except OSError:
        return False
    return (found.st_mtime_ns, found.st_size) == arrival.state


def _short(value: float) -> float:
    return float(f"{value:.7g}")


def _outcome(tally: _Tally, monitor: StreamMonitor | None, output: Path) -> Outcome:
    record: Row = {
        "n_images": tally.n_images,
        "n_anomalous": tally.n_anomalous,
        "n_broken": tally.n_broken,
        "output": str(output),
    }
    sentences = [
        f"{many(tally.n_images, 'image')}, {tally.n_anomalous} of them anomalous; "
        f"{many(tally.n_broken, 'file')} could not be read. Rows are in {output}."
    ]
    if tally.n_images:
        half, most = np.quantile(tally.latency, [0.5, 0.99])
        pace = float(np.mean(tally.scoring))
        record |= {
            "latency_median": float(half),
            "latency_p99": float(most),
            "seconds_per_image": pace,
        }
        sentences.append(
            f"Time from file to verdict: median {duration(half)}, 99th percentile "
            f"{duration(most)}; computation per image: {duration(pace)}."
        )
    if monitor is not None:
        told = record["drift"] = monitor.told()
        if not told["calibrated"]:
            left = monitor.n_usual - told["n_usual"]
            sentences.append(
                f"Drift monitoring starts after {many(left, 'more image')}."
            )
        else:
            state = f"detected at image {told['alarm_at']}" if told["alarm"] else "none"
            sentences.append(f"Drift: {state}, in {many(told['n_seen'], 'image')}.")
    return Outcome(record, sentences)


@contextlib.contextmanager
def stopping() -> Iterator[threading.Event]:
    """Yield an event that is set by Ctrl-C or a TERM signal."""
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
