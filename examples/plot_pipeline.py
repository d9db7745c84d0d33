"""
Pipelines and cross-validation
==============================

Preprocess images with scikit-learn, and cross-validate with folds that train only on
good images.
"""

# %%
# In a pipeline, transformers such as scalers need flat rows, so the images are
# flattened, and ``image_shape`` states their shape. Here, each pixel has its own gain
# and offset, as in a camera with a dirty sensor; ``StandardScaler`` removes them.
import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects
from skfcdd.display import ScoreDistributionDisplay
from skfcdd.model_selection import AnomalyKFold

SIDE = 32
data = make_defects(240, image_size=SIDE, texture="wood", random_state=0)
rng = np.random.default_rng(0)
gain, offset = rng.uniform(0.3, 1.7, (2, SIDE, SIDE)) * [[[1]], [[60]]]
X = (data.images * gain + offset).reshape(len(data.images), -1)

detector = FCDDClassifier(image_shape=(SIDE, SIDE), max_epochs=8, random_state=0)
scaled = make_pipeline(StandardScaler(), detector)
scaled

# %%
# :class:`~skfcdd.model_selection.AnomalyKFold` trains only on normal images, and tests
# each image once, including the anomalies. With ``groups=``, photographs of one part
# are kept on one side of each split.
folds = AnomalyKFold(2, random_state=0)
for name, estimator in {"unscaled": detector, "scaled": scaled}.items():
    scores = cross_val_score(estimator, X, data.target, cv=folds, scoring="roc_auc")
    print(f"{name:9s} AUROC {scores.mean():.3f} ± {scores.std():.3f}")

# %%
# For each image, ``cross_val_predict`` returns the prediction of a model that was not
# trained on it, so that all images can be evaluated without bias.
probability = cross_val_predict(
    scaled, X, data.target, cv=folds, method="predict_proba"
)[:, 1]
print(f"over all images: AUROC {roc_auc_score(data.target, probability):.3f}")

# %%
# Displays can be created from such predictions too.
ScoreDistributionDisplay.from_predictions(
    data.target, probability, threshold=0.5, score_name="probability of an anomaly"
)
