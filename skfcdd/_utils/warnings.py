"""Warnings that point to the user's code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

__all__ = ["silenced", "warn_caller"]

_PACKAGE = str(Path(__file__).parents[1])
# Parts of the paths of modules between the user's code and ours, such as wrappers of
# `fit`.
_BETWEEN = ("/sklearn/", "/skorch/", "/torch/", "/contextlib.py", "/functools.py")


_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextmanager
def silenced() -> Iterator[None]:
    """Suppress the warnings of this package, in this thread only.

    Python's own warning filters are shared by all threads.
    """
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the first line outside this package and the packages it calls."""
    if _silent.get():
        return
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None:
        name = frame.f_code.co_filename.replace("\\", "/")
        if not name.startswith(_PACKAGE.replace("\\", "/")) and not any(
            part in name for part in _BETWEEN
        ):
            break
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
