"""
Two kinds of evidence
=====================

The default detector has learned what synthetic anomalies look like, and has stored the
features of good images. Its heatmap is the sum of two maps, one for each kind of
evidence, and can be split into them.
"""

# %%
# Some boards have cracks, spots or scratches, and others have another kind of flaw: an
# area that is worn smooth. It has no edges and no unusual colour, and no synthetic
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
    """Smooth a round area of each image, with soft edges."""
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
# ``explain_parts`` computes both maps, the score, and the share of the score that comes
# from the memory of normal features, in one pass through the network. The mean of each
# map can be used as a score of its own: how well does it distinguish each kind of flaw
# from good boards?
groups = {"good": held, "cracks, spots, ...": flawed, "worn": worn}
parts = {name: model.explain_parts(images) for name, images in groups.items()}


def auroc(name, part):
    """Compute the AUROC of a map, for a group of boards against good ones."""
    scores = [parts[key][part].mean(axis=(1, 2)) for key in ("good", name)]
    truth = np.repeat([0, 1], [len(score) for score in scores])
    return roc_auc_score(truth, np.concatenate(scores))


print(f"{'AUROC':20s} looks like a defect   never seen before    sum")
for name in list(groups)[1:]:
    defect, novelty, whole = (auroc(name, p) for p in ("defect", "novelty", "heatmap"))
    print(f"{name:20s} {defect:19.2f} {novelty:19.2f} {whole:6.2f}")

# %%
# The figure shows two good boards, and the three boards with the highest scores of each
# other group. The percentages are shares of the score. Good boards have a score too,
# but their heatmaps stay almost uncoloured.
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
# The two parts of the scores of all boards. An image is classified as anomalous if
# their sum is above the threshold, to the upper right of the line: strong evidence of
# one kind is enough, and so is moderate evidence of both.
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
# When does each part matter?
#
# - *Looks like a defect* is what FCDD learns from synthetic or real anomalies. It
#   responds to small and thin flaws with edges, and improves with real defects that are
#   passed to ``fit``.
# - *Never seen before* needs no defects at all. It responds to flaws that no synthetic
#   anomaly resembles, but also to anything that is new but harmless: different
#   lighting, another supplier.
#
# If false alarms have a large share of novelty, the images passed to ``fit`` did not
# cover all good images. If the other part has a large share, something harmless
# resembles the synthetic anomalies: choose other kinds with ``synthetic=``.
#
# ``memory_bank=MemoryBank(weight=...)`` sets the weight of the second part.
