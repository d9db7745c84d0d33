"""
Pipelines and cross-validation
==============================

Preprocessing with scikit-learn, and folds that train only on good images.
"""

# %%
# A pipeline. Transformers such as scalers take flat rows, so the images are flattened,
# and ``image_shape`` states their shape. Here each pixel has its own gain and offset,
# as in a camera with a dirty sensor; ``StandardScaler`` removes them.
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
# stay on one side.
folds = AnomalyKFold(2, random_state=0)
for name, estimator in {"as it is": detector, "scaled": scaled}.items():
    scores = cross_val_score(estimator, X, data.target, cv=folds, scoring="roc_auc")
    print(f"{name:9s} AUROC {scores.mean():.3f} ± {scores.std():.3f}")

# %%
# ``cross_val_predict`` returns for each image the prediction of a model that has not
# seen it, which gives an unbiased view of all images.
probability = cross_val_predict(
    scaled, X, data.target, cv=folds, method="predict_proba"
)[:, 1]
print(f"over all images: AUROC {roc_auc_score(data.target, probability):.3f}")

# %%
# A display of the scores can be created from predictions.
ScoreDistributionDisplay.from_predictions(
    data.target, probability, threshold=0.5, score_name="probability of an anomaly"
)
