"""The evidence of the whole image: mean features against those of normal images."""

import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from sklearn.svm import OneClassSVM

from skfcdd import FCDDClassifier, persistence
from skfcdd._engine.whole_image import learn_whole_image
from skfcdd._inputs.images import ImageArray
from skfcdd.datasets import make_defects
from skfcdd.exceptions import ModelFileError
from skfcdd.memory_bank import MemoryBank


def means(n, seed, shift=0.0):
    """Mean features (n, 6) on different scales; one feature never varies."""
    X = np.random.RandomState(seed).randn(n, 6) + shift
    X[:, 5] = 3.0
    return X * [1, 10, 0.1, 1, 5, 1]


def dissimilarity(whole, X):
    return whole(torch.as_tensor(X, dtype=torch.float64)).numpy()


def test_is_the_one_class_machine_of_scikit_learn():
    X, new = means(200, 0), means(300, 1, shift=0.5)
    whole = learn_whole_image(X, torch.float64)
    spread = np.where(X.std(axis=0) > 0, X.std(axis=0), np.inf)
    standard = [(part - X.mean(axis=0)) / spread for part in (X, new)]
    machine = OneClassSVM(nu=0.1, gamma=1 / 6).fit(standard[0])
    expected = -machine.score_samples(standard[1])
    found = dissimilarity(whole, new)
    inside = found > 0
    assert 0.5 < inside.mean() < 1
    line = np.polyfit(expected[inside], found[inside], 1)
    np.testing.assert_allclose(np.polyval(line, expected[inside]), found[inside])
    assert line[0] > 0


def test_unit_is_the_spread_of_unseen_normal_images():
    whole = learn_whole_image(means(400, 0), torch.float64)
    found = dissimilarity(whole, means(4000, 1))
    assert found.min() == 0
    assert found.mean() == pytest.approx(1, abs=0.25)
    # Values below the mean are limited, so that the spread is a little less than 1.
    assert 0.7 < found.std() < 1.1


def test_is_bounded_and_grows_with_the_distance():
    whole = learn_whole_image(means(100, 0), torch.float64)
    step = np.array([1, 10, 0.1, 1, 5, 0])
    away = means(100, 0).mean(axis=0) + step * np.array([[0, 1, 2, 4, 1000]]).T
    found = dissimilarity(whole, away)
    assert (np.diff(found)[1:-1] > 0).all()
    assert found[-1] == found.max()
    assert found[-1] == pytest.approx(float(whole.top))


@pytest.mark.parametrize("n", [2, 3, 10])
def test_few_images_and_equal_ones(n):
    found = dissimilarity(learn_whole_image(means(n, 0), torch.float64), means(50, 1))
    assert np.isfinite(found).all()
    equal = learn_whole_image(np.ones((n, 6)), torch.float64)
    assert np.isfinite(dissimilarity(equal, means(50, 1))).all()


def test_continued_training_remembers():
    first = learn_whole_image(means(100, 0), torch.float64)
    other = means(100, 1, shift=4.0)
    forgotten = learn_whole_image(other, torch.float64)
    both = learn_whole_image(other, torch.float64, first)
    old = means(100, 2)
    assert dissimilarity(both, old).mean() < 0.7 * dissimilarity(forgotten, old).mean()


@pytest.fixture(scope="module")
def good():
    data = make_defects(48, image_size=64, random_state=0)
    return data.images[data.target == 0]


@pytest.fixture(scope="module")
def model(good):
    return FCDDClassifier(max_epochs=1, precision="float32", random_state=0).fit(good)


def test_weight_changes_all_cells_alike(good, model):
    bank = MemoryBank(global_weight=0)
    local = FCDDClassifier(
        max_epochs=1, precision="float32", random_state=0, memory_bank=bank
    ).fit(good)
    assert local._fitted.memory.whole is None
    noise = np.random.RandomState(0).randint(0, 256, good[:6].shape).astype(np.uint8)
    X = np.concatenate([good[:6], noise])
    cells = [
        np.concatenate([maps for _, maps in m._fitted.maps(ImageArray(X[..., None]))])
        for m in (model, local)
    ]
    added = cells[0] - cells[1]
    np.testing.assert_allclose(
        added, np.broadcast_to(added[:, :1, :1], added.shape), rtol=1e-3, atol=1e-4
    )
    assert added[6:].mean() > 1.5 * added[:6].mean()


def with_numbers(path, change):
    """Change the numbers in the file of a model."""
    with zipfile.ZipFile(path) as archive:
        document = archive.read("estimator.json")
        tensors = load(archive.read("network.safetensors"))
    change(tensors)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("estimator.json", document)
        archive.writestr("network.safetensors", save(tensors))


def test_files_of_before(model, good, tmp_path):
    path = tmp_path / "old.skfcdd"
    persistence.save(model, path)

    def before(tensors):
        for key in [k for k in tensors if k.startswith("memory.whole.")]:
            del tensors[key]
        tensors["memory.units"] = tensors["memory.units"][:3].clone()

    with_numbers(path, before)
    old = persistence.load(path)
    found, parts = old.explain_parts(good[:3]), model.explain_parts(good[:3])
    assert (found.heatmap.mean((1, 2)) < parts.heatmap.mean((1, 2))).all()
    np.testing.assert_array_equal(found.defect, parts.defect)


@pytest.mark.parametrize("name", ["support", "dual", "top", "scale"])
def test_impossible_numbers_are_refused(model, tmp_path, name):
    path = tmp_path / "wrong.skfcdd"
    persistence.save(model, path)

    def wrong(tensors):
        tensors[f"memory.whole.{name}"] = torch.zeros(3, 2, 2)

    with_numbers(path, wrong)
    with pytest.raises(ModelFileError, match="invalid shapes"):
        persistence.load(path)


def test_copies_say_nothing_about_the_spread():
    """A unit measured between groups is that of the images without their copies."""
    single = means(40, 0)
    copies = np.repeat(single, 6, axis=0) + 1e-3 * np.random.RandomState(1).randn(
        240, 6
    )
    groups = np.repeat(np.arange(40), 6)
    apart, mixed = (
        learn_whole_image(copies, torch.float64, groups=names)
        for names in (groups, None)
    )
    new = means(2000, 2)
    found = [dissimilarity(w, new) for w in (apart, mixed)]
    assert found[0].mean() == pytest.approx(1, abs=0.2)
    assert found[1].mean() > 1.2 * found[0].mean()
    assert found[1].std() > 1.2 * found[0].std()
