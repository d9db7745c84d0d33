"""Costs of a peer before its first image: disk space, import time, lines of code."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from ._peers import PEERS, interpreter

__all__ = ["footprint", "lines_of_code"]

SHORTEST = Path(__file__).parent / "shortest"
_NAMES = {"scikit-learn": "sklearn"}
# Code that runs in the peer's environment, and prints the sizes of its dependencies.
_NEEDED = """
import json, re, sys
from importlib.metadata import distribution, PackageNotFoundError
from pathlib import Path

sizes, todo = {}, [sys.argv[1]]
while todo:
    name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
    if name in sizes:
        continue
    try:
        found = distribution(name)
    except PackageNotFoundError:
        continue
    paths = {Path(found.locate_file(f)) for f in found.files or []}
    sizes[name] = sum(p.stat().st_size for p in paths if p.is_file())
    for requirement in found.requires or []:
        if "extra ==" not in requirement:
            todo.append(re.match(r"[\\w.-]+", requirement)[0])
print(json.dumps(sizes))
"""
_TORCH = ("torch", "nvidia-", "triton", "cuda-")


def footprint(name: str, repeats: int = 3) -> dict[str, Any]:
    """Measure the footprint of a peer.

    Parameters
    ----------
    name : str
        Name of the peer.
    repeats : int, default=3
        Number of imports; the fastest one counts.

    Returns
    -------
    dict
        Number of packages, megabytes on disk (separately for PyTorch with its CUDA
        libraries), CPU seconds of the import and of an empty process, and lines of
        code.
    """
    python = interpreter(name)
    done = subprocess.run(
        [python, "-c", _NEEDED, name], capture_output=True, text=True, check=True
    )
    sizes: dict[str, int] = json.loads(done.stdout)
    torchs = {k: v for k, v in sizes.items() if k.startswith(_TORCH)}
    script = SHORTEST / f"with_{_NAMES.get(name, name)}.py"
    return {
        "packages": len(sizes),
        "mb_without_torch": round((sum(sizes.values()) - sum(torchs.values())) / 1e6),
        "mb_of_torch": round(sum(torchs.values()) / 1e6),
        "import_cpu_s": round(
            min(seconds(python, PEERS[name].imports) for _ in range(repeats)), 2
        ),
        "nothing_cpu_s": round(min(seconds(python, "") for _ in range(repeats)), 2),
        "lines": lines_of_code(script.read_text()),
    }


def seconds(python: Path, statements: str) -> float:
    """Measure the CPU time of a new process that runs some statements."""
    before = os.times()
    subprocess.run([python, "-W", "ignore", "-c", statements], check=True)
    after = os.times()
    return (
        after.children_user
        + after.children_system
        - before.children_user
        - before.children_system
    )


def lines_of_code(source: str) -> int:
    """Count the lines that are not blank, a comment or part of a docstring."""
    tree = ast.parse(source)
    texts = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(source.splitlines(), start=1)
    return sum(
        bool(line.strip()) and not line.strip().startswith("#") and i not in texts
        for i, line in lines
    )
