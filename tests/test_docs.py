"""The documentation says all there is."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skfcdd.cli import main

ROOT = Path(__file__).parents[1]
PUBLIC = [
    "skfcdd",
    "skfcdd.anomalies",
    "skfcdd.backbones",
    "skfcdd.baselines",
    "skfcdd.cli",
    "skfcdd.comparison",
    "skfcdd.conformal",
    "skfcdd.datasets",
    "skfcdd.display",
    "skfcdd.exceptions",
    "skfcdd.export",
    "skfcdd.feature_cache",
    "skfcdd.memory_bank",
    "skfcdd.heatmaps",
    "skfcdd.inspection",
    "skfcdd.metrics",
    "skfcdd.model_selection",
    "skfcdd.monitoring",
    "skfcdd.objectives",
    "skfcdd.onnx",
    "skfcdd.persistence",
    "skfcdd.receptive_field",
    "skfcdd.report",
    "skfcdd.serving",
    "skfcdd.thresholds",
]


@pytest.mark.parametrize("name", PUBLIC)
def test_reference_lists_every_export(name):
    text = (ROOT / "docs" / "api.md").read_text()
    section = re.search(rf"currentmodule:: {re.escape(name)}\n(.*?)```", text, re.S)
    listed = set(
        re.findall(r"^   (\w+)$", section.group(1).split("..  current")[0], re.M)
    )
    exported = set(importlib.import_module(name).__all__) - {"__version__"}
    assert exported <= listed


def test_reference_leaves_no_module_out():
    found = {
        "skfcdd." + path.relative_to(ROOT / "skfcdd").parts[0].removesuffix(".py")
        for path in (ROOT / "skfcdd").glob("*")
        if not path.name.startswith(("_", ".", "py."))
    }
    assert found == set(PUBLIC) - {"skfcdd"}


def test_readme_gives_exactly_two_commands():
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```bash\n(.*?)```", text, re.S)
    assert len(blocks) == 2
    assert all(len(block.strip().splitlines()) == 1 for block in blocks)
    assert text.index("docs/images/demo.png") < text.index("```bash")
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (ROOT / picture).is_file()


def test_code_of_the_readme_runs():
    """With fewer epochs than a reader would take."""
    from skfcdd import FCDDClassifier

    text = (ROOT / "README.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.S)[:1]:
        code = block.replace("random_state=0).fit", "random_state=0, max_epochs=1).fit")
        assert code != block
        names: dict[str, object] = {}
        exec(compile(code, "README.md", "exec"), names)
        assert isinstance(names["model"], FCDDClassifier)


def _module(name):
    path = ROOT / "docs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"docs{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", _module("_tables").PAGES)
def test_tables_hold_what_the_results_say(page):
    """Else run ``python docs/_tables.py``."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    assert "<!-- table: " in text or "<!-- console: " in text
    assert _module("_tables").fill(text) == text


def test_every_table_is_shown():
    pages = [(ROOT / "docs" / f"{p}.md").read_text() for p in _module("_tables").PAGES]
    shown = re.findall(r"<!-- table: (\w+) -->", "".join(pages))
    assert sorted(shown) == sorted(_module("_tables").TABLES)


def test_every_command_has_a_sample_of_its_output():
    text = (ROOT / "docs" / "guide" / "command_output.md").read_text()
    commands = {path.stem for path in (ROOT / "skfcdd/cli/commands").glob("[a-z]*.py")}
    assert set(re.findall(r"^## (\w+)$", text, flags=re.M)) == commands
    shown = re.findall(r"<!-- console: (\w+) -->", text)
    assert sorted(shown) == sorted(_results("command_line")) and commands <= {*shown}


def _results(name):
    text = (ROOT / "benchmarks" / "results" / f"{name}.json").read_text()
    return json.loads(text)["rows"]


def _cells(name):
    """A table of the page of figures: first column to the others, as numbers."""
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    block = text.split(f"<!-- table: {name} -->")[1].split("<!-- end of table -->")[0]
    rows = [line.strip("| ").split(" | ") for line in block.strip().splitlines()[2:]]
    return {
        first: [float(x) for cell in rest for x in re.findall(r"[+-]?\d*\.?\d+", cell)]
        for first, *rest in rows
    }


def test_tables_agree_with_a_second_reading_of_the_results():
    kinds = ["all", "blowhole", "break", "crack", "fray", "uneven"]
    by_kind = _cells("tiles_by_kind")
    (default,) = (r for r in _results("magnetic_tiles") if r["variant"] == "default")
    for pooling in ("mean", "0.02", "max"):
        (found,) = (v for k, v in by_kind.items() if pooling in k)
        expected = [default["image_auroc"][pooling][kind] for kind in kinds]
        assert_allclose(found, expected, atol=5.1e-4)

    runs = _results("few_masks")
    aupro = {
        n: np.array(
            [
                r["aupro"]
                for r in sorted(runs, key=lambda r: r["seed"])
                if r["masked_per_kind"] == n
            ]
        )
        for n in (0, 5, 10, 25)
    }
    for n in (5, 10, 25):
        gain = aupro[n] - aupro[0]
        assert_allclose(
            _cells("gain_of_masks")[str(n)][-2:],
            [gain.mean(), gain.std(ddof=1)],
            atol=5.1e-4,
        )

    networks = {f"`{r['network']}`": r for r in _results("speed")["networks"]}
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    for name, row in networks.items():
        line = next(x for x in text.splitlines() if x.startswith(f"| {name}, "))
        assert f"| {row['fit_us']:,} | {row['fit_b_us']:,} |" in line


