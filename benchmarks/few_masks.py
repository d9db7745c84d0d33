"""Magnetic tiles: the gain from a few defects with masks, in addition to normal images.

The added defects come from half of the tiles of each kind, and from as many different
tiles as possible; images of these tiles are excluded from the test set. Writes
results/few_masks.json, with the names of the added images. With `--p-values`, the
script instead tests whether p-values of normal images of unseen tiles are uniform.

    python benchmarks/few_masks.py --seeds 0 1 2 3 4
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from _common import auroc_by_pooling, data_folder, earlier, record
from scipy.stats import kstest
from sklearn.metrics import roc_auc_score

from skfcdd import FCDDClassifier, FCDDSegmenter
from skfcdd.conformal import conformal_p_values
from skfcdd.metrics import (
    aupro_score,
    f1_max_score,
    pixel_average_precision_score,
    pixel_roc_auc_score,
)
from skfcdd.model_selection import anomaly_split

Tiles = dict[str, np.ndarray]


def load() -> Tiles:
    """Load all images with their masks, kinds, names, tiles and split."""
    path = data_folder() / "magnetic_tile.npz"
    names = ("X", "mask", "kind", "name", "tile", "split_tile")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in names}


def choose(tiles: Tiles, seed: int, most: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Choose the defects to add for each kind, in order, and the test rows."""
    chance = np.random.RandomState(seed)
    pools, shown = [], []
    for kind in sorted(set(tiles["kind"]) - {"free"}):
        rows = np.flatnonzero((tiles["kind"] == kind) & tiles["mask"].any(axis=(1, 2)))
        groups = chance.permutation(np.unique(tiles["tile"][rows]))
        groups = groups[: -(-len(groups) // 2)]
        shown.append(groups)
        # One image of each tile, then a second one of each, and so on.
        members = [chance.permutation(rows[tiles["tile"][rows] == g]) for g in groups]
        turns = max(len(m) for m in members)
        order = [m[turn] for turn in range(turns) for m in members if turn < len(m)]
        pools.append(np.array(order[:most]))
    taken = np.isin(tiles["tile"], np.concatenate(shown))
    return pools, np.flatnonzero((tiles["split_tile"] == "test") & ~taken)


def run(tiles: Tiles, n_masked: int, seed: int, params: dict[str, object]) -> dict:
    """Fit with `n_masked` defects of each kind, and compute the metrics."""
    pools, test = choose(tiles, seed, most=25)
    added = np.concatenate([pool[:n_masked] for pool in pools])
    train = np.concatenate([np.flatnonzero(tiles["split_tile"] == "train"), added])
    assert not set(tiles["tile"][test]) & set(tiles["tile"][train])
    model = FCDDSegmenter(random_state=seed, **params)
    started = time.perf_counter()
    model.fit(tiles["X"][train], tiles["mask"][train])
    fit_s = time.perf_counter() - started
    masks, heatmaps = tiles["mask"][test], model.explain(tiles["X"][test])
    image = auroc_by_pooling(model, tiles["X"][test], tiles["kind"][test])
    figures = {
        "pixel_auroc": pixel_roc_auc_score(masks, heatmaps),
        "aupro": aupro_score(masks, heatmaps),
        "pixel_ap": pixel_average_precision_score(masks, heatmaps),
        "pixel_f1_max": f1_max_score(masks, heatmaps)[0],
    }
    return {
        "masked_per_kind": n_masked,
        "seed": seed,
        "params": params,
        "fit_s": round(fit_s, 1),
        "n_test": [
            int((tiles["kind"][test] == "free").sum()),
            int(masks.any((1, 2)).sum()),
        ],
        "image_auroc": image,
        **{name: round(value, 4) for name, value in figures.items()},
        "added": tiles["name"][added].tolist(),
    }


def p_values(tiles: Tiles, seed: int) -> dict:
    """Measure whether the p-values of normal images of unseen tiles are uniform.

    A quarter of the training tiles is used for calibration. The bounds are those of
    random assignment: all normal tiles that the network has not seen are reassigned to
    calibration and test at random, with the photographs of a tile kept together.
    """
    train = np.flatnonzero(tiles["split_tile"] == "train")
    test = np.flatnonzero((tiles["split_tile"] == "test") & (tiles["kind"] == "free"))
    # All images are normal, so all have the same label.
    fit, calibration, *_ = anomaly_split(
        train, np.zeros(len(train)), groups=tiles["tile"][train], random_state=seed
    )
    model = FCDDClassifier(weights=None, random_state=seed).fit(tiles["X"][fit])
    model.calibrate(tiles["X"][calibration])
    p = model.p_values(tiles["X"][test])
    rows = np.concatenate([calibration, test])
    scores, groups = model.anomaly_score(tiles["X"][rows]), tiles["tile"][rows]
    chance = np.random.RandomState(seed)
    share = len(np.unique(tiles["tile"][calibration])) / len(np.unique(groups))
    dealt, alarms = [], []
    for _ in range(2000):
        names = chance.permutation(np.unique(groups))
        held = np.isin(groups, names[: round(share * len(names))])
        again = conformal_p_values(scores[held], scores[~held])
        dealt.append(kstest(again, "uniform").statistic)
        alarms.append((again <= 0.1).mean())
    detected = tiles["kind"] != "free"
    defects = np.flatnonzero((tiles["split_tile"] == "test") & detected)
    return {
        "seed": seed,
        "n_calibration": len(calibration),
        "n_test": len(test),
        "ks": round(float(kstest(p, "uniform").statistic), 4),
        "ks_bound_95": round(float(np.quantile(dealt, 0.95)), 4),
        "alarms_at_0.1": round(float((p <= 0.1).mean()), 4),
        "alarms_bound_95": round(float(np.quantile(alarms, 0.95)), 4),
        "found_at_0.1": round(
            float((model.p_values(tiles["X"][defects]) <= 0.1).mean()), 4
        ),
        "image_auroc": round(
            float(
                roc_auc_score(
                    np.repeat([1, 0], [len(test), len(defects)]),
                    np.concatenate([p, model.p_values(tiles["X"][defects])]),
                )
            ),
            4,
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="*", type=int, default=list(range(5)))
    parser.add_argument("--masked", nargs="*", type=int, default=[0, 5, 10, 25])
    parser.add_argument("--epochs", type=int, help="instead of the default")
    parser.add_argument("--p-values", action="store_true", help="instead of masks")
    parser.add_argument("--keep", action="store_true", help="add to the results")
    parser.add_argument("--output", default="few_masks")
    arguments = parser.parse_args()
    tiles = load()
    rows = earlier(arguments.output) if arguments.keep else []
    params = {} if arguments.epochs is None else {"max_epochs": arguments.epochs}
    for seed in arguments.seeds:
        if arguments.p_values:
            rows.append(p_values(tiles, seed))
        for n_masked in () if arguments.p_values else arguments.masked:
            rows.append(run(tiles, n_masked, seed, params))
        record(arguments.output, rows)
        for row in rows[-len(arguments.masked) :]:
            print({k: v for k, v in row.items() if k != "added"}, flush=True)


if __name__ == "__main__":
    main()
