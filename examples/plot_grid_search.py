"""
Grid search over backbone and loss
==================================

The classifier can be used with scikit-learn's model selection like any other estimator.
"""

# %%
# All combinations of two networks and two objectives are evaluated in two folds. The
# metric is the AUROC of ``decision_function``, which does not depend on the threshold.
# With ``n_jobs=2``, the fits are distributed between two processes.
import matplotlib.pyplot as plt
import pandas as pd
from sklearn.model_selection import GridSearchCV

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects

data = make_defects(200, texture="brushed_metal", image_size=32, random_state=0)

search = GridSearchCV(
    FCDDClassifier(max_epochs=10, random_state=0),
    {"backbone": ["fcdd28", "fcdd32_s"], "loss": ["fcdd", "hsc"]},
    scoring="roc_auc",
    cv=2,
)
search.fit(data.images, data.target)
print("best:", search.best_params_)

# %%
table = pd.DataFrame(search.cv_results_)
table = table[["param_backbone", "param_loss", "mean_test_score", "std_test_score"]]
table

# %%
# "hsc" maps an image to a single vector. It may rank images equally well, but there is
# no anomaly map to explain its scores; its heatmaps are gradients.
grid = table.pivot(
    index="param_backbone", columns="param_loss", values="mean_test_score"
)
figure, ax = plt.subplots(figsize=(4.5, 3), layout="constrained")
picture = ax.imshow(grid, cmap="viridis", vmin=0.5, vmax=1)
ax.set_xticks(range(2), grid.columns)
ax.set_yticks(range(2), grid.index)
for i in range(2):
    for j in range(2):
        ax.text(j, i, f"{grid.iloc[i, j]:.3f}", ha="center", va="center", color="w")
ax.set(xlabel="loss", ylabel="backbone")
figure.colorbar(picture, label="AUROC")
