"""Printing and formatting of results, and parsing of sizes."""

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
        Machine-readable results, such as metrics and file names; printed as JSON.
    sentences : list of str
        Sentences that describe the results to the user.
    next : list of str
        Commands that the user may want to run next.
    """

    record: dict[str, Any] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def conclude(outcome: Outcome, as_json: bool = False, *, file: Any = None) -> None:
    """Print an outcome: sentences on a terminal, otherwise one line of JSON.

    Parameters
    ----------
    outcome : Outcome
    as_json : bool, default=False
        Whether to print JSON on a terminal too.
    file : stream, default=standard output
        Stream for the sentences, if standard output already contains other results;
        JSON is then not printed.
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
    """Show each warning as one line, without its location in the code."""
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
    """Yield a function that starts a progress bar of a given length on stderr."""
    with contextlib.ExitStack() as stack:

        def begin(length: int) -> Callable[[], None]:
            if quiet:
                return lambda: None
            stack.close()  # end the progress bar of the previous training run
            bar = stack.enter_context(
                typer.progressbar(length=length, label=label, file=sys.stderr)
            )
            return lambda: bar.update(1)

        yield begin


def say(quiet: bool) -> Callable[[str], None]:
    """Return a function that prints a line on standard error, unless `quiet`."""
    return lambda text: None if quiet else print(text, file=sys.stderr)


def pair(size: str | None) -> tuple[int, int] | None:
    """Parse an image size: ``256``, or ``256x320`` for height and width."""
    if size is None:
        return None
    parts = size.lower().split("x")
    if not (len(parts) in (1, 2) and all(p.isdigit() and int(p) > 0 for p in parts)):
        raise typer.BadParameter(
            f"--size {size}: expected 256, or 256x320 (height x width)."
        )
    return int(parts[0]), int(parts[-1])


def many(n: int, one: str) -> str:
    """Format a number with a noun, such as "1 image" or "3,000 images"."""
    return f"{n:,} {one}" if n == 1 else f"{n:,} {one}s"


def percent(share: float) -> str:
    """Format a proportion as a percentage, with more digits near 0 and 100 %."""
    value = 100 * share
    # "0 %" and "100 %" are shorter than "0.00 %" and "100.00 %".
    value = 100.0 if value > 99.995 else 0.0 if value < 0.005 else value
    digits = 0 if value in (0.0, 100.0) else 2 if value < 1 or value > 99 else 1
    return f"{value:.{digits}f} %"


def duration(seconds: float) -> str:
    """Format a duration with its unit."""
    if seconds < 1:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"


def share_text(part: int, whole: int) -> str:
    """Format a proportion with counts, percentage and 95 % interval."""
    low, high = wilson(part, whole)
    return (
        f"{part} of {whole}, {percent(part / whole)} (95 % interval {100 * low:.1f} to "
        f"{100 * high:.1f} %)"
    )


def wilson(part: int, whole: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a proportion."""
    from skfcdd.metrics._bootstrap import wilson_interval  # slow to import

    _, low, high = wilson_interval(part / whole, whole)
    return low, high
