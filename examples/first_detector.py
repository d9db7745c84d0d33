"""
A first detector
================

Train on good images alone, then score, judge and explain new ones.
"""

# %%
# Images of brushed metal. In training there are good ones only.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_auc_score

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects

data = make_defects(400, texture="brushed_metal", random_state=0)
good = np.flatnonzero(data.target == 0)
train, test = good[:250], np.r_[good[250:], np.flatnonzero(data.target)]

model = FCDDClassifier(max_epochs=15, random_state=0)
model.fit(data.images[train])

# %%
# The score ranks images; the heatmap ranks pixels.
scores = model.anomaly_score(data.images[test])
heatmaps = model.explain(data.images[test])
print(f"image AUROC {roc_auc_score(data.target[test], scores):.3f}")
masks = data.masks[test]
print(f"pixel AUROC {roc_auc_score(masks.ravel(), heatmaps.ravel()):.3f}")

# %%
# The threshold was set on good images that were held out of training.
flagged = model.predict(data.images[test])
for name in np.unique(data.defect[test]):
    rows = data.defect[test] == name
    print(f"{name:8s} flagged {flagged[rows].mean():.0%} of {rows.sum()}")

# %%
# All heatmaps share one scale, so that good images look calm.
defects = np.unique(data.defect[test])
figure, axes = plt.subplots(2, len(defects), figsize=(2 * len(defects), 4))
for column, name in zip(axes.T, defects, strict=True):
    row = np.flatnonzero(data.defect[test] == name)[0]
    column[0].imshow(data.images[test][row], cmap="gray")
    column[0].set_title(f"{name}, {scores[row]:.2f}")
    column[1].imshow(heatmaps[row], cmap="inferno", vmin=0, vmax=heatmaps.max())
    for axis in column:
        axis.set_axis_off()
figure.savefig("first_detector.png", dpi=90)
