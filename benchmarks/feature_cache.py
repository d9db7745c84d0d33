"""Time of an epoch with and without a cache for the features of frozen stages.

With the cache, a tenth of the bank of synthetic anomalies is replaced before each
epoch. The weights are random and the images are noise, since neither affects the time.
Writes results/feature_cache.json.

    python benchmarks/feature_cache.py
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from _common import record

from skfcdd import FCDDClassifier
from skfcdd.feature_cache import FeatureCache

# Backbone, frozen stages, side of the images, number of images.
CASES = (
    ("squeezenet1_0", 2, 128, 160),
    ("squeezenet1_0", "all", 128, 160),
    ("resnet18", 1, 128, 160),
    ("vgg11_bn", 3, 224, 48),
    ("vgg11_bn", "all", 224, 48),
)
EPOCHS = 4


def epoch_times(
    case: tuple[str, object, int, int], cache: FeatureCache | None
) -> list[float]:
    """Measure the seconds of all epochs but the first, which fills the cache."""
    name, frozen, side, n = case
    images = np.random.RandomState(0).randint(
        0, 256, (n, side, side, 3), dtype=np.uint8
    )
    model = FCDDClassifier(
        name,
        weights=None,
        frozen=frozen,
        augment=None,
        feature_cache=cache,
        max_epochs=EPOCHS,
        random_state=0,
    ).fit(images)
    return [epoch["dur"] for epoch in model.history_[1:]]


def main() -> None:
    warnings.simplefilter("ignore", UserWarning)
    rows = []
    for case in CASES:
        caches = (None, FeatureCache(bank=2, refresh=0.1))
        plain, kept = (float(np.median(epoch_times(case, c))) for c in caches)
        rows.append(
            {
                "backbone": case[0],
                "frozen": str(case[1]),
                "side": case[2],
                "images": case[3],
                "threads": torch.get_num_threads(),
                "plain_epoch_s": round(plain, 2),
                "cached_epoch_s": round(kept, 2),
                "ratio": round(plain / kept, 2),
            }
        )
        print(rows[-1], flush=True)
        record("feature_cache", rows)


if __name__ == "__main__":
    main()
