"""What X and y may come in: columns of paths, tables, words; and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _small import make_images, quick
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.ensemble import VotingClassifier

from skfcdd import FCDDClassifier, FCDDDetector
from skfcdd._inputs.labels import check_labels
from skfcdd._inputs.words import meaning
from skfcdd.baselines import PCADetector
from skfcdd.datasets import ImageFiles, load_images
from skfcdd.display._choice import file_names
from skfcdd.exceptions import AnomalyLabelWarning

IMAGES, LABELS, _ = make_images(30, size=(24, 24), n_anomalous=6)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for i, image in enumerate(IMAGES):
        Image.fromarray(image).save(folder / f"{i:02d}.png")
    return sorted(str(path) for path in folder.iterdir())


@pytest.fixture(scope="module")
def expected():
    return quick(max_epochs=1).fit(IMAGES, LABELS).anomaly_score(IMAGES)


class Series:
    """A column of texts that is no array, as those of polars."""

    dtype = "String"

    def __init__(self, values):
        self.values, self.shape = values, (len(values),)

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return iter(self.values)


class Frame:
    """A table that is known by Arrow's interface alone, as those of polars 2."""

    def __init__(self, columns):
        self.data = columns
        self.columns, self.shape = list(columns), (len(columns["a"]), len(columns))

    def __arrow_c_stream__(self, schema=None):
        raise NotImplementedError

    def __array__(self, dtype=None, copy=None):
        return np.column_stack(list(self.data.values())).astype(dtype or float)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, name):
        return self.data[name]


def columns(paths):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"path": paths}, index=np.arange(30) * 2)
    return {
        "column": frame["path"],
        "texts": frame["path"].astype("string"),
        "objects": frame["path"].astype(object),
        "index": pandas.Index(paths),
        "array of objects": np.array(paths, dtype=object),
        "array": np.array(paths),
        "tuple": tuple(paths),
        "other": Series(paths),
    }


@pytest.mark.parametrize(
    "name",
    [
        "column",
        "texts",
        "objects",
        "index",
        "array of objects",
        "array",
        "tuple",
        "other",
    ],
)
def test_columns_of_paths(name, paths, expected):
    X = columns(paths)[name]
    model = quick(max_epochs=1).fit(X, LABELS)
    assert_array_equal(model.anomaly_score(X), expected)
    assert model.reading_ is not None
    assert file_names(X, np.array([3]))[0].endswith("/03.png")


def test_what_is_no_array_of_images(paths, tmp_path):
    for i in range(2):
        (tmp_path / "good").mkdir(exist_ok=True)
        Image.fromarray(IMAGES[i]).save(tmp_path / "good" / f"{i}.png")
    pairs = torch.utils.data.TensorDataset(torch.zeros(4, 8, 8))
    refused = [
        (load_images(tmp_path), TypeError, r"X is a Bunch .* X\.images, and X\.target"),
        ({"a": IMAGES}, TypeError, r"X is a dict with the keys \['a'\]"),
        (pairs, TypeError, r"X is a torch TensorDataset.*torch\.stack"),
        (torch.utils.data.DataLoader(pairs), TypeError, "X is a torch DataLoader"),
        ((path for path in paths), TypeError, r"X is a generator.*list\(X\)"),
        (set(paths), TypeError, "X is a set, which has no order"),
        ([*paths, None], ValueError, "X contains paths, but row 30 is None"),
        ([*paths, np.nan], ValueError, "X contains paths, but row 30 is nan"),
        (paths[0], ValueError, "X is the path .*load_images"),
    ]
    for X, error, message in refused:
        with pytest.raises(error, match=message):
            quick().fit(X)
    with pytest.raises(ValueError, match=r"expected a list of paths"):
        ImageFiles(paths[0])


def test_tables_of_paths_name_the_column(paths):
    pandas = pytest.importorskip("pandas")
    for X in (pandas.DataFrame({"path": paths}), Frame({"a": np.array(paths)})):
        with pytest.raises(ValueError, match=r"pass this column only: X\['(path|a)'\]"):
            quick().fit(X)


