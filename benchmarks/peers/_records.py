"""Storage of results: one row for each peer, method, data set, seed and budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "earlier",
    "key_of",
    "merge",
    "merge_footprint",
    "name_of",
    "scores_of",
    "write",
]

KEYS = ("data", "peer", "method", "seed", "budget_s", "clock")
ABOUT = (
    "fit_cpu_s and score_cpu_s are CPU seconds of the process and of its child "
    "processes, with the given number of threads; fit_wall_s and score_wall_s are "
    "wall-clock seconds, which are meaningful only on an idle machine (see load). "
    "clock states which of them the budget and the limit refer to. The time to compute "
    "features is included."
)
Row = dict[str, Any]


def key_of(row: Row) -> tuple[Any, ...]:
    """Return the key that identifies a row."""
    return tuple(row[key] for key in KEYS)


def name_of(row: Row) -> str:
    """Return the key of a row as a string."""
    return "/".join(map(str, key_of(row)))


def earlier(path: Path) -> dict[str, Any]:
    """Read the results of earlier runs."""
    if not path.exists():
        return {"about": ABOUT, "rows": [], "footprints": {}}
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def write(path: Path, document: dict[str, Any]) -> None:
    document = {**document, "about": ABOUT}
    path.write_text(json.dumps(document, indent=1) + "\n")


def merge_footprint(path: Path, peer: str, found: Row) -> None:
    """Add the footprint of a peer to the results."""
    document = earlier(path)
    document["footprints"][peer] = found
    write(path, document)


def scores_of(path: Path) -> dict[str, np.ndarray]:
    """Read the image scores of the runs, by the names of their rows."""
    kept = path.with_name(f"{path.stem}_scores.npz")
    if not kept.exists():
        return {}
    with np.load(kept, allow_pickle=False) as file:
        return dict(file)


def merge(path: Path, row: Row, scores: np.ndarray | None = None) -> None:
    """Add a row and its image scores, replacing those of the same run."""
    document = earlier(path)
    rows = {key_of(r): r for r in document["rows"]} | {key_of(row): row}
    document["rows"] = sorted(rows.values(), key=lambda r: str(key_of(r)))
    write(path, document)
    if scores is None:
        return
    together = scores_of(path) | {name_of(row): scores.astype(np.float32)}
    np.savez_compressed(path.with_name(f"{path.stem}_scores.npz"), **together)
