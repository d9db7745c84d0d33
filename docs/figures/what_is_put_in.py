"""Content in place of a region of a good image, and what the model makes of it."""

import matplotlib.pyplot as plt

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects
from skfcdd.inspection import counterfactual

BOX = (16, 18, 30, 32)
data = make_defects(120, image_size=48, anomaly_fraction=0, random_state=0)
model = FCDDClassifier(max_epochs=8, random_state=0).fit(data.images[:100])
ways = ("as it is", "clone", "harmonic", "blur", "mean")
image = data.images[100:101]
low, high = model.heatmap_scale_
figure, axes = plt.subplots(2, 5, figsize=(7.5, 3.4), layout="constrained")
for column, way in zip(axes.T, ways, strict=True):
    if way == "as it is":
        found = counterfactual(model, image, BOX)
        shown, heatmap, score = image[0], found.heatmaps[0], found.scores[0]
    else:
        found = counterfactual(model, image, BOX, fill=way)
        shown, heatmap = found.new_images[0], found.new_heatmaps[0]
        score = found.new_scores[0]
    column[0].imshow(shown, cmap="gray", vmin=0, vmax=255)
    column[1].imshow(heatmap, cmap="inferno", vmin=low, vmax=high)
    column[0].set_title(way)
    column[1].set_xlabel(f"score {score:.2f}")
    for ax in column:
        ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("image")
axes[1, 0].set_ylabel("heatmap")
