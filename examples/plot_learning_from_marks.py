"""
Learning from marks
===================

Once there is a first model, an expert looks at images and marks them as good or as
defects. This takes time, so this example selects the most useful images, trains the
model on the marks, and tests whether it has improved.
"""

# %%
# The first model
# ---------------
# The images show tablets, some with a piece missing. The model is trained on good
# images and on synthetic anomalies, which look different from these defects.
import copy

import matplotlib.pyplot as plt
import numpy as np

from skfcdd import FCDDClassifier
from skfcdd.comparison import compare_models
from skfcdd.datasets import make_defects
from skfcdd.display import HeatmapDisplay
from skfcdd.monitoring import select_images

data = make_defects(
    700,
    texture="tablets",
    defect="missing",
    image_size=48,
    anomaly_fraction=0.2,
    random_state=0,
)
X, y = data.images, data.target
good = np.flatnonzero(y == 0)
train, rest = good[:150], np.setdiff1d(np.arange(len(X)), good[:150])
pool, test = rest[:300], rest[300:]

model = FCDDClassifier(max_epochs=10, warm_start=True, random_state=0).fit(X[train])

# %%
# Which images to mark
# --------------------
# `select_images` selects images that the model classifies as anomalous, or nearly so,
# and that differ from one another. In a random sample, most images would be good.
chosen = pool[select_images(model, X[pool], 25)]
drawn = np.random.default_rng(0).choice(pool, 25, replace=False)
print(f"defects among 25 chosen images: {y[chosen].sum()}, at random: {y[drawn].sum()}")
HeatmapDisplay.from_estimator(model, X[chosen[:6]])
plt.show()

# %%
# ``skfcdd select`` writes a page on which each of these images can be marked with a
# single key, and ``skfcdd update`` reads the marks that the page exports. In this
# example, the marks are the true labels of the generated images.
#
# Learning
# --------
# With ``warm_start=True``, ``fit`` continues the training. Real defects replace as many
# of the synthetic anomalies as possible. Images that were used in any training are not
# used to set the threshold.
#
# Further training can help even without marks. To measure the effect of the marks only,
# the same model is also trained further without them.
without = copy.deepcopy(model).fit(X[train])
X_marked = np.concatenate([X[train], X[chosen]])
y_marked = np.concatenate([y[train], y[chosen]])
model.fit(X_marked, y_marked)

# %%
# Is it better?
# -------------
# Both models score the same images, which are new to both. The interval refers to the
# difference; if it contains 0, this test cannot decide which model is better.
found = compare_models(
    without, model, X[test], y[test], n_resamples=300, random_state=0
)
print(found)

# %%
# The marked images must not be part of this test: they were selected because they are
# unusual, and the model was trained on them.
#
# All these defects are of one kind that no synthetic anomaly resembles, so a few marks
# help a lot. If there are many kinds of defects, a few marks may not help, or may do
# harm, because they replace synthetic anomalies: compare before you keep a model.
