"""From a few masks to marked defects, with a limit on false alarms.

Trains a segmenter on generated images of wood, of which a few have masked defects, sets
its threshold so that good boards are marked rarely, and lists what it finds.
"""

from __future__ import annotations

import numpy as np

from skfcdd import FCDDSegmenter
from skfcdd.datasets import make_defects
from skfcdd.metrics import (
    aupro_score,
    bootstrap_interval,
    defect_report,
    pixel_roc_auc_score,
)
from skfcdd.thresholds import FalseAlarmRate

data = make_defects(400, image_size=64, texture="wood", random_state=0)
good, bad = np.flatnonzero(data.target == 0), np.flatnonzero(data.target == 1)
few = bad[:10]
train = np.concatenate([good[:120], few])
held, test = good[120:180], np.concatenate([good[180:], bad[10:]])

model = FCDDSegmenter(max_epochs=20, threshold=FalseAlarmRate(0.05), random_state=0)
# A twentieth takes at least 19 held-out images; here they are set apart by hand.
model.set_params(validation_fraction=0.2).fit(data.images[train], data.masks[train])
model.calibrate(data.images[held])

masks, heatmaps = data.masks[test], model.explain(data.images[test])
auroc = bootstrap_interval(
    pixel_roc_auc_score, masks, heatmaps, n_resamples=50, random_state=0
)
print(f"pixel AUROC {auroc.value:.3f} ({auroc.low:.3f} to {auroc.high:.3f})")
print(f"AUPRO       {aupro_score(masks, heatmaps):.3f}")
print(f"IoU         {model.score(data.images[test], masks):.3f}")

marked = model.predict(data.images[test]).any(axis=(1, 2))
normal = data.target[test] == 0
print(
    f"marked: {marked[normal].mean():.1%} of good, {marked[~normal].mean():.1%} of bad"
)
print(
    defect_report(
        data.defect[test],
        model.anomaly_score(data.images[test]),
        normal="good",
        masks=masks,
        heatmaps=heatmaps,
    )
)
for row, regions in zip(test, model.regions(data.images[test]), strict=True):
    if data.target[row] and regions:
        print(f"image {row}, {data.defect[row]}:", *regions, sep="\n  ")
        break
