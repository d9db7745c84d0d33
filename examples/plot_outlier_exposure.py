"""
Outlier exposure
================

Train with images of other things as anomalies, and measure their effect on detection.
"""

# %%
# Images of wood are normal. Images of fabric and tablets are available for outlier
# exposure. Images of brushed metal, and of wood with a defect, are used only for
# testing.
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
# ``oe_limit`` limits the number of exposed outliers. For comparison, one model uses
# only synthetic anomalies, and one uses both: exposed outliers take precedence in a
# batch, and synthetic anomalies make up the rest.
settings = {"max_epochs": 10, "random_state": 0}
exposed = {"synthetic": None, "outlier_exposure": others}
models = {
    "2 exposed": FCDDClassifier(oe_limit=2, **exposed, **settings),
    "20 exposed": FCDDClassifier(oe_limit=20, **exposed, **settings),
    "200 exposed": FCDDClassifier(**exposed, **settings),
    "synthetic": FCDDClassifier(**settings),
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
# All models distinguish another surface from wood. Here, two exposed outliers are as
# good as two hundred: the model learns the appearance of wood, which also helps to
# detect flaws. The best choice of anomalies depends on the images, so compare several
# on your own.
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
