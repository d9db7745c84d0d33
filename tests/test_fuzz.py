"""Every layout, type and value of input: a right answer, or an exception that says why.

A few hundred cases in CI, more than ten thousand with HYPOTHESIS_PROFILE=nightly.
"""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from _small import make_images, quick
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.testing import assert_allclose, assert_array_equal

from skfcdd import FCDDDetector, FCDDSegmenter
from skfcdd.exceptions import CollapseWarning, ImageShapeError, ValueRangeWarning

IMAGES, Y, MASKS = make_images(40, size=(12, 14), n_anomalous=12)
pytestmark = [
    pytest.mark.filterwarnings("ignore::skfcdd.exceptions.ValueRangeWarning"),
    pytest.mark.filterwarnings("ignore::skfcdd.exceptions.CollapseWarning"),
    # scikit-learn adds up values to find out whether all are finite.
    pytest.mark.filterwarnings("ignore:.* encountered in reduce:RuntimeWarning"),
]


@pytest.fixture(scope="module")
def models():
    return {
        "classifier": quick(max_epochs=1).fit(IMAGES, Y),
        "segmenter": FCDDSegmenter(max_epochs=1, random_state=0).fit(IMAGES, MASKS),
        "detector": FCDDDetector(max_epochs=1, random_state=0).fit(IMAGES),
    }


METHODS = ["predict", "decision_function", "anomaly_score", "explain", "p_values"]
# Types that hold the values of bytes without loss.
DTYPES = ["u1", "u2", "u4", "u8", "i2", "i4", "i8", "f2", "f4", "f8"]


def reference(model, method, images):
    """The answer for each image by itself, in the plainest layout."""
    plain = np.ascontiguousarray(images, dtype=np.float64)
    return np.concatenate(
        [getattr(model, method)(plain[k : k + 1]) for k in range(len(plain))]
    )


@st.composite
def layouts(draw):
    """The same images in another form."""
    rows = draw(st.lists(st.integers(0, 39), min_size=1, max_size=4))
    plain = IMAGES[rows]
    X = plain.astype(draw(st.sampled_from(DTYPES)))
    form = draw(
        st.sampled_from(
            [
                "plain",
                "fortran",
                "strided",
                "reversed",
                "swapped",
                "readonly",
                "list",
                "lists",
                "torch",
                "channel last",
                "channel first",
                "rows",
                "transposed",
            ]
        )
    )
    if form == "fortran":
        X = np.asfortranarray(X)
    elif form == "strided":
        X = np.repeat(np.repeat(X, 2, axis=1), 3, axis=2)[:, ::2, ::3]
    elif form == "reversed":
        X = np.ascontiguousarray(X[:, ::-1, ::-1])[:, ::-1, ::-1]
    elif form == "swapped":
        X = X.astype(X.dtype.newbyteorder())
    elif form == "readonly":
        X.flags.writeable = False
    elif form == "list":
        X = list(X)
    elif form == "lists":
        X = X.tolist()
    elif form == "torch":
        assume(X.dtype.str[1:] not in ("u2", "u4", "u8"))
        X = torch.from_numpy(X)
    elif form == "channel last":
        X = X[..., None]
    elif form == "channel first":
        X = X[:, None]
    elif form == "rows":
        X = X.reshape(len(X), -1)
    elif form == "transposed":
        X = np.ascontiguousarray(X.transpose(2, 1, 0)).transpose(2, 1, 0)
    return plain, X


@given(layouts(), st.sampled_from(METHODS), st.data())
@settings(max_examples=settings().max_examples * 8)
def test_the_form_of_the_images_does_not_matter(models, case, method, data):
    plain, X = case
    name = data.draw(st.sampled_from(sorted(models)))
    before = copy.deepcopy(X)
    found = getattr(models[name], method)(X)
    expected = reference(models[name], method, plain)
    assert found.shape == expected.shape
    if method == "predict":
        assert found.dtype == expected.dtype
        # A score within rounding of the threshold may fall on either side.
        assert (found != expected).mean() <= 0.01
    else:
        assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    if isinstance(X, (np.ndarray, torch.Tensor)):  # what was given is left as it was
        assert_array_equal(np.asarray(X), np.asarray(before))


VALUES = st.one_of(
    st.floats(width=32, allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 1e-45, 1e-38, 3e38, -3e38, 1e300, np.nan, np.inf]),
)


@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(0, 3), st.just(12), st.just(14)),
        elements=VALUES,
        fill=VALUES,
    ),
    st.sampled_from(METHODS),
    st.data(),
)
def test_any_values_score_or_raise(models, X, method, data):
    model = models[data.draw(st.sampled_from(sorted(models)))]
    threshold = model.threshold_
    with np.errstate(over="ignore"):
        single = np.isfinite(X.astype(np.float32)).all()
    if len(X) and single:
        found = getattr(model, method)(X)
        assert len(found) == len(X)
        assert np.isfinite(found.astype(float)).all()
    else:
        with pytest.raises(ValueError, match=r"NaN|infinity|0 sample|single precision"):
            getattr(model, method)(X)
    assert model.threshold_ == threshold


