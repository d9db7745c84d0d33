"""An image, its cells, its heatmap: one figure of the method."""

import matplotlib.pyplot as plt
import numpy as np
from _model import cells, fitted
from matplotlib.patches import Rectangle

model, data = fitted()
row = int(np.flatnonzero(data.defect == "missing")[0])
image = data.images[row]
A, heatmap = cells(model, image[None])[0], model.explain(image[None])[0]

figure, axes = plt.subplots(1, 3, figsize=(7, 2.9), layout="constrained")
axes[0].imshow(image, cmap="gray")
field = model.receptive_field_
y, x = np.unravel_index(A.argmax(), A.shape)
centre = [field.offset[k] + field.stride[k] * n for k, n in enumerate((y, x))]
half = field.extent[0] / 2
corner = (centre[1] - half, centre[0] - half)
window = Rectangle(corner, 2 * half, 2 * half, fill=False, edgecolor="C1", linewidth=2)
axes[0].add_patch(window)
axes[1].imshow(A, cmap="inferno")
axes[1].add_patch(
    Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="C1", linewidth=2)
)
axes[2].imshow(heatmap, cmap="inferno")
h, w = image.shape[:2]
u, v = A.shape
titles = (
    f"image, {h} x {w} pixels\nand what one cell sees",
    f"cells A, {u} x {v}\nmean {A.mean():.4f}",
    f"heatmap A\N{PRIME}, {h} x {w}\nmean {heatmap.mean():.4f}",
)
for ax, title in zip(axes, titles, strict=True):
    ax.set(title=title, xticks=[], yticks=[])
