"""Groups of images that belong together, such as photographs of one part or lot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.utils.validation import column_or_1d

from skfcdd._inputs.labels import Targets

__all__ = ["check_groups", "units", "with_groups"]


def check_groups(groups: Any, n: int) -> npt.NDArray[np.intp]:
    """Validate the groups of `n` images and number them.

    Parameters
    ----------
    groups : array-like of shape (n,)
        Name or number of the group of each image.
    n : int
        Number of images.

    Returns
    -------
    ndarray of shape (n,), int

    Raises
    ------
    ValueError
        If the number of entries is not `n`, or some entries are missing.
    """
    names = column_or_1d(groups)
    if len(names) != n:
        raise ValueError(f"X has {n} images, but groups has {len(names)} entries.")
    missing = names != names
    if names.dtype.kind == "O":
        missing = missing | np.array([name is None for name in names], dtype=bool)
        names = names.astype(str)
    if np.any(missing):
        raise ValueError(
            f"groups is missing for {int(missing.sum())} of {n} images, first in row "
            f"{int(np.argmax(missing))}. Put each image that belongs to no other into "
            "a group of its own."
        )
    index: npt.NDArray[np.intp] = np.unique(names, return_inverse=True)[1]
    return index.reshape(-1)


def with_groups(targets: Targets, groups: Any) -> Targets:
    """Add the groups of the images to their targets.

    Parameters
    ----------
    targets : Targets
    groups : array-like of shape (n,) or None

    Raises
    ------
    ValueError
        If `groups` has the wrong length or missing entries, or all normal images are
        in one group.
    """
    if groups is None:
        return targets
    index = check_groups(groups, len(targets.anomalous))
    normal = index[~targets.anomalous & targets.kept]
    if len(normal) > 1 and len(np.unique(normal)) == 1:
        raise ValueError(
            f"groups puts all {len(normal)} normal images into one group, but the "
            "threshold needs normal images of a group that was not used for training. "
            "Provide normal images of at least 2 groups, or omit groups."
        )
    return replace(targets, groups=index)


def units(
    digests: npt.NDArray[np.uint64], groups: npt.NDArray[np.intp] | None
) -> npt.NDArray[np.intp]:
    """Return one number per image, equal for images that must stay together.

    Copies of an image stay together, and so do the images of a group. If two groups
    contain copies of the same image, all images of both stay together.

    Parameters
    ----------
    digests : ndarray of shape (n,), uint64
        Hashes of the images, equal for copies.
    groups : ndarray of shape (n,), int, or None
        Numbers of the groups, if any.

    Returns
    -------
    ndarray of shape (n,), int
    """
    copies: npt.NDArray[np.intp] = np.unique(digests, return_inverse=True)[1]
    copies = copies.reshape(-1)
    if groups is None or not len(groups):
        return copies
    n_copies = int(copies.max()) + 1
    ones = np.ones(len(copies), dtype=bool)
    size = n_copies + int(groups.max()) + 1
    links = coo_array((ones, (copies, n_copies + groups)), shape=(size, size))
    part: npt.NDArray[np.intp] = connected_components(links, directed=False)[1]
    return part[copies].astype(np.intp)
