"""What labels and masks mean, without an estimator around them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skfcdd._inputs import labels
from skfcdd._inputs.labels import (
    Targets,
    as_truth,
    check_labels,
    check_masks,
    check_masks_and_labels,
    image_labels,
    is_masks,
    masks_to_labels,
)
from skfcdd.exceptions import AnomalyLabelWarning, ImageShapeError

MASKS = np.zeros((4, 3, 5), dtype=np.uint8)
MASKS[2, 1, 4] = 1
ANOMALOUS = np.array([False, False, True, False])


@pytest.mark.parametrize(
    ("y", "anomaly_label", "classes", "index", "told"),
    [
        ([0, 1, 1], None, [0, 1], 1, False),
        ([0.0, 1.0, 1.0], None, [0.0, 1.0], 1, False),
        ([False, True, True], None, [False, True], 1, False),
        ([1, -1, -1], None, [-1, 1], 0, False),
        ([1, 0, 0], 0, [0, 1], 0, False),
        (["b", "a", "a"], "a", ["a", "b"], 0, False),
        (["a", "b", "b"], None, ["a", "b"], 1, True),
        ([1, 2, 2], None, [1, 2], 1, True),
        ([0, 0, 0], None, [0, 1], 1, False),
        ([False] * 3, None, [False, True], 1, False),
        ([5, 5, 5], 7, [5, 7], 1, False),
        ([5, 5, 5], 3, [3, 5], 0, False),
        (["ok"] * 3, "bad", ["bad", "ok"], 0, False),
        (None, None, [0, 1], 1, False),
        (None, 1, [0, 1], 1, False),
    ],
)
def test_which_label_means_anomaly(y, anomaly_label, classes, index, told):
    labels = check_labels(y, 3, anomaly_label)
    assert labels.classes.tolist() == classes
    assert [type(v) for v in labels.classes.tolist()] == [type(v) for v in classes]
    assert labels.anomalous.dtype == bool
    assert labels.anomaly_index == index
    assert type(labels.anomaly_index) is int
    expected = [False] * 3 if y is None else [value == classes[index] for value in y]
    assert labels.anomalous.tolist() == expected
    if told:
        assert labels.warning == (
            f"Of the labels {classes}, {classes[1]!r} is assumed to mean anomaly, "
            "because it is the last in sorted order. Set anomaly_label to confirm or "
            "correct this."
        )
    else:
        assert labels.warning is None


@pytest.mark.parametrize(
    ("y", "anomaly_label", "message"),
    [
        (None, "bad", r"^Got anomaly_label='bad' without y, but without y"),
        ([0, 1], None, r"^X has 3 images, but y has 2 labels\.$"),
        ([0.0, 1.0, np.nan], None, r"^Input y contains NaN"),
        ([0.0, 1.0, np.inf], None, r"^Input y contains infinity"),
        ([0.0, 0.5, 1.5], None, r"^Unknown label type"),
        ([0, 1, 2], None, r"multiclass: y has the labels \[0, 1, 2\]\.$"),
        ([1, 1, 1], None, r"^y contains only 1 class, \[1\], and it is unknown"),
        (
            ["0", "0", "0"],
            None,
            r"^y contains only 1 class, \['0'\], and it is unknown",
        ),
        ([1, 1, 1], 1, r"^y contains only anomalies, one class \(1\), but"),
        ([0, 1, 1], 2, r"^Got anomaly_label=2, but y has the labels \[0, 1\]\. Set"),
    ],
)
def test_labels_that_cannot_be_used(y, anomaly_label, message):
    with pytest.raises(ValueError, match=message):
        check_labels(y, 3, anomaly_label)


def test_no_more_than_ten_labels_are_named():
    with pytest.raises(ValueError, match=r"labels \[0, 1, 2, 3, 4, 5, 6, 7, 8, 9\]\.$"):
        check_labels(np.repeat(np.arange(12), 3), 36)


def test_a_column_of_labels_is_read_with_a_warning():
    with pytest.warns(UserWarning, match="column-vector y was passed"):
        labels = check_labels(np.array([[0], [1], [0]]), 3)
    assert labels.anomalous.tolist() == [False, True, False]


@given(st.sampled_from([1, 255]), st.sampled_from(["u1", "i8", "f4", "?"]), st.data())
def test_masks_of_every_type(top, dtype, data):
    truth = np.array(data.draw(st.lists(st.booleans(), min_size=6, max_size=6)))
    masks = (truth.astype(int) * top).astype(dtype).reshape(1, 2, 3)
    assert_array_equal(as_truth(masks), truth.reshape(1, 2, 3))
    assert as_truth(masks).dtype == bool


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.array([0, 1, 255]), r"Got \[0, 1, 255\]\.$"),
        (np.array([0, 2]), r"Got \[0, 2\]\.$"),
        (np.array([-1, 0, 1]), r"Got \[-1, 0, 1\]\.$"),
        (np.array([0, 0.5]), r"Got \[0\.0, 0\.5\]\.$"),
        (np.array([0, np.nan]), r"Got \[0\.0, nan\]\.$"),
        (np.array(["0", "1"]), r"Got <U1\.$"),
        (np.arange(99), r"Got \[0, 1, 2, 3, 4, 5, 6, 7, 8, 9\]\.$"),
    ],
)
def test_masks_with_other_values(masks, message):
    with pytest.raises(ValueError, match=message):
        as_truth(masks)


@pytest.mark.parametrize("block", [1, 20, 1 << 24])
def test_masks_beside_labels(block, monkeypatch):
    """Also where they are read a few at a time."""
    monkeypatch.setattr(labels, "_BLOCK", block)
    anomalous = np.array([False, True, True, False])
    masks, known = check_masks(MASKS, (3, 5), anomalous)
    assert masks is MASKS
    assert known.tolist() == [True, False, True, True]
    one_unknown = [MASKS[0], None, MASKS[2], MASKS[3]]
    masks, known = check_masks(one_unknown, (3, 5), anomalous)
    assert_array_equal(masks, MASKS)
    assert known.tolist() == [True, False, True, True]
    with pytest.raises(ValueError, match=r"normal according to y, first in row 0"):
        check_masks(MASKS[2:], (3, 5), np.zeros(2, dtype=bool))
    with pytest.raises(
        ValueError, match=r"in 1 image\(s\) that are normal according to y.*row 2"
    ):
        check_masks(MASKS, (3, 5), np.zeros(4, dtype=bool))
    wrong = MASKS.copy()
    wrong[3, 0, 0] = 7
    with pytest.raises(ValueError, match=r"Got \[0, (1, )?7\]\.$"):
        check_masks(wrong, (3, 5), anomalous)


def test_masks_of_another_shape():
    with pytest.raises(
        ImageShapeError, match=r"\(4, 5, 3\) of the images.*\(4, 3, 5\)"
    ):
        check_masks(MASKS, (5, 3), ANOMALOUS)
    ragged = [np.zeros((3, 5)), np.zeros((3, 4))]
    with pytest.raises(ImageShapeError, match=r"\[\(3, 4\), \(3, 5\)\]\.$"):
        check_masks(ragged, (3, 5), ANOMALOUS[:2])


def test_labels_of_masks():
    assert masks_to_labels(MASKS).tolist() == [0, 0, 1, 0]
    assert masks_to_labels(MASKS).dtype.kind == "i"
    with pytest.raises(ValueError, match="mask in row 1 is None, so it is unknown"):
        masks_to_labels([MASKS[0], None])


def test_what_is_known_of_images():
    nothing = check_masks_and_labels(None, None, 4, (3, 5))
    assert nothing.anomalous.tolist() == [False] * 4
    assert nothing.masks is None and nothing.has_mask is None
    assert nothing.anomalous.dtype == bool
    assert nothing.mask_of(np.array([1]), (3, 5)).dtype == bool
    assert nothing.masked.tolist() == []
    assert nothing.masked.dtype == np.intp
    assert_array_equal(nothing.mask_of(np.array([1, 3]), (3, 5)), np.zeros((2, 3, 5)))

    for y, masks in ((MASKS, None), (None, MASKS), ([*MASKS], None)):
        truth = check_masks_and_labels(y, masks, 4, (3, 5))
        assert_array_equal(truth.anomalous, ANOMALOUS)
        assert truth.masked.tolist() == [2]
        found = truth.mask_of(np.array([2, 0]), (3, 5))
        assert found.dtype == bool
        assert_array_equal(found, MASKS[[2, 0]] == 1)

    labels = check_masks_and_labels([0, 1, 1, 0], None, 4, (3, 5))
    assert labels.anomalous.tolist() == [False, True, True, False]
    assert labels.masks is None
    both = check_masks_and_labels([0, 1, 1, 0], MASKS, 4, (3, 5))
    assert both.masked.tolist() == [2]
    assert both.has_mask.tolist() == [True, False, True, True]
    unmasked = Targets(ANOMALOUS, MASKS, np.array([True, True, False, True]))
    assert unmasked.masked.tolist() == []


@pytest.mark.parametrize(
    ("y", "masks", "error", "message"),
    [
        (
            MASKS,
            MASKS,
            ValueError,
            r"^y contains masks, but masks= was passed too.*\(4,\)",
        ),
        (None, MASKS[:3], ImageShapeError, "^X has 4 images, but there are 3 masks"),
        (None, np.ones((4, 3, 5)), ValueError, "^Every mask has an anomalous pixel"),
        ([0, 1, 1], None, ValueError, "inconsistent numbers of samples"),
        (None, [None] * 4, ValueError, "^The mask in row 0 is None"),
    ],
)
def test_masks_and_labels_that_cannot_be_used(y, masks, error, message):
    with pytest.raises(error, match=message):
        check_masks_and_labels(y, masks, 4, (3, 5))


def test_masks_are_told_from_labels():
    assert is_masks(MASKS) and is_masks([*MASKS]) and is_masks([None, MASKS[0]])
    assert is_masks([[[0, 1], [0, 0]]])
    for y in ([0, 1], np.array([0, 1]), np.zeros((4, 1)), ["a", "b"], None):
        assert not is_masks(y)


def test_labels_or_masks_of_a_measure():
    assert image_labels(MASKS).tolist() == ANOMALOUS.tolist()
    assert image_labels(MASKS).dtype == bool
    assert image_labels(["a", "b"], "a").tolist() == [True, False]
    with pytest.warns(
        AnomalyLabelWarning, match="^Of the labels .*, 'b' is assumed to mean anomaly"
    ) as caught:
        assert image_labels(["a", "b"]).tolist() == [False, True]
    assert len(caught) == 1
