"""
Choosing a backbone, and where to cut it
========================================

A defect must fit into what a cell of the network sees, and a heatmap is no sharper than
that. This example measures it, and fits a network that is cut accordingly.
"""

# %%
# What a cell sees behind each stage
from sklearn.metrics import roc_auc_score
from torch import nn

from skfcdd import FCDDClassifier
from skfcdd.backbones import Stages, make_backbone, measure_backbone, register_backbone
from skfcdd.datasets import make_defects

SHAPE = (96, 96, 1)
for name in ("resnet18", "squeezenet1_1"):
    for cut in (1, 2, 3):
        field = measure_backbone(make_backbone(name, SHAPE, cut=cut), SHAPE[:2], 1)
        print(f"{name:14s} stage {cut}: {field.extent[0]:g} of {SHAPE[0]} pixels")


# %%
# An architecture of one's own, whose stages can be cut and frozen by name
def build(n_channels: int) -> Stages:
    """Three convolutions, the second of which is dilated."""
    layers = {
        "first": nn.Conv2d(n_channels, 16, 5, stride=2, padding=2),
        "norm": nn.BatchNorm2d(16),
        "act": nn.ReLU(),
        "second": nn.Conv2d(16, 32, 3, padding=2, dilation=2),
        "act2": nn.ReLU(),
        "third": nn.Conv2d(32, 64, 3, stride=2, padding=1),
    }
    names = {"low": ["first", "norm", "act"], "middle": ["second", "act2"]}
    return Stages(layers, names | {"high": ["third"]})


register_backbone("three_convolutions", build)

# %%
# The deepest stage of which a cell sees at most half of the image. With a connection,
# weights="imagenet" starts SqueezeNet from what it has learned on photographs.
data = make_defects(300, image_size=96, texture="wood", random_state=0)
good, test = data.images[data.target == 0][:100], slice(150, None)
for name in ("squeezenet1_1", "three_convolutions"):
    model = FCDDClassifier(name, cut="auto", max_epochs=25, random_state=0)
    scores = model.fit(good).anomaly_score(data.images[test])
    print(
        f"{name}: AUROC {roc_auc_score(data.target[test], scores):.3f}, "
        f"cut behind {model.net_.module_.backbone.stage_names[-1]!r}, "
        f"sees {model.receptive_field_.extent[0]:g} pixels"
    )
