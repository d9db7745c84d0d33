"""
Can the heatmap be trusted?
===========================

A model may detect every defect without having learned anything about defects. This
example shows how to find out.
"""

# %%
# The images show wood. The good ones come from one camera; the defects were collected
# over the years with another camera, which prints a mark in the corner, unnoticed. A
# model may use such a mark, as Clever Hans did: this horse seemed to do sums but in
# fact watched its owner's face.
import numpy as np
from sklearn.metrics import roc_auc_score

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects
from skfcdd.display import (
    CounterfactualDisplay,
    HeatmapDisplay,
    PerturbationCurveDisplay,
    RegionAuditDisplay,
)
from skfcdd.inspection import (
    additivity_error,
    audit_regions,
    explain_regions,
    pointing_game,
)

MARK = np.array([[1, 0, 1, 1, 1, 0], [1, 0, 1, 0, 0, 1], [1, 1, 1, 1, 1, 0]] * 2)


def stamp(images):
    """Add the mark of the other camera to images."""
    marked = images.copy()
    corner = marked[:, 2:8, 2:8]
    marked[:, 2:8, 2:8] = np.where(MARK == 1, 235, corner)
    return marked


data = make_defects(
    220,
    texture="wood",
    defect=("spot", "crack"),
    image_size=48,
    anomaly_fraction=0.4,
    random_state=0,
)
good, bad = np.flatnonzero(data.target == 0), np.flatnonzero(data.target)
train, test = np.r_[good[:90], bad[:45]], np.r_[good[90:], bad[45:]]
y, clean, masks = data.target, data.images, data.masks
marked = np.where(y[:, None, None] == 1, stamp(clean), clean)

settings = {"max_epochs": 8, "random_state": 0}
clever = FCDDClassifier(**settings).fit(marked[train], y[train])
for name, images in {"with the mark": marked, "without the mark": clean}.items():
    scores = clever.anomaly_score(images[test])
    print(f"image AUROC {name}: {roc_auc_score(y[test], scores):.2f}")

# %%
# The first value would have gone into the report; the second is what the factory would
# have seen. The heatmap reveals the problem: its mean is the score, so it must show
# what causes the score.
print(f"error of the sum: {additivity_error(clever, marked[test]).max():.0e}")
some = test[np.flatnonzero(y[test])[:6]]
display = HeatmapDisplay.from_estimator(
    clever, marked[some], y[some], masks=masks[some], order="given"
)

# %%
# Six heatmaps are enough to see the cause. The audit finds it automatically: it
# compares the heat of each region with its size, then replaces the region with wood
# from elsewhere in the same image and measures the change of the score. Images whose
# true defect lies in a region are excluded.
audit = audit_regions(clever, marked[test], y[test], masks=masks[test])
print(audit)
RegionAuditDisplay.from_audit(audit)

# %%
# For a single image, the question is: what if the corner were normal? The display shows
# score, label and heatmap before and after the replacement. Check the new content too,
# because the result is only as good as the replacement.
CounterfactualDisplay.from_estimator(clever, marked[some], "top_left")

# %%
# The solution is to crop the edge with the mark from all images. (Printing the mark on
# half of the good images would not be enough: a marked image would still be more likely
# to show a defect, and the audit would flag the corner.) Now nothing is flagged, and
# the metric is realistic.
CUT = 10
cropped, outlines = marked[:, :, CUT:], masks[:, :, CUT:]
mended = FCDDClassifier(**settings).fit(cropped[train], y[train])
print(audit_regions(mended, cropped[test], y[test], masks=outlines[test]))
scores = mended.anomaly_score(cropped[test])
print(f"image AUROC: {roc_auc_score(y[test], scores):.2f}")

# %%
# Are the heatmaps of the new model any better? The pointing game tests whether the
# hottest pixel lies on the true defect.
games = {
    "with the mark": pointing_game(
        clever.explain(marked[test]), masks[test], tolerance=2
    ),
    "cropped": pointing_game(
        mended.explain(cropped[test]), outlines[test], tolerance=2
    ),
}
for name, game in games.items():
    share, low, high = game.share
    print(
        f"{name}: {share:.0%} of the defects hit ({low:.0%} to {high:.0%}), "
        f"by random pixels {game.chance:.0%}"
    )

# %%
# A test that needs no masks: if the score depends on the hottest pixels, it falls when
# these are replaced with normal content, and hardly changes when other pixels are
# replaced.
found = test[(y[test] == 1) & (scores > mended.threshold_)]
PerturbationCurveDisplay.from_estimator(
    mended, cropped[found[:12]], n_random=2, random_state=0
)

# %%
# For a single part: by how much does each hot region raise the score, and would the
# part be accepted without it?
for effect in explain_regions(mended, cropped[found[:1]])[0]:
    print(
        f"box {effect.region.bbox}: {effect.share:.0%} of the heatmap, raises "
        f"the score by {effect.drop:.2f}{', decides' if effect.decisive else ''}"
    )
CounterfactualDisplay.from_estimator(mended, cropped[found[:6]])
