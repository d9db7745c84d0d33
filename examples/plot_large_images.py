"""
Images of any size
==================

A model fitted on crops of good scans explains a whole scan, tile by tile.
"""

# %%
# Random crops of good scans are used for training.
import matplotlib.pyplot as plt
import numpy as np

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects
from skfcdd.display import HeatmapDisplay

SIZE = (480, 640)
scans = make_defects(3, image_size=SIZE, anomaly_fraction=0, random_state=0).images
rng = np.random.RandomState(0)
pieces = np.stack(
    [
        scans[rng.randint(len(scans)), y : y + 128, x : x + 128]
        for y, x in zip(
            rng.randint(SIZE[0] - 128, size=160),
            rng.randint(SIZE[1] - 128, size=160),
            strict=True,
        )
    ]
)
model = FCDDClassifier(max_epochs=12, random_state=0).fit(pieces)

# %%
# The new scan has three bright inclusions. The network is fully convolutional, so it
# accepts a scan of any size; only one tile, the cells of the whole scan and the heatmap
# are in memory.
scan = make_defects(1, image_size=SIZE, anomaly_fraction=0, random_state=9).images[0]
places = [(80, 130), (270, 400), (370, 60)]
for y, x in places:
    scan[y : y + 12, x : x + 20] = np.minimum(scan[y : y + 12, x : x + 20] + 90.0, 255)
heatmap = model.explain_large(scan, tile_size=256)
print(f"a scan of {scan.shape}, a model of {pieces.shape[1:]}")
print(f"heat: median {np.median(heatmap):.3f}")
for y, x in places:
    print(f"at {y, x}: {heatmap[y : y + 12, x : x + 20].mean():.3f}")

# %%
# Tiling leaves no traces: the heatmap equals that computed from the whole scan at once,
# up to rounding.
whole = model.explain_large(scan, tile_size=4096)
print(f"largest difference: {np.abs(heatmap - whole).max() / whole.max():.1e}")
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
HeatmapDisplay.from_predictions(
    scan[None], heatmap[None], scale=model.heatmap_scale_, ax=axes[None]
)
