"""
Masks and segmentation
======================

Train on a few masks, limit the rate of false alarms, and describe each defect that is
found.
"""

# %%
# The images show boards; the training set includes ten masked defects. The threshold of
# the segmenter is a heatmap value. Here it is set so that at most one good board in
# twenty has any marked pixel, which requires at least 19 held-out good images.
import numpy as np

from skfcdd import FCDDSegmenter
from skfcdd.datasets import make_defects
from skfcdd.display import HeatmapDisplay, RegionOverlapDisplay
from skfcdd.metrics import (
    aupro_score,
    bootstrap_interval,
    defect_report,
    pixel_roc_auc_score,
)
from skfcdd.thresholds import FalseAlarmRate

data = make_defects(300, image_size=96, texture="wood", random_state=0)
good, bad = np.flatnonzero(data.target == 0), np.flatnonzero(data.target == 1)
train = np.concatenate([good[:120], bad[:10]])
held, test = good[120:180], np.concatenate([good[180:], bad[10:]])

model = FCDDSegmenter(max_epochs=12, threshold=FalseAlarmRate(0.05), random_state=0)
model.set_params(validation_fraction=0.2).fit(data.images[train], data.masks[train])
model.calibrate(data.images[held])

# %%
# How well do heatmaps localise the defects? The interval shows how precise the metric
# is with this number of images.
images, masks = data.images[test], data.masks[test]
heatmaps, found = model.explain(images), model.predict(images)
auroc = bootstrap_interval(
    pixel_roc_auc_score, masks, heatmaps, n_resamples=20, random_state=0
)
print(f"pixel AUROC {auroc.value:.3f} ({auroc.low:.3f} to {auroc.high:.3f})")
print(f"AUPRO       {aupro_score(masks, heatmaps):.3f}")
print(f"IoU         {model.score(images, masks):.3f}")

marked, normal = found.any(axis=(1, 2)), data.target[test] == 0
print(f"marked: {marked[normal].mean():.1%} of the good boards")
print(f"        {marked[~normal].mean():.1%} of the bad ones")

# %%
# Results by kind of defect:
print(
    defect_report(
        data.defect[test],
        model.anomaly_score(images),
        normal="good",
        masks=masks,
        heatmaps=heatmaps,
    )
)

# %%
# The solid lines are the true outlines, the dashed lines the predicted ones. These are
# wider, because a cell responds to everything in its receptive field.
kinds = data.defect[test]
shown = [np.flatnonzero(kinds == kind)[0] for kind in ("crack", "spot", "missing")]
HeatmapDisplay.from_estimator(model, images, masks=masks, names=kinds, rows=[*shown, 0])
for row, regions in zip(shown, model.regions(images[shown]), strict=True):
    for region in regions:
        print(f"{kinds[row]}: {region}")

# %%
# The covered fraction of a defect as a function of the fraction of good pixels that are
# marked:
RegionOverlapDisplay.from_estimator(model, images, masks)
