"""Magnetic tiles: FCDD and other methods, all trained on normal images only.

The images are split by tile, so that no tile is in both the training and the test set.
As soon as a run (a method and a seed) is done, it is added to results/baselines.json,
and its image scores to results/baselines_scores.npz, replacing an earlier run of the
same method and seed. The work can therefore be divided into parts, and among several
processes. At the end, means over the available seeds are written and printed.

    python benchmarks/baselines.py --methods pca patchcore --seeds 0 1 2 3 4
    python benchmarks/baselines.py --methods     # only compute the means
"""

from __future__ import annotations

import argparse
import fcntl
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from _common import (
    RESULTS,
    auroc_by_kind,
    auroc_by_pooling,
    data_folder,
    load_tiles,
    machine,
    with_reading,
)
from _intervals import image_figure, mean_figure, pixel_figures
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.ensemble import IsolationForest

from skfcdd import FCDDDetector
from skfcdd.baselines import BASELINES

REFERENCE = "fcdd"
# Standard deviation, in pixels, for blurring pixel-wise maps, which are noisy.
BLUR = 4.0


class PixelForest(OutlierMixin, BaseEstimator):
    """IsolationForest on the pixels, without heatmaps."""

    def __init__(self, random_state: int | None = None) -> None:
        self.random_state = random_state

    def fit(self, X: np.ndarray) -> PixelForest:
        self.forest_ = IsolationForest(random_state=self.random_state)
        self.forest_.fit(X.reshape(len(X), -1))
        return self

    def anomaly_score(self, X: np.ndarray) -> np.ndarray:
        return -self.forest_.score_samples(X.reshape(len(X), -1))


SQUEEZENET = {
    "backbone": "squeezenet1_0",
    "weights": "squeezenet1_0_imagenet.safetensors",
}
# Function that creates the estimator, non-default parameters, and side of the images.
METHODS: dict[str, tuple[Callable[..., Any], dict[str, object], int]] = {
    "pca": (BASELINES["pca"], {}, 128),
    "isolation_forest": (PixelForest, {}, 128),
    "autoencoder": (BASELINES["autoencoder"], {}, 128),
    "deep_svdd": (BASELINES["deep_svdd"], {}, 128),
    "hsc": (BASELINES["hsc"], {}, 128),
    "patchcore": (BASELINES["patchcore"], SQUEEZENET, 128),
    "patchcore_224": (BASELINES["patchcore"], SQUEEZENET, 224),
    "fcdd": (FCDDDetector, {"weights": None}, 128),
    "fcdd_pixels": (
        FCDDDetector,
        {"weights": None, "pixel_loss": "anomalous", "score_pooling": 0.02},
        128,
    ),
    "fcdd_pretrained": (FCDDDetector, {**SQUEEZENET, "frozen": 2}, 128),
}


