"""
In place of an outlier detector
===============================

:class:`~skfcdd.FCDDDetector` has the interface of ``IsolationForest`` and
``OneClassSVM``, but uses the spatial structure of images.
"""

# %%
# The images are unlabelled, and 5 % of them show defects. ``predict`` returns 1 for
# inliers and -1 for outliers, like all outlier detectors of scikit-learn.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import RocCurveDisplay
from sklearn.pipeline import make_pipeline

from skfcdd import FCDDDetector
from skfcdd.datasets import make_defects

data = make_defects(
    300, image_size=48, texture="wood", anomaly_fraction=0.05, random_state=0
)
new = make_defects(
    200, image_size=48, texture="wood", anomaly_fraction=0.4, random_state=1
)
rows, new_rows = (
    images.reshape(len(images), -1) for images in (data.images, new.images)
)

detectors = {
    "FCDDDetector": FCDDDetector(
        image_shape=(48, 48), contamination=0.05, max_epochs=8, random_state=0
    ),
    "PCA and IsolationForest": make_pipeline(
        PCA(30, random_state=0), IsolationForest(contamination=0.05, random_state=0)
    ),
}

# %%
# Both accept flat rows. The values of ``score_samples`` are higher for more normal
# images.
figure, ax = plt.subplots(figsize=(5.5, 4.5), layout="constrained")
for name, detector in detectors.items():
    verdicts = detector.fit(rows).predict(new_rows)
    scores = -detector.score_samples(new_rows)
    RocCurveDisplay.from_predictions(new.target, scores, name=name, ax=ax)
    print(f"{name}: {np.sum(verdicts == -1)} outliers of {len(verdicts)}")
ax.set(xlabel="false alarm rate", ylabel="detection rate")
