"""Tables that compare this package with others."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from _results import RESULTS, Record, Rows, interval, share

# The names of the methods are defined next to the runner.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.peers._peers import PEERS

TABLES: dict[str, Callable[[], Rows]] = {}
KINDS = ("blowhole", "break", "crack", "fray", "uneven")


def table(make: Callable[[], Rows]) -> Callable[[], Rows]:
    """Register a function whose table pages can refer to by its name."""
    TABLES[make.__name__] = make
    return make


def document() -> Record:
    """Return all results of the comparison."""
    found: Record = json.loads((RESULTS / "peers.json").read_text())
    return found


def rows_of(data: str) -> list[Record]:
    """Return the runs without a budget, in the order of the peers and their methods."""
    rows = [r for r in document()["rows"] if r["data"] == data and not r["budget_s"]]
    place = [(peer, method) for peer, p in PEERS.items() for method in p.methods]
    return sorted(
        rows, key=lambda r: (place.index((r["peer"], r["method"])), r["seed"])
    )


def name_of(row: Record) -> str:
    """Return package and method, and the seed unless it is 0."""
    name = f"{row['peer']}: {PEERS[row['peer']].methods[row['method']]}"
    return name if not row["seed"] else f"{name}, seed {row['seed']}"


def _optional(value: float | None) -> str:
    return "-" if value is None else share(value)


def quality(data: str) -> Rows:
    """Return the table of all metrics for one set of images."""
    keys = ("image_ap", "image_f1_max", "pixel_auroc", "aupro")
    rows = []
    for row in rows_of(data):
        figures = [row["status"], *[""] * (len(keys) + 1)]
        if row["status"] == "done":
            figures = [
                share(row["image_auroc"][0]),
                interval(row.get("image_auroc_above_default"), sign=True),
                *(_optional(row[key]) for key in keys),
            ]
        rows.append([name_of(row), *figures])
    header = ["method", "image AUROC", "above default"]
    return [[*header, "AP", "F1-max", "pixel AUROC", "AUPRO"], *rows]


@table
def peers_tiles128() -> Rows:
    """Tabulate the metrics on tiles of 128 pixels."""
    return quality("tiles128")


@table
def peers_blurred() -> Rows:
    """Tabulate the pixel AUROC of heatmaps before and after blurring, 128 pixels."""
    keys = ("pixel_auroc", "pixel_auroc_blurred")
    rows = [
        [name_of(row), *(share(row[key]) for key in keys)]
        for row in rows_of("tiles128")
        if row.get("pixel_auroc_blurred") is not None
    ]
    return [["method", "pixel AUROC", "blurred"], *rows]


@table
def peers_by_kind() -> Rows:
    """Tabulate the image AUROC by kind of defect, tiles of 128 pixels."""
    rows = [
        [name_of(row), *(share(row["image_auroc_by_kind"][k]) for k in KINDS)]
        for row in rows_of("tiles128")
        if row["status"] == "done"
    ]
    return [["method", *KINDS], *rows]


@table
def peers_joined() -> Rows:
    """Tabulate the image AUROC of the default plus half the score of another method."""
    found = {r["method"]: r for r in rows_of("tiles128") if r["status"] == "done"}
    kinds = ("all", *KINDS)
    rows = [["nothing", *_by_kind(found["default"]["image_auroc_by_kind"], kinds)]]
    for method in ("one_class_svm", "lof", "dfm", "padim"):
        row = found[method]
        label = f"{PEERS[row['peer']].methods[method]}, {row['peer']}"
        rows.append([label, *_by_kind(row["joined_with_default"], kinds)])
    return [["added to the default", *kinds], *rows]


def _by_kind(figures: Record, kinds: tuple[str, ...]) -> list[str]:
    return [share(figures[kind]) for kind in kinds]


@table
def peers_costs() -> Rows:
    """Tabulate time, memory and model size, tiles of 128 pixels."""
    rows = []
    for row in rows_of("tiles128"):
        if row["status"] != "done" or row["seed"]:
            continue
        rows.append(
            [
                name_of(row),
                f"{row['fit_cpu_s']:.1f}",
                f"{row['n_test'] / max(row['score_cpu_s'], 0.01):,.0f}",
                "yes" if row["pixel_auroc"] is not None else "no",
                f"{row['memory_peak_mb'] - row['memory_before_mb']:,}",
                f"{row['model_mb']:.1f}",
            ]
        )
    header = ["method", "fit, s", "images per second", "with heatmaps"]
    return [[*header, "memory, MB", "saved model, MB"], *rows]


@table
def peers_footprints() -> Rows:
    """Tabulate what each package costs before the first image is processed."""
    rows = [
        [
            name,
            str(found["packages"]),
            f"{found['mb_without_torch']:,}",
            f"{found['mb_of_torch']:,}",
            f"{found['import_cpu_s'] - found['nothing_cpu_s']:.1f}",
            str(found["lines"]),
        ]
        for name, found in document()["footprints"].items()
    ]
    header = ["package", "packages", "MB without PyTorch", "MB of PyTorch"]
    return [[*header, "import, s", "lines of code"], *rows]


@table
def peers_left_out() -> Rows:
    """Tabulate the methods that could not be run, with the reason."""
    rows = [
        [name, method, why]
        for name, peer in PEERS.items()
        for method, why in (peer.left_out or {}).items()
    ]
    return [["package", "method", "reason"], *rows]


@table
def peers_versions() -> Rows:
    """Tabulate the versions of the packages."""
    done = [row for row in document()["rows"] if row["status"] == "done"]
    found = {row["peer"]: row["versions"] for row in done}
    return [
        ["package", "versions"],
        *(
            [name, ", ".join(f"{k} {v}" for k, v in found[name].items())]
            for name in PEERS
            if name in found
        ),
    ]
