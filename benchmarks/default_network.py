"""Results of the pretrained default, and of each of its parts.

Most data sets have only normal training images: magnetic tiles (split by tile, 128 and
224 pixels), all surfaces of make_defects, photographs with foreign matter (needs
scikit-image), and one class of CIFAR-10, enlarged to 96 pixels, against the nine
others. "labels" and "masks" add ten labelled defects of each kind of magnetic tile,
without and with masks; "no labels" is tested on the same images. Each row also contains
the metrics of both parts of the score, as returned by `explain_parts`. The rows are
added to results/default_network.json, and a summary is printed.

    python benchmarks/default_network.py --variants memory default --seeds 0 1 2 3 4
    python benchmarks/default_network.py --variants memory --data surfaces foreign
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator

import cifar10
import numpy as np
from _common import (
    RESULTS,
    auroc_by_pooling,
    earlier,
    load_surface,
    load_tiles,
    record,
)
from few_masks import choose
from few_masks import load as load_all_tiles
from PIL import Image
from sklearn.metrics import roc_auc_score

from skfcdd import FCDDClassifier
from skfcdd.memory_bank import MemoryBank
from skfcdd.metrics import aupro_score, pixel_roc_auc_score

SURFACES = ("fabric", "brushed_metal", "wood", "tablets")
NAME = "default_network"
N_LABELLED = 10
N_CIFAR, N_CIFAR_TEST, CIFAR_SIDE = 500, 100, 96

# Parameters that differ from the default.
VARIANTS: dict[str, dict[str, object]] = {
    "memory": {},  # the current default
    "cells": {"memory_bank": MemoryBank(global_weight=0)},
    "augmented": {"augment": ("shift", "jitter")},
    "default": {"memory_bank": None},  # the default before the memory was added
    "paper": {"weights": None},
}

Arrays = dict[str, np.ndarray]


def load(data: str, seed: int) -> Iterator[tuple[str, Arrays]]:
    """Yield names and arrays of the data sets that an option selects."""
    if data.startswith("tiles"):
        side = 224 if data == "tiles224" else 128
        yield data, load_tiles(side)
    elif data in ("no labels", "labels", "masks"):
        yield f"tiles, {data}", labelled_tiles(data, seed)
    elif data == "cifar10":
        for name in ("airplane", "horse"):
            yield f"CIFAR-10 {name}", load_cifar(name)
    elif data == "foreign":
        from _foreign import SURFACES as PHOTOGRAPHS
        from _foreign import load_foreign

        for name in PHOTOGRAPHS:
            yield f"foreign {name}", load_foreign(name)
    else:
        for name in SURFACES if data == "surfaces" else [data]:
            yield f"surface {name}", load_surface(name)


def labelled_tiles(data: str, seed: int) -> Arrays:
    """Load magnetic tiles, with training defects of each kind from separate tiles."""
    tiles = load_all_tiles()
    pools, test = choose(tiles, seed, most=N_LABELLED)
    train = np.flatnonzero(tiles["split_tile"] == "train")
    if data != "no labels":
        train = np.concatenate([train, *pools])
    known = {"X_train": tiles["X"][train]}
    if data != "no labels":
        known["y_train"] = (tiles["kind"][train] != "free").astype(int)
    if data == "masks":
        known["mask_train"] = tiles["mask"][train]
    return known | {f"{key}_test": tiles[key][test] for key in ("X", "mask", "kind")}


def load_cifar(name: str) -> Arrays:
    """Load one class of CIFAR-10 against the nine others, without masks."""
    others = [other for other in cifar10.CLASSES if other != name]
    train, _ = cifar10.load("train", [name], N_CIFAR)
    good, _ = cifar10.load("test", [name], 3 * N_CIFAR_TEST)
    bad, kinds = cifar10.load("test", others, N_CIFAR_TEST)
    size = (CIFAR_SIDE, CIFAR_SIDE)
    larger = [
        np.stack([Image.fromarray(x).resize(size, Image.Resampling.BICUBIC) for x in X])
        for X in (train, np.concatenate([good, bad]))
    ]
    kinds = np.concatenate([np.repeat("free", len(good)), kinds])
    return {"X_train": larger[0], "X_test": larger[1], "kind_test": kinds}


def run(variant: str, data: str, arrays: Arrays, seed: int) -> dict:
    """Fit once, and compute metrics for every pooling and each part of the score."""
    model = FCDDClassifier(random_state=seed, **VARIANTS[variant])
    X, masks = arrays["X_test"], arrays.get("mask_test")
    started = time.perf_counter()
    model.fit(arrays["X_train"], arrays.get("y_train"), masks=arrays.get("mask_train"))
    row = {
        "variant": variant,
        "data": data,
        "seed": seed,
        "network": model.backbone_,
        "fit_s": round(time.perf_counter() - started, 1),
        "epochs": len(model.history_),
        "image_auroc": auroc_by_pooling(model, X, arrays["kind_test"]),
    }
    found = model.explain_parts(X, heatmaps=masks is not None)
    novelty, bad = found.score * found.novelty_share, arrays["kind_test"] != "free"
    parts = {"defect": found.score - novelty, "novelty": novelty}
    row["parts"] = {
        name: {"image_auroc": _rounded(roc_auc_score(bad, score))}
        for name, score in parts.items()
    }
    if masks is not None:
        row |= _placed(masks, found.heatmap)
        for name in parts:
            row["parts"][name] |= _placed(masks, found[name])
    return row


def _placed(masks: np.ndarray, heatmaps: np.ndarray) -> dict[str, float]:
    """Compute how well the heatmaps agree with the masks."""
    return {
        "pixel_auroc": _rounded(pixel_roc_auc_score(masks, heatmaps)),
        "aupro": _rounded(aupro_score(masks, heatmaps)),
    }


def _rounded(value: float) -> float:
    return round(float(value), 4)


def summary(rows: list[dict]) -> str:
    """Format the mean and standard deviation over the seeds of each variant."""
    lines = []
    for key in dict.fromkeys((r["data"], r["variant"]) for r in rows):
        chosen = [r for r in rows if (r["data"], r["variant"]) == key]
        columns = {
            "image": [r["image_auroc"]["mean"]["all"] for r in chosen],
            "top 2 %": [r["image_auroc"]["0.02"]["all"] for r in chosen],
            "pixel": [r.get("pixel_auroc", np.nan) for r in chosen],
            "AUPRO": [r.get("aupro", np.nan) for r in chosen],
        }
        for name in ("defect", "novelty"):
            known = [r["parts"][name]["image_auroc"] for r in chosen if "parts" in r]
            columns[name] = known or [np.nan]
        cells = "  ".join(
            f"{k} {np.mean(v):.3f}±{np.std(v):.3f}" for k, v in columns.items()
        )
        lines.append(f"{key[0]:16s} {key[1]:10s} n={len(chosen)}  {cells}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--data", nargs="*", default=["tiles"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--output", default=NAME)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    jobs = [(seed, word) for seed in arguments.seeds for word in arguments.data]
    for seed, word in jobs:
        for data, arrays in load(word, seed):
            for variant in arguments.variants:
                row = run(variant, data, arrays, seed)
                known = RESULTS / f"{arguments.output}.json"
                rows = earlier(arguments.output) if known.exists() else []
                key = (variant, data, seed)
                kept = [r for r in rows if (r["variant"], r["data"], r["seed"]) != key]
                record(arguments.output, [*kept, row])
                print(summary([row]), f"{row['fit_s']} s", flush=True)
    print(summary(earlier(arguments.output)))


if __name__ == "__main__":
    main()
