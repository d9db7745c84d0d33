"""
Two kinds of evidence
=====================

The default detector knows two things: what synthetic anomalies look like, and which
features it has seen on good images. Its heatmap is the sum of both, and can be split.
"""

# %%
# Boards with cracks, spots and scratches, and boards of another kind of flaw: a place
# that is worn smooth. It has no edge and no strange colour, and no synthetic
# anomaly looks like it.
import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects
from skfcdd.display import HeatmapDisplay

data = make_defects(220, image_size=128, texture="wood", random_state=3)
good = data.images[data.target == 0]
train, held, rest = good[:110], good[110:135], good[135:160]
flawed = data.images[data.target == 1][:25]


def wear(images, seed=0):
    """Smooth a round place of each image, fading out towards its rim."""
    rng = np.random.default_rng(seed)
    n, h, w = images.shape
    y, x = np.mgrid[:h, :w]
    centres = rng.uniform(0.3, 0.7, (n, 2)) * (h, w)
    disc = np.stack([np.hypot(y - row, x - column) < 32 for row, column in centres])
    share = gaussian_filter(disc.astype(float), (0, 6, 6))
    smooth = gaussian_filter(images.astype(float), (0, 3, 3))
    return (images * (1 - share) + smooth * share).round().astype(np.uint8)


worn = wear(rest)
model = FCDDClassifier(max_epochs=6, random_state=0).fit(train)

# %%
# ``explain_parts`` gives both maps, the score, and how much of the score comes from the
# memory of normal features, all from one pass through the network. Each part is a score
# in its own right: how well does it tell each kind of flaw from good boards?
groups = {"good": held, "cracks, spots, ...": flawed, "worn": worn}
parts = {name: model.explain_parts(images) for name, images in groups.items()}


def auroc(name, part):
    """Area under the ROC curve, good boards against those of a group."""
    scores = [parts[key][part].mean(axis=(1, 2)) for key in ("good", name)]
    truth = np.repeat([0, 1], [len(score) for score in scores])
    return roc_auc_score(truth, np.concatenate(scores))


print(f"{'AUROC':20s} looks like a defect   never seen before    sum")
for name in list(groups)[1:]:
    defect, novelty, whole = (auroc(name, p) for p in ("defect", "novelty", "heatmap"))
    print(f"{name:20s} {defect:19.2f} {novelty:19.2f} {whole:6.2f}")

# %%
# Two good boards, and the three highest scores of each other group. The percentages are
# shares of the score. Good boards have a score too, but their heatmaps stay calm.
highest = {name: np.argsort(-found.score)[:3] for name, found in parts.items()}
flaws = [groups[name][highest[name]] for name in list(groups)[1:]]
HeatmapDisplay.from_estimator(
    model,
    np.concatenate([held[:2], *flaws]),
    np.repeat([0, 1], [2, 6]),
    names=["good"] * 2 + ["crack, spot, ..."] * 3 + ["worn"] * 3,
    order="given",
    parts=True,
)

# %%
# All boards by their two parts. An image is classified as anomalous if the sum is above
# the threshold, to the upper right of the line: strong evidence of one kind is enough,
# and so is some of both.
figure, ax = plt.subplots(figsize=(5.6, 4.4), layout="constrained")
for (name, found), marker in zip(parts.items(), "o^s", strict=True):
    novelty = found.score * found.novelty_share
    ax.scatter(found.score - novelty, novelty, marker=marker, label=name, alpha=0.8)
ax.set(yscale="log", xlabel="looks like a defect", ylabel="never seen before")
limits = ax.get_xlim(), ax.get_ylim()
along = model.threshold_ * np.linspace(0, 1, 400)[1:-1]
ax.plot(along, model.threshold_ - along, color="0.5", label="threshold")
ax.set(xlim=limits[0], ylim=limits[1])
ax.legend(frameon=False)

# %%
# When does each matter?
#
# - *Looks like a defect* is what FCDD learns, from synthetic anomalies or from real
#   ones. It knows small and thin flaws with edges, and gets better with each real
#   defect that ``fit`` is given.
# - *Never seen before* needs no defects at all. It notices what no synthetic anomaly
#   resembles, but also whatever is new and harmless: another light, another supplier.
#
# A large share of novelty in false alarms means that good images were missing in
# ``fit``. A large share of the other part means that something harmless resembles the
# synthetic anomalies: choose other ones with ``synthetic=``.
#
# ``memory_bank=MemoryBank(weight=...)`` sets how much the second part counts.
