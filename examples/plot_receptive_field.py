"""
The receptive field
===================

The receptive field determines which defects can be recognised, and how precisely they
are localised. It is measured on the network itself.
"""

# %%
# Measure the receptive fields of some networks after each of their first stages, for
# images of 96 pixels.
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from skfcdd import FCDDClassifier
from skfcdd.backbones import make_backbone, measure_backbone
from skfcdd.datasets import make_defects

SHAPE = (96, 96, 1)
for name in ("efficientnet_lite0", "squeezenet1_1", "resnet18"):
    for cut in (1, 2, 3):
        network = make_backbone(name, SHAPE, weights=None, cut=cut)
        field = measure_backbone(network, SHAPE[:2], 1)
        share = min(field.extent[0] / SHAPE[0], 1)
        print(
            f"{name:18s} stage {cut}: {field.extent[0]:3g} pixels, {share:.0%} a side"
        )

# %%
# A network of the paper is cut after its third and after its fifth stage. The rectangle
# is the receptive field of the hottest cell, over which the heat of the cell is spread.
data = make_defects(240, image_size=96, texture="wood", random_state=0)
good = data.images[data.target == 0][:100]
row = np.flatnonzero(data.defect == "scratch")[0]
image = data.images[row]
figure, axes = plt.subplots(2, 2, figsize=(6.4, 6.4), layout="constrained")
for (left, right), cut in zip(axes, (3, 5), strict=True):
    model = FCDDClassifier("fcdd224", cut=cut, max_epochs=8, random_state=0).fit(good)
    field, heatmap = model.receptive_field_, model.explain(image[None])[0]
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    half = field.extent[0] / 2
    left.imshow(image, cmap="gray")
    left.add_patch(
        Rectangle((x - half, y - half), 2 * half, 2 * half, fill=False, ec="C1", lw=2)
    )
    left.set_title(f"stage {cut}: {field.extent[0]:g} pixels")
    low, high = model.heatmap_scale_
    right.imshow(heatmap, cmap="inferno", vmin=low, vmax=high)
    right.set_title(f"stride {field.stride[0]:g}")
for ax in axes.flat:
    ax.set_axis_off()

# %%
# ``cut="auto"`` uses the deepest stage whose receptive field covers at most half of
# each side of the image. A :class:`~skfcdd.exceptions.ReceptiveFieldWarning` is issued
# if a cell sees nearly the whole image, because the heatmap then cannot localise
# anything. :doc:`Backbones </backbones>` lists the receptive fields of all
# architectures and stages.
