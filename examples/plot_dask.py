"""
Scoring with Dask
=================

A model scores each block of images independently, so a Dask array of any size can be
scored block by block: here by threads, elsewhere by the machines of a cluster.
"""

# %%
# Fit a model, and create a Dask array of images. Here the images come from memory; use
# ``dask.array.from_zarr`` or ``from_delayed`` to read them from elsewhere.
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
# Nothing is computed yet. ``drop_axis`` declares that each block of images is reduced
# to a vector of scores; heatmaps keep their axes.
scores = images.map_blocks(model.anomaly_score, dtype=float, drop_axis=(1, 2))
heatmaps = images.map_blocks(model.explain, dtype="float32")
hottest = heatmaps.max(axis=(1, 2))
scores

# %%
# Now the scores are computed. Only the scores and the hottest value of each heatmap are
# returned, not the heatmaps themselves.
with dask.config.set(scheduler="threads", num_workers=2):
    scores, hottest = dask.compute(scores, hottest)
print("as without Dask:", np.allclose(scores, model.anomaly_score(data.images)))

# %%
# The heatmaps are then needed only for images above the threshold. On a cluster, run
# the same lines after ``client = distributed.Client("scheduler:8786")``; for a grid
# search on a cluster, use ``joblib.parallel_backend("dask")``. See
# :doc:`Large data </scaling>`.
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
