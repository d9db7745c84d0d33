"""The results: one row for each peer, method, set of images, seed and budget."""

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
    "fit_cpu_s and score_cpu_s are CPU seconds, of the process and those "
    "that it started, with so many threads; fit_wall_s and score_wall_s are of the "
    "clock, and tell something only on an idle machine, see load. clock says by which "
    "a budget and the limit are counted. The time of features is included."
)
Row = dict[str, Any]


def key_of(row: Row) -> tuple[Any, ...]:
    """What tells a row from the others."""
    return tuple(row[key] for key in KEYS)


def name_of(row: Row) -> str:
    """The same as a text."""
    return "/".join(map(str, key_of(row)))


def earlier(path: Path) -> dict[str, Any]:
    """What earlier runs have written."""
    if not path.exists():
        return {"about": ABOUT, "rows": [], "footprints": {}}
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def write(path: Path, document: dict[str, Any]) -> None:
    document = {**document, "about": ABOUT}
    path.write_text(json.dumps(document, indent=1) + "\n")


def merge_footprint(path: Path, peer: str, found: Row) -> None:
    """Put what a peer costs before its first image beside the rows."""
    document = earlier(path)
    document["footprints"][peer] = found
    write(path, document)


def scores_of(path: Path) -> dict[str, np.ndarray]:
    """Image scores of the runs, by their keys."""
    kept = path.with_name(f"{path.stem}_scores.npz")
    if not kept.exists():
        return {}
    with np.load(kept, allow_pickle=False) as file:
        return dict(file)


def merge(path: Path, row: Row, scores: np.ndarray | None = None) -> None:
    """Add a row in place of an earlier one of the same run, and its image scores."""
    document = earlier(path)
    rows = {key_of(r): r for r in document["rows"]} | {key_of(row): row}
    document["rows"] = sorted(rows.values(), key=lambda r: str(key_of(r)))
    write(path, document)
    if scores is None:
        return
    together = scores_of(path) | {name_of(row): scores.astype(np.float32)}
    np.savez_compressed(path.with_name(f"{path.stem}_scores.npz"), **together)
