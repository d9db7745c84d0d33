"""What an image costs, and its probability, by its score."""

import math

import matplotlib.pyplot as plt
import torch

from skfcdd.objectives import anomaly_nll

s = torch.linspace(0.002, 3, 600)
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
left.plot(s, s, linewidth=2.5, label="normal image: $s$")
left.plot(s, anomaly_nll(s), linewidth=2.5, label="anomaly: $-\\log(1 - e^{-s})$")
left.axvline(math.log(2), color="0.6", linestyle=":")
left.set(xlabel="score $s$", ylabel="loss", ylim=(0, 4), xlim=(0, 3))
left.legend(frameon=False)
right.plot(s, 1 - torch.exp(-s), linewidth=2.5, label="$p = 1 - e^{-s}$")
threshold = 0.25
probability = 1 - 2 ** (-s / threshold)
right.plot(s, probability, "--", linewidth=2.5, label="predict_proba, $t = 0.25$")
right.plot([threshold, math.log(2)], [0.5, 0.5], "o", color="0.3")
right.set(xlabel="score $s$", ylabel="probability", ylim=(0, 1.02), xlim=(0, 3))
right.legend(frameon=False, loc="lower right")
