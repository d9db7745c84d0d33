"""Heatmaps of new images, learned from a folder of normal ones: skfcdd."""

from skfcdd import FCDDClassifier
from skfcdd.datasets import load_images

model = FCDDClassifier().fit(load_images("parts/train/good").images)
heatmaps = model.explain(load_images("parts/test").images)
