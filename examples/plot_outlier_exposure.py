"""
Outlier exposure
================

Images of anything else as anomalies: what they teach, and what they do not.
"""

# %%
# Wood is normal. Images of fabric and tablets lie about, and may serve as exposed
# outliers. Brushed metal, and wood with a defect, are for testing alone.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_auc_score

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects

size = {"image_size": 32, "anomaly_fraction": 0}
wood = make_defects(350, image_size=32, texture="wood", random_state=0)
others = make_defects(200, texture=["fabric", "tablets"], random_state=1, **size).images
metal = make_defects(80, texture="brushed_metal", random_state=2, **size).images

good = wood.images[wood.target == 0]
train, held = good[:180], good[180:]
tests = {"another surface": metal, "wood with a defect": wood.images[wood.target == 1]}

# %%
# ``oe_limit`` takes at most so many of them. For comparison, planted anomalies alone,
# and both: what is exposed comes first in a batch, and planted anomalies fill up.
settings = {"max_epochs": 10, "random_state": 0}
exposed = {"synthetic": None, "outlier_exposure": others}
models = {
    "2 exposed": FCDDClassifier(oe_limit=2, **exposed, **settings),
    "20 exposed": FCDDClassifier(oe_limit=20, **exposed, **settings),
    "200 exposed": FCDDClassifier(**exposed, **settings),
    "planted": FCDDClassifier(**settings),
    "both": FCDDClassifier(outlier_exposure=others, oe_limit=10, **settings),
}
figures = {}
for name, model in models.items():
    normal = model.fit(train).anomaly_score(held)
    for kind, images in tests.items():
        scores = np.r_[normal, model.anomaly_score(images)]
        truth = np.r_[np.zeros(len(normal)), np.ones(len(images))]
        figures[name, kind] = roc_auc_score(truth, scores)
        print(f"{name:12s} {kind:18s} AUROC {figures[name, kind]:.3f}")

# %%
# Another surface is told from wood by any of them. Of exposed outliers, two teach as
# much as two hundred here: what is learned is what wood looks like, and that serves for
# flaws as well. Which anomalies serve best depends on the images, so compare them on
# yours.
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
places = np.arange(len(models))
for shift, kind in zip((-0.2, 0.2), tests, strict=True):
    heights = [figures[name, kind] for name in models]
    bars = ax.bar(places + shift, heights, 0.38, label=kind)
    ax.bar_label(bars, fmt="%.2f")
ax.axhline(0.5, color="0.4", linestyle=":")
ax.set_xticks(places, models)
ax.set(ylim=(0, 1.3), ylabel="AUROC", xlabel="anomalies in training")
ax.legend(frameon=False, ncols=2)
