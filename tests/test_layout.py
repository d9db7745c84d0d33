"""Modules import one another in one direction, and the root stays small."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "skfcdd"
# From the ground up: a part may import from those before it, never from later ones.
PARTS = (
    "exceptions _regions feature_cache memory_bank",
    "_verdicts",
    "conformal",
    "_utils",
    "receptive_field",
    "heatmaps objectives _inputs anomalies",
    "metrics model_selection datasets onnx",
    "backbones thresholds",
    "_answers",
    "inspection",
    "display monitoring",
    "_repr",
    "_engine",
    "_calibration _callbacks",
    "_scoring",
    "_base",
    "_outliers",
    "_classifier _detector _segmenter",
    "baselines persistence",
    "export report",
    "comparison serving",
    "cli",
)
LEVELS = {name: i for i, names in enumerate(PARTS) for name in names.split()}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path):
    """Parts of the package that a module imports, wherever in its code.

    But for types: a display names the type of what it draws.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = [
        set(ast.walk(node))
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    for node in ast.walk(tree):
        if any(node in part for part in typing):
            continue
        names = []
        if isinstance(node, ast.ImportFrom) and node.module == "skfcdd":
            names = [f"skfcdd.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        assert not getattr(node, "level", 0), "imports are absolute"
        yield from (n.split(".")[1] for n in names if n.startswith("skfcdd."))


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.parent != PACKAGE or path.name != "__init__.py"],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_imports_point_down(path):
    own = part_of(path)
    above = {
        name
        for name in imported(path)
        if name != own and LEVELS.get(name, -1) >= LEVELS[own]
    }
    assert not above, f"{own} is below {above}"


def test_every_part_has_its_place():
    found = {part_of(path) for path in MODULES} - {"__init__"}
    assert found == set(LEVELS)


def test_the_root_shows_the_public_api():
    private = [p for p in PACKAGE.iterdir() if p.suffix == ".py" and p.stem[0] == "_"]
    assert len([p for p in private if p.stem != "__init__"]) <= 12


@pytest.mark.parametrize("package", ["_engine", "_inputs", "_utils"])
def test_modules_of_a_package_import_in_one_direction(package):
    """No circle among the modules of a private package."""
    edges = {}
    for path in (PACKAGE / package).glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        edges[path.stem] = {
            node.module.rsplit(".", 1)[1]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith(f"skfcdd.{package}.")
        }
    while edges:
        ground = {name for name, below in edges.items() if not below & set(edges)}
        assert ground, f"a circle among {sorted(edges)}"
        edges = {name: below for name, below in edges.items() if name not in ground}
