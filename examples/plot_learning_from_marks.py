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
# It has seen good images only, and made up its own defects.
import matplotlib.pyplot as plt
import numpy as np

from skfcdd import FCDDClassifier
from skfcdd.comparison import compare_models
from skfcdd.datasets import make_defects
from skfcdd.display import HeatmapDisplay
from skfcdd.monitoring import select_images

data = make_defects(
    900, texture="fabric", image_size=48, anomaly_fraction=0.2, random_state=0
)
X, y = data.images, data.target
good = np.flatnonzero(y == 0)
train, rest = good[:150], np.setdiff1d(np.arange(len(X)), good[:150])
pool, test = rest[:375], rest[375:]

model = FCDDClassifier(max_epochs=8, warm_start=True, random_state=0).fit(X[train])

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
# With ``warm_start=True`` the training goes on. Real defects take the place of made-up
# ones as far as they go. Images that any training has seen do not set the threshold.
first = FCDDClassifier(max_epochs=8, random_state=0).fit(X[train])
X_marked = np.concatenate([X[train], X[chosen]])
y_marked = np.concatenate([y[train], y[chosen]])
model.fit(X_marked, y_marked)

# %%
# Is it better?
# -------------
# Both models see the same images, which are new to both. The interval is that of the
# difference; if it holds 0, this test cannot tell.
found = compare_models(first, model, X[test], y[test], n_resamples=300, random_state=0)
print(found)

# %%
# The marked images must not be part of this test: they were chosen because they are
# unusual, and the model has learned them.
