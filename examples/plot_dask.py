"""
Scoring with Dask
=================

Scoring is a function of blocks of images, so a Dask array of any size is scored where
its blocks lie: by threads here, by the machines of a cluster elsewhere.
"""

# %%
# A model, and images as a Dask array. These come out of memory;
# ``dask.array.from_zarr`` or ``from_delayed`` takes them from wherever they are.
import dask
import dask.array as da
import matplotlib.pyplot as plt
import numpy as np

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects

data = make_defects(300, image_size=48, texture="wood", random_state=0)
good = data.images[data.target == 0]
model = FCDDClassifier(max_epochs=8, random_state=0).fit(good[:120])

images = da.from_array(data.images, chunks=(50, -1, -1))
images

# %%
# Nothing is computed yet. ``drop_axis`` says that of each block of images a vector of
# scores is left; heatmaps keep their axes.
scores = images.map_blocks(model.anomaly_score, dtype=float, drop_axis=(1, 2))
heatmaps = images.map_blocks(model.explain, dtype="float32")
hottest = heatmaps.max(axis=(1, 2))
scores

# %%
# Now it is. Only scores and the hottest value of each heatmap come back, not the
# heatmaps.
with dask.config.set(scheduler="threads", num_workers=2):
    scores, hottest = dask.compute(scores, hottest)
print("as without Dask:", np.allclose(scores, model.anomaly_score(data.images)))

# %%
# Then keep heatmaps of what is above the threshold alone. On a cluster the same lines
# run after ``client = distributed.Client("scheduler:8786")``; a grid search goes there
# with ``joblib.parallel_backend("dask")``. See :doc:`Large data </scaling>`.
found = np.flatnonzero(scores > model.threshold_)
print(f"{len(found)} of {len(scores)} images are above the threshold")
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
for value, name in ((0, "good"), (1, "defect")):
    rows = data.target == value
    ax.scatter(scores[rows], hottest[rows], s=14, alpha=0.7, label=name)
ax.axvline(model.threshold_, color="0.3", linestyle=":", label="threshold")
ax.set(xlabel="score", ylabel="hottest pixel", xscale="log", yscale="log")
ax.set_xticks([0.2, 0.5, 1, 2], labels=["0.2", "0.5", "1", "2"])
ax.xaxis.minorticks_off()
ax.legend(frameon=False)
