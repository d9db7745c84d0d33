"""
Grid search over backbone and loss
==================================

The classifier takes part in scikit-learn's model selection as any other.
"""

# %%
import pandas as pd
from sklearn.model_selection import GridSearchCV

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects

data = make_defects(200, texture="tablets", image_size=32, random_state=0)

search = GridSearchCV(
    FCDDClassifier(max_epochs=6, random_state=0),
    {"backbone": ["fcdd28", "fcdd32_s"], "loss": ["fcdd", "hsc"]},
    scoring="roc_auc",
    cv=2,
    n_jobs=2,
)
search.fit(data.images, data.target)

# %%
table = pd.DataFrame(search.cv_results_)
print(table[["param_backbone", "param_loss", "mean_test_score", "mean_fit_time"]])
print("best:", search.best_params_)
