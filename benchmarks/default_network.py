"""The pretrained default: how it was chosen, and what it reaches.

Trained on good images alone: magnetic tiles (split by tile, 128 and 224 pixels), all
surfaces of make_defects, and photographs with foreign matter (needs scikit-image).
Adds to results/default_network.json, and prints a table.

    python benchmarks/default_network.py --variants memory default --seeds 0 1 2 3 4
    python benchmarks/default_network.py --variants default --data surfaces foreign
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator

import numpy as np
from _common import (
    RESULTS,
    auroc_by_pooling,
    earlier,
    load_surface,
    load_tiles,
    record,
    with_reading,
)

from skfcdd import FCDDClassifier
from skfcdd.memory_bank import MemoryBank
from skfcdd.metrics import aupro_score, pixel_roc_auc_score

SURFACES = ("fabric", "brushed_metal", "wood", "tablets")
NAME = "default_network"
# Widths of the Gaussians to compare with the default, in pixels.
SIGMAS = (8.0, 10.0, 15.0)

# What differs from the default.
VARIANTS: dict[str, dict[str, object]] = {
    "memory": {},  # today's default
    "cells": {"memory_bank": MemoryBank(global_weight=0)},
    "augmented": {"augment": ("shift", "jitter")},
    "default": {"memory_bank": None},  # what it was before it had a memory
    "paper": {"weights": None},
}


def load(data: str) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Names and arrays of the data sets that a word stands for."""
    if data.startswith("tiles"):
        side = 224 if data == "tiles224" else 128
        yield data, load_tiles(side)
    elif data == "foreign":
        from _foreign import SURFACES as PHOTOGRAPHS
        from _foreign import load_foreign

        for name in PHOTOGRAPHS:
            yield f"foreign {name}", load_foreign(name)
    else:
        for name in SURFACES:
            yield f"surface {name}", load_surface(name)


def run(variant: str, data: str, arrays: dict[str, np.ndarray], seed: int) -> dict:
    """Fit once; score with every pooling."""
    model = FCDDClassifier(random_state=seed, **VARIANTS[variant])
    started = time.perf_counter()
    model.fit(arrays["X_train"])
    fit_s = time.perf_counter() - started
    shown = {
        sigma: _placed(with_reading(model, heatmap_sigma=sigma), arrays)
        for sigma in (None, *SIGMAS)
    }
    return {
        "variant": variant,
        "data": data,
        "seed": seed,
        "network": model.backbone_,
        "fit_s": round(fit_s, 1),
        "epochs": len(model.history_),
        "image_auroc": auroc_by_pooling(model, arrays["X_test"], arrays["kind_test"]),
        **shown.pop(None),
        "by_sigma": {str(sigma): figures for sigma, figures in shown.items()},
    }


def _placed(model: FCDDClassifier, arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """How well heatmaps lie on the masks."""
    heatmaps, masks = model.explain(arrays["X_test"]), arrays["mask_test"]
    return {
        "pixel_auroc": round(float(pixel_roc_auc_score(masks, heatmaps)), 4),
        "aupro": round(float(aupro_score(masks, heatmaps)), 4),
    }


def summary(rows: list[dict]) -> str:
    """Mean and standard deviation over the seeds of each variant."""
    lines = []
    for key in dict.fromkeys((r["data"], r["variant"]) for r in rows):
        chosen = [r for r in rows if (r["data"], r["variant"]) == key]
        columns = {
            "image": [r["image_auroc"]["mean"]["all"] for r in chosen],
            "top 2 %": [r["image_auroc"]["0.02"]["all"] for r in chosen],
            "pixel": [r["pixel_auroc"] for r in chosen],
            "AUPRO": [r["aupro"] for r in chosen],
        }
        cells = "  ".join(
            f"{k} {np.mean(v):.3f}±{np.std(v):.3f}" for k, v in columns.items()
        )
        lines.append(f"{key[0]:16s} {key[1]:24s} n={len(chosen)}  {cells}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--data", nargs="*", default=["tiles"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--output", default=NAME)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    for word in arguments.data:
        for data, arrays in load(word):
            for seed in arguments.seeds:
                for variant in arguments.variants:
                    row = run(variant, data, arrays, seed)
                    known = RESULTS / f"{arguments.output}.json"
                    rows = earlier(arguments.output) if known.exists() else []
                    key = (variant, data, seed)
                    kept = [
                        r for r in rows if (r["variant"], r["data"], r["seed"]) != key
                    ]
                    record(arguments.output, [*kept, row])
                    print(summary([row]), f"{row['fit_s']} s", flush=True)
    print(summary(earlier(arguments.output)))


if __name__ == "__main__":
    main()
