"""Comparison with other packages on the same images, with the same weights and time.

Every peer (another package, or skfcdd itself) has its own environment, installed from
the package index, and every run its own process. A run reads images without labels, and
writes scores and heatmaps, from which the metrics are computed here. Results are added
to benchmarks/results/peers.json.

    python -m benchmarks.peers install --peers anomalib pyod
    python -m benchmarks.peers run --data tiles128 --peers anomalib --methods padim dfm
    python -m benchmarks.peers run --budget 30 60 120 300 --methods default stfpm
    python -m benchmarks.peers compare
    python -m benchmarks.peers footprint

Times are CPU seconds with one thread, so that other processes on the machine do not
count. On an idle machine, use ``--clock wall`` for budgets and limits in wall-clock
time.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._common import RESULTS

from ._data import DATA, load, write_images
from ._figures import compare, figures, joined
from ._footprint import footprint
from ._peers import PEERS, SCRIPTS, install, interpreter
from ._records import earlier, merge, merge_footprint, name_of, scores_of, write
from ._run import Job, Outcome, run, stamp

PATH = RESULTS / "peers.json"
REFERENCE = {"peer": "skfcdd", "method": "default"}


def row_of(
    job: Job, outcome: Outcome, arrays: dict[str, Any], place: dict[str, Any]
) -> dict[str, Any]:
    """Return the row of a run in the results."""
    row = {
        **place,
        "method": job.method,
        "seed": job.seed,
        "clock": job.clock,
        "budget_s": job.budget_s,
        "limit_s": job.limit_s,
        "threads": job.threads,
        "status": outcome.status,
        "n_train": len(arrays["X_train"]),
        "n_test": len(arrays["X_test"]),
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[0], 1),
        "date": stamp(),
    }
    if outcome.error:
        row["error"] = outcome.error
    if outcome.status == "done":
        found = outcome.arrays
        row |= outcome.counted
        row |= figures(found["scores"], found.get("heatmaps"), arrays)
    return row


def run_all(arguments: argparse.Namespace) -> None:
    """Perform all runs requested on the command line, one after another."""
    for data in arguments.data:
        arrays = load(data)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_images(arrays, folder / "images.npz")
            for peer, method in chosen(arguments.peers, arguments.methods):
                for seed in arguments.seeds:
                    for budget in arguments.budget or [None]:
                        job = Job(
                            interpreter(peer),
                            SCRIPTS / PEERS[peer].script,
                            method,
                            seed,
                            arguments.clock,
                            budget,
                            arguments.limit + (budget or 0.0),
                            arguments.threads,
                        )
                        outcome = run(job, folder / "images.npz", folder)
                        place = {"data": data, "peer": peer}
                        row = row_of(job, outcome, arrays, place)
                        merge(PATH, row, outcome.arrays.get("scores"))
                        show(row)


def chosen(peers: list[str], methods: list[str] | None) -> list[tuple[str, str]]:
    """Return the pairs of peer and method to run; `methods` may restrict them."""
    return [
        (peer, method)
        for peer in peers
        for method in PEERS[peer].methods
        if methods is None or method in methods
    ]


def compare_all() -> None:
    """Add comparisons with the default, with the same seed, to the results."""
    document, scores = earlier(PATH), scores_of(PATH)
    arrays = {data: load(data) for data in {row["data"] for row in document["rows"]}}
    for row in document["rows"]:
        ours = name_of({**row, **REFERENCE})
        if row["status"] == "done" and ours in scores and ours != name_of(row):
            found = arrays[row["data"]]
            pair = scores[ours], scores[name_of(row)]
            row["image_auroc_above_default"] = compare(*pair, found)
            row["joined_with_default"] = joined(*pair, found["kind_test"])
    write(PATH, document)


def show(row: dict[str, Any]) -> None:
    """Print a row."""
    shown = ("image_auroc", "pixel_auroc", "aupro", "fit_cpu_s", "score_cpu_s")
    found = {key: row[key] for key in shown if row.get(key) is not None}
    where = f"{row['data']} {row['peer']} {row['method']} {row['seed']}"
    print(where, row["status"], row.get("error", ""), found, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for command in ("install", "footprint"):
        named = commands.add_parser(command)
        named.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    commands.add_parser("compare")
    runs = commands.add_parser("run")
    runs.add_argument("--data", nargs="*", default=["tiles128"], choices=DATA)
    runs.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    runs.add_argument("--methods", nargs="*")
    runs.add_argument("--seeds", nargs="*", type=int, default=[0])
    runs.add_argument("--budget", nargs="*", type=float)
    runs.add_argument("--limit", type=float, default=360.0)
    runs.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    runs.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.command == "run":
        run_all(arguments)
    elif arguments.command == "install":
        for name in arguments.peers:
            install(name)
    elif arguments.command == "compare":
        compare_all()
    else:
        for name in arguments.peers:
            merge_footprint(PATH, name, footprint(name))


if __name__ == "__main__":
    main()
