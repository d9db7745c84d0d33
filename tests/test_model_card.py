"""A model card says what is known, and nothing that is not."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
from _reports import HOSTILE
from _small import make_images, quick
from PIL import Image
from scipy.stats import beta, binomtest

from skfcdd import FCDDSegmenter
from skfcdd.cli import main
from skfcdd.export import to_onnx
from skfcdd.onnx import OnnxFCDD
from skfcdd.persistence import save
from skfcdd.report import ModelCard, model_card
from skfcdd.report._card_facts import rate_text
from skfcdd.thresholds import FalseAlarmRate

X, Y, MASKS = make_images(60, n_anomalous=20)
NORMAL, TEST = X[:30], X[30:]


@pytest.fixture(scope="module")
def model():
    return quick(validation_fraction=0.3, contamination=0.2).fit(NORMAL)


def test_card_counts_images_and_says_what_the_threshold_promises(model):
    card = model_card(model)
    n = len(model.calibration_scores_)
    assert card.facts["Data"]["trained on"] == f"{30 - n} different images"
    above = int((model.calibration_scores_ > model.threshold_).sum())
    told = card.facts["Threshold"]["expected false alarms"]
    most = beta.ppf(0.95, above + 1, n - above)
    assert f"at most {(above + 1) / (n + 1):.1%} of normal images" in told
    assert f"at most {most:.1%} with this one" in told
    assert f"{1 / (n + 1):.2%}" in " ".join(card.notes["Limits of use"])
    assert card.facts["Versions"]["torch"]
    assert "Metrics" not in card.facts


def test_what_is_promised_holds():
    """Of thresholds at an order statistic, for uniform scores."""
    rng = np.random.RandomState(0)
    n, above = 40, 2
    held = np.sort(rng.uniform(size=(4000, n)), axis=1)
    rates = 1 - held[:, n - 1 - above]
    assert rates.mean() == pytest.approx((above + 1) / (n + 1), abs=2e-3)
    share = (rates <= beta.ppf(0.95, above + 1, n - above)).mean()
    assert share == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("threshold", [0.3, "natural", "youden"])
def test_a_threshold_chosen_otherwise_promises_nothing(threshold):
    model = quick(max_epochs=1, threshold=threshold).fit(X, Y)
    assert "expected false alarms" not in model_card(model).facts["Threshold"]


def test_a_guaranteed_rate_is_told():
    model = quick(max_epochs=1, threshold=FalseAlarmRate(0.2), validation_fraction=0.3)
    told = model_card(model.fit(NORMAL)).facts["Threshold"]
    assert told["false alarms"] == "at most 20 % of normal images, on average"


def test_figures_are_measured_with_intervals(model):
    card = model_card(model, TEST, Y[30:], masks=MASKS[30:], random_state=0)
    found = card.facts["Metrics"]
    assert found["images"] == "30, 20 of them anomalies"
    missed = model.predict(TEST)[Y[30:] == 1] == 0
    assert found["misses"] == rate_text(missed)
    assert set(found) >= {"image AUROC", "false alarms", "pixel AUROC"}
    normal = model_card(model, TEST[:10], np.zeros(10, dtype=int))
    assert set(normal.facts["Metrics"]) == {"images", "false alarms"}


@pytest.mark.parametrize(("k", "n"), [(0, 12), (3, 12), (12, 12)])
def test_intervals_of_rates_are_those_of_scipy(k, n):
    text = rate_text(np.arange(n) < k)
    low, high = binomtest(k, n).proportion_ci(0.95, method="exact")
    numbers = [float(x) for x in re.findall(r"\d\.\d+", text)]
    assert numbers == pytest.approx([k / n, low, high], abs=5.1e-4)
    assert text.endswith(f"{k} of {n}")


def test_cards_of_segmenters_and_exported_models(model, tmp_path):
    segmenter = FCDDSegmenter(max_epochs=1, random_state=0).fit(X, MASKS)
    card = model_card(segmenter, X, MASKS, random_state=0)
    assert card.facts["Model"]["labels"] == "pixel masks"
    assert "pixel threshold" in card.facts["Threshold"]
    assert "pixel AUROC" in card.facts["Metrics"]
    path = tmp_path / "model.onnx"
    to_onnx(model, path)
    exported = model_card(OnnxFCDD(path), path=path)
    assert exported.facts["Model"]["kind"] == "FCDDClassifier, exported to ONNX"
    assert exported.facts["Versions"]["torch"]
    assert exported.facts["File"]["name"] == "model.onnx"


def test_card_names_the_file(model, tmp_path):
    path = tmp_path / "model.skfcdd"
    save(model, path, note="first try", metrics={"auroc": 0.5})
    found = model_card(model, path=path).facts["File"]
    assert found["SHA-256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found["note"] == "first try"
    assert found["recorded at training: auroc"] == "0.5000"
    with pytest.raises(FileNotFoundError):
        model_card(model, path=tmp_path / "none.skfcdd")


@pytest.mark.parametrize("text", [*HOSTILE, "a | b\n# c", "[x](javascript:1)"])
def test_no_text_gets_out_of_its_place(text, tmp_path):
    card = ModelCard(text, {"Facts": {text: text}}, {"Notes": [text]})
    page = card.to_html()
    assert "<script" not in page
    assert "<img" not in page
    lines = card.to_markdown().splitlines()
    assert len(lines) == 11
    assert not re.search(r"(?<!\\)[<\[]", "".join(lines))
    row = next(line for line in lines if line.startswith("| ") and "| |" not in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    card.write(tmp_path / "card.md")


def test_bad_input_is_named(model, tmp_path):
    with pytest.raises(ValueError, match="X and y"):
        model_card(model, TEST)
    with pytest.raises(ValueError, match=r"\.html or \.md"):
        model_card(model).write(tmp_path / "card.pdf")
    with pytest.raises(TypeError, match="anomaly_score"):
        model_card(object())
    with pytest.raises(OSError, match="Cannot write"):
        model_card(model).write(tmp_path / "none" / "card.md")


def test_command_writes_cards(model, tmp_path, capsys):
    path = save(model, tmp_path / "model.skfcdd")
    for kind, rows in (("good", range(10)), ("dent", range(10, 30))):
        folder = tmp_path / "parts" / kind
        folder.mkdir(parents=True)
        for k in rows:
            Image.fromarray(TEST[k]).save(folder / f"{k}.png")
    assert main(["card", str(path), "--title", "Parts"]) == 0
    assert capsys.readouterr().out.startswith("# Parts\n")
    outputs = [tmp_path / "card.html", tmp_path / "card.md"]
    options = [text for output in outputs for text in ("-o", str(output))]
    assert main(["card", str(path), str(tmp_path / "parts"), *options]) == 0
    for output in outputs:
        assert "30, 20 of them anomalies" in output.read_text()
    assert main(["card", str(path), "-o", "card.pdf"]) == 2
    assert main(["card", str(path), "-o", str(tmp_path / "no" / "card.md")]) == 1
