"""Effect of bfloat16 on real data, in training and in scoring.

Networks are trained on the normal images of magnetic tiles, split by tile, in bfloat16
and in float32, and their AUROC is computed in both precisions, for several seeds.
Writes results/precision.json.
"""

from __future__ import annotations

import argparse

import numpy as np
from _common import load_tiles, record
from sklearn.metrics import roc_auc_score

from skfcdd import FCDDClassifier
from skfcdd.metrics import pixel_roc_auc_score


def figures(model: FCDDClassifier, tiles: dict[str, np.ndarray]) -> dict[str, float]:
    X, defect = tiles["X_test"], tiles["kind_test"] != "free"
    return {
        "image_auroc": round(float(roc_auc_score(defect, model.anomaly_score(X))), 4),
        "pixel_auroc": round(
            float(pixel_roc_auc_score(tiles["mask_test"], model.explain(X))), 4
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    tiles = load_tiles()
    rows = []
    for seed in range(parser.parse_args().seeds):
        row: dict[str, object] = {"seed": seed}
        for trained in ("bfloat16", "float32"):
            model = FCDDClassifier(weights=None, precision=trained, random_state=seed)
            model.fit(tiles["X_train"])
            for scored in ("bfloat16", "float32"):
                model.net_.precision = scored
                row[f"trained {trained}, scored {scored}"] = figures(model, tiles)
        rows.append(row)
        print(row, flush=True)
    record("precision", rows)


if __name__ == "__main__":
    main()
