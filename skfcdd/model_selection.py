"""Splits that keep anomalies out of training, and photographs of one part together."""

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
    """Split into normal images to train on, and the others to test with.

    All anomalies are tested. So is every image of a group that has an anomaly, or
    that is drawn for testing: no group is on both sides.

    Parameters
    ----------
    X : array-like of shape (n, ...)
        Images.
    y : array-like of shape (n,) or (n, h, w)
        Labels, or masks.
    *arrays : array-like of length n
        Further arrays to be split alike: masks, kinds, names.
    groups : array-like of shape (n,), default=None
        Part, lot or tile that an image shows.
    test_size : float, default=0.25
        Share of the normal images (of the groups without an anomaly) to test with,
        in (0, 1).
    anomaly_label : label, default=None
        As for :class:`skfcdd.FCDDClassifier`.
    random_state : int, RandomState instance or None, default=None
        Chance of the split.

    Returns
    -------
    list
        Train and test part of X, of y, and of each further array, in this order.

    Raises
    ------
    ValueError
        If lengths differ, or no normal image is left to train on or to test with.

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
            f"At least 2 normal images (groups without an anomaly) are needed, one to "
            f"train on and one to test with. Got {len(np.unique(units[free]))}."
        )
    splitter = GroupShuffleSplit(1, test_size=test_size, random_state=random_state)
    chosen, _ = next(splitter.split(free, groups=units[free]))
    train = np.sort(free[chosen])
    test = np.setdiff1d(np.arange(len(anomalous)), train)
    return [take_rows(a, rows) for a in (X, y, *arrays) for rows in (train, test)]


class AnomalyKFold(BaseCrossValidator):  # type: ignore[misc]
    """Cross-validation whose training folds hold normal images alone.

    Every image is tested once, in folds that have equal shares of the anomalies.
    Images are trained on where they are normal and neither their fold nor their group
    is tested.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds.
    shuffle : bool, default=True
        Mix the images first.
    anomaly_label : label, default=None
        As for :class:`skfcdd.FCDDClassifier`.
    random_state : int, RandomState instance or None, default=None
        Chance of the folds, where `shuffle` is true.

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
        """Number of folds.

        Parameters
        ----------
        X, y, groups : object
            Not used.

        Returns
        -------
        int
        """
        return self.n_splits

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
        """Yield rows to train on and to test with.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images.
        y : array-like of shape (n,) or (n, h, w)
            Labels, or masks.
        groups : array-like of shape (n,), default=None
            Part, lot or tile that an image shows.

        Yields
        ------
        train, test : ndarray of int
            Rows.

        Raises
        ------
        ValueError
            If y is missing, or there are fewer images (groups) than folds.
        """
        if y is None:
            raise ValueError("y is needed to tell anomalies from normal images.")
        check_consistent_length(X, y, groups)
        labels = image_labels(y, self.anomaly_label)
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        chance = check_random_state(self.random_state) if self.shuffle else None
        folds = kind(self.n_splits, shuffle=self.shuffle, random_state=chance)
        for train, test in folds.split(np.zeros(len(labels)), labels, groups):
            normal = train[~labels[train]]
            if len(normal) == 0:
                raise ValueError("A training fold has no normal image.")
            yield normal, test
