"""Scores of new images, learned from a folder of normal ones: pyod (no heatmaps)."""

from pathlib import Path

import numpy as np
from PIL import Image
from pyod.models.pca import PCA


def read(folder):
    paths = sorted(Path(folder).rglob("*.png"))
    images = [Image.open(path).convert("L").resize((128, 128)) for path in paths]
    return np.stack(images).reshape(len(images), -1) / 255


model = PCA().fit(read("parts/train/good"))
scores = model.decision_function(read("parts/test"))
