"""
Images of any size
==================

A model that was fitted on pieces of good scans explains a whole scan, in tiles.
"""

# %%
# Good scans, of which pieces are cut at random to train on. Brightness as such matters
# here, so each image keeps its own (``normalize="standard"``).
import matplotlib.pyplot as plt
import numpy as np

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects

SIZE = (720, 960)
scans = make_defects(4, image_size=SIZE, anomaly_fraction=0, random_state=0).images
rng = np.random.RandomState(0)
pieces = np.stack(
    [
        scans[rng.randint(len(scans)), y : y + 96, x : x + 96]
        for y, x in zip(
            rng.randint(SIZE[0] - 96, size=240),
            rng.randint(SIZE[1] - 96, size=240),
            strict=True,
        )
    ]
)
model = FCDDClassifier(max_epochs=8, normalize="standard", random_state=0).fit(pieces)

# %%
# A new scan with three bright inclusions. The network is fully convolutional, so it
# takes a scan of any size; in memory are one tile, the cells of the whole scan and the
# heatmap.
scan = make_defects(1, image_size=SIZE, anomaly_fraction=0, random_state=9).images[0]
places = [(120, 200), (400, 610), (560, 90)]
for y, x in places:
    scan[y : y + 12, x : x + 20] = np.minimum(scan[y : y + 12, x : x + 20] + 90.0, 255)
heatmap = model.explain_large(scan, tile_size=256)
print(f"a scan of {scan.shape}, a model of {pieces.shape[1:]}")
print(f"heat: median {np.median(heatmap):.3f}")
for y, x in places:
    print(f"at {y, x}: {heatmap[y : y + 12, x : x + 20].mean():.3f}")

# %%
# The tiles do not show: the heatmap is that of the whole scan at once, to rounding.
whole = model.explain_large(scan, tile_size=4096)
print(f"largest difference: {np.abs(heatmap - whole).max() / whole.max():.1e}")
low, high = model.heatmap_scale_
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
axes[0].imshow(scan, cmap="gray", vmin=0, vmax=255)
axes[1].imshow(heatmap, cmap="inferno", vmin=low, vmax=high)
for ax, title in zip(axes, ("scan", "heatmap"), strict=True):
    ax.set(title=title, xticks=[], yticks=[])
