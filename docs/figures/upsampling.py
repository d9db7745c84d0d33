"""Every cell is spread by a Gaussian that adds up to the same, at the border too."""

import matplotlib.pyplot as plt
import numpy as np

from skfcdd.heatmaps import default_sigma, gaussian_matrix

EXTENT, STRIDE, PIXELS = 18, 4, 32
centers = 1.5 + STRIDE * np.arange(PIXELS // STRIDE)
matrix = gaussian_matrix(PIXELS, centers, default_sigma(EXTENT, STRIDE), extent=EXTENT)
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
for k, column in enumerate(matrix.T):
    at_border = k in (0, len(centers) - 1)
    left.plot(column, color="C1" if at_border else "C0", linewidth=2)
left.set(
    xlabel="pixel",
    ylabel="weight of a cell",
    title=f"columns of $U$: each adds up to {matrix[:, 0].sum():g}",
)
cells = np.array([0, 0, 0.1, 1.2, 0.4, 0, 0, 0.8])
heatmap = matrix @ cells
right.stem(centers, cells, linefmt="0.6", markerfmt="o", basefmt=" ")
right.plot(heatmap, linewidth=2.5, color="C0")
right.axhline(cells.mean(), linestyle=":", color="C3")
right.set(
    xlabel="pixel",
    title=f"cells: mean {cells.mean():.4f}\nheatmap: mean {heatmap.mean():.4f}",
)
