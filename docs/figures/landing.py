"""The picture of the first page: good and bad images, and their heatmaps."""

import numpy as np
from _model import fitted

from skfcdd.display import HeatmapDisplay

model, data = fitted()
good = np.flatnonzero(data.target == 0)[150:]
bad = [np.flatnonzero(data.defect == k)[0] for k in ("crack", "spot", "missing")]
HeatmapDisplay.from_estimator(
    model,
    data.images,
    data.target,
    masks=data.masks,
    names=data.defect,
    rows=[good[0], *bad, good[1]],
)
