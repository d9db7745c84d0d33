"""Fast computation of the area under the ROC curve."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

__all__ = ["fast_auroc"]


def fast_auroc(y_true: Any, y_score: Any) -> float:
    """Compute the ROC AUC like scikit-learn's ``roc_auc_score``, without validation.

    A bootstrap would otherwise repeat the validation for each resample.
    """
    truth = np.asarray(y_true, dtype=bool)
    n_bad = int(truth.sum())
    ranks = rankdata(y_score)[truth].sum() - n_bad * (n_bad + 1) / 2
    return float(ranks / (n_bad * (len(truth) - n_bad)))
