"""Gain from a region of interest if its surroundings change.

Detectors are fitted on magnetic tiles, with a region (a disc in the middle, or a
diagonal stripe) and without one. Both are evaluated by the heatmap inside the region:
an image is a defect if part of its mask is inside, and other defective images are
omitted. The test is repeated with a grey square of 32 pixels pasted into each test
image at a random position, except where it overlaps the region. Writes
results/region_of_interest.json.

    python benchmarks/region_of_interest.py
"""

from __future__ import annotations

import warnings

import numpy as np
from _common import load_tiles, record
from sklearn.metrics import roc_auc_score

from skfcdd import FCDDDetector
from skfcdd.metrics import pixel_roc_auc_score

SEEDS = 3
N_TRAIN, EPOCHS = 200, 12
SIDE, SQUARE = 128, 32
ROWS, COLUMNS = np.indices((SIDE, SIDE)) - SIDE / 2 + 0.5
REGIONS = {
    "disc": ROWS**2 + COLUMNS**2 < 40**2,
    "stripe": np.abs(ROWS - COLUMNS) < 20,
}


def with_squares(images: np.ndarray, roi: np.ndarray, seed: int) -> np.ndarray:
    """Paste a grey square into each image, outside the region."""
    rng, changed = np.random.RandomState(seed), images.copy()
    for image in changed:
        top, left = rng.randint(0, SIDE - SQUARE, 2)
        square = np.zeros((SIDE, SIDE), dtype=bool)
        square[top : top + SQUARE, left : left + SQUARE] = True
        image[square & ~roi] = rng.randint(0, 256)
    return changed


def main() -> None:
    warnings.simplefilter("ignore", UserWarning)
    tiles, rows = load_tiles(), []
    bad = tiles["kind_test"] != "free"
    for seed in range(SEEDS):
        drawn = np.random.RandomState(seed).permutation(len(tiles["X_train"]))[:N_TRAIN]
        for name, roi in REGIONS.items():
            hit = ((tiles["mask_test"] > 0) & roi).any(axis=(1, 2))
            kept = ~bad | hit
            plain, truth = tiles["X_test"][kept], hit[kept]
            masks = tiles["mask_test"][kept]
            tests = {"plain": plain, "squares": with_squares(plain, roi, seed)}
            for given in (roi, None):
                model = FCDDDetector(
                    roi=given,
                    max_epochs=EPOCHS,
                    validation_fraction=0.1,
                    random_state=seed,
                ).fit(tiles["X_train"][drawn])
                row = {"seed": seed, "region": name, "roi": given is not None}
                row |= {"n_images": len(truth), "n_defects": int(truth.sum())}
                for test, images in tests.items():
                    heat = model.explain(images)
                    score = heat[:, roi].mean(axis=1)
                    row[f"{test}_auroc"] = round(roc_auc_score(truth, score), 4)
                    pixels = pixel_roc_auc_score(masks, heat, roi=roi)
                    row[f"{test}_pixel_auroc"] = round(pixels, 4)
                rows.append(row)
                print(row, flush=True)
                record("region_of_interest", rows)


if __name__ == "__main__":
    main()
