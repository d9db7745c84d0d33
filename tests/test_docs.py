"""The documentation says all there is."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PUBLIC = [
    "skfcdd",
    "skfcdd.anomalies",
    "skfcdd.backbones",
    "skfcdd.cli",
    "skfcdd.conformal",
    "skfcdd.datasets",
    "skfcdd.display",
    "skfcdd.exceptions",
    "skfcdd.export",
    "skfcdd.feature_cache",
    "skfcdd.heatmaps",
    "skfcdd.metrics",
    "skfcdd.model_selection",
    "skfcdd.objectives",
    "skfcdd.onnx",
    "skfcdd.persistence",
    "skfcdd.receptive_field",
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
