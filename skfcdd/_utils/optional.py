"""Imports of optional packages, and versions of libraries."""

from __future__ import annotations

import importlib
import platform
from importlib import metadata
from typing import Any

__all__ = ["library_versions", "pillow", "require"]


def require(module: str, package: str) -> Any:
    """Import a module of an optional package.

    Raises
    ------
    ImportError
        If it is not installed; the message states how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This needs the package {package}: pip install {package}."
        ) from error


def pillow(module: str) -> Any:
    """Import a module of Pillow."""
    return require(f"PIL.{module}", "pillow")


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries on which a model depends."""
    names = ("skfcdd", "torch", "scikit-learn", "skorch", "numpy")
    versions = {name: metadata.version(name).split("+")[0] for name in names}
    return versions | {"python": platform.python_version()}