def run(name: str, seed: int) -> tuple[dict[str, Any], np.ndarray]:
    """Fit once, and return all results and the image scores."""
    make, changes, side = METHODS[name]
    params = dict(changes)
    if params.get("weights") is not None:
        params["weights"] = data_folder() / str(params["weights"])
    tiles = load_tiles(side)
    X, kind = tiles["X_test"], tiles["kind_test"]
    model = make(random_state=seed, **params)
    _, fit_s = timed(lambda: model.fit(tiles["X_train"]))
    scores, predict_s = timed(lambda: model.anomaly_score(X))
    row: dict[str, Any] = {
        "method": name,
        "seed": seed,
        "side": side,
        "parameters": changes,
        "machine": machine(),
        "n_train": len(tiles["X_train"]),
        "n_test": len(X),
        "fit_s": round(fit_s, 2),
        "predict_s": round(predict_s, 2),
        "image_auroc": image_figure(scores, tiles),
        "image_auroc_by_kind": auroc_by_kind(kind, scores),
    }
    if hasattr(model, "explain"):
        row["image_auroc_by_pooling"] = auroc_by_pooling(model, X, kind)
        heatmaps, explain_s = timed(lambda: model.explain(X))
        row |= {"explain_s": round(explain_s, 2), **pixel_figures(heatmaps, tiles)}
        if name in ("pca", "autoencoder"):
            blurred = with_reading(model, heatmap_sigma=BLUR).explain(X)
            row["blurred"] = {"sigma": BLUR, **pixel_figures(blurred, tiles)}
    return row, scores


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of a function, and the CPU seconds that it took.

    CPU time does not include the work of other processes on the same machine.
    """
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


def load() -> dict[str, Any]:
    """Read the results of earlier runs."""
    path = RESULTS / "baselines.json"
    return json.loads(path.read_text()) if path.exists() else {"rows": []}


def load_scores() -> dict[str, np.ndarray]:
    """Read the image scores (n_test,) of each run."""
    path = RESULTS / "baselines_scores.npz"
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def write(document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=1)
    (RESULTS / "baselines.json").write_text(text + "\n")


@contextmanager
def alone() -> Iterator[None]:
    """Lock the results against other processes."""
    path = Path(tempfile.gettempdir()) / "skfcdd_benchmark_baselines.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def merge(row: dict[str, Any], scores: np.ndarray) -> None:
    """Add a run to the results, replacing one of the same method and seed."""
    place = list(METHODS).index
    with alone():
        RESULTS.mkdir(exist_ok=True)
        document = load()
        rows = {(r["method"], r["seed"]): r for r in [*document["rows"], row]}
        order = sorted(rows, key=lambda key: (place(key[0]), key[1]))
        write(document | {"rows": [rows[key] for key in order]})
        key = f"{row['method']}/{row['seed']}"
        together = load_scores() | {key: scores.astype(np.float32)}
        np.savez_compressed(RESULTS / "baselines_scores.npz", **together)


def summarise() -> dict[str, Any]:
    """Add means over the seeds of each method to the results, and return them."""
    with alone():
        document, scores = load(), load_scores()
        by_method: dict[str, list[dict[str, Any]]] = {}
        for row in document["rows"]:
            by_method.setdefault(row["method"], []).append(row)
        tiles = {row["side"]: load_tiles(row["side"]) for row in document["rows"]}
        document["summary"] = {
            name: describe(name, rows, scores, tiles[rows[0]["side"]])
            for name, rows in by_method.items()
        }
        if document["rows"]:
            write(document)
    return document["summary"]


def describe(
    name: str,
    rows: list[dict[str, Any]],
    scores: dict[str, np.ndarray],
    tiles: dict[str, np.ndarray],
) -> dict[str, Any]:
    """Compute means over the seeds of a method.

    Metrics with an interval are [value, low, high]. For image AUROC, the interval is
    that of the mean; for pixel-level metrics, it is the mean of the intervals.
    """

    def mean(*path: str) -> Any:
        def leaf(row: Any) -> Any:
            for key in path:
                row = row[key]
            return row

        return np.mean([leaf(row) for row in rows], axis=0).round(4).tolist()

    own = [scores[f"{name}/{row['seed']}"] for row in rows]
    values = [row["image_auroc"][0] for row in rows]
    found: dict[str, Any] = {
        "seeds": [row["seed"] for row in rows],
        "image_auroc": mean_figure(own, tiles),
        "image_auroc_std": round(float(np.std(values, ddof=1)), 4) if own[1:] else None,
        "image_auroc_by_kind": {
            k: mean("image_auroc_by_kind", k) for k in rows[0]["image_auroc_by_kind"]
        },
        "fit_s": mean("fit_s"),
        "predict_s": mean("predict_s"),
    }
    rivals = [v for k, v in scores.items() if k.split("/")[0] == REFERENCE]
    n = min(len(own), len(rivals))
    if name != REFERENCE and n:
        gain = mean_figure(own[:n], tiles, rivals[:n])
        found[f"image_auroc_above_{REFERENCE}"] = gain
    if "pixel_auroc" in rows[0]:
        key = "image_auroc_by_pooling"
        found[key] = {p: mean(key, p, "all") for p in rows[0][key]}
        found |= {k: mean(k) for k in ("explain_s", "pixel_auroc", "aupro")}
    if "blurred" in rows[0]:
        found["blurred"] = {k: mean("blurred", k) for k in ("pixel_auroc", "aupro")}
    return found


def show(name: str, figures: dict[str, Any]) -> None:
    """Print the means of a method."""
    print(f"{name}, seeds {figures['seeds']}")
    for key, value in figures.items():
        if key != "seeds":
            print(f"    {key}: {value}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    for seed in arguments.seeds:
        for name in arguments.methods:
            row, scores = run(name, seed)
            merge(row, scores)
            print(name, seed, row["image_auroc"], row["fit_s"], "s", flush=True)
    for name, figures in summarise().items():
        show(name, figures)


if __name__ == "__main__":
    main()