@given(
    arrays.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=15),
    st.sampled_from(["u1", "f4", "c8", "U3", "O", "M8[s]", "?"]),
    st.sampled_from(METHODS),
)
def test_other_shapes_and_types_are_refused_by_name(models, shape, dtype, method):
    assume(shape[1:] not in {(12, 14), (12, 14, 1), (1, 12, 14), (168,)})
    X = np.zeros(shape, dtype=dtype)
    with pytest.raises((ValueError, TypeError)) as info:
        getattr(models["classifier"], method)(X)
    assert str(info.value)


IMAGE_SHAPES = st.tuples(
    st.integers(0, 12), st.integers(0, 9), st.integers(0, 9)
) | st.tuples(
    st.integers(0, 8), st.integers(1, 9), st.integers(1, 9), st.integers(0, 4)
)
LABELS = st.sampled_from(
    [
        "none",
        "zeros",
        "ones",
        "mixed",
        "strings",
        "signs",
        "floats",
        "three",
        "nan",
        "short",
        "object",
        "masks",
        "bad masks",
        "negative masks",
    ]
)


def make_labels(kind, X):
    n = len(X)
    turns = np.arange(n) % 3 == 0
    return {
        "none": None,
        "zeros": np.zeros(n, int),
        "ones": np.ones(n, int),
        "mixed": turns.astype(int),
        "strings": np.where(turns, "bad", "good"),
        "signs": np.where(turns, -1, 1),
        "floats": turns.astype(float),
        "three": np.arange(n) % 3,
        "nan": np.where(turns, np.nan, 0.0),
        "short": turns[:-1].astype(int),
        "object": np.array([None] * n, dtype=object),
        "masks": np.zeros(X.shape[:3], np.uint8),
        "bad masks": np.zeros((n, 3, 3)),
        "negative masks": np.full(X.shape[:3], -1),
    }[kind]


@given(
    IMAGE_SHAPES,
    LABELS,
    st.sampled_from(["u1", "f4"]),
    st.integers(0, 99),
    st.booleans(),
)
@settings(max_examples=max(25, settings().max_examples))
def test_fit_trains_or_raises_and_keeps_what_it_had(shape, labels, dtype, seed, flat):
    rng = np.random.RandomState(seed)
    X = rng.randint(0, 255, shape).astype(dtype)
    if flat:  # constant images
        X[:] = 7
    y = make_labels(labels, X)
    cls = FCDDSegmenter if "masks" in labels else type(quick())
    model = cls("tiny", max_epochs=1, random_state=0, batch_size=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(X, y)
        except (ValueError, TypeError) as error:
            refused = str(error)
        else:
            refused = None
            scores = model.anomaly_score(X)
    if refused is not None:
        assert refused
        assert not hasattr(model, "net_")
        return
    assert scores.shape == (len(X),)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    assert np.isfinite(model.threshold_)


@pytest.mark.parametrize(
    "n", [4_000, pytest.param(1_000_000, marks=pytest.mark.nightly)]
)
def test_order_does_not_change_scores(models, n):
    """Of many images, in any order and any batches."""
    rng = np.random.RandomState(0)
    rows = rng.randint(0, 40, n)
    model = models["classifier"]
    scores = model.anomaly_score(IMAGES[rows])
    order = rng.permutation(len(rows))
    assert_array_equal(model.anomaly_score(IMAGES[rows[order]]), scores[order])
    each = model.anomaly_score(IMAGES)
    assert_array_equal(scores, each[rows])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@given(st.lists(st.integers(0, 59), min_size=1, max_size=40))
@settings(max_examples=20)
def test_company_hardly_changes_scores_of_lower_precision(precise, precision, rows):
    """A sum may be taken in another order where a batch has another size."""
    model, images, each = precise[precision]
    assert_allclose(model.anomaly_score(images[rows]), each[rows], rtol=1e-6)


@pytest.fixture(scope="module")
def precise():
    images = make_images(60, size=(32, 32), n_anomalous=0)[0]
    models = {}
    for precision in ("float32", "bfloat16"):
        model = quick(max_epochs=1, precision=precision).fit(images)
        models[precision] = model, images, model.anomaly_score(images)
    return models


def test_names_of_what_is_wrong(models):
    with pytest.raises(ImageShapeError, match=r"\(12, 14, 1\)|12 x 14|12, 14"):
        models["classifier"].predict(np.zeros((2, 14, 12)))
    with pytest.warns(ValueRangeWarning, match=r"ranged from 0 to 255"):
        models["classifier"].predict(IMAGES[:2] / 255)
    assert issubclass(CollapseWarning, UserWarning)
