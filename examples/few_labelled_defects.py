"""
A few labelled defects
======================

Real defects, some of them with masks, beside the synthetic ones.
"""

# %%
import numpy as np
from sklearn.metrics import roc_auc_score

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects

data = make_defects(500, texture="fabric", image_size=48, random_state=0)
good, bad = np.flatnonzero(data.target == 0), np.flatnonzero(data.target)
test = np.r_[good[250:], bad[15:]]

# %%
# Fifteen defects in training, first none of them, then with labels, then with masks.
few = np.r_[good[:250], bad[:15]]
settings = {"max_epochs": 12, "random_state": 0}
models = {
    "good images alone": FCDDClassifier(**settings).fit(data.images[good[:250]]),
    "15 labels": FCDDClassifier(**settings).fit(data.images[few], data.target[few]),
    "15 masks": FCDDClassifier(**settings).fit(
        data.images[few], data.target[few], masks=data.masks[few]
    ),
}
for name, model in models.items():
    image = roc_auc_score(data.target[test], model.anomaly_score(data.images[test]))
    heatmaps = model.explain(data.images[test])
    pixel = roc_auc_score(data.masks[test].ravel(), heatmaps.ravel())
    print(f"{name:18s} image AUROC {image:.3f}  pixel AUROC {pixel:.3f}")
