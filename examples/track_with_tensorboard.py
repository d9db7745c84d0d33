"""
Training curves in TensorBoard
==============================

A skorch callback writes the losses of each epoch to event files, which TensorBoard
displays.

Needs ``pip install tensorboard``. This example is not run when the documentation is
built.
"""

# sphinx_gallery_thumbnail_path = "images/track_with_tensorboard.png"

# needs: tensorboard

# %%
# ``callbacks`` accepts any skorch callbacks. The logged losses are "train_loss" and,
# with ``early_stopping=True``, "valid_loss".
import tempfile
from pathlib import Path

from skorch.callbacks import TensorBoard
from torch.utils.tensorboard import SummaryWriter

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects

data = make_defects(120, image_size=32, texture="wood", random_state=0)
good = data.images[data.target == 0]

folder = Path(tempfile.mkdtemp()) / "runs"
with SummaryWriter(folder) as writer:
    model = FCDDClassifier(
        max_epochs=5,
        early_stopping=True,
        callbacks=[TensorBoard(writer)],
        random_state=0,
    ).fit(good)

    # Heatmaps of good images, to be viewed next to the curves.
    low, high = model.heatmap_scale_
    heatmaps = model.explain(good[:8])[:, None]
    writer.add_images("heatmaps", ((heatmaps - low) / (high - low)).clip(0, 1))

# %%
# View the curves with ``tensorboard --logdir FOLDER``. The event files can also be read
# from Python:
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(str(folder)).Reload()
for name in events.Tags()["scalars"]:
    values = [event.value for event in events.Scalars(name)]
    print(name, *(f"{value:.3f}" for value in values))
assert "Loss/train_loss" in events.Tags()["scalars"]
