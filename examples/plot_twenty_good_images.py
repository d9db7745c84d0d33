"""
Twenty good images
==================

A camera was set up today and has photographed twenty good parts. Is that enough for a
detector, and for a reliable threshold?
"""

# %%
# Fit with the default settings. With fewer than 100 good images, all of them are used
# for training, and none is held out:
import warnings

import matplotlib.pyplot as plt
import numpy as np

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects
from skfcdd.display import HeatmapDisplay
from skfcdd.exceptions import FewImagesWarning

data = make_defects(400, texture="brushed_metal", image_size=64, random_state=0)
good, bad = np.flatnonzero(data.target == 0), np.flatnonzero(data.target)
first, later = good[:20], good[20:]
model = FCDDClassifier(random_state=0).fit(data.images[first])
print(model.calibration_)

# %%
# Training images have lower scores than new good images. Therefore, three additional
# networks are trained, each without one third of the images, and score that third. The
# threshold is set on these out-of-fold scores. Here, later good images are available
# for comparison:
of_itself, of_new = (
    model.anomaly_score(data.images[first]),
    model.anomaly_score(data.images[later]),
)
figure, ax = plt.subplots(figsize=(6.5, 2.6), layout="constrained")
for height, (name, scores) in enumerate(
    {
        "new good images": of_new,
        "the twenty, out of fold": model.calibration_scores_,
        "the twenty, by the model itself": of_itself,
    }.items()
):
    ax.plot(scores, np.full(len(scores), height), "|", markersize=16, label=name)
    ax.text(1.02, height, name, transform=ax.get_yaxis_transform(), va="center")
ax.axvline(model.threshold_, color="0.2", linestyle=":", label="threshold")
ax.set(xlabel="anomaly score", ylim=(-0.6, 2.6), yticks=[])

# %%
# The requested rate of false alarms was 5 %. The rate on the later images is:
print(f"false alarms: {model.predict(data.images[later]).mean():.1%}")
print(f"defects detected: {model.predict(data.images[bad]).mean():.0%}")
HeatmapDisplay.from_estimator(model, data.images[bad[:4]], data.target[bad[:4]])

# %%
# Fewer images
# ------------
#
# A new good image scores higher than nineteen earlier ones with a probability of one in
# twenty. With only eight scores, even the highest one is exceeded more often than that,
# so the threshold is extrapolated beyond the scores. ``fit`` warns about this, and
# states the range of rates that are compatible with eight images.
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", FewImagesWarning)
    few = FCDDClassifier(random_state=0).fit(data.images[first[:8]])
print(caught[-1].message)
print(f"false alarms: {few.predict(data.images[later]).mean():.1%}")

# %%
# Images that belong together
# ---------------------------
#
# Twenty photographs of four parts are not as informative as twenty parts: the number of
# parts is what matters. With ``groups``, photographs of one part are kept on one side
# of every split, and each part counts as one image. Here, each of five parts was
# photographed four times.
rng = np.random.default_rng(0)
part = np.repeat(np.arange(5), 4)
photographs = data.images[first[:5]][part].astype(float)
photographs += rng.normal(0, 4, photographs.shape)
photographs = photographs.clip(0, 255).astype(np.uint8)
for groups in (None, part):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewImagesWarning)
        model = FCDDClassifier(random_state=0).fit(photographs, groups=groups)
    alarms = model.predict(data.images[later]).mean()
    print(f"groups given: {groups is not None}, false alarms: {alarms:.1%}")
    low, high = model.calibration_.range
    print(f"  range stated by fit: between {low:.0%} and {high:.0%}")

# %%
# When more good images are available, ``model.calibrate(X)`` sets the threshold on them
# without another training; ``fit`` on all images also improves the detector.
