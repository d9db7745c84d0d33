"""Containers that X may come in, or that are refused by what they are."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Set
from typing import Any

import numpy as np

__all__ = [
    "is_paths",
    "is_table",
    "named_columns",
    "path_list",
    "refuse_container",
]

_NARROW = 64


def is_table(X: Any) -> bool:
    """Whether X is a data frame, whose columns have names."""
    # Frames of polars lack the first two from version 2 on.
    return (
        hasattr(X, "iloc")
        or hasattr(X, "__dataframe__")
        or (hasattr(X, "__arrow_c_stream__") and hasattr(X, "columns"))
    )


def column_names(X: Any) -> list[Any]:
    """Names of the columns of a table; none if X is no table."""
    if not is_table(X):
        return []
    return list(getattr(X, "column_names", getattr(X, "columns", [])))


@contextlib.contextmanager
def named_columns(estimator: Any, X: Any, *, reset: bool) -> Iterator[None]:
    """Remember, or compare, names of columns also if scikit-learn does not see them.

    Its versions differ in the frames that they know; columns in another order would
    give other scores in silence.

    Raises
    ------
    ValueError
        If the names differ from those of ``fit``.
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
        raise ValueError(
            f"X has the columns {names[:8]}, but the estimator was fitted with "
            f"{list(known)[:8]}. Give the same columns, in the same order."
        )


def path_list(X: Any) -> list[str | os.PathLike[str]] | None:
    """The paths in a list, an array or a column of a table; None if X is none of them.

    Parameters
    ----------
    X : object
        Whatever an estimator was given.

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
    """Values of a sequence of one dimension that may hold texts; None of others."""
    if isinstance(X, (list, tuple)):
        return list(X) or None
    shape, dtype = getattr(X, "shape", None), getattr(X, "dtype", None)
    # Texts are of many types in pandas and polars, but numbers have one of NumPy.
    if dtype is None or (isinstance(dtype, np.dtype) and dtype.kind not in "UO"):
        return None
    if not isinstance(shape, tuple) or len(shape) != 1 or not hasattr(X, "__iter__"):
        return None
    # A table that is computed later does not know its length.
    return list(X) or None if isinstance(shape[0], int) else None


def refuse_container(X: Any) -> None:
    """Say of what cannot be X what it is, and what to give instead.

    Raises
    ------
    TypeError
        If X is a mapping, a set, an iterator, or a data set or loader of torch.
    ValueError
        If X is one path, a column of paths with gaps, or a table with such a column.
    """
    if isinstance(X, (str, os.PathLike)):
        raise ValueError(
            f"X is the path {os.fspath(X)!r}, but images are expected. Read a folder "
            f"with skfcdd.datasets.load_images, or give a list of files."
        )
    name = type(X).__name__
    if isinstance(X, Mapping):
        given = "X.images, and X.target as y" if "images" in X else "one of its values"
        raise TypeError(
            f"X is a {name} with the keys {list(X)[:8]}, but images are expected. Give "
            f"{given}."
        )
    # What scores without torch shall not import it; whoever has such a thing, has.
    torch_data: Any = sys.modules.get("torch.utils.data")
    if torch_data and isinstance(X, (torch_data.Dataset, torch_data.DataLoader)):
        raise TypeError(
            f"X is a {name} of torch, but images are expected. Give them as one "
            f"tensor, such as torch.stack([image for image, _ in dataset]), or give a "
            f"list of files."
        )
    if isinstance(X, Set) or hasattr(X, "__next__"):
        raise TypeError(
            f"X is a {name}, which has no order or can be read only once. Give a list: "
            f"list(X), or sorted(X)."
        )
    _refuse_gaps(X)


def _refuse_gaps(X: Any) -> None:
    is_text = [isinstance(x, (str, os.PathLike)) for x in _column(X) or []]
    if any(is_text) and not all(is_text):
        row = is_text.index(False)
        raise ValueError(
            f"X holds paths, but {(_column(X) or [])[row]!r} in row {row}. Give the "
            f"path of an image for every row."
        )
    names = column_names(X)
    # In a wide one, columns are pixels.
    for name in names if len(names) <= _NARROW else []:
        if is_paths(X[name]):
            raise ValueError(
                f"X is a table with texts in the column {name!r}. If these are paths "
                f"of images, give this column: X[{name!r}]."
            )
