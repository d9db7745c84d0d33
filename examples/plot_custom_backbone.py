"""
A custom backbone
=================

Any module that maps images to feature maps can be used as the backbone. If it has named
stages, it can be cut, frozen and registered under a name.
"""

# %%
# This architecture has named stages. It preserves positions, because it is fully
# convolutional: nothing is flattened.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_auc_score
from torch import nn

from skfcdd import FCDDClassifier
from skfcdd.backbones import Stages, register_backbone
from skfcdd.datasets import make_defects
from skfcdd.display import HeatmapDisplay


def build(n_channels: int) -> Stages:
    """Build a network of four convolutions, two of them dilated, in three stages."""
    layers = {
        "conv1": nn.Conv2d(n_channels, 16, 5, stride=2, padding=2),
        "norm1": nn.BatchNorm2d(16),
        "act1": nn.ReLU(),
        "conv2": nn.Conv2d(16, 32, 3, padding=2, dilation=2),
        "norm2": nn.BatchNorm2d(32),
        "act2": nn.ReLU(),
        "conv3": nn.Conv2d(32, 64, 3, stride=2, padding=2, dilation=2),
        "norm3": nn.BatchNorm2d(64),
        "act3": nn.ReLU(),
        "conv4": nn.Conv2d(64, 64, 3, padding=1),
    }
    stages = {
        "low": ["conv1", "norm1", "act1"],
        "middle": ["conv2", "norm2", "act2"],
        "high": ["conv3", "norm3", "act3", "conv4"],
    }
    return Stages(layers, stages)


register_backbone("four_convolutions", build)

# %%
# The receptive field is measured in ``fit`` and never entered by hand, so a network
# that is cut after another stage needs no further settings.
data = make_defects(300, image_size=64, texture="wood", random_state=0)
good = data.images[data.target == 0][:120]
test = slice(150, None)
models = {}
for cut in (2, 3):
    model = FCDDClassifier("four_convolutions", cut=cut, max_epochs=15, random_state=0)
    scores = model.fit(good).anomaly_score(data.images[test])
    models[cut] = model
    print(
        f"cut after {model.net_.module_.backbone.stage_names[-1]!r}: "
        f"a cell sees {model.receptive_field_.extent[0]:g} pixels, "
        f"AUROC {roc_auc_score(data.target[test], scores):.3f}"
    )

# %%
# An existing module works as well; it is copied, and the copy is trained.
plain = nn.Sequential(
    nn.Conv2d(1, 16, 3, stride=2, padding=1),
    nn.BatchNorm2d(16),
    nn.LeakyReLU(),
    nn.Conv2d(16, 32, 3, stride=2, padding=1),
)
models["plain"] = FCDDClassifier(plain, max_epochs=15, random_state=0).fit(good)
print(models["plain"].receptive_field_)

# %%
# A cell with a receptive field of 13 pixels can hardly distinguish a defect from the
# grain. The receptive field should be large enough to recognise a defect, but no
# larger, because it also determines how blurred heatmaps are.
row = np.flatnonzero(data.defect == "missing")[0]
figure, axes = plt.subplots(2, 3, figsize=(8, 5.4), layout="constrained")
for column, model in zip(axes.T, models.values(), strict=True):
    HeatmapDisplay.from_estimator(
        model, data.images, rows=[row], ax=column[None], colorbar=False
    )
    column[0].set_title(f"cells see {model.receptive_field_.extent[0]:g} pixels")
