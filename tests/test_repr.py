"""What a notebook shows of an estimator."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import sklearn
from _small import make_images, quick, with_fitted, with_judging
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr

from skfcdd import FCDDClassifier, FCDDDetector, FCDDSegmenter, _repr
from skfcdd.thresholds import FalseAlarmRate

X, Y, MASKS = make_images(40, n_anomalous=6)
SMALL = {"max_epochs": 2, "random_state": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def model():
    return quick().fit(X, Y)


def without_numbers(html):
    """scikit-learn counts the diagrams of a page."""
    return re.sub(r"sk-(container|estimator)-id-\d+", "", html)


class Words(HTMLParser):
    """Texts outside of styles and scripts; every element that is opened is closed."""

    def __init__(self, html):
        super().__init__()
        self.words, self.open = [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in ("br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open) and data.strip():
            self.words.append(data.strip())


def facts(html):
    words = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html)
    return dict(words)


@pytest.mark.parametrize("kind", [FCDDClassifier, FCDDDetector, FCDDSegmenter])
def test_unfitted_is_as_scikit_learn_has_it(kind):
    assert without_numbers(kind()._repr_html_()) == without_numbers(
        estimator_html_repr(kind())
    )


@pytest.mark.parametrize("kind", [FCDDClassifier, FCDDDetector, FCDDSegmenter])
def test_fitted_goes_on_after_the_diagram(kind):
    model = kind(**SMALL).fit(X)
    html = model._repr_html_()
    diagram = without_numbers(estimator_html_repr(model))
    assert without_numbers(html).startswith(diagram)
    more = without_numbers(html)[len(diagram) :]
    texts = Words(more).words
    assert not [text for text in texts if "could not" in text]
    shown = facts(more)
    assert shown["images"] == "16 x 20 pixels, 1 channel"
    assert shown["epochs"] == "2"
    assert shown["computed in"] == f"{model.precision_} on cpu"
    extent, stride = (
        " x ".join(f"{v:g}" for v in pair)
        for pair in (model.receptive_field_.extent, model.receptive_field_.stride)
    )
    assert shown["receptive field"] == f"{extent} pixels, stride {stride}"
    held = f"{len(model.calibration_scores_)} normal images"
    assert shown["calibrated on"].startswith(held)
    named = "pixel threshold" if kind is FCDDSegmenter else "threshold"
    assert shown[named] == f"{model.threshold_:.4g}"
    assert more.count("<svg") == 2 == more.count('role="img"')


def test_nothing_is_fetched_and_colours_follow_the_page(model):
    more = _repr.summary(model)
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//", more)
    assert "<script" not in more and "@import" not in more and "url(http" not in more
    assert "currentColor" in more and _repr._INK not in more
    # Nothing is black or white: it would vanish on one page or the other.
    assert not re.search(r"#(000000|ffffff|000|fff)\b", more)


def test_mime_bundle_and_plain_text(model):
    bundle = model._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == repr(model)
    assert "skfcdd-summary" in bundle["text/html"]
    with sklearn.config_context(display="text"):
        assert not hasattr(model, "_repr_html_")
        assert model._repr_mimebundle_() == {"text/plain": repr(model)}


def test_within_a_pipeline_only_the_diagram(model):
    assert "skfcdd-summary" not in make_pipeline(model)._repr_html_()


def test_failures_are_told_and_break_nothing(model, monkeypatch):
    def fail(estimator):
        raise RuntimeError("no <ink>")

    monkeypatch.setattr(_repr, "_scores", fail)
    html = _repr.summary(model)
    assert "This could not be shown (RuntimeError: no &lt;ink&gt;)." in html
    assert "<dt>threshold</dt>" in html and html.count("<svg") == 1
    monkeypatch.setattr(_repr, "facts", fail)
    assert _repr.summary(model).count("could not be shown") == 2
    odd = with_fitted(model, calibration_scores=None)
    assert odd._repr_html_().count("could not be shown") == 2


def test_without_matplotlib(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    html = model._repr_html_()
    assert "<dt>threshold</dt>" in html
    assert "<svg" not in html[html.index("skfcdd-summary") :]
    assert "could not" not in html


def test_settings_of_the_user_are_left_alone(model):
    before = dict(mpl.rcParams)
    state = np.random.get_state()[1].copy()
    model._repr_html_()
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []
    assert (np.random.get_state()[1] == state).all()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (FalseAlarmRate(0.1), "at most 10 % of normal images, on average"),
        (
            FalseAlarmRate(0.1, confidence=0.9),
            "at most 10 % of normal images, with 90 % confidence",
        ),
    ],
)
def test_a_guarantee_is_stated_where_there_is_one(model, rule, words):
    assert "false alarms" not in facts(_repr.summary(model))
    promised = quick(threshold=rule, validation_fraction=0.6).fit(X)
    shown = facts(_repr.summary(promised))
    assert shown["false alarms"] == words
    above = (promised.calibration_scores_ > promised.threshold_).sum()
    assert shown["calibrated on"] == f"24 normal images, {above} of them above"
    # Another rule is set, and nothing is calibrated by it.
    promised.set_params(threshold=FalseAlarmRate(0.4))
    assert facts(_repr.summary(promised))["false alarms"] == words
    promised.calibrate(make_images(30, seed=9)[0])
    said = facts(_repr.summary(promised))["false alarms"]
    assert said == "at most 40 % of normal images, on average"
    # What is not known to be the threshold of a rule, as in old files, is no promise.
    for other in (rule, FalseAlarmRate(0.001), "quantile"):
        odd = with_judging(promised, threshold=other)
        assert "false alarms" not in facts(_repr.summary(odd))
