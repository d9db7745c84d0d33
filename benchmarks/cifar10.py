"""CIFAR-10, one class against the nine others, with outlier exposure.

Trains the network LW3K of the paper on 2000 normal images, with photographs from
Caltech-101 as exposed outliers. Writes results/cifar10.json, with the AUROC over the
course of training.

    python benchmarks/cifar10.py --epochs 20
"""

from __future__ import annotations

import argparse
import io
import time
import zipfile

import numpy as np
from _common import data_folder, earlier, record
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from skorch.callbacks import Callback

from skfcdd import FCDDClassifier
from skfcdd._engine.inference import in_batches
from skfcdd._inputs.images import ImageArray

PUBLISHED = {"airplane": 0.95, "ship": 0.97, "horse": 0.96}
CLASSES = [
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
]
N_TRAIN = 2000


def load(part: str, names: list[str], limit: int | None = None):
    """Load the images (n, 32, 32, 3) of some classes, and the class name of each."""
    images, labels = [], []
    with zipfile.ZipFile(data_folder() / "cifar10_jpg.zip") as archive:
        members = sorted(archive.namelist())
        for name in names:
            prefix = f"{part}/{name}/"
            files = [m for m in members if prefix in m and m.endswith(".jpg")]
            for member in files[:limit]:
                images.append(np.asarray(Image.open(io.BytesIO(archive.read(member)))))
                labels.append(name)
    return np.stack(images), np.array(labels)


class Curve(Callback):
    """Callback that records the test AUROC and the training time every few epochs."""

    def __init__(self, images: np.ndarray, anomalous: np.ndarray, every: int) -> None:
        self.images, self.anomalous, self.every = images, anomalous, every

    def on_train_begin(self, net, **kwargs):
        self.points, self.spent, self.started = [], 0.0, time.perf_counter()

    def on_epoch_end(self, net, **kwargs):
        self.spent += time.perf_counter() - self.started
        epoch = len(net.history)
        if epoch % self.every == 0 or epoch == net.max_epochs:
            parts = in_batches(net, ImageArray(self.images), None, net.module_)
            score = np.concatenate([cells.mean(axis=(1, 2)) for _, cells in parts])
            auroc = float(roc_auc_score(self.anomalous, score))
            self.points.append(
                {"epoch": epoch, "train_s": round(self.spent), "auroc": round(auroc, 4)}
            )
            print("  ", self.points[-1], flush=True)
        self.started = time.perf_counter()


def pca_auroc(train: np.ndarray, test: np.ndarray, anomalous: np.ndarray) -> float:
    train, test = (v.reshape(len(v), -1) / 255 for v in (train, test))
    pca = PCA(200, random_state=0).fit(train)
    residual = test - pca.inverse_transform(pca.transform(test))
    return round(float(roc_auc_score(anomalous, (residual**2).mean(axis=1))), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", nargs="*", default=list(PUBLISHED))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="add to the results")
    arguments = parser.parse_args()
    exposed = np.load(data_folder() / "oe_32.npz", allow_pickle=False)["X"]
    test, kinds = load("test", CLASSES)
    rows = earlier("cifar10") if arguments.keep else []
    for name in arguments.classes:
        train, _ = load("train", [name], N_TRAIN)
        anomalous = kinds != name
        curve = Curve(test, anomalous, every=max(1, arguments.epochs // 8))
        model = FCDDClassifier(
            "fcdd32_lw3k",
            normalize="standard",
            augment=("shift", "jitter", "horizontal_flip"),
            synthetic=None,
            outlier_exposure=exposed,
            channels="last",
            batch_size=128,
            max_epochs=arguments.epochs,
            callbacks=[curve],
            random_state=arguments.seed,
        )
        print(name, flush=True)
        model.fit(train)
        score = model.anomaly_score(test)
        rows.append(
            {
                "class": name,
                "seed": arguments.seed,
                "epochs": arguments.epochs,
                "auroc": round(float(roc_auc_score(anomalous, score)), 4),
                "published": PUBLISHED[name],
                "pca_200": pca_auroc(train, test, anomalous),
                "curve": curve.points,
            }
        )
        print(rows[-1], flush=True)
        record("cifar10", rows)


if __name__ == "__main__":
    main()
