"""Packages that are needed for some things alone, imported when they are."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["pillow", "require"]


def require(module: str, package: str) -> Any:
    """Import a module of a package that may be missing.

    Raises
    ------
    ImportError
        If it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This needs the package {package}: pip install {package}."
        ) from error


def pillow(module: str) -> Any:
    """A module of Pillow."""
    return require(f"PIL.{module}", "pillow")
