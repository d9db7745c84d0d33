"""Kinds of synthetic anomalies in normal images."""

import matplotlib.pyplot as plt
import torch

from skfcdd.anomalies import SYNTHETIC_ANOMALIES
from skfcdd.datasets import make_defects

KINDS = ("confetti", "blobs", "scratches", "cutpaste", "perlin")
data = make_defects(
    3, image_size=96, texture="wood", anomaly_fraction=0, color=True, random_state=1
)
images = torch.from_numpy(data.images).permute(0, 3, 1, 2).float() / 255
figure, axes = plt.subplots(3, 5, figsize=(7, 4.6), layout="constrained")
for column, kind in zip(axes.T, KINDS, strict=True):
    generator = torch.Generator().manual_seed(4)
    changed, masks = SYNTHETIC_ANOMALIES[kind](images, generator)
    for ax, image, mask in zip(column, changed, masks, strict=True):
        ax.imshow(image.permute(1, 2, 0))
        ax.contour(mask[0], levels=[0.5], colors="#00e5ff", linewidths=1)
        ax.set(xticks=[], yticks=[])
    column[0].set_title(kind)
