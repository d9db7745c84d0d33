"""Arrays that are read block by block: zarr, dask, HDF5 and memory-mapped NumPy files.

Such an array has a shape and a data type and can be sliced, but is never loaded as a
whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import assert_all_finite

__all__ = ["blocks", "by_parts", "check_out", "check_values", "is_lazy", "read"]

# Approximate number of values in a block.
_BLOCK = 1 << 24


def is_lazy(X: Any) -> bool:
    """Whether X is a chunked array outside memory.

    zarr, dask and HDF5 arrays have an attribute ``chunks``. The shape of a dask data
    frame is not numeric, which excludes it.
    """
    return (
        not isinstance(X, np.ndarray)
        and all(hasattr(X, name) for name in ("chunks", "dtype", "shape", "ndim"))
        and all(isinstance(length, int) for length in X.shape)
    )


def read(data: Any, index: slice | npt.NDArray[np.intp]) -> npt.NDArray[Any]:
    """Read a slice or some rows of an array into memory.

    Rows of a chunked array are read once each, in increasing order: HDF5 requires this,
    and other formats then read each chunk only once.
    """
    if isinstance(data, np.ndarray) or isinstance(index, slice):
        return np.asarray(data[index])
    rows, places = np.unique(index, return_inverse=True)
    # zarr indexes by a list of rows with `oindex`.
    reader = getattr(data, "oindex", data)
    return np.asarray(reader[rows])[places]


def blocks(data: Any) -> Iterator[npt.NDArray[Any]]:
    """Yield consecutive blocks of an array, of bounded size."""
    step = max(1, _BLOCK // max(1, int(np.prod(data.shape[1:]))))
    for start in range(0, data.shape[0], step):
        yield np.asarray(data[start : start + step])


def check_values(data: Any, name: str = "X") -> tuple[float, float] | None:
    """Check that an array contains finite real numbers only, block by block.

    Returns
    -------
    tuple of float or None
        Minimum and maximum; None if the values were not read, as for integers.

    Raises
    ------
    ValueError
        If there is text, a complex number, NaN or infinity.
    """
    if data.dtype.kind not in "buif":
        raise ValueError(
            f"{name} must contain real numbers, but has dtype {data.dtype}. Convert "
            "it first."
        )
    if data.dtype.kind != "f" or not math.prod(data.shape):
        return None
    ends = []
    for block in blocks(data):
        assert_all_finite(block, input_name=name)
        ends.append((float(block.min()), float(block.max())))
    return min(low for low, _ in ends), max(high for _, high in ends)


def by_parts(array: Any) -> bool:
    """Whether to read an array block by block rather than as a whole.

    True for lazy arrays, memory-mapped files, and arrays that are not contiguous and
    would have to be copied.
    """
    if not isinstance(array, np.ndarray):
        return is_lazy(array)
    apart = isinstance(array, np.memmap) or not array.flags.c_contiguous
    return apart and array.dtype.kind in "buif"


def _is_read_only(array: Any) -> bool:
    """Whether a NumPy, zarr or HDF5 array is read-only."""
    if isinstance(array, np.ndarray):
        return not array.flags.writeable
    mode = getattr(getattr(array, "file", None), "mode", None)
    return bool(getattr(array, "read_only", False)) or mode == "r"


def check_out(out: Any, shape: tuple[int, ...]) -> None:
    """Check that an output array for heatmaps has the right shape and is writable."""
    found = tuple(getattr(out, "shape", ()))
    try:
        kind = np.dtype(getattr(out, "dtype", object)).kind
    except TypeError:  # a data type unknown to NumPy, such as torch's
        kind = "O"
    if found != shape or kind != "f":
        raise ValueError(
            f"out must be a floating-point array of shape {shape}. Got "
            f"{type(out).__name__} of shape {found}, "
            f"dtype {getattr(out, 'dtype', None)}."
        )
    if _is_read_only(out):
        raise ValueError(
            f"out cannot be written to: this {type(out).__name__} is read-only. Open "
            "the file with mode 'r+', or pass another array."
        )
