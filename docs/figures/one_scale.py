"""Why the colours of heatmaps must have one scale."""

import matplotlib.pyplot as plt
import numpy as np
from _model import fitted

model, data = fitted()
good = np.flatnonzero(data.target == 0)[150:153]
bad = [np.flatnonzero(data.defect == kind)[0] for kind in ("crack", "spot")]
images = data.images[np.r_[good, bad]]
heatmaps = model.explain(images)
low, high = model.heatmap_scale_
figure, axes = plt.subplots(3, 5, figsize=(7, 4.8), layout="constrained")
for column, image, heatmap in zip(axes.T, images, heatmaps, strict=True):
    column[0].imshow(image, cmap="gray")
    column[1].imshow(heatmap, cmap="inferno")
    column[2].imshow(heatmap, cmap="inferno", vmin=low, vmax=high)
    for ax in column:
        ax.set(xticks=[], yticks=[])
for ax, name in zip(axes[0], ["good"] * 3 + ["defect"] * 2, strict=True):
    ax.set_title(name)
names = ("image", "stretched to\nits own range", "one scale\nfor all")
for ax, name in zip(axes[:, 0], names, strict=True):
    ax.set_ylabel(name)
