"""Splits with only normal images for training, with or without groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import (
    BaseCrossValidator,
    GroupShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.utils import check_consistent_length, check_random_state

from skfcdd._inputs.labels import image_labels
from skfcdd._utils.sklearn import take_rows

__all__ = ["AnomalyKFold", "anomaly_split"]


def anomaly_split(
    X: Any,
    y: Any,
    *arrays: Any,
    groups: Any = None,
    test_size: float = 0.25,
    anomaly_label: Any = None,
    random_state: Any = None,
) -> list[Any]:
    """Split images into a training set of normal images and a test set.

    The test set contains all anomalies and a random sample of the normal images. With
    `groups`, it contains all groups with an anomaly and a random sample of the other
    groups, so that no group is in both sets.

    Parameters
    ----------
    X : array-like of shape (n, ...)
        Images.
    y : array-like of shape (n,) or (n, h, w)
        Labels, or masks.
    *arrays : array-like of length n
        Further arrays to split in the same way, such as masks, kinds of defects or file
        names.
    groups : array-like of shape (n,), default=None
        Group of each image, such as a part or a lot.
    test_size : float, default=0.25
        Fraction of the normal images to draw for the test set, in (0, 1). With
        `groups`, the fraction of the groups without an anomaly.
    anomaly_label : label, default=None
        Label of anomalies, as for :class:`skfcdd.FCDDClassifier`.
    random_state : int, RandomState instance or None, default=None
        Controls the split.

    Returns
    -------
    list
        The training part and the test part of X, of y, and of each further array.

    Raises
    ------
    ValueError
        If lengths differ, or a set would contain no normal images.

    Examples
    --------
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.model_selection import anomaly_split
    >>> data = make_defects(n_samples=40, image_size=32, random_state=0)
    >>> X_train, X_test, y_train, y_test, _, masks_test = anomaly_split(
    ...     data.images, data.target, data.masks, random_state=0
    ... )
    >>> bool(y_train.any()), len(masks_test) == len(X_test)
    (False, True)
    """
    check_consistent_length(X, y, groups, *arrays)
    anomalous = image_labels(y, anomaly_label)
    units = np.arange(len(anomalous)) if groups is None else np.asarray(groups)
    free = np.flatnonzero(~anomalous & ~np.isin(units, units[anomalous]))
    if len(np.unique(units[free])) < 2:
        raise ValueError(
            "At least 2 normal images (or groups without an anomaly) are needed: one "
            f"for training and one for testing. Got {len(np.unique(units[free]))}."
        )
    splitter = GroupShuffleSplit(1, test_size=test_size, random_state=random_state)
    chosen, _ = next(splitter.split(free, groups=units[free]))
    train = np.sort(free[chosen])
    test = np.setdiff1d(np.arange(len(anomalous)), train)
    return [take_rows(a, rows) for a in (X, y, *arrays) for rows in (train, test)]


class AnomalyKFold(BaseCrossValidator):  # type: ignore[misc]
    """Cross-validator whose training sets contain only normal images.

    Each image is in exactly one test set, and anomalies are distributed evenly over the
    test sets. The training set contains the normal images of the other folds. With
    groups, all images of a group are in the same fold.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds.
    shuffle : bool, default=True
        Whether to shuffle the images before they are split into folds.
    anomaly_label : label, default=None
        Label of anomalies, as for :class:`skfcdd.FCDDClassifier`.
    random_state : int, RandomState instance or None, default=None
        Controls the folds if `shuffle` is True.

    Examples
    --------
    >>> import numpy as np
    >>> from skfcdd.model_selection import AnomalyKFold
    >>> y = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    >>> for train, test in AnomalyKFold(2, shuffle=False).split(y, y):
    ...     print(y[train], y[test])
    [0 0 0] [0 0 0 1]
    [0 0 0] [0 0 0 1]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = True,
        anomaly_label: Any = None,
        random_state: Any = None,
    ) -> None:
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.anomaly_label = anomaly_label
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : object
            Ignored.

        Returns
        -------
        int
        """
        return self.n_splits

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
        """Yield training and test indices.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images.
        y : array-like of shape (n,) or (n, h, w)
            Labels, or masks.
        groups : array-like of shape (n,), default=None
            Group of each image, such as a part or a lot.

        Yields
        ------
        train, test : ndarray of int
            Indices of the images.

        Raises
        ------
        ValueError
            If y is None, or there are fewer images (or groups) than folds.
        """
        if y is None:
            raise ValueError("y is needed to distinguish anomalies from normal images.")
        check_consistent_length(X, y, groups)
        labels = image_labels(y, self.anomaly_label)
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        chance = check_random_state(self.random_state) if self.shuffle else None
        folds = kind(self.n_splits, shuffle=self.shuffle, random_state=chance)
        for train, test in folds.split(np.zeros(len(labels)), labels, groups):
            normal = train[~labels[train]]
            if len(normal) == 0:
                raise ValueError(
                    "A training set would have no normal images. Pass more normal "
                    "images, or smaller groups."
                )
            yield normal, test
