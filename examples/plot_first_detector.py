"""
A first detector
================

Train only on good images; then score, classify and explain new ones.
"""

# %%
# The images show wood with varying light, pose and scale. The training images are all
# good, as on a production line that has had no defects so far. For images of this size,
# the default network is pretrained on photographs.
import numpy as np
from sklearn.metrics import roc_auc_score

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects
from skfcdd.display import HeatmapDisplay, HistoryDisplay, ScoreDistributionDisplay

data = make_defects(300, image_size=128, texture="wood", random_state=0)
good = np.flatnonzero(data.target == 0)
train, test = good[:160], np.r_[good[160:], np.flatnonzero(data.target)]

model = FCDDClassifier(max_epochs=12, random_state=0)
model.fit(data.images[train])
print(f"network: {model.backbone_}, its first weights: {model.weights_}")

# %%
# The model returns three results: the score ranks images, the label classifies them,
# and the heatmap, whose mean is the score, localises the anomaly.
images, masks = data.images[test], data.masks[test]
scores = model.anomaly_score(images)
labels = model.predict(images)
heatmaps = model.explain(images)
print(f"image AUROC {roc_auc_score(data.target[test], scores):.3f}")
print(f"pixel AUROC {roc_auc_score(masks.ravel(), heatmaps.ravel()):.3f}")
print("mean of the heatmap is the score:", np.allclose(heatmaps.mean((1, 2)), scores))

# %%
# The threshold was set on good images held out of training: about 5 % of good images
# are classified as anomalous, as set by the default of ``contamination``. Each kind of
# defect is detected to the extent that it differs from the grain.
kinds = data.defect[test]
for kind in np.unique(kinds):
    rows = kinds == kind
    print(f"{kind:8s} flagged: {labels[rows].mean():4.0%} of {rows.sum()}")

# %%
# This figure shows one image of each kind. All heatmaps share one colour scale, set in
# ``fit``, so that good images stay uncoloured and defects can be compared. The white
# line is the true outline; the dashed line marks the prediction.
shown = [np.flatnonzero(kinds == kind)[0] for kind in np.unique(kinds)]
HeatmapDisplay.from_estimator(
    model, images, data.target[test], masks=masks, names=kinds, rows=shown
)

# %%
# The distribution of the scores with the threshold, and the loss during training:
ScoreDistributionDisplay.from_estimator(model, images, data.target[test])

# %%
HistoryDisplay.from_estimator(model)
