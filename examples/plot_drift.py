"""
When the lamp ages
==================

A threshold that was set on the first day is not valid under different lighting. Here,
the lamp of a camera loses a third of its brightness over some weeks. A monitor examines
the images and raises an alarm. The probability that it ever raises a false alarm is at
most 1 % over the whole stream.
"""

# %%
# A model, and a normal day
# -------------------------
# The model is fitted on good images, and the monitor on other good images, because the
# scores of training images do not represent those of new ones.
import matplotlib.pyplot as plt
import numpy as np

from skfcdd import FCDDDetector
from skfcdd.datasets import make_defects
from skfcdd.display import DriftDisplay
from skfcdd.monitoring import STATISTICS, DriftMonitor, image_statistics

images = make_defects(
    900, texture="brushed_metal", image_size=48, anomaly_fraction=0.0, random_state=0
).images
train, usual, stream = images[:120], images[120:320], images[320:]
model = FCDDDetector(max_epochs=3, random_state=0).fit(train)

monitor = DriftMonitor(false_alarm_probability=0.01, random_state=0)
monitor.fit(image_statistics(model, usual))

# %%
# Weeks without drift
# -------------------
# The evidence stays around 1 or below. Without drift, it does not accumulate, so you
# may check the monitor as often as you like.
calm, later = stream[:250], stream[250:]
monitor.update(image_statistics(model, calm))
print(f"alarm: {monitor.alarm_}, evidence {monitor.evidence_:.2f}")

# %%
# The lamp ages
# -------------
# From here on, each image is slightly darker than the previous one.
light = np.linspace(1, 2 / 3, len(later))
darker = np.clip(later * light[:, None, None], 0, 255).astype(np.uint8)
for start in range(0, len(darker), 10):
    monitor.update(image_statistics(model, darker[start : start + 10]))

lost = 1 - light[monitor.alarm_at_ - len(calm) - 1]
print(f"alarm at image {monitor.alarm_at_}, by {STATISTICS[monitor.alarm_column_]}")
print(f"the lamp had lost {lost:.0%} of its light by then")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
DriftDisplay.from_monitor(monitor, ax=left)
brightness = np.concatenate([calm, darker]).mean(axis=(1, 2))
right.plot(brightness, ".", markersize=3, label="brightness of each image")
right.axvline(len(calm), color="grey", linestyle=":", label="the lamp begins to age")
right.axvline(monitor.alarm_at_, color="#D55E00", label="alarm")
right.set(xlabel="images of the stream", ylabel="mean value")
right.legend(fontsize="small")
plt.show()

# %%
# At the alarm, the brightness of single images is still within its usual range: the
# evidence comes from many images.
#
# Monitoring the scores only
# --------------------------
# Images are normalised before they enter the network, so their scores hardly change. A
# monitor of only the scores detects the drift later, or not at all.
scores = DriftMonitor(false_alarm_probability=0.01, random_state=0)
scores.fit(model.anomaly_score(usual))
scores.update(model.anomaly_score(np.concatenate([calm, darker])))
print(f"by the scores only: alarm {scores.alarm_}, at image {scores.alarm_at_}")

# %%
# Restarting
# ----------
# The state can be saved to a file, so that the guarantee holds across restarts. If a
# new monitor were started every morning, each could raise a false alarm with the stated
# probability.
monitor.save("drift.json")
print(DriftMonitor.load("drift.json").n_seen_, "images seen so far")

# %%
# After the lamp has been replaced, call ``fit`` to start a new stream. If the new
# lighting is permanent, first calibrate the model on images taken under it:
# ``model.calibrate(X_new)``.
