"""
A report to review
==================

Some training images contain unnoticed defects. Share a report, collect the marks of the
reviewers, and fit again.
"""

# %%
# All tablets were assumed to be good, although a piece is missing from fifteen of them.
import json
import tempfile
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects
from skfcdd.display import HeatmapDisplay, ScoreDistributionDisplay
from skfcdd.report import read_review, write_report

data = make_defects(
    300, texture="tablets", defect="missing", image_size=48, random_state=0
)
good, bad = np.flatnonzero(data.target == 0), np.flatnonzero(data.target)
train, test = np.r_[good[:120], bad[:15]], np.r_[good[120:], bad[15:]]
images, y = data.images[train], np.zeros(len(train), dtype=int)
names = [f"tablet {number:03d}" for number in train]

model = FCDDClassifier(max_epochs=6, random_state=0).fit(images)

# %%
# The report is a single file, which opens in any browser, without a network connection.
folder = tempfile.TemporaryDirectory()
page = Path(folder.name, "report.html")
info = write_report(model, images, page, names=names)
print(f"{info.n_images} images, {info.n_bytes / 1e6:.1f} MB")

# %%
# The report shows the most anomalous images first. But this kind of defect resembles
# none of the synthetic anomalies, and is not among the images with the highest scores:
scores = model.anomaly_score(images)
hidden = data.target[train] == 1
highest = np.argsort(-scores)[:30]
print(f"{hidden[highest].sum()} of {hidden.sum()} among the 30 highest scores")

# %%
# An expert therefore looks through all images and exports the marks. In this example,
# the exported file is created from the true labels.
marked = [
    {"name": name, "score": score, "mark": "defect" if is_defect else "good"}
    for name, score, is_defect in zip(names, scores.tolist(), hidden, strict=True)
]
threshold = model.threshold_
exported = {
    "format": "skfcdd-review",
    "version": 1,
    "threshold": threshold,
    "model_threshold": threshold,
    "images": marked,
}
review_file = Path(folder.name, "review.json")
review_file.write_text(json.dumps(exported))

# %%
# The marks correct the labels, and the defects become training examples. Both models
# are evaluated on other images.
corrected = read_review(review_file).apply(names, y)
again = FCDDClassifier(max_epochs=6, random_state=0).fit(images, corrected)

for name, fitted in (("before", model), ("after", again)):
    auroc = roc_auc_score(data.target[test], fitted.anomaly_score(data.images[test]))
    print(f"image AUROC {name:6s} {auroc:.3f}")
folder.cleanup()

# %%
# Heatmaps of the second model for new images:
shown = [*np.flatnonzero(data.target[test])[:3], 0, 1]
HeatmapDisplay.from_estimator(
    again, data.images[test], data.target[test], masks=data.masks[test], rows=shown
)

# %%
# The distribution of the scores of new images:
ScoreDistributionDisplay.from_estimator(again, data.images[test], data.target[test])

# %%
# Marks help most if the defects are of one kind. For many kinds, a few labels may not
# help at all: measure before you use them, as in
# :doc:`/auto_examples/plot_few_labelled_defects`.
