"""anomalib's models with EfficientNet-Lite0, in a plain loop instead of its Engine.

The Engine resizes images to 256 pixels and writes checkpoints. A plain loop over
anomalib's torch models allows them the same arrays as all other methods. Optimisers,
losses and other parameters are the defaults of its Lightning modules, unless stated
otherwise.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import timm
import torch
from _contract import Task, main
from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator
from anomalib.models.image.dfkde.torch_model import DfkdeModel
from anomalib.models.image.dfm.torch_model import DFMModel
from anomalib.models.image.draem.loss import DraemLoss
from anomalib.models.image.draem.torch_model import DraemModel
from anomalib.models.image.fre.torch_model import FREModel
from anomalib.models.image.padim.torch_model import PadimModel
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from anomalib.models.image.stfpm.loss import STFPMLoss
from anomalib.models.image.stfpm.torch_model import STFPMModel
from torch import Tensor, nn

NETWORK = "tf_efficientnet_lite0"
# Maps of 1/4, 1/8, 1/16 and 1/32 of the sides, like "layer1" to "layer4" of a ResNet.
LAYERS = ["blocks.1", "blocks.2", "blocks.4", "blocks.6"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 32
# Training time of methods without a natural end, similar to that of skfcdd's default.
SECONDS = 60.0


def give_weights(model: nn.Module, path: str) -> None:
    """Load weights by their order, since the same layers have other names."""
    stored = torch.load(path, map_location="cpu", weights_only=True)
    whole = timm.create_model(NETWORK, pretrained=False)
    names = whole.state_dict().keys()
    renamed = dict(zip(names, stored.values(), strict=True))
    kept = model.state_dict().keys()
    model.load_state_dict({name: renamed[name] for name in kept})


def tensors(X: np.ndarray, *, photographs: bool) -> Iterator[Tensor]:
    """Yield batches (n, 3, h, w), normalised for the weights or in the range 0 to 1."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    for start in range(0, len(X), BATCH):
        batch = torch.from_numpy(X[start : start + BATCH]).float() / 255
        batch = batch[:, None].expand(-1, 3, -1, -1)
        yield (batch - mean) / std if photographs else batch.contiguous()


