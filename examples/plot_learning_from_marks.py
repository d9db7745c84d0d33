"""
Learning from marks
===================

After the first model, somebody looks at images and says which are good and which are
not. Their time is dear: this example chooses the images that are worth it, lets the
model learn from the marks, and asks whether it has become better.
"""

# %%
# The first model
# ---------------
# Tablets, from some of which a piece is missing. The model has seen good ones only, and
# synthetic anomalies that look otherwise.
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

model = FCDDClassifier(max_epochs=5, warm_start=True, random_state=0).fit(X[train])

# %%
# Which images to mark
# --------------------
# `select_images` takes images that the model calls anomalous, or nearly so, and that
# differ from one another. Drawn at random, most images would be good ones.
chosen = pool[select_images(model, X[pool], 25)]
drawn = np.random.default_rng(0).choice(pool, 25, replace=False)
print(f"defects among 25 chosen images: {y[chosen].sum()}, at random: {y[drawn].sum()}")
HeatmapDisplay.from_estimator(model, X[chosen[:6]])
plt.show()

# %%
# ``skfcdd select`` writes a page with these images, in which they are marked with a key
# each, and ``skfcdd update`` reads what it exports. Here the marks are the truth of the
# generated images.
#
# Learning
# --------
# With ``warm_start=True`` the training goes on. Real defects take the place of
# synthetic ones as far as they go. Images that any training has seen do not set the
# threshold.
#
# Further training helps by itself. To see what the marks bring, the same model goes on
# without them too.
without = copy.deepcopy(model).fit(X[train])
X_marked = np.concatenate([X[train], X[chosen]])
y_marked = np.concatenate([y[train], y[chosen]])
model.fit(X_marked, y_marked)

# %%
# Is it better?
# -------------
# Both models see the same images, which are new to both. The interval is that of the
# difference; if it holds 0, this test cannot tell.
found = compare_models(
    without, model, X[test], y[test], n_resamples=300, random_state=0
)
print(found)

# %%
# The marked images must not be part of this test: they were chosen because they are
# unusual, and the model has learned them.
#
# These defects are of one kind that no synthetic anomaly resembles, so a few marks
# bring much. If defects are of many kinds, a few marks may bring nothing, or do harm,
# as they take the place of synthetic anomalies: so compare, before you keep a model.
