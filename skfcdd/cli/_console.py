"""Printing of results, and parsing of arguments."""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import typer

from skfcdd.cli._options import spoken

__all__ = [
    "Outcome",
    "conclude",
    "duration",
    "is_terminal",
    "many",
    "pair",
    "percent",
    "plain_warnings",
    "progress",
    "say",
    "share_text",
    "wilson",
]


@dataclass
class Outcome:
    """Result of a command.

    Parameters
    ----------
    record : dict
        Results for programs: metrics, file names and other values that JSON can hold.
    sentences : list of str
        Sentences for people: what was read, decided and written.
    next : list of str
        Commands that come next.
    """

    record: dict[str, Any] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def conclude(outcome: Outcome, as_json: bool = False, *, file: Any = None) -> None:
    """Print what was done: sentences on a terminal, else a line of JSON.

    Parameters
    ----------
    outcome : Outcome
    as_json : bool, default=False
        JSON on a terminal too.
    file : stream, default=standard output
        Stream for the sentences, if standard output is used for something else.
    """
    if as_json or not is_terminal():
        if file is None:
            print(json.dumps(outcome.record))
        return
    for sentence in outcome.sentences:
        print(sentence, file=file)
    for k, line in enumerate(outcome.next):
        print(f"{'Next:' if k == 0 else '     '} {line}", file=file)


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Show a warning as a line, without the place in the code that it came from."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *args, **kwargs: (
        f"skfcdd: {spoken(str(message))}\n"
    )
    try:
        yield
    finally:
        warnings.formatwarning = before


@contextlib.contextmanager
def progress(label: str, quiet: bool) -> Iterator[Callable[[int], Callable[[], None]]]:
    """Yield a function that starts a progress bar of given length on stderr."""
    with contextlib.ExitStack() as stack:

        def begin(length: int) -> Callable[[], None]:
            if quiet:
                return lambda: None
            stack.close()  # the bar of an earlier training, which has ended
            bar = stack.enter_context(
                typer.progressbar(length=length, label=label, file=sys.stderr)
            )
            return lambda: bar.update(1)

        yield begin


def say(quiet: bool) -> Callable[[str], None]:
    """Return a function that prints a line on standard error, unless `quiet`."""
    return lambda text: None if quiet else print(text, file=sys.stderr)


def pair(size: str | None) -> tuple[int, int] | None:
    """A size as typed: 256, or 256x320 for height and width."""
    if size is None:
        return None
    parts = size.lower().split("x")
    if not (len(parts) in (1, 2) and all(p.isdigit() and int(p) > 0 for p in parts)):
        raise typer.BadParameter(f"--size {size}: expected 256, or 256x320 (h x w).")
    return int(parts[0]), int(parts[-1])


def many(n: int, one: str) -> str:
    """Such as "1 image" and "3,000 images"."""
    return f"{n:,} {one}" if n == 1 else f"{n:,} {one}s"


def percent(share: float) -> str:
    """Format a proportion as a percentage, with more digits near 0 and 100 %."""
    value = 100 * share
    # Values that would be rounded to 100 or 0 are shown as such.
    value = 100.0 if value > 99.995 else 0.0 if value < 0.005 else value
    digits = 0 if value in (0.0, 100.0) else 2 if value < 1 or value > 99 else 1
    return f"{value:.{digits}f} %"


def duration(seconds: float) -> str:
    """A time in words."""
    if seconds < 1:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"


def share_text(part: int, whole: int) -> str:
    """Such as "3 of 4, 75.0 % (95 % interval 30.1 to 95.4 %)"."""
    low, high = wilson(part, whole)
    return (
        f"{part} of {whole}, {percent(part / whole)} (95 % interval {100 * low:.1f} to "
        f"{100 * high:.1f} %)"
    )


def wilson(part: int, whole: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    from skfcdd.metrics._bootstrap import wilson_interval  # takes long to import

    _, low, high = wilson_interval(part / whole, whole)
    return low, high