class Anomalib:
    """Base class for torch models of anomalib."""

    photographs = True

    def __init__(self, task: Task) -> None:
        random.seed(task.seed)
        np.random.seed(task.seed)
        torch.manual_seed(task.seed)
        self.task = task
        self.model: Any = None
        self.notes: dict[str, Any] = {}

    def score(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        self.model.eval()
        scores, maps = [], []
        with torch.inference_mode():
            for batch in tensors(X, photographs=self.photographs):
                found = self.model(batch)
                scores.append(found.pred_score.reshape(len(batch)))
                if found.anomaly_map is not None:
                    maps.append(found.anomaly_map.reshape(len(batch), *X.shape[1:]))
        heatmaps = torch.cat(maps).numpy() if maps else None
        return torch.cat(scores).numpy(), heatmaps

    def save(self, path: Path) -> None:
        torch.save(self.model.state_dict(), path)


class Memory(Anomalib):
    """Model that processes the images once, and is then fitted without gradients."""

    def __init__(
        self,
        task: Task,
        make: Callable[[], nn.Module],
        finish: Callable[[Any], object] = lambda model: model.fit(),
    ) -> None:
        super().__init__(task)
        self.model, self.finish = make(), finish
        give_weights(self.model.feature_extractor.feature_extractor, task.weights)

    def fit(self, X: np.ndarray) -> None:
        self.model.train()
        # As with Lightning, the feature extractor stays in evaluation mode.
        self.model.feature_extractor.eval()
        with torch.no_grad():
            for batch in tensors(X, photographs=True):
                self.model(batch)
            self.finish(self.model)


class Trained(Anomalib):
    """Model that is trained by gradients until the time is up."""

    def loss(self, batch: Tensor) -> Tensor:
        raise NotImplementedError

    def optimizer(self) -> torch.optim.Optimizer:
        raise NotImplementedError

    def fit(self, X: np.ndarray) -> None:
        optimizer, generator = self.optimizer(), np.random.RandomState(self.task.seed)
        self.model.train()
        epoch, steps = 0, 0
        while self.task.left(SECONDS) > 0:
            order = generator.permutation(len(X))
            for batch in tensors(X[order], photographs=self.photographs):
                optimizer.zero_grad()
                self.loss(batch).backward()
                optimizer.step()
                steps += 1
                if self.task.left(SECONDS) <= 0:
                    break
            else:
                epoch += 1
        self.notes |= {"epochs": epoch, "steps": steps, "batch": BATCH}


class STFPM(Trained):
    """STFPM: a student network imitates the pretrained one."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        create = timm.create_model
        # The constructor always downloads weights; this prevents it.
        with mock.patch.object(
            timm, "create_model", lambda *a, **k: create(*a, **{**k, "pretrained": 0})
        ):
            self.model = STFPMModel(layers=LAYERS[:3], backbone=NETWORK)
        give_weights(self.model.teacher_model.feature_extractor, task.weights)
        self.criterion = STFPMLoss()

    def optimizer(self) -> torch.optim.Optimizer:
        parameters = self.model.student_model.parameters()
        return torch.optim.SGD(parameters, lr=0.4, momentum=0.9, weight_decay=0.001)

    def loss(self, batch: Tensor) -> Tensor:
        self.model.teacher_model.eval()
        return self.criterion(*self.model(batch))


class FRE(Trained):
    """FRE: a linear autoencoder of features."""

    def __init__(self, task: Task, side: int) -> None:
        super().__init__(task)
        # Number of cells of maps of 1/16 of the sides, after pooling by two.
        cells = (side // 16 // 2) ** 2
        self.model = FREModel(
            NETWORK, LAYERS[2], 112 * cells, pre_trained=False, pooling_kernel_size=2
        )
        give_weights(self.model.feature_extractor.feature_extractor, task.weights)

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.fre_model.parameters(), lr=1e-3)

    def loss(self, batch: Tensor) -> Tensor:
        inside, outside, _ = self.model.get_features(batch)
        return nn.functional.mse_loss(inside, outside)


class DRAEM(Trained):
    """DRAEM: reconstruction and segmentation of synthetic anomalies, from scratch."""

    photographs = False

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.model = DraemModel()
        self.criterion = DraemLoss()
        # With random colours instead of texture photographs, which are downloads.
        self.augmenter = PerlinAnomalyGenerator(None, blend_factor=(0.1, 1.0))

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters(), lr=1e-4)

    def loss(self, batch: Tensor) -> Tensor:
        changed, masks = self.augmenter(batch)
        reconstructed, prediction = self.model(changed)
        return self.criterion(batch, reconstructed, masks, prediction)


def patchcore(task: Task, ratio: float) -> Memory:
    return Memory(
        task,
        lambda: PatchcoreModel(LAYERS[1:3], NETWORK, pre_trained=False),
        lambda model: model.subsample_embedding(ratio),
    )


def padim(task: Task) -> Memory:
    """Create PaDiM with as many random features as its default with a ResNet-18."""
    return Memory(
        task, lambda: PadimModel(NETWORK, LAYERS[:3], pre_trained=False, n_features=100)
    )


def side_of(task: Task) -> int:
    with np.load(task.images) as file:
        return int(file["X_test"].shape[1])


METHODS = {
    "patchcore_1_percent": lambda task: patchcore(task, 0.01),
    "padim": padim,
    "dfm": lambda task: Memory(
        task, lambda: DFMModel(NETWORK, LAYERS[2], pre_trained=False)
    ),
    "dfkde": lambda task: Memory(
        task, lambda: DfkdeModel(NETWORK, LAYERS[3:], pre_trained=False)
    ),
    "fre": lambda task: FRE(task, side_of(task)),
    "stfpm": STFPM,
    "draem": DRAEM,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    main(METHODS, ["anomalib", "torch", "timm", "numpy"])
