"""What the commands print, and how they read what is typed."""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import typer

__all__ = ["pair", "plain_warnings", "print_figures", "progress", "say"]


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Show a warning as a line, without the place in the code that it came from."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *args, **kwargs: f"skfcdd: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


@contextlib.contextmanager
def progress(label: str, quiet: bool) -> Iterator[Callable[[int], Callable[[], None]]]:
    """What makes a bar, on standard error, once the length is known."""
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
    """What prints a line on standard error, or nothing."""
    return lambda text: None if quiet else print(text, file=sys.stderr)


def pair(size: str | None) -> tuple[int, int] | None:
    """A size as typed: 256, or 256x320 for height and width."""
    if size is None:
        return None
    parts = size.lower().split("x")
    if not (len(parts) in (1, 2) and all(p.isdigit() and int(p) > 0 for p in parts)):
        raise typer.BadParameter(f"--size {size}: expected 256, or 256x320 (h x w).")
    return int(parts[0]), int(parts[-1])


def print_figures(figures: dict[str, Any], as_json: bool) -> None:
    """Figures by name, and by a second name within, for people or as JSON."""
    if as_json:
        print(json.dumps(figures))
        return
    width = max(map(len, figures))
    for name, value in figures.items():
        if isinstance(value, dict):
            print(name)
            for key, inner in value.items():
                print(f"  {key:{width - 2}s} {_shown(inner)}")
        else:
            print(f"{name:{width}s} {_shown(value)}")


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
