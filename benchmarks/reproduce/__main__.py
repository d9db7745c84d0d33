"""Run an experiment of the paper, or a part of it, and store the results."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks._common import RESULTS
from skfcdd.exceptions import DownloadError, ImageFileError, WeightsError

from ._experiments import EXPERIMENTS, SOURCE, Experiment
from ._records import environment, merge
from ._run import Limits, Run
from ._sources import EXPOSURES, SIDE, SOURCES, MissingDataError, Place

_MISSING = (
    MissingDataError,
    DownloadError,
    WeightsError,
    ImageFileError,
    FileNotFoundError,
)
_FIGURES = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 1 if data are missing, or 130 if interrupted."""
    options = _options(arguments)
    if options.name == "list":
        print(_overview())
        return 0
    try:
        _run(options)
    except _MISSING as error:
        print(f"{options.name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Results of completed runs are kept.", file=sys.stderr)
        return 130
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reproduce", description=__doc__
    )
    parser.add_argument(
        "name",
        choices=["list", *EXPERIMENTS],
        metavar="NAME",
        help="name of an experiment, or list",
    )
    parser.add_argument(
        "--class",
        dest="classes",
        nargs="+",
        metavar="CLASS",
        help="classes to use as the normal class; default: all",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument(
        "--budget",
        type=_at_least(0.0),
        metavar="SECONDS",
        help="training time for each class and seed",
    )
    amount.add_argument("--epochs", type=_at_least(1))
    parser.add_argument(
        "--images", type=_at_least(2), help="number of normal training images"
    )
    parser.add_argument(
        "--schedule",
        choices=["scaled", "cut"],
        default="scaled",
        help="compress the learning-rate schedule to fewer epochs, or truncate it",
    )
    parser.add_argument(
        "--side",
        type=_at_least(32),
        help=f"side of photographs in pixels; default: {SIDE}",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of the data and of downloads",
    )
    parser.add_argument("--no-download", action="store_true")
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="pretrained weights, for experiments that use them",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    options = parser.parse_args(arguments)
    if options.data is not None and not options.data.is_dir():
        parser.error(f"--data: There is no folder {options.data}.")
    photographs = options.name != "list" and (
        SOURCES[EXPERIMENTS[options.name].data].photographs
    )
    if options.side and not photographs:
        parser.error(
            f"--side: {options.name} has images of one size only. Omit --side."
        )
    return options


def _at_least(least: float) -> Callable[[str], float]:
    """Make a converter of options to numbers of the type of `least`."""

    def convert(text: str) -> float:
        value = type(least)(text)
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(
                f"expected a number of at least {least}, but got {text}"
            )
        return value

    convert.__name__ = type(least).__name__
    return convert


def _run(options: argparse.Namespace) -> None:
    experiment = EXPERIMENTS[options.name]
    place = Place(
        options.data, download=not options.no_download, side=options.side or SIDE
    )
    limits = Limits(options.budget, options.epochs, options.images, options.schedule)
    for name in _classes(options, experiment, place):
        for seed in options.seeds:
            run = Run(experiment, name, seed, place, options.weights)
            for record in run.records(run.plans(limits)):
                row = record | {"machine": environment()}
                path = merge(options.results, options.name, row)
                print(_line(experiment, record), flush=True)
    print(f"Written to {path}.")


def _classes(
    options: argparse.Namespace, experiment: Experiment, place: Place
) -> Sequence[str]:
    known = SOURCES[experiment.data].classes(place)
    unknown = set(options.classes or ()) - set(known)
    if unknown:
        raise MissingDataError(
            f"There is no class {', '.join(sorted(unknown))}. Choose from "
            f"{', '.join(known)}."
        )
    return options.classes or experiment.classes or known


def _line(experiment: Experiment, record: dict[str, Any]) -> str:
    """Return the line to print for a run."""
    parts = [f"{record['class']}, seed {record['seed']}"]
    if record["variant"]:
        parts.append(record["variant"])
    for key, label in _FIGURES.items():
        if key in record:
            parts.append(f"{label} {record[key]:.3f}")
    published = record.get("published", record.get("published_mean"))
    if published is not None:
        of = "" if "published" in record else "mean of all classes, "
        parts.append(f"published {_FIGURES[experiment.figure]} ({of}{published:.2f})")
    parts.append(f"{record['fit_s']:.0f} s")
    return "; ".join([*parts, *record["warnings"], record.get("cut", "complete")])


def _overview() -> str:
    """List all experiments, and the data that they need."""
    lines = [f"Published results: {SOURCE}.", ""]
    for name, experiment in EXPERIMENTS.items():
        lines += [name, f"    {experiment.title}"]
        lines.append(f"    needs {SOURCES[experiment.data].needs}")
        if experiment.exposure is not None:
            lines.append(f"    needs {EXPOSURES[experiment.exposure].needs}")
        backbone = experiment.params.get("backbone", "default or that of the variant")
        lines.append(f"    {experiment.epochs} epochs, network {backbone}")
        if experiment.published is not None:
            figure = _FIGURES[experiment.figure]
            lines.append(f"    published {figure}, mean: {experiment.published:.2f}")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
