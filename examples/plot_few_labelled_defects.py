"""
A few labelled defects
======================

A few defects have been found and labelled, or even outlined. This example measures how
much such labels and masks improve detection.
"""

# %%
# The images show tablets, some with a piece missing. This defect resembles none of the
# synthetic anomalies, so labels should help. Fifteen defects are used for training; all
# others are held out.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import RocCurveDisplay, roc_auc_score

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects

data = make_defects(
    400, texture="tablets", defect="missing", image_size=48, random_state=0
)
good, bad = np.flatnonzero(data.target == 0), np.flatnonzero(data.target)
test = np.r_[good[180:], bad[15:]]

# %%
# The first model is trained without defects, the second with labels, the third with
# masks. Real anomalies take precedence in each batch, and synthetic ones make up the
# rest, so a few real ones are enough.
few = np.r_[good[:180], bad[:15]]
settings = {"max_epochs": 8, "random_state": 0}
models = {
    "good images only": FCDDClassifier(**settings).fit(data.images[good[:180]]),
    "15 labels": FCDDClassifier(**settings).fit(data.images[few], data.target[few]),
    "15 masks": FCDDClassifier(**settings).fit(
        data.images[few], data.target[few], masks=data.masks[few]
    ),
}

# %%
# For a defect that no synthetic anomaly resembles, a few labels are enough here, and
# masks do no better than labels.
figure, ax = plt.subplots(figsize=(5.5, 4.5), layout="constrained")
for name, model in models.items():
    scores = model.anomaly_score(data.images[test])
    heatmaps = model.explain(data.images[test])
    image = roc_auc_score(data.target[test], scores)
    pixel = roc_auc_score(data.masks[test].ravel(), heatmaps.ravel())
    print(f"{name:18s} image AUROC {image:.3f}  pixel AUROC {pixel:.3f}")
    RocCurveDisplay.from_predictions(data.target[test], scores, name=name, ax=ax)
ax.set(xlabel="false alarm rate", ylabel="detection rate")

# %%
# There is only one kind of defect here, and fifteen images cover most of its variation.
# If there are many kinds, fifteen labels in total may not help at all, because they
# replace synthetic anomalies: measure before you use them. On real parts, ten masked
# defects of each kind improved the result considerably, and twenty-five no more than
# ten: see
# :doc:`the results for magnetic tiles </benchmarks>`.
