"""How many held-out images a guarantee takes."""

import matplotlib.pyplot as plt
import numpy as np

from skfcdd.conformal import n_calibration_required

rates = np.geomspace(0.001, 0.2, 60)
figure, ax = plt.subplots(figsize=(5.4, 3.2), layout="constrained")
for confidence, label in ((None, "on average"), (0.95, "with confidence 0.95")):
    needed = [n_calibration_required(r, confidence=confidence) for r in rates]
    ax.loglog(rates, needed, linewidth=2.5, label=label)
    ax.plot(0.01, n_calibration_required(0.01, confidence=confidence), "o", color="0.3")
ax.set(xlabel="guaranteed rate of false alarms", ylabel="held-out normal images")
ax.set_xticks([0.001, 0.01, 0.1], ["0.1 %", "1 %", "10 %"])
ax.set_yticks([10, 100, 1000], ["10", "100", "1000"])
ax.legend(frameon=False)
