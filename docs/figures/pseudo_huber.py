"""The function that makes a cell of what the network answers."""

import matplotlib.pyplot as plt
import torch

from skfcdd.objectives import pseudo_huber

phi = torch.linspace(-4, 4, 401)
figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
ax.plot(phi, phi**2 / 2, "--", color="0.6", label=r"$\phi^2 / 2$: close to 0")
ax.plot(phi, phi.abs() - 1, ":", color="0.3", label=r"$|\phi| - 1$: far from 0")
ax.plot(phi, pseudo_huber(phi), linewidth=2.5, label=r"$A = \sqrt{\phi^2 + 1} - 1$")
ax.set(xlabel=r"output of the network, $\phi$", ylabel="cell $A$", ylim=(-1, 4))
ax.legend(frameon=False)
