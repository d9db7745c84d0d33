"""Tables of the experiments of the paper: published results, and results from here.

Experiments without results are shown as "not run".
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean

from _results import RESULTS, Record, Rows, interval, read, share

# The experiments are defined next to the runner.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.reproduce._experiments import EXPERIMENTS

TABLES: dict[str, Callable[[], Rows]] = {}
NOT_RUN = "not run"
# Experiments on the same classes with two versions of the images.
_FORMS = ("cifar10", "cifar10_jpeg")


def table(make: Callable[[], Rows]) -> Callable[[], Rows]:
    """Register a function whose table pages can refer to by its name."""
    TABLES[make.__name__] = make
    return make


def records(name: str) -> list[Record]:
    """Return the runs of an experiment."""
    path = RESULTS / f"reproduce_{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def amount(row: Record) -> int:
    """Return the amount of training in a run: number of images times epochs."""
    return int(row["epochs"] * row["images"])


@table
def paper() -> Rows:
    """Tabulate means over the classes, as published and as run here."""
    rows = [["experiment", "metric", "published", "here, whole", "here, parts"]]
    for name, experiment in EXPERIMENTS.items():
        if experiment.published is None:
            continue
        runs, figure = records(name), experiment.figure
        whole = [row for row in runs if row["complete"]]
        classes = sorted({row["class"] for row in whole})
        found = NOT_RUN
        if classes:
            value = share(mean(row[figure] for row in whole))
            found = f"{value} ({_count(len(classes), 'class', 'classes')})"
        parts = [row for row in runs if not row["complete"]]
        rows.append(
            [
                f"`{name}`: {experiment.title}",
                figure.replace("_auroc", " AUROC"),
                share(experiment.published, 2),
                found,
                _count(len(parts), "run", "runs") if parts else NOT_RUN,
            ]
        )
    return rows


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


@table
def cifar10_by_class() -> Rows:
    """Tabulate CIFAR-10 by class: the longest runs, and those of cifar10.py."""
    rows = [["class", "published", "here", "images, exposed", "extent of the run"]]
    for name, value in EXPERIMENTS["cifar10"].published_by_class.items():
        found = []
        for form in _FORMS:
            runs = [row for row in records(form) if row["class"] == name]
            if runs:
                found.append(_line_of_class(max(runs, key=amount)))
        found += [
            _line_of_defaults(row) for row in read("cifar10") if row["class"] == name
        ]
        known = [name, share(value, 2)]
        rows += [[*known, *line] for line in found or [[NOT_RUN, "", ""]]]
    return rows


def _line_of_class(row: Record) -> list[str]:
    given = [row["image_auroc"], *row["image_auroc_interval"]]
    images = "JPEG, Caltech-101" if row["data"] == "cifar10_jpeg" else "CIFAR-100"
    return [interval(given), images, row.get("cut", "all of it")]


def _line_of_defaults(row: Record) -> list[str]:
    text = f"{row['epochs']} epochs on 2000 images, schedule and batches of our own"
    return [share(row["auroc"]), "JPEG, Caltech-101", text]


@table
def methods() -> Rows:
    """Tabulate the methods on magnetic tiles, as far as they were run."""
    header = ["method", "seeds", "image AUROC", "pixel AUROC", "AUPRO"]
    path = RESULTS / "baselines.json"
    found = json.loads(path.read_text()).get("summary", {}) if path.exists() else {}
    order = sorted(found, key=lambda name: -found[name]["image_auroc"][0])
    rows = [
        [
            METHODS.get(name, name),
            str(len(found[name]["seeds"])),
            *(interval(found[name].get(key)) for key in _METHOD_FIGURES),
        ]
        for name in order
    ]
    rows += [
        [label, NOT_RUN, "", "", ""] for k, label in METHODS.items() if k not in found
    ]
    return [header, *rows]


_METHOD_FIGURES = ("image_auroc", "pixel_auroc", "aupro")
METHODS = {
    "fcdd": "**FCDD, network of the paper (`weights=None`)**",
    "fcdd_pixels": '**`weights=None`, `pixel_loss="anomalous"`, `score_pooling=0.02`**',
    "fcdd_pretrained": "**FCDD, pretrained SqueezeNet, `frozen=2`**",
    "patchcore": "PatchCore, SqueezeNet",
    "patchcore_224": "PatchCore, SqueezeNet, 224 pixels",
    "hsc": "HSC",
    "deep_svdd": "Deep SVDD",
    "autoencoder": "autoencoder",
    "pca": "PCA",
    "isolation_forest": "IsolationForest on pixels",
}


def _ablation(name: str, column: str, *figures: str) -> Rows:
    """Tabulate each variant by its means over the seeds of the longest runs."""
    experiment, runs = EXPERIMENTS[name], records(name)
    variants = [v for v in (*experiment.variants, *experiment.readings) if v]
    rows = []
    for variant in variants:
        known = [row for row in runs if row["variant"] == variant]
        if not known:
            rows.append([variant, NOT_RUN, *[""] * (len(figures) + 1)])
            continue
        most = max(map(amount, known))
        chosen = [row for row in known if amount(row) == most]
        values = [share(mean(row[key] for row in chosen)) for key in figures]
        extent = chosen[0].get("cut", "all of it")
        rows.append([variant, *values, str(len(chosen)), extent])
    labels = [figure.replace("_auroc", " AUROC") for figure in figures]
    return [[column, *labels, "seeds", "extent of the run"], *rows]


@table
def ablation_receptive_field() -> Rows:
    """Tabulate the AUROC by receptive-field size."""
    column = "receptive field, pixels (of 128)"
    return _ablation("receptive_field", column, "pixel_auroc", "image_auroc")


@table
def ablation_exposure() -> Rows:
    """Tabulate the image AUROC by the number of exposed images."""
    return _ablation("exposure", "exposed images", "image_auroc")


@table
def ablation_objectives() -> Rows:
    """Tabulate the image AUROC of each objective by class, for runs on most images."""
    experiment, runs = EXPERIMENTS["objectives"], records("objectives")
    rows = []
    for variant in experiment.variants:
        known = [row for row in runs if row["variant"] == variant]
        most = max((row["images"] for row in known), default=0)
        chosen = [row for row in known if row["images"] == most]
        by_class = [
            [row["image_auroc"] for row in chosen if row["class"] == name]
            for name in experiment.classes
        ]
        if not all(by_class):
            rows.append([f"`{variant}`", NOT_RUN, *[""] * (len(by_class) + 3)])
            continue
        means = [mean(values) for values in by_class]
        epochs = mean(row["epochs"] for row in chosen)
        seconds = mean(row["fit_s"] for row in chosen)
        seeds = len({row["seed"] for row in chosen})
        rows.append(
            [
                f"`{variant}`",
                *map(share, [*means, mean(means)]),
                f"{epochs:.0f}",
                f"{seconds:.0f}",
                str(seeds),
            ]
        )
    header = ["`loss`", *experiment.classes, "mean"]
    return [[*header, "epochs", "seconds", "seeds"], *rows]


@table
def ablation_sigma() -> Rows:
    """Tabulate the pixel AUROC by the width of the Gaussian."""
    return _ablation("sigma", "`heatmap_sigma`", "pixel_auroc")
