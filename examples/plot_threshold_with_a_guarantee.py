"""
A threshold with a guarantee
============================

"At most one good part in twenty is rejected." How many images are needed to guarantee
this?
"""

# %%
# A quantile of a few held-out scores guarantees nothing. The number of images needed
# for a guarantee can be computed exactly, whatever the network has learned:
import matplotlib.pyplot as plt
import numpy as np

from skfcdd import FCDDClassifier
from skfcdd.conformal import n_calibration_required
from skfcdd.datasets import make_defects
from skfcdd.display import ScoreDistributionDisplay
from skfcdd.thresholds import FalseAlarmRate

RATE = 0.05
print("good images to hold out:", n_calibration_required(RATE))
print("... with a confidence of 0.95:", n_calibration_required(RATE, confidence=0.95))

# %%
# The guarantee is exact for images held out of training, here a tenth of them. If there
# are too few, ``fit`` raises an error before training, which states how many are
# needed.
data = make_defects(600, texture="wood", image_size=48, random_state=0)
good, bad = np.flatnonzero(data.target == 0), np.flatnonzero(data.target)
model = FCDDClassifier(
    threshold=FalseAlarmRate(RATE),
    validation_fraction=0.1,
    max_epochs=8,
    score_pooling=0.1,
    random_state=0,
)
try:
    model.fit(data.images[good[:100]])
except ValueError as error:
    print(error)

# %%
# Therefore, hold out more images: a third of 180.
model.set_params(validation_fraction=1 / 3).fit(data.images[good[:180]])
test = good[180:]
alarms = model.predict(data.images[test]).mean()
print(f"false alarms: {alarms:.1%} of {len(test)} good images")
print(f"defects detected: {model.predict(data.images[bad]).mean():.0%}")
rows = np.r_[test, bad]
ScoreDistributionDisplay.from_estimator(model, data.images[rows], data.target[rows])

# %%
# The guarantee holds on average over held-out images. To check this, split the images
# into calibration and test images a thousand times, with the same network: the mean
# rate of false alarms stays below the guaranteed one, and with ``confidence``, the
# rates of nearly all individual thresholds do too.
scores = np.sort(model.anomaly_score(data.images[good[120:]]))
rng = np.random.default_rng(0)
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
for name, rule in {
    "on average": FalseAlarmRate(RATE),
    "confidence 0.95": FalseAlarmRate(RATE, confidence=0.95),
}.items():
    rates = []
    for _ in range(1000):
        mixed = rng.permutation(scores)
        threshold = rule(np.zeros(100), mixed[:100])
        rates.append(np.mean(mixed[100:] > threshold))
    kept = np.mean(np.array(rates) <= RATE)
    print(f"{name}: mean rate {np.mean(rates):.1%}, kept in {kept:.0%} of the cases")
    ax.hist(rates, np.arange(0, 0.2, 0.005), alpha=0.6, label=name)
ax.axvline(RATE, color="0.2", linestyle=":", label="guaranteed")
ax.set(xlabel="rate of false alarms", ylabel="cases of 1000")
ax.legend(frameon=False)

# %%
# A different question is how many of the images that are selected from a batch as
# anomalies are good. ``select_anomalies`` limits this proportion, the false discovery
# rate.
batch = np.r_[test[:150], bad[:50]]
picked = model.select_anomalies(data.images[batch], rate=0.2)
wrong = (data.target[batch][picked] == 0).mean()
print(f"{picked.sum()} images selected; {wrong:.0%} of them are good")
