"""Two models on the same images: figures, intervals, page and exit code."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from _reports import HOSTILE, SIZE, Known, known_images
from _small import make_images, quick
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from scipy.stats import binom
from sklearn.metrics import roc_auc_score

from skfcdd import FCDDDetector, FCDDSegmenter
from skfcdd.cli import main
from skfcdd.comparison import Contrast, compare_models, write_comparison
from skfcdd.comparison._intervals import paired_difference
from skfcdd.exceptions import ImageShapeError
from skfcdd.metrics import Interval
from skfcdd.metrics._auroc import fast_auroc
from skfcdd.persistence import save

X, Y, _, _ = known_images(60)


class Noisy(Known):
    """As `Known`, with an error of its own for each image, the same each time."""

    def __init__(self, threshold=0.5, noise=0.0):
        super().__init__(threshold)
        self.noise = noise

    def explain(self, X):
        seeds = np.asarray(X).reshape(len(X), -1).sum(axis=1, dtype=int)
        draws = [np.random.RandomState(s % 2**31).standard_normal() for s in seeds]
        return super().explain(X) * np.exp(self.noise * np.array(draws))[:, None, None]


def test_figures_are_those_of_each_model():
    first, second = Noisy(0.5), Noisy(1.0, noise=0.8)
    found = compare_models(first, second, X, Y, random_state=0, n_resamples=99)
    truth = Y == 1
    for side, model in enumerate((first, second)):
        scores = model.anomaly_score(X)
        flagged = scores > model.threshold_
        expected = {
            "image_auroc": roc_auc_score(truth, scores),
            "false_alarm_rate": flagged[~truth].mean(),
            "miss_rate": (~flagged[truth]).mean(),
        }
        for name, value in expected.items():
            contrast = found.contrasts[name]
            assert (contrast.first, contrast.second)[side] == pytest.approx(value)
        assert_array_equal(found.flagged[side], flagged)
    for contrast in found.contrasts.values():
        value, low, high = contrast.difference
        assert value == pytest.approx(contrast.second - contrast.first)
        assert low <= value <= high
    assert_array_equal(
        found.differing, np.flatnonzero(found.flagged[0] ^ found.flagged[1])
    )
    told = json.loads(json.dumps(found.to_dict()))
    assert told["n_anomalous"] == truth.sum()
    assert "image AUROC" in str(found)


@pytest.mark.parametrize("values", [5, 1000])
def test_the_fast_area_is_that_of_scikit_learn(values):
    """With and without ties."""
    rng = np.random.RandomState(0)
    truth, scores = rng.uniform(size=300) < 0.2, rng.randint(values, size=300)
    assert fast_auroc(truth, scores) == pytest.approx(roc_auc_score(truth, scores))


def test_a_model_compared_with_itself_differs_in_nothing():
    found = compare_models(Known(), Known(), X, Y, random_state=0, n_resamples=99)
    assert len(found.differing) == 0
    for contrast in found.contrasts.values():
        assert contrast.difference.value == 0
        assert contrast.verdict == "undecided"
    # Sixty images show little, even if all verdicts are the same.
    assert set(found.worse(0.01)) == {"false_alarm_rate", "miss_rate"}
    assert found.worse(0.2) == []
    for wrong in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="tolerance"):
            found.worse(wrong)


def test_a_worse_model_is_told_apart():
    found = compare_models(
        Known(0.5), Noisy(0.5, noise=3.0), X, Y, random_state=0, n_resamples=99
    )
    assert found.contrasts["image_auroc"].verdict == "worse"
    assert "image_auroc" in found.worse(0.02)
    back = compare_models(
        Noisy(0.5, noise=3.0), Known(0.5), X, Y, random_state=0, n_resamples=99
    )
    assert back.contrasts["image_auroc"].verdict == "better"
    assert_allclose(
        back.contrasts["miss_rate"].difference.low,
        -found.contrasts["miss_rate"].difference.high,
    )


def test_which_end_of_an_interval_decides():
    rate = Contrast(0.1, 0.12, Interval(0.02, -0.01, 0.05), greater_is_better=False)
    assert not rate.not_worse_by(0.04)
    assert rate.not_worse_by(0.05)
    area = Contrast(0.9, 0.92, Interval(0.02, -0.01, 0.05), greater_is_better=True)
    assert area.not_worse_by(0.01)
    assert not area.not_worse_by(0.005)


@pytest.mark.parametrize(("n", "both"), [(30, 0.02), (30, 0.2), (200, 0.05)])
def test_intervals_of_rates_cover_as_often_as_they_say(n, both):
    """A third of the errors are of both models, which is what makes them paired."""
    rng = np.random.RandomState(0)
    rates, covered = (both, 2 * both), 0
    for _ in range(400):
        shared = rng.uniform(size=n) < both / 3
        first, second = (
            shared | (rng.uniform(size=n) < (rate - both / 3) / (1 - both / 3))
            for rate in rates
        )
        interval = paired_difference(first, second, 0.95)
        covered += interval.low <= rates[1] - rates[0] <= interval.high
    assert covered >= binom.ppf(1e-3, 400, 0.94)


def test_intervals_of_many_images_are_those_of_the_bootstrap():
    rng = np.random.RandomState(0)
    first, second = rng.uniform(size=(2, 4000)) < [[0.1], [0.13]]
    interval = paired_difference(first, second, 0.95)
    rows = rng.randint(4000, size=(2000, 4000))
    draws = (second.astype(float) - first)[rows].mean(axis=1)
    assert_allclose(interval[1:], np.quantile(draws, [0.025, 0.975]), atol=1.5e-3)


def test_only_normal_images_compare_false_alarms():
    normal = X[Y == 0]
    found = compare_models(Known(), Known(1.0), normal, np.zeros(len(normal)))
    assert list(found.contrasts) == ["false_alarm_rate"]


def test_models_of_any_kind_and_size_compare():
    small, y, masks = make_images(24, n_anomalous=8)
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    segmenter = FCDDSegmenter(max_epochs=1, random_state=0).fit(small, masks)
    detector = FCDDDetector(max_epochs=1, random_state=0).fit(large[y == 0])
    with pytest.raises(ImageShapeError, match="X_second="):
        compare_models(segmenter, detector, small, y)
    found = compare_models(segmenter, detector, small, y, X_second=large)
    marked = segmenter.predict(small).any(axis=(1, 2))
    assert_array_equal(found.flagged[0], marked)
    assert_array_equal(found.flagged[1], detector.predict(large) == -1)


def test_bad_input_is_named():
    good = {"first": Known(), "second": Known(), "X": X, "y": Y}
    for change, error, words in (
        ({"y": np.where(Y, "bad", "ok")}, ValueError, "y must be 1"),
        ({"y": Y[:5]}, ValueError, "60 images, but y has 5"),
        ({"X_second": X[:5]}, ValueError, "X_second has 5"),
        ({"names": ["a"]}, ValueError, "1 names"),
        ({"y": np.eye(1, 60)[0]}, ValueError, "at least 2"),
        ({"confidence_level": 1}, ValueError, "confidence_level"),
        ({"second": object()}, TypeError, "anomaly_score"),
    ):
        with pytest.raises(error, match=words):
            compare_models(**{**good, **change})


def test_page_shows_what_differs_and_lets_no_name_in(tmp_path):
    names = (HOSTILE * 5)[: len(X)]
    found = compare_models(
        Known(0.5), Noisy(1.0, noise=0.8), X, Y, names=names, random_state=0
    )
    n_differing = len(found.differing)
    assert n_differing > 3
    path = write_comparison(
        found, tmp_path / "page.html", titles=["<b>", "new"], tolerance=0.02
    )
    text = path.read_text(encoding="utf-8")
    assert text.count("<li>") == n_differing
    assert text.count("data:image/png") == 3 * n_differing
    tags = set(re.findall(r"<(\w+)", text))
    assert "script" not in tags
    assert "b" not in tags
    assert "onerror=alert(1) src=x>" not in text
    assert "It could not be shown that new is at most 0.02 worse" in text
    write_comparison(found, path, n_images=2, max_side=8)
    assert path.read_text(encoding="utf-8").count("<li>") == 2
    with pytest.raises(ValueError, match="titles"):
        write_comparison(found, path, titles=["one"])
    with pytest.raises(ValueError, match="n_images"):
        write_comparison(found, path, n_images=0)
    with pytest.raises(OSError, match="Cannot write"):
        write_comparison(found, tmp_path / "missing" / "page.html")
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two models of different kind and size, and a folder with labelled images."""
    folder = tmp_path_factory.mktemp("compare")
    X, y, _ = make_images(40, size=SIZE, n_anomalous=16)
    for kind in ("good", "dent"):
        (folder / "parts" / kind).mkdir(parents=True)
    for k, image in enumerate(X):
        kind = "dent" if y[k] else "good"
        Image.fromarray(image).save(folder / "parts" / kind / f"{k}.png")
    from skfcdd.datasets import load_images

    for name, size in (("a", SIZE), ("b", (24, 32))):
        data = load_images(folder / "parts" / "good", resize=size)
        save(quick(max_epochs=1).fit(data.images), folder / f"{name}.skfcdd")
    return folder


def test_command_compares_files_of_models(saved, tmp_path, capsys):
    page = tmp_path / "page.html"
    models = [str(saved / name) for name in ("a.skfcdd", "b.skfcdd")]
    parts = str(saved / "parts")
    assert main(["compare", *models, parts, "-o", str(page), "--json", "-q"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["n_images"] == 40
    assert set(told["figures"]) == {"image_auroc", "false_alarm_rate", "miss_rate"}
    assert all("/" in name for name in told["differing"])
    assert "b.skfcdd compared with a.skfcdd" in page.read_text()


def test_exit_code_says_whether_the_new_model_is_as_good(saved, capsys):
    same = [str(saved / "a.skfcdd")] * 2
    parts = str(saved / "parts")
    assert main(["compare", *same, parts, "--not-worse-by", "0.5"]) == 0
    assert main(["compare", *same, parts, "--not-worse-by", "0"]) == 3
    assert "the new model may be worse by more than 0" in capsys.readouterr().err
    assert main(["compare", *same, parts, "--not-worse-by", "-1"]) == 2
    assert main(["compare", same[0], "none.skfcdd", parts]) == 1
    assert main(["compare", *same, parts, "-o", str(saved / "no" / "a.html")]) == 1
