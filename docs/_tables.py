"""Tables of the documentation, generated from the JSON files of the benchmarks.

In a page, the place of a table is marked by ``<!-- table: NAME -->`` and
``<!-- end of table -->``. `fill` inserts its rows. The build of the site calls it for
every page; ``python docs/_tables.py`` updates the Markdown files themselves, so that
the tables can be read without a build. A test fails if a file is out of date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean
from typing import Any

DOCS = Path(__file__).parent
# Tests load this file by its path, without `docs` on the import path.
sys.path.insert(0, str(DOCS))

import _consoles  # noqa: E402
import _peers  # noqa: E402
import _reproduced  # noqa: E402
from _results import RESULTS, Record, Rows, interval, read, share, spread  # noqa: E402

PAGES = (
    "benchmarks",
    "backbones",
    "baselines",
    "guide/command_output",
    "guide/few_images",
    "guide/images",
    "guide/marks",
    "guide/monitoring",
    "guide/serving",
    "how_good_is_it",
    "peers",
)

KINDS = ("all", "blowhole", "break", "crack", "fray", "uneven")
TABLES: dict[str, Callable[[], Rows]] = {**_reproduced.TABLES, **_peers.TABLES}


def table(make: Callable[[], Rows]) -> Callable[[], Rows]:
    """Register a function whose table pages can refer to by its name."""
    TABLES[make.__name__] = make
    return make


@table
def tiles_by_kind() -> Rows:
    """Tabulate the image AUROC of a paper network and two baselines, by kind."""
    found = {row["variant"]: row["image_auroc"] for row in read("magnetic_tiles")}
    lines = {
        "PCA reconstruction": found["PCA reconstruction"]["-"],
        "IsolationForest on pixels": found["IsolationForest"]["-"],
        '`score_pooling="mean"`': found["default"]["mean"],
        "`score_pooling=0.02`": found["default"]["0.02"],
        '`score_pooling="max"`': found["default"]["max"],
    }
    rows = [[name, *(share(line[k]) for k in KINDS)] for name, line in lines.items()]
    return [["score", *KINDS], *rows]


@table
def tiles_by_setting() -> Rows:
    """Tabulate the effect of settings."""
    names = {
        "default": "`weights=None`",
        "30 epochs": "`max_epochs=30`",
        "confetti alone": '`synthetic="confetti"`',
        "standard normalisation": '`normalize="standard"`',
        "with flips": "with flips",
        "pixel loss": '`pixel_loss="anomalous"`',
    }
    found = {row["variant"]: row for row in read("magnetic_tiles")}
    rows = [
        [
            label,
            *(share(found[name]["image_auroc"][p]["all"]) for p in _POOLINGS),
            share(found[name]["pixel_auroc"]),
        ]
        for name, label in names.items()
    ]
    header = ["setting", *(f"image AUROC, {p}" for p in _POOLINGS), "pixel AUROC"]
    return [header, *rows]


_SETS = {
    "tiles": "magnetic tiles, 128 pixels",
    "tiles224": "magnetic tiles, 224 pixels",
    "foreign brick": "photograph of bricks, foreign matter",
    "foreign grass": "photograph of grass, foreign matter",
    "foreign gravel": "photograph of gravel, foreign matter",
    "surface fabric": "generated fabric",
    "surface brushed_metal": "generated brushed metal",
    "surface wood": "generated wood",
    "surface tablets": "generated tablets",
    "tiles, no labels": "magnetic tiles, half of the defective ones",
    "tiles, labels": "the same, 10 labelled defects of each kind",
    "tiles, masks": "the same, with masks",
    "CIFAR-10 airplane": "CIFAR-10, airplanes against all others",
    "CIFAR-10 horse": "CIFAR-10, horses against all others",
}
_DEFAULTS = {"paper": "`weights=None`", "memory": "**default**"}
_PARTS = {"defect": "only FCDD", "novelty": "only the memory bank"}


def _default_runs(data: str, variant: str) -> list[Record]:
    if (data, variant) == ("tiles", "paper"):  # measured by an earlier script
        return [row for row in read("pretrained") if row["variant"] == "default"]
    rows = read("default_network")
    return [r for r in rows if (r["data"], r["variant"]) == (data, variant)]


def _over_seeds(figures: Iterable[float | None]) -> str:
    """Format the mean and standard deviation, or the only value."""
    found = [figure for figure in figures if figure is not None]
    if not found:
        return "-"
    return spread(found) if len(found) > 1 else share(found[0])


@table
def default_by_set() -> Rows:
    """Tabulate the pretrained default, and each of its parts, on all data sets."""
    rows = []
    for data, label in _SETS.items():
        for variant, name in _DEFAULTS.items():
            runs = _default_runs(data, variant)
            every = [
                {**r, "image_auroc": r["image_auroc"]["mean"]["all"]} for r in runs
            ]
            found = [(name, every)] if runs else []
            if variant == "memory":
                found += [
                    (called, [r["parts"][part] for r in runs])
                    for part, called in _PARTS.items()
                    if runs and "parts" in runs[0]
                ]
            for called, figures in found:
                metrics = ("image_auroc", "pixel_auroc", "aupro")
                cells = [_over_seeds(r.get(m) for r in figures) for m in metrics]
                rows.append([label, called, str(len(figures)), *cells])
    header = ["images", "score", "seeds", "image AUROC", "pixel AUROC", "AUPRO"]
    return [header, *rows]


@table
def default_by_kind() -> Rows:
    """Tabulate the image AUROC of the default by kind of defect and pooling."""
    rows = []
    for variant, name in _DEFAULTS.items():
        runs = _default_runs("tiles", variant)
        for pooling in ("mean", "0.1", "0.02") if variant == "memory" else ("mean",):
            found = [r["image_auroc"][pooling] for r in runs]
            label = name if pooling == "mean" else f"{name}, `score_pooling={pooling}`"
            rows.append([label, *(share(mean(f[k] for f in found)) for k in KINDS)])
    return [["network", *KINDS], *rows]


@table
def default_study() -> Rows:
    """Tabulate the single runs that led to the default."""
    rows = [
        [
            row["variant"],
            "224" if row["data"] == "tiles224" else "128",
            str(row["seed"]),
            share(row["image_auroc"]["mean"]["all"]),
            share(row["image_auroc"]["mean"]["crack"]),
            share(row["pixel_auroc"]),
            share(row["aupro"]),
        ]
        for row in read("default_network_study")
    ]
    header = ["setting", "pixels", "seed", "image AUROC", "cracks", "pixel AUROC"]
    return [[*header, "AUPRO"], *rows]


_POOLINGS = ("mean", "0.02", "max")
_NETWORKS = {
    "random": "SqueezeNet 1.0 from random weights, no stage frozen",
    "default": "`weights=None` (`fcdd224` from random weights)",
    "frozen 2": "**SqueezeNet 1.0 with ImageNet weights, `frozen=2`**",
}


def _by_network() -> dict[str, list[Record]]:
    rows = read("pretrained")
    return {
        label: [row for row in rows if row["variant"] == name]
        for name, label in _NETWORKS.items()
    }


@table
def pretrained() -> Rows:
    """Tabulate pretrained and random weights."""
    header = ["network", "seeds", "image AUROC, mean", "max", "pixel AUROC", "AUPRO"]
    rows = [
        [
            label,
            str(len(runs)),
            spread(run["image_auroc"]["mean"]["all"] for run in runs),
            spread(run["image_auroc"]["max"]["all"] for run in runs),
            spread(run["pixel_auroc"] for run in runs),
            spread(run["aupro"] for run in runs),
            f"{mean(run['fit_s'] for run in runs) / 60:.1f}",
        ]
        for label, runs in _by_network().items()
    ]
    return [[*header, "minutes per fit"], *rows]


@table
def pretrained_by_kind() -> Rows:
    """Tabulate pretrained and random weights by kind, with `score_pooling="max"`."""
    kinds = KINDS[1:]
    rows = [
        [label, *(share(mean(r["image_auroc"]["max"][k] for r in runs)) for k in kinds)]
        for label, runs in _by_network().items()
    ]
    return [["network", *kinds], *rows]


@table
def frozen() -> Rows:
    """Tabulate the effect of the number of frozen stages."""
    rows = [
        [
            row["variant"].replace("stages 2 3", "stages 2 and 3"),
            share(row["image_auroc"]["mean"]["all"]),
            share(row["image_auroc"]["max"]["all"]),
            share(row["pixel_auroc"]),
            share(row["aupro"]),
        ]
        for row in read("pretrained_study")
    ]
    return [["setting", "image AUROC, mean", "max", "pixel AUROC", "AUPRO"], *rows]


@table
def feature_cache() -> Rows:
    """Tabulate the time of epochs with and without a feature cache."""
    rows = [
        [
            f"`{row['backbone']}`",
            str(row["frozen"]),
            str(row["side"]),
            f"{row['plain_epoch_s']:.2f}",
            f"{row['cached_epoch_s']:.2f}",
            f"{row['ratio']:.1f}",
        ]
        for row in read("feature_cache")
    ]
    header = ["backbone", "`frozen`", "pixels", "plain epoch, s", "cached epoch, s"]
    return [[*header, "ratio"], *rows]


_MASK_FIGURES: dict[str, Callable[[Record], float]] = {
    "image AUROC, `score_pooling=0.02`": lambda row: row["image_auroc"]["0.02"]["all"],
    '`"mean"`': lambda row: row["image_auroc"]["mean"]["all"],
    "pixel AUROC": lambda row: row["pixel_auroc"],
    "AUPRO": lambda row: row["aupro"],
}


def _by_masks() -> dict[int, list[Record]]:
    rows = read("few_masks")
    return {
        number: sorted(
            (row for row in rows if row["masked_per_kind"] == number),
            key=lambda row: row["seed"],
        )
        for number in sorted({row["masked_per_kind"] for row in rows})
    }


@table
def few_masks() -> Rows:
    """Tabulate the metrics by the number of masks of each kind of defect."""
    rows = [
        [
            str(number or "none"),
            *(spread(map(figure, runs)) for figure in _MASK_FIGURES.values()),
        ]
        for number, runs in _by_masks().items()
    ]
    return [["masks per kind", *_MASK_FIGURES], *rows]


def _grouped(
    rows: Iterable[Record], key: Callable[[Record], tuple[Any, ...]]
) -> dict[tuple[Any, ...], list[Record]]:
    """Group rows by their key, in the order in which keys appear."""
    found: dict[tuple[Any, ...], list[Record]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


@table
def few_images() -> Rows:
    """Tabulate the false alarm rate for few normal images, with 5 % requested."""
    ways = {"tiles": "whole tiles", "images": "single photographs"}
    rules = {"auto": "out of fold", 0.1: "a tenth held out"}
    found = read("few_images")
    rows = []
    by_setting = _grouped(
        found, lambda r: (r["drawn_by"], r["validation_fraction"], r["n_images"])
    )
    for (way, fraction, n), runs in sorted(
        by_setting.items(),
        key=lambda item: (
            list(ways).index(item[0][0]),
            str(item[0][1]) != "auto",
            item[0][2],
        ),
    ):
        alarms = [r["false_alarms"] for r in runs]
        rows.append(
            [
                str(n),
                ways[way],
                rules[fraction],
                str(len(runs)),
                share(mean(alarms)),
                share(max(alarms)),
                *(
                    share(mean(r[name] for r in runs))
                    for name in ("found", "found_at_best", "image_auroc")
                ),
            ]
        )
    header = ["good images", "drawn as", "threshold", "draws", "false alarms", "most"]
    return [[*header, "found", "found at best", "image AUROC"], *rows]


@table
def few_images_study() -> Rows:
    """Tabulate the AUROC of few images by epochs, augmentation and learning rate."""
    found = read("few_images_study")
    rows = []
    by_setting = _grouped(
        found,
        lambda r: (r["n_images"], r["max_epochs"], tuple(r["augment"] or ()), r["lr"]),
    )
    for (n, epochs, augment, lr), runs in by_setting.items():
        rows.append(
            [
                str(n),
                str(epochs),
                ", ".join(augment).replace("_", " ") or "none",
                str(lr).lstrip("0"),
                str(len(runs)),
                share(mean(r["image_auroc"] for r in runs)),
                f"{mean(r['cpu_s'] for r in runs):.0f} s",
            ]
        )
    header = ["good images", "epochs", "augmentation", "learning rate", "draws"]
    return [[*header, "image AUROC", "CPU time"], *rows]


@table
def gain_of_masks() -> Rows:
    """Tabulate the gain of masks within each seed."""
    runs = _by_masks()
    rows = [
        [
            str(number),
            *(
                spread(
                    (
                        figure(a) - figure(b)
                        for a, b in zip(with_, runs[0], strict=True)
                    ),
                    sign=True,
                )
                for figure in _MASK_FIGURES.values()
            ),
        ]
        for number, with_ in runs.items()
        if number
    ]
    return [["masks per kind", *_MASK_FIGURES], *rows]


@table
def p_values() -> Rows:
    """Tabulate the distance of p-values from the uniform distribution."""
    header = ["seed", "Kolmogorov-Smirnov distance", "bound (95 %)", "p ≤ 0.1"]
    keys = ("ks", "ks_bound_95", "alarms_at_0.1", "alarms_bound_95")
    rows = [
        [
            str(row["seed"]),
            *(share(row[k]) for k in keys),
            share(row["found_at_0.1"], 2),
        ]
        for row in read("p_values")
    ]
    return [[*header, "bound (95 %)", "defects with p ≤ 0.1"], *rows]


@table
def cifar10() -> Rows:
    """Tabulate one class of CIFAR-10 against the rest."""
    rows = [
        [
            row["class"],
            share(row["auroc"]),
            share(row["pca_200"]),
            share(row["published"], 2),
        ]
        for row in read("cifar10")
    ]
    header = ["class", "20 epochs", "PCA-200 reconstruction", "published, 600 epochs"]
    return [header, *rows]


@table
def precision() -> Rows:
    """Tabulate the AUROC by precision of training and of scoring."""
    runs = read("precision")
    rows = []
    for trained in ("bfloat16", "float32"):
        for scored in ("bfloat16", "float32"):
            found = [run[f"trained {trained}, scored {scored}"] for run in runs]
            figures = [
                ", ".join(share(f[key], 4) for f in found)
                for key in ("image_auroc", "pixel_auroc")
            ]
            rows.append([trained, scored, *figures])
    seeds = ", ".join(str(run["seed"]) for run in runs)
    header = ["trained in", "scored in", f"image AUROC, seeds {seeds}", "pixel AUROC"]
    return [header, *rows]


@table
def speed() -> Rows:
    """Tabulate the microseconds per image of each network."""
    header = ["network, side, batch", "fit", "loop (b)", "loop (a)", "fit speed / (b)"]
    header += ["fit speed / (a)", "scores and heatmaps", "scores and heatmaps by (a)"]
    header += ["speed / (a)"]
    rows = [
        [
            f"`{row['network']}`, {row['side']}, {row['batch']}",
            *(f"{row[key]:,}" for key in ("fit_us", "fit_b_us", "fit_a_us")),
            f"{row['fit_of_b']:.2f}",
            f"{row['fit_over_a']:.1f}",
            *(f"{row[key]:,}" for key in ("explain_us", "explain_a_us")),
            f"{row['explain_over_a']:.1f}",
        ]
        for row in read("speed")["networks"]
    ]
    return [header, *rows]


@table
def speed_of_the_rest() -> Rows:
    """Tabulate single measurements of speed and memory."""
    s = read("speed")
    up, fit, large = s["upsampling"], s["fit"], s["large_image"]
    synthetic = ("confetti", "blobs", "scratches", "cutpaste", "perlin", "mixed")
    anomalies = ", ".join(
        f"{name} {s['anomalies_ms'][name]:.2f} ms" for name in synthetic
    )
    search, rates = s["grid_search"], s["gflops"]
    compiled = [
        [
            f"`compile=True`, `{row['network']}`",
            f"{row['epoch_compiled_s']:.2f} s per epoch compiled, "
            f"{row['epoch_plain_s']:.2f} s plain; {row['cost_s']:.0f} s to compile",
        ]
        for row in s["compile"]
    ]
    return [
        ["operation", "result"],
        [
            "fit of `fcdd224`, 500 images of 128 x 128, all epochs",
            f"{fit['all_epochs_s']:.0f} s, {fit['fit_of_b']:.2f} times as fast as "
            f"loop (b), {fit['fit_over_a']:.1f} times as fast as (a)",
        ],
        [
            "heatmaps at 224 pixels: two matrix products / transposed convolution",
            f"{1000 * up['products_ms']:.0f} µs / {up['transposed_ms']:.1f} ms "
            f"({up['ratio']} times as fast)",
        ],
        ["synthetic anomalies in an image of 224 x 224 x 3, one thread", anomalies],
        [
            "one image of 10,000 x 10,000 by `explain_large`",
            f"{large['s']:.1f} s, {large['gb_with_heatmap']:.2f} GB with the heatmap "
            "of 0.4 GB",
        ],
        [
            "`fit` on a memory-mapped file of 8 GB (2,700 images of 1024 x 1024 x 3, "
            "`resize=64`)",
            f"{s['memory']['gb_above_torch']:.2f} GB of memory in addition to that of "
            "the imported torch",
        ],
        [
            "import of the estimators, after torch, scikit-learn and skorch",
            f"{s['imports']['seconds_above']:.2f} s",
        ],
        [
            "grid search of twelve fits, `n_jobs` 1 and 2",
            f"{search['n_jobs_1_s']:.0f} s and {search['n_jobs_2_s']:.0f} s",
        ],
        [
            f"decoding a JPEG of 224 x 224 x 3 and {s['decoding']['jpeg_kb']:.0f} kB "
            "with Pillow, one thread",
            f"{s['decoding']['jpeg_ms']:.2f} ms",
        ],
        [
            "large matrix products in bfloat16 and in float32",
            f"{rates['bfloat16']} and {rates['float32']} GFLOP/s",
        ],
        *compiled,
    ]


_METHODS = {
    "pca": "PCA",
    "isolation_forest": "IsolationForest on pixels",
    "autoencoder": "autoencoder",
    "deep_svdd": "Deep SVDD",
    "hsc": "HSC",
    "patchcore": "PatchCore",
    "patchcore_224": "PatchCore, 224 pixels",
    "fcdd": "FCDD",
    "fcdd_pixels": "FCDD, pixel-wise",
    "fcdd_pretrained": "FCDD, pretrained",
}


def _summary() -> dict[str, Record]:
    text = (RESULTS / "baselines.json").read_text()
    found: dict[str, Record] = json.loads(text)["summary"]
    return {label: found[name] for name, label in _METHODS.items() if name in found}


@table
def baselines() -> Rows:
    """Tabulate FCDD and other methods."""
    header = ["method", "seeds", "image AUROC", "above FCDD", "pixel AUROC", "AUPRO"]
    rows = []
    for label, found in _summary().items():
        images = ("image_auroc", "image_auroc_above_fcdd")
        seconds = (f"{found[key]:.3g}" for key in ("fit_s", "predict_s"))
        rows.append(
            [
                label,
                str(len(found["seeds"])),
                *(interval(found.get(k), sign=k != "image_auroc") for k in images),
                *_pixels(found),
                *seconds,
            ]
        )
        if "blurred" in found:
            pixels = _pixels(found["blurred"])
            rows.append([f"{label}, heatmaps blurred", "", "", "", *pixels, "", ""])
    return [[*header, "fit, s", "630 scores, s"], *rows]


def _pixels(found: Record) -> list[str]:
    return [interval(found.get(key)) for key in ("pixel_auroc", "aupro")]


@table
def baselines_by_kind() -> Rows:
    """Tabulate FCDD and other methods by kind of defect."""
    rows = [
        [label, *(share(found["image_auroc_by_kind"][k]) for k in KINDS)]
        for label, found in _summary().items()
    ]
    return [["method", *KINDS], *rows]


def _by_normalize(key: str) -> Rows:
    """Tabulate a metric by `normalize`, data set and kind of change."""
    runs = read("position_and_light")
    forms = list(dict.fromkeys(row["normalize"] for row in runs))
    found = {(row["data"], row["normalize"]): row[key] for row in runs}
    rows = []
    for data in dict.fromkeys(row["data"] for row in runs):
        for name in found[data, forms[0]]:
            digits = 2 if key == "flagged" else 3
            figures = (share(found[data, form][name], digits) for form in forms)
            rows.append([f"{data}, {name}", *figures])
    return [["images", *(f'"{form}"' for form in forms)], *rows]


@table
def flagged_by_light() -> Rows:
    """Tabulate the share of normal images flagged after light or position changed."""
    return _by_normalize("flagged")


@table
def defects_by_light() -> Rows:
    """Tabulate the image AUROC of defects by `normalize`."""
    return _by_normalize("image_auroc")


@table
def drift_false_alarms() -> Rows:
    """Tabulate the streams without drift in which an alarm was raised."""
    runs = [row for row in read("drift") if row["part"] == "no drift"]
    rates = list(runs[0]["alarms"])
    rows = [
        [run["source"], *(f"{run['alarms'][r]} of {run['n_streams']}" for r in rates)]
        for run in runs
    ]
    return [["stream", *(f"stated probability {rate}" for rate in rates)], *rows]


@table
def drift_found() -> Rows:
    """Tabulate how often, and how soon, a change of exposure is detected."""
    rows = []
    runs = [row for row in read("drift") if row["part"] == "exposure"]
    for other in dict.fromkeys(run["to"] for run in runs):
        line = [f"from {runs[0]['from']} to {other}"]
        for columns in dict.fromkeys(run["columns"] for run in runs):
            chosen = [r for r in runs if (r["to"], r["columns"]) == (other, columns)]
            delay = mean(r["median_delay"] or 51 for r in chosen)
            found = mean(r["found"] for r in chosen)
            line += [f"{found:.0%}", f"{delay:.0f}" if delay < 51 else "-"]
        rows.append(line)
    return [
        [
            "exposure",
            "detected with `image_statistics`",
            "images until alarm (median)",
            "detected with the score only",
            "images until alarm (median)",
        ],
        *rows,
    ]


@table
def watched_folder() -> Rows:
    """Tabulate the results for a watched folder whose watcher is killed repeatedly."""
    (run,) = read("watched_folder")
    return [
        [
            "files",
            "killed",
            "rows",
            "lost",
            "duplicated",
            "seen by the monitor",
            "memory",
        ],
        [
            *(f"{run[name]:,}" for name in ("files", "kills", "rows", "lost")),
            *(f"{run[name]:,}" for name in ("doubled", "seen_by_monitor")),
            f"{run['peak_memory_mb']} MB",
        ],
    ]


_MARKED = {
    (0, "before"): "before",
    (0, "none"): "none (further training only)",
    (25, "random"): "25 drawn at random",
    (50, "random"): "50 drawn at random",
    (25, "chosen"): "25 selected",
}


@table
def marks() -> Rows:
    """Tabulate the image AUROC after marking selected or random images."""
    rows = []
    runs = read("marks")
    for data in dict.fromkeys(run["data"] for run in runs):
        for (n, choice), label in _MARKED.items():
            found = [
                run
                for run in runs
                if (run["data"], run["marks"], run["choice"]) == (data, n, choice)
            ]
            if found:
                defects = mean(run.get("defects", 0) for run in found)
                areas = spread(run["auroc"] for run in found)
                rows.append([data, label, f"{defects:.0f}", str(len(found)), areas])
    header = ["images", "marked", "defects among them", "seeds", "image AUROC"]
    return [header, *rows]


@table
def serving() -> Rows:
    """Tabulate the throughput, CPU time and memory of a server under load."""
    (run,) = read("serving")
    return [
        [
            *("requests", "errors", "per second", "CPU time each", "memory"),
            "load average",
        ],
        [
            *(f"{run[name]:,}" for name in ("requests", "errors", "per_second")),
            f"{run['server_ms_per_request']} ms",
            f"{run['memory_before_mb']} to {run['memory_after_mb']} MB",
            f"{run['load_average']}, on {run['processors']} cores",
        ],
    ]


@table
def flagged_by_position() -> Rows:
    """Tabulate the share of moved normal parts flagged, and AUROC, by `position`."""
    runs = read("position")
    moved = [n for n in runs[0]["flagged"] if n.startswith(("as in", "shift", "turn"))]
    rows = [
        [name, *(share(run["flagged"][name], 2) for run in runs)] for name in moved
    ] + [
        [f"image AUROC, {kind}", *(share(run["image_auroc"][kind], 3) for run in runs)]
        for kind in runs[0]["image_auroc"]
    ]
    return [["part", *(f"`position={run['position']:g}`" for run in runs)], *rows]


@table
def region_of_interest() -> Rows:
    """Tabulate the AUROC with and without a region of interest."""
    runs = read("region_of_interest")
    head = ["region", "`roi=`", "image AUROC", "with squares"]
    head += ["pixel AUROC", "with squares"]
    names = ("plain_auroc", "squares_auroc", "plain_pixel_auroc", "squares_pixel_auroc")
    rows = [head]
    for region in dict.fromkeys(run["region"] for run in runs):
        for given in (True, False):
            own = [r for r in runs if (r["region"], r["roi"]) == (region, given)]
            figures = [spread(run[name] for run in own) for name in names]
            rows.append([region, "given" if given else "None", *figures])
    return rows


@table
def receptive_fields() -> Rows:
    """Tabulate the receptive field of a cell after every stage."""
    rows = []
    for row in read("receptive_fields"):
        stage = f"{row['stage']} ({row['name']})"
        seen = float(row["extent"])
        rows.append(
            [
                f"`{row['backbone']}`",
                f"**{stage}**" if row["default"] else stage,
                "the whole image" if seen == float("inf") else f"{seen:g}",
                f"{row['stride']:g}",
                f"{row['center']:g}",
            ]
        )
    header = ["backbone", "stage", "extent", "stride", "centre of the first cell"]
    return [header, *rows]


def render(rows: Rows) -> str:
    """Format a table as Markdown."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def fill(text: str) -> str:
    """Insert all tables and samples of output into the text of a page."""

    def replace(match: re.Match[str]) -> str:
        return f"{match[1]}\n{render(TABLES[match[2]]())}\n{match[3]}"

    block = r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)"
    return _consoles.fill(re.sub(block, replace, text, flags=re.S))


if __name__ == "__main__":
    for page in PAGES:
        path = DOCS / f"{page}.md"
        path.write_text(fill(path.read_text()))
