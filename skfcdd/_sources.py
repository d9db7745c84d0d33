"""Arrays that are read piece by piece: zarr, dask, HDF5, and files mapped by NumPy.

Such an array has a shape, a dtype and slices; it is never turned into one in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import assert_all_finite

__all__ = ["blocks", "check_out", "check_values", "is_lazy", "read"]

# Values that are looked at together.
_BLOCK = 1 << 24


def is_lazy(X: Any) -> bool:
    """Whether X is an array with chunks, which does not lie in memory.

    Zarr, dask and HDF5 name the shape of their chunks ``chunks``; a table of dask has
    no shape of numbers.
    """
    return (
        not isinstance(X, np.ndarray)
        and all(hasattr(X, name) for name in ("chunks", "dtype", "shape", "ndim"))
        and all(isinstance(length, int) for length in X.shape)
    )


def read(data: Any, index: slice | npt.NDArray[np.intp]) -> npt.NDArray[Any]:
    """Images of a slice or of some rows, as an array in memory.

    Rows of an array in chunks are read in increasing order, each once: HDF5 asks for
    that, and it spares the others the second look into a chunk.
    """
    if isinstance(data, np.ndarray) or isinstance(index, slice):
        return np.asarray(data[index])
    rows, places = np.unique(index, return_inverse=True)
    # zarr calls by this name what the others do with a list of rows.
    reader = getattr(data, "oindex", data)
    return np.asarray(reader[rows])[places]


def blocks(data: Any) -> Iterator[npt.NDArray[Any]]:
    """Parts of an array in order, of a bounded size."""
    step = max(1, _BLOCK // max(1, int(np.prod(data.shape[1:]))))
    for start in range(0, data.shape[0], step):
        yield np.asarray(data[start : start + step])


def check_values(data: Any, name: str = "X") -> None:
    """Refuse text, complex numbers, and NaN or infinity, part by part.

    Raises
    ------
    ValueError
        If there are any.
    """
    if data.dtype.kind not in "buif":
        raise ValueError(
            f"{name} must hold real numbers, but has dtype {data.dtype}. Convert it "
            f"first."
        )
    if data.dtype.kind == "f":
        for block in blocks(data):
            assert_all_finite(block, input_name=name)


def check_out(out: Any, shape: tuple[int, ...]) -> None:
    """Refuse a place for heatmaps that they do not fit into."""
    found = tuple(getattr(out, "shape", ()))
    kind = np.dtype(getattr(out, "dtype", object)).kind
    if found != shape or kind != "f":
        raise ValueError(
            f"out must be an array of shape {shape} and a floating type. Got "
            f"{type(out).__name__} of shape {found}, "
            f"dtype {getattr(out, 'dtype', None)}."
        )