def test_columns_of_tables_have_names():
    """Columns in another order gave other scores in silence."""
    values = np.random.RandomState(0).standard_normal((30, 3))
    frame = Frame(dict(zip("abc", values.T, strict=True)))
    turned = Frame(dict(zip("cba", values.T[::-1], strict=True)))
    model = quick(max_epochs=1).fit(frame)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert model.anomaly_score(frame).shape == (30,)
    with pytest.raises(ValueError, match=r"in the same order\.$"):
        model.anomaly_score(turned)


def test_polars():
    polars = pytest.importorskip("polars")
    values = np.random.RandomState(0).standard_normal((30, 3))
    frame = polars.DataFrame(dict(zip("abc", values.T, strict=True)))
    model = quick(max_epochs=1).fit(frame)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="same order"):
        model.anomaly_score(frame.select("c", "b", "a"))


PAIRS = [
    ("good", "bad"),
    ("OK", "NG"),
    ("ok", "nok"),
    ("normal", "anomaly"),
    ("good", "defect"),
    ("pass", "fail"),
    ("Good", "scratch"),
    ("negative", "positive"),
    ("0", "1"),
    ("1", "-1"),
    ("False", "True"),
    ("no", "yes"),
]


@pytest.mark.parametrize(("good", "bad"), PAIRS)
def test_words_that_everyone_knows(good, bad):
    labels = check_labels([good, bad, good], 3)
    assert labels.classes[labels.anomaly_index] == bad
    assert labels.warning is None
    # The same words are known in folders and tables.
    assert meaning(good) is (good != "1")
    assert meaning(bad) is (None if bad == "scratch" else False)


@pytest.mark.parametrize(
    "pair", [("a", "b"), ("good", "ok"), ("bad", "defect"), (1, 2)]
)
def test_words_that_nobody_knows(pair):
    labels = check_labels([*pair, pair[0]], 3)
    assert "last in sorted order" in labels.warning


def test_words_in_fit():
    y = np.where(LABELS == 1, "bad", "good")
    model = quick(max_epochs=1).fit(IMAGES, y)
    numbers = quick(max_epochs=1).fit(IMAGES, LABELS)
    assert_array_equal(model.anomaly_score(IMAGES), numbers.anomaly_score(IMAGES))
    assert set(model.predict(IMAGES)) <= {"good", "bad"}


@pytest.mark.parametrize("Detector", [FCDDDetector, PCADetector])
def test_words_of_detectors(Detector):
    words = np.where(LABELS == 1, "NG", "OK")
    options = {"max_epochs": 1} if Detector is FCDDDetector else {}
    by_word = Detector(random_state=0, **options).fit(IMAGES, words)
    by_number = Detector(random_state=0, **options).fit(IMAGES, np.where(LABELS, -1, 1))
    assert_array_equal(by_word.score_samples(IMAGES), by_number.score_samples(IMAGES))
    with pytest.raises(ValueError, match=r"labels \['a', 'b'\].*Use -1 for known"):
        Detector().fit(IMAGES, np.where(LABELS == 1, "a", "b"))
    with pytest.warns(AnomalyLabelWarning, match=r"labels \[0, 1\], but none .* -1"):
        Detector(random_state=0, **options).fit(IMAGES, LABELS)


def test_labels_that_were_encoded():
    """VotingClassifier makes "defect" 0 and "ok" 1, and 1 means an anomaly."""
    y = np.where(LABELS == 1, "defect", "ok")
    vote = VotingClassifier([("fcdd", quick(max_epochs=1))], voting="soft")
    with pytest.warns(
        AnomalyLabelWarning, match=r"^24 of 30 images have the label 1.*=0"
    ):
        vote.fit(IMAGES.reshape(30, 24, 24), y)
    named = FCDDClassifier(max_epochs=1, random_state=0, anomaly_label=0)
    vote = VotingClassifier([("fcdd", named)], voting="soft").fit(IMAGES, y)
    alone = FCDDClassifier(max_epochs=1, random_state=0).fit(IMAGES, LABELS)
    assert_array_equal(
        vote.estimators_[0].anomaly_score(IMAGES), alone.anomaly_score(IMAGES)
    )
