"""Magnetic tiles: the effect of ImageNet weights and of frozen stages.

Compares SqueezeNet 1.0 with ImageNet weights, the same network with random weights, and
a network of the paper. All are trained on normal images only, split by tile. Writes
results/pretrained.json and prints a table.

    python benchmarks/pretrained.py --variants default pretrained --seeds 0 1 2 3 4
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from _common import POOLINGS, auroc_by_pooling, data_folder, earlier, load_tiles, record

from skfcdd import FCDDClassifier
from skfcdd.feature_cache import FeatureCache
from skfcdd.metrics import aupro_score, pixel_roc_auc_score

WEIGHTS = "squeezenet1_0_imagenet.safetensors"
SQUEEZENET = {"backbone": "squeezenet1_0", "weights": WEIGHTS}
RANDOM = {"backbone": "squeezenet1_0", "weights": None, "normalize": "imagenet"}

# Parameters that differ from the defaults.
VARIANTS: dict[str, dict[str, object]] = {
    "default": {"weights": None},
    "random": RANDOM,
    "random, frozen 2": {**RANDOM, "frozen": 2},
    "trained whole": SQUEEZENET,
    "frozen 1": {**SQUEEZENET, "frozen": 1},
    "frozen 2": {**SQUEEZENET, "frozen": 2},
    "frozen 2, contrast": {**SQUEEZENET, "frozen": 2, "normalize": "contrast"},
    "frozen 2, resize 224": {**SQUEEZENET, "frozen": 2, "resize": 224},
    "frozen 2, no cache": {**SQUEEZENET, "frozen": 2, "feature_cache": None},
    "frozen 2, 50 epochs": {**SQUEEZENET, "frozen": 2, "max_epochs": 50},
    "frozen 2, pixel loss": {**SQUEEZENET, "frozen": 2, "pixel_loss": "anomalous"},
    "frozen 2, bank 8": {
        **SQUEEZENET,
        "frozen": 2,
        "feature_cache": FeatureCache(bank=8),
    },
    "all frozen": {**SQUEEZENET, "frozen": "all"},
    "all frozen, stages 2 3": {**SQUEEZENET, "frozen": "all", "stages": (2, 3)},
    "all frozen, stages 2 3 4": {**SQUEEZENET, "frozen": "all", "stages": (2, 3, 4)},
    "frozen 2, stages 2 3": {**SQUEEZENET, "frozen": 2, "stages": (2, 3)},
    "frozen 3, cut 4": {**SQUEEZENET, "frozen": 3, "cut": 4},
    "frozen 3, stages 2 3 4": {**SQUEEZENET, "frozen": 3, "stages": (2, 3, 4)},
}


def run_variant(
    name: str, changes: dict[str, object], tiles: dict[str, np.ndarray], seed: int
) -> dict:
    """Fit once, and compute metrics for every pooling."""
    params = {**VARIANTS[name], **changes}
    if params.get("weights") is not None:
        params["weights"] = data_folder() / str(params["weights"])
    model = FCDDClassifier(random_state=seed, **params)
    started = time.perf_counter()
    model.fit(tiles["X_train"])
    fit_s = time.perf_counter() - started
    heatmaps = model.explain(tiles["X_test"])
    figures = {
        "pixel_auroc": pixel_roc_auc_score(tiles["mask_test"], heatmaps),
        "aupro": aupro_score(tiles["mask_test"], heatmaps),
    }
    return {
        "variant": name,
        "changes": {k: str(v) for k, v in changes.items()},
        "seed": seed,
        "fit_s": round(fit_s, 1),
        "epochs": len(model.history_),
        "receptive_field": str(model.receptive_field_),
        "image_auroc": auroc_by_pooling(model, tiles["X_test"], tiles["kind_test"]),
        **{k: round(v, 4) for k, v in figures.items()},
    }


def summary(rows: list[dict]) -> str:
    """Format the mean and standard deviation over the seeds of each variant."""
    lines = []
    for key in dict.fromkeys((r["variant"], str(r["changes"])) for r in rows):
        chosen = [r for r in rows if (r["variant"], str(r["changes"])) == key]
        columns = {
            p: [r["image_auroc"][p]["all"] for r in chosen] for p in map(str, POOLINGS)
        }
        columns |= {
            k: [r[k] for r in chosen] for k in ("pixel_auroc", "aupro", "fit_s")
        }
        cells = "  ".join(
            f"{k} {np.mean(v):.3f}±{np.std(v):.3f}" for k, v in columns.items()
        )
        lines.append(f"{key[0]:28s} {key[1]} n={len(chosen)}  {cells}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--side", type=int, default=128, choices=(128, 224))
    parser.add_argument("--epochs", type=int, help="instead of the variant's")
    parser.add_argument("--keep", action="store_true", help="add to the results")
    parser.add_argument("--output", default="pretrained")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    tiles = load_tiles(arguments.side)
    changes: dict[str, object] = {}
    if arguments.epochs is not None:
        changes["max_epochs"] = arguments.epochs
    rows = earlier(arguments.output) if arguments.keep else []
    for seed in arguments.seeds:
        for name in arguments.variants:
            row = run_variant(name, changes, tiles, seed)
            row["side"] = arguments.side
            rows.append(row)
            record(arguments.output, rows)
            print(summary(rows[-1:]), row["image_auroc"]["0.02"], flush=True)
    print(summary(rows))


if __name__ == "__main__":
    main()
