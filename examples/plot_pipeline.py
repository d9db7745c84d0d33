"""
Pipelines and cross-validation
==============================

Steps of scikit-learn in front, and folds that train on good images alone.
"""

# %%
# A pipeline. Steps such as scalers want flat rows, so the images are flattened, and
# ``image_shape`` says what they are. Here each pixel has a gain and an offset of its
# own, as in a camera with a dirty sensor; ``StandardScaler`` takes them out again.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects
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
# :class:`~skfcdd.model_selection.AnomalyKFold` trains on normal images alone, and tests
# each image once, the anomalies too. With ``groups=`` photographs of one part stay on
# one side.
folds = AnomalyKFold(3, random_state=0)
for name, estimator in {"as it is": detector, "scaled": scaled}.items():
    scores = cross_val_score(estimator, X, data.target, cv=folds, scoring="roc_auc")
    print(f"{name:9s} AUROC {scores.mean():.3f} ± {scores.std():.3f}")

# %%
# ``cross_val_predict`` gives each image the answer of a model that has not seen it: the
# honest way to look at all of them.
probability = cross_val_predict(
    scaled, X, data.target, cv=folds, method="predict_proba"
)[:, 1]
print(f"over all images: AUROC {roc_auc_score(data.target, probability):.3f}")

# %%
# The misses are worth a look: good images above, defects below.
normal, anomalous = (np.flatnonzero(data.target == k) for k in (0, 1))
rows = [
    normal[np.argsort(-probability[normal])[:4]],
    anomalous[np.argsort(probability[anomalous])[:4]],
]
figure, axes = plt.subplots(2, 4, figsize=(7.5, 4.2), layout="constrained")
for line, chosen in zip(axes, rows, strict=True):
    for ax, row in zip(line, chosen, strict=True):
        ax.imshow(data.images[row], cmap="gray")
        ax.set_title(f"{data.defect[row]}, {probability[row]:.2f}")
        ax.set_axis_off()