def _pages():
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"] + [
        path
        for path in (ROOT / "docs").rglob("*.md")
        if not {"_build", "generated", "auto_examples"} & set(path.parts)
    ]


def _anchors(text):
    """Anchors of headings, as GitHub and the site make them, and written ones."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
    return slugs | set(re.findall(r'<a id="([\w-]+)">', text))


def _is_there(path):
    """Whether a link leads to a file, or to a page that is made of an example."""
    made = ROOT / "docs" / "auto_examples"
    if made in path.parents:
        return path.name == "index" or (ROOT / "examples" / f"{path.name}.py").is_file()
    return path.exists()


@pytest.mark.parametrize("page", _pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```\w*\n.*?^```", "", page.read_text(), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^()\s]+)\)", text):
        if "://" in target:
            parts = urlsplit(target)
            assert parts.scheme == "https" and "." in parts.netloc, target
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert _is_there(path), f"{page}: {target}"
        if anchor:
            assert anchor in _anchors(path.read_text()), f"{page}: {target}"


def test_user_guide_keeps_the_anchors_of_its_sections():
    old = """the-method-on-one-page labels where-anomalies-come-from three-estimators
    pixels masks-for-the-classifier thresholds guarantees measuring images
    scores-for-small-defects images-from-files saving-and-loading export command-line
    choosing-a-backbone pretrained-backbones objectives reproducibility
    when-not-to-trust-a-heatmap"""
    assert set(old.split()) <= _anchors((ROOT / "docs" / "user_guide.md").read_text())


def test_code_of_the_checklist_runs():
    """In order, with a small model; the last block changes the pooling."""
    from skfcdd import FCDDClassifier
    from skfcdd.datasets import make_defects

    data = make_defects(40, image_size=32, random_state=0)
    model = FCDDClassifier(weights=None, max_epochs=1, random_state=0)
    model.fit(data.images[data.target == 0])
    before = model.threshold_
    new = make_defects(20, image_size=32, anomaly_fraction=0, random_state=1)
    names: dict[str, object] = {
        "model": model,
        "X": data.images,
        "y": data.target,
        "X_calibration": new.images,
    }
    text = (ROOT / "docs" / "guide" / "poor_results.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(compile(block, "poor_results.md", "exec"), names)
    # The mean of the greatest cells is above the mean of all.
    assert model.threshold_ > before


def test_recipe_of_the_thresholds_page_needs_its_labels():
    """Without them, defects raise the threshold, as the page says."""
    from skfcdd import FCDDClassifier
    from skfcdd.datasets import make_defects

    data = make_defects(60, image_size=32, random_state=0)
    names: dict[str, object] = {
        "model": FCDDClassifier(
            weights=None, max_epochs=1, validation_fraction=0.2, random_state=0
        ),
        "X": data.images,
        "y": data.target,
        "part": np.arange(60) // 2,
    }
    text = (ROOT / "docs" / "guide" / "thresholds.md").read_text()
    (recipe,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", text, re.S)
        if "anomaly_split" in block
    )
    exec(compile(recipe, "thresholds.md", "exec"), names)
    assert set(names["y_held"]) == {0, 1}
    with_labels = names["model"].threshold_
    assert names["model"].calibrate(names["X_held"]).threshold_ > with_labels


def test_every_example_has_its_place_in_the_gallery():
    names = [path.stem for path in (ROOT / "examples").glob("*.py")]
    assert sorted(_module("_gallery").ORDER) == sorted(names)


@pytest.mark.filterwarnings("ignore:.*masks ignored")
def test_code_of_the_start_page_runs(tmp_path, monkeypatch):
    """With fewer and smaller images, and fewer epochs, than a reader would take."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "start.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    commands = re.search(r"```console\n(.*?)```", text, re.S).group(1).splitlines()
    assert len(commands) == 6
    for long, short in {
        "make_defects(300, image_size=96": "make_defects(60, image_size=32",
        "FCDDClassifier(random": (
            "FCDDClassifier(max_epochs=1, contamination=0.4, random"
        ),
    }.items():
        assert long in code
        code = code.replace(long, short)
    names: dict[str, object] = {}
    images, rest = code.split("from skfcdd import FCDDClassifier", 1)
    exec(compile(images, "start.md", "exec"), names)
    first, *others = [line.removeprefix("$ skfcdd ").split() for line in commands]
    assert main(first) == 0
    exec(compile(f"from skfcdd import FCDDClassifier{rest}", "start.md", "exec"), names)
    for options in others:
        more = {"fit": ["--epochs", "1"], "calibrate": ["--force"]}
        assert main([*options, "-q", *more.get(options[0], [])]) == 0
    for name in ("report.html", "scores.csv", "defects.csv"):
        assert (tmp_path / name).is_file()
    assert names["heatmaps"].shape == (len(names["test"].target), 32, 32)
    assert (tmp_path / "parts.skfcdd").is_file()
