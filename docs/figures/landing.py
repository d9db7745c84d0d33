"""The picture of the first page: good and bad images, and their heatmaps."""

import numpy as np

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects
from skfcdd.display import HeatmapDisplay

data = make_defects(300, image_size=128, texture="wood", random_state=3)
good = np.flatnonzero(data.target == 0)
model = FCDDClassifier(max_epochs=12, validation_fraction=0.3, random_state=0)
model.fit(data.images[good[:150]])
scores = model.anomaly_score(data.images)
kinds = [np.flatnonzero(data.defect == kind) for kind in ("crack", "spot", "missing")]
bad = [rows[scores[rows].argmax()] for rows in kinds]
HeatmapDisplay.from_estimator(
    model,
    data.images,
    data.target,
    masks=data.masks,
    names=data.defect,
    rows=[good[150], *bad, good[151]],
)
