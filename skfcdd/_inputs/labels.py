"""Validation of y and masks: which images, and which pixels, are anomalous."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_consistent_length
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import assert_all_finite, column_or_1d

from skfcdd._inputs.lazy_arrays import is_lazy
from skfcdd._inputs.mask_arrays import as_plane, as_planes
from skfcdd._inputs.words import anomaly_of_pair
from skfcdd._utils.warnings import warn_caller
from skfcdd.exceptions import AnomalyLabelWarning, ImageShapeError

__all__ = [
    "Labels",
    "Targets",
    "as_many_masks",
    "as_truth",
    "check_labels",
    "check_masks",
    "check_masks_and_labels",
    "image_labels",
    "is_masks",
    "masks_to_labels",
]

# Masks are checked in blocks of about this many values, so that a memory-mapped file is
# not loaded as a whole.
_BLOCK = 1 << 24


@dataclass(frozen=True)
class Targets:
    """Training targets of a set of images.

    Parameters
    ----------
    anomalous : ndarray of shape (n,), bool
        True for anomalies.
    masks : ndarray of shape (n, h, w) or None
        Masks, greater than 0 at anomalous pixels.
    has_mask : ndarray of shape (n,), bool, or None
        True for images whose mask is known.
    anomaly_label : label, default=None
        Label of anomalies, if y contained labels.
    weight : ndarray of shape (n,) or None
        Relative frequency of each image in training; None means equal frequencies.
    class_weight : (float, float) or None
        Factors for the losses of normal and anomalous images; None means (1, 1).
    groups : ndarray of shape (n,), int, or None
        Group numbers, equal for images that belong together.
    """

    anomalous: npt.NDArray[np.bool_]
    masks: npt.NDArray[Any] | None = None
    has_mask: npt.NDArray[np.bool_] | None = None
    anomaly_label: Any = None
    weight: npt.NDArray[np.float64] | None = None
    class_weight: tuple[float, float] | None = None
    groups: npt.NDArray[np.intp] | None = None

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """Boolean index of the images whose weight is not 0."""
        if self.weight is None:
            return np.ones(len(self.anomalous), dtype=bool)
        return self.weight > 0

    def groups_of(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp] | None:
        """Return the groups of some images, numbered from 0; None without groups."""
        if self.groups is None:
            return None
        index: npt.NDArray[np.intp] = np.unique(self.groups[rows], return_inverse=True)[
            1
        ]
        return index.reshape(-1)

    def mask_of(
        self, rows: npt.NDArray[np.intp], shape: tuple[int, ...]
    ) -> npt.NDArray[np.bool_]:
        """Return boolean masks of some images; masks of normal images are empty."""
        if self.masks is None:
            return np.zeros((len(rows), *shape), dtype=bool)
        marked: npt.NDArray[np.bool_] = self.masks[rows] > 0
        return marked

    def within(self, roi: npt.NDArray[np.bool_] | None) -> Targets:
        """Return the targets within a region of interest (h, w).

        An anomaly with a known mask becomes normal if all its anomalous pixels are
        outside the region.

        Warns
        -----
        UserWarning
            If any anomaly becomes normal.
        """
        if roi is None or self.masks is None:
            return self
        rows = self.masked
        outside = np.array([not (self.masks[row] > 0)[roi].any() for row in rows], bool)
        if not outside.any():
            return self
        warn_caller(
            f"{int(outside.sum())} of {len(rows)} anomalies with a mask have no "
            f"anomalous pixel in the region of interest (roi=) and count as normal.",
            UserWarning,
        )
        anomalous = self.anomalous.copy()
        anomalous[rows[outside]] = False
        return replace(self, anomalous=anomalous)

    @property
    def masked(self) -> npt.NDArray[np.intp]:
        """Rows of the anomalies whose mask is known."""
        if self.has_mask is None:
            return np.empty(0, dtype=np.intp)
        return np.flatnonzero(self.anomalous & self.has_mask)


@dataclass(frozen=True)
class Labels:
    """Validated labels of a set of images, and their meaning.

    Parameters
    ----------
    classes : ndarray of shape (2,)
        Both labels in sorted order.
    anomaly_index : {0, 1}
        Index in `classes` of the label that means "anomaly".
    anomalous : ndarray of shape (n,), bool
        True for images labelled as anomalies.
    warning : str or None
        Message of a warning that the caller issues, if any.
    """

    classes: npt.NDArray[Any]
    anomaly_index: int
    anomalous: npt.NDArray[np.bool_]
    warning: str | None = None


def check_labels(y: Any, n_samples: int, anomaly_label: Any = None) -> Labels:
    """Validate y and find the label that means "anomaly".

    Parameters
    ----------
    y : array-like of shape (n,) or None
        Labels; None means that all images are normal.
    n_samples : int
        Number of images.
    anomaly_label : label or None
        Label of anomalies. None chooses 1 from {0, 1}, True from {False, True} and -1
        from {-1, 1}. Strings are chosen by their meaning ("NG", if the other label is
        "good"). Otherwise, the last label in sorted order is chosen, with a warning.

    Returns
    -------
    Labels

    Raises
    ------
    ValueError
        If y does not have `n_samples` labels, has more than two different labels, a
        single label of unknown meaning or only anomalies, or lacks `anomaly_label`.
    """
    if y is None:
        if anomaly_label is not None and anomaly_label != 1:
            raise ValueError(
                f"Got anomaly_label={anomaly_label!r} without y, but without y all "
                "images are normal with label 0, and anomalies have label 1. Pass the "
                "labels as y, or omit anomaly_label."
            )
        return Labels(np.array([0, 1]), 1, np.zeros(n_samples, dtype=bool))
    y = column_or_1d(y, warn=True)
    if len(y) != n_samples:
        raise ValueError(f"X has {n_samples} images, but y has {len(y)} labels.")
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    if type_of_target(y, input_name="y") == "multiclass" and len(np.unique(y)) > 2:
        raise ValueError(
            f"Only binary classification is supported. The type of the target is "
            f"multiclass: y has the labels {np.unique(y)[:10].tolist()}."
        )
    classes, warning = _classes(np.unique(y), anomaly_label)
    index, told = _anomaly_index(classes, anomaly_label)
    anomalous: npt.NDArray[np.bool_] = y == classes[index]
    if anomalous.all():
        raise ValueError(
            f"y contains only anomalies, one class ({classes.tolist()[index]!r}), but "
            "normal images are needed for training."
        )
    return Labels(classes, index, anomalous, warning or told)


def _classes(
    found: npt.NDArray[Any], anomaly_label: Any
) -> tuple[npt.NDArray[Any], str | None]:
    """Return both labels in sorted order, even if y contains only one of them."""
    if len(found) == 2:
        return found, None
    if anomaly_label is not None:
        _check_same_kind(found, anomaly_label)
        both = np.unique(np.array([found[0], anomaly_label]))
        return (both, None) if len(both) == 2 else (found, None)
    if found.dtype.kind in "biuf" and found[0] == 0:
        return np.array([False, True] if found.dtype == bool else [0, 1]), None
    raise ValueError(
        f"y contains only 1 class, {found.tolist()}, and it is unknown whether it "
        "means normal. Pass the label of anomalies as anomaly_label=, or omit y if all "
        "images are normal."
    )


def _check_same_kind(found: npt.NDArray[Any], anomaly_label: Any) -> None:
    """Raise an error if only the labels, or only `anomaly_label`, are strings."""
    is_text = [
        isinstance(x, (str, np.str_)) for x in (found.tolist()[0], anomaly_label)
    ]
    if is_text[0] != is_text[1]:
        raise ValueError(
            f"Got anomaly_label={anomaly_label!r}, but the labels in y are of another "
            f"type: {found.tolist()!r}. Use strings for both, or numbers for both."
        )


def _anomaly_index(
    classes: npt.NDArray[Any], anomaly_label: Any
) -> tuple[int, str | None]:
    if anomaly_label is not None:
        match = np.flatnonzero(classes == anomaly_label)
        if len(match) == 0:
            raise ValueError(
                f"Got anomaly_label={anomaly_label!r}, but y has the labels "
                f"{classes.tolist()}. Set anomaly_label to one of these."
            )
        return int(match[0]), None
    known = classes.tolist()
    if known == [-1, 1]:
        return 0, None
    if known == [0, 1]:
        return 1, None
    index, sure = anomaly_of_pair(known) or (1, False)
    guessed = anomaly_of_pair(known) is None
    why = "it is the last in sorted order" if guessed else "its name suggests it"
    return index, None if sure else (
        f"Of the labels {known}, {known[index]!r} is assumed to mean anomaly, because "
        f"{why}. Set anomaly_label to confirm or correct this."
    )


def check_masks(
    masks: Any, image_shape: tuple[int, int], anomalous: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Validate masks against the images and their labels.

    Parameters
    ----------
    masks : array-like of shape (n, h, w), or list of arrays (h, w) and None
        0 at normal pixels; 1, True or 255 at anomalous pixels; None if the mask of an
        image is unknown. An additional channel axis is accepted if it has length 1, or
        length 3 and equal channels.
    image_shape : tuple (h, w)
        Size of the images.
    anomalous : ndarray of shape (n,), bool
        Labels of the images.

    Returns
    -------
    masks : ndarray of shape (n, h, w)
        The masks as an array, greater than 0 at anomalous pixels.
    known : ndarray of shape (n,), bool
        True for images whose mask can be used for training: normal images, and
        anomalies with a mask that is not empty.

    Raises
    ------
    ImageShapeError
        If the shape of the masks differs from that of the images.
    ValueError
        If there are values other than 0 and 1 (or 255), or a normal image has
        anomalous pixels.
    """
    n, (h, w) = len(anomalous), image_shape
    if isinstance(masks, (list, tuple)) and any(m is None for m in masks):
        empty = np.zeros(image_shape, dtype=bool)
        masks = [empty if m is None else as_plane(m, image_shape) for m in masks]
    array = as_planes(_stacked(masks), (n, h, w))
    if array.shape != (n, h, w):
        raise ImageShapeError(
            f"masks must have the shape (n, h, w) = {(n, h, w)} of the images. Got "
            f"{array.shape}."
        )
    has_any = np.zeros(n, dtype=bool)
    step = max(1, _BLOCK // (h * w))
    for start in range(0, n, step):
        block = array[start : start + step]
        has_any[start : start + step] = as_truth(block).any(axis=(1, 2))
    wrong = np.flatnonzero(has_any & ~anomalous)
    if len(wrong):
        raise ValueError(
            f"masks has anomalous pixels in {len(wrong)} image(s) that are normal "
            f"according to y, first in row {wrong[0]}. Correct masks or y."
        )
    return array, has_any | ~anomalous


def as_many_masks(masks: Any, n: int) -> Any:
    """Check that there are `n` masks, and load them if they are a chunked array.

    Raises
    ------
    ImageShapeError
        If the number of masks is not `n`.
    """
    if is_lazy(masks):
        masks = np.asarray(masks[:])
    found = len(masks) if getattr(masks, "ndim", 1) else 0
    if found != n:
        raise ImageShapeError(f"X has {n} images, but there are {found} masks.")
    return masks


def _stacked(masks: Any) -> npt.NDArray[Any]:
    try:
        return np.asarray(masks)
    except ValueError as error:
        raise ImageShapeError(
            f"All masks must have the shape (h, w) of the images. Got "
            f"{sorted({np.shape(mask) for mask in masks})}."
        ) from error


def as_truth(masks: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Convert masks of 0 and 1 (or 255) to booleans.

    Raises
    ------
    ValueError
        If there are other values.
    """
    if masks.dtype == bool:
        return masks
    numeric = masks.dtype.kind in "iuf"
    top = masks.max() if numeric else 0
    if not numeric or top not in (0, 1, 255) or not np.isin(masks, (0, top)).all():
        found = np.unique(masks)[:10].tolist() if numeric else str(masks.dtype)
        raise ValueError(
            f"masks must contain 0 for normal and 1 (or 255) for anomalous pixels. Got "
            f"{found}."
        )
    return masks != 0


def masks_to_labels(masks: Any) -> npt.NDArray[np.int_]:
    """Return the label 1 for each mask with an anomalous pixel, and 0 for the others.

    Raises
    ------
    ValueError
        If a mask is None, so that the label of its image is unknown.
    """
    unknown = [i for i, mask in enumerate(masks) if mask is None]
    if unknown:
        raise ValueError(
            f"The mask in row {unknown[0]} is None, so it is unknown whether that "
            "image is an anomaly. Pass the labels of the images as y, in addition to "
            "masks."
        )
    return np.array([np.any(np.asarray(mask)) for mask in masks], dtype=int)


def check_masks_and_labels(
    y: Any,
    masks: Any,
    n_samples: int,
    image_shape: tuple[int, int],
    anomaly_label: Any = None,
) -> Targets:
    """Combine y, which contains labels or masks, with `masks` into targets.

    Raises
    ------
    ImageShapeError
        If the shape of the masks differs from that of the images.
    ValueError
        If masks are passed twice, if a mask is None and its image has no label, or if
        labels or masks are invalid.
    """
    if y is None and masks is None:
        return Targets(np.zeros(n_samples, dtype=bool))
    if y is not None and is_masks(y):
        if masks is not None:
            raise ValueError(
                "y contains masks, but masks= was passed too. Pass labels of shape "
                f"({n_samples},) as y, or omit one of the two."
            )
        y, masks = None, y
    if masks is not None:
        masks = as_many_masks(masks, n_samples)
    label = None
    if y is None:
        anomalous = masks_to_labels(masks).astype(bool)
        if anomalous.all():
            raise ValueError(
                "Every mask has an anomalous pixel, but normal images are needed for "
                "training."
            )
    else:
        check_consistent_length(y, np.empty(n_samples))
        labels = _told_labels(y, anomaly_label)
        anomalous, label = labels.anomalous, labels.classes[labels.anomaly_index]
    if masks is None:
        return Targets(anomalous, anomaly_label=label)
    known = check_masks(masks, image_shape, anomalous)
    return Targets(anomalous, *known, anomaly_label=label)


def is_masks(y: Any) -> bool:
    """Whether y contains masks rather than labels."""
    if isinstance(y, (list, tuple)):
        return any(mask is None or np.ndim(mask) >= 2 for mask in y)
    n_axes: int = y.ndim if hasattr(y, "ndim") else np.asarray(y).ndim
    return n_axes >= 3


def image_labels(y: Any, anomaly_label: Any = None) -> npt.NDArray[np.bool_]:
    """Return which images are anomalous, according to labels or masks.

    Raises
    ------
    ValueError
        If y has more than two labels, or a single one of unknown meaning.

    Warns
    -----
    AnomalyLabelWarning
        If the label of anomalies had to be guessed.
    """
    if is_masks(y):
        return masks_to_labels(y).astype(bool)
    return _told_labels(y, anomaly_label).anomalous


def _told_labels(y: Any, anomaly_label: Any) -> Labels:
    """Validate labels, and warn if the label of anomalies had to be guessed."""
    labels = check_labels(y, len(np.asarray(y)), anomaly_label)
    if labels.warning is not None:
        warn_caller(labels.warning, AnomalyLabelWarning)
    return labels
