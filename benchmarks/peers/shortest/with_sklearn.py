"""Heatmaps of new images, learned from a folder of normal ones: scikit-learn's PCA."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.decomposition import PCA


def read(folder):
    paths = sorted(Path(folder).rglob("*.png"))
    images = [Image.open(path).convert("L").resize((128, 128)) for path in paths]
    return np.stack(images).reshape(len(images), -1) / 255


new = read("parts/test")
pca = PCA(50).fit(read("parts/train/good"))
error = (pca.inverse_transform(pca.transform(new)) - new) ** 2
heatmaps = error.reshape(-1, 128, 128)
