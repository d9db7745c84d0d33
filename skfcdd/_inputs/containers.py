"""Containers accepted as X, and helpful errors for those that are not."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Set
from itertools import zip_longest
from typing import Any

import numpy as np

__all__ = [
    "is_paths",
    "is_table",
    "named_columns",
    "path_list",
    "refuse_container",
]

# A table with more columns than this is assumed to contain pixels.
_NARROW = 64


def is_table(X: Any) -> bool:
    """Whether X is a data frame with named columns."""
    # Data frames of polars 2 and later lack the first two attributes.
    return (
        hasattr(X, "iloc")
        or hasattr(X, "__dataframe__")
        or (hasattr(X, "__arrow_c_stream__") and hasattr(X, "columns"))
    )


def column_names(X: Any) -> list[Any]:
    """Return the column names of a table, or an empty list for anything else."""
    if not is_table(X):
        return []
    return list(getattr(X, "column_names", getattr(X, "columns", [])))


@contextlib.contextmanager
def named_columns(estimator: Any, X: Any, *, reset: bool) -> Iterator[None]:
    """Record or compare column names, including those that scikit-learn ignores.

    Which data frames scikit-learn supports depends on its version. Without this check,
    columns in a different order would silently change the scores.

    Raises
    ------
    ValueError
        If the names differ from those in ``fit``.
    """
    names = column_names(X)
    if not names or not all(isinstance(name, str) for name in names):
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        yield
    known = getattr(estimator, "feature_names_in_", None)
    if reset and known is None:
        estimator.feature_names_in_ = np.asarray(names, dtype=object)
    elif not reset and known is not None and list(known) != names:
        pairs = enumerate(zip_longest(names, list(known)))
        place, (found, expected) = next(p for p in pairs if p[1][0] != p[1][1])
        raise ValueError(
            f"The columns of X differ from those that the estimator was fitted with: "
            f"column {place} is {found!r} instead of {expected!r}. Pass the same "
            "columns, in the same order."
        )


def path_list(X: Any) -> list[str | os.PathLike[str]] | None:
    """Return the paths in a list, an array or a table column; None for anything else.

    Parameters
    ----------
    X : object
        Any object passed to an estimator as X.

    Returns
    -------
    list of path, or None
    """
    items = _column(X)
    if items is None or not all(isinstance(x, (str, os.PathLike)) for x in items):
        return None
    return items


def is_paths(X: Any) -> bool:
    """Whether X is a list, an array or a column of paths."""
    return path_list(X) is not None


def _column(X: Any) -> list[Any] | None:
    """Return the values of a 1d sequence that may contain strings, otherwise None."""
    if isinstance(X, (list, tuple)):
        return list(X) or None
    shape, dtype = getattr(X, "shape", None), getattr(X, "dtype", None)
    # pandas and polars have string types of their own; only NumPy types are ruled out.
    if dtype is None or (isinstance(dtype, np.dtype) and dtype.kind not in "UO"):
        return None
    if not isinstance(shape, tuple) or len(shape) != 1 or not hasattr(X, "__iter__"):
        return None
    # The length of a lazy data frame is unknown.
    return list(X) or None if isinstance(shape[0], int) else None


def refuse_container(X: Any) -> None:
    """Raise a helpful error for containers that cannot be X.

    Raises
    ------
    TypeError
        If X is a mapping, a set, an iterator, or a torch data set or data loader.
    ValueError
        If X is a single path, a sequence in which only some rows are paths, or a table
        with a column of strings.
    """
    if isinstance(X, (str, os.PathLike)):
        raise ValueError(
            f"X is the path {os.fspath(X)!r}, but images are expected. Read a folder "
            "with skfcdd.datasets.load_images, or pass a list of files."
        )
    name = type(X).__name__
    if isinstance(X, Mapping):
        given = "X.images, and X.target as y" if "images" in X else "one of its values"
        raise TypeError(
            f"X is a {name} with the keys {list(X)[:8]}, but images are expected. "
            f"Pass {given}."
        )
    # Scoring without torch must not import torch. If X is an object of torch, torch is
    # already imported.
    torch_data: Any = sys.modules.get("torch.utils.data")
    if torch_data and isinstance(X, (torch_data.Dataset, torch_data.DataLoader)):
        raise TypeError(
            f"X is a torch {name}, but images are expected. Pass them as one tensor, "
            "such as torch.stack([image for image, _ in dataset]), or pass a list of "
            "files."
        )
    if isinstance(X, Set) or hasattr(X, "__next__"):
        raise TypeError(
            f"X is a {name}, which has no order or can be iterated only once. Pass a "
            "list: list(X) or sorted(X)."
        )
    _refuse_gaps(X)


def _refuse_gaps(X: Any) -> None:
    is_text = [isinstance(x, (str, os.PathLike)) for x in _column(X) or []]
    if any(is_text) and not all(is_text):
        row = is_text.index(False)
        raise ValueError(
            f"X contains paths, but row {row} is {(_column(X) or [])[row]!r}. Every "
            "row must be the path of an image."
        )
    names = column_names(X)
    # The columns of a wide table are pixels, and are not checked.
    for name in names if len(names) <= _NARROW else []:
        if is_paths(X[name]):
            raise ValueError(
                f"X is a table with strings in the column {name!r}. If these are "
                f"paths of images, pass this column only: X[{name!r}]."
            )
