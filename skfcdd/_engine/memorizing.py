"""Construction of a memory bank from the features of normal images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from skfcdd._engine.coreset import greedy_coreset
from skfcdd._engine.inference import FixedRunner, Runner, in_batches
from skfcdd._engine.lean import lean
from skfcdd._engine.memory import DeepFeatures, NormalMemory, places
from skfcdd._engine.memory_stages import deep_features, memory_stages, own_stage
from skfcdd._engine.model import FittedModel
from skfcdd._engine.module import FCDDModule
from skfcdd._engine.recollection import Recollection, cells_inside
from skfcdd._engine.settings import Settings
from skfcdd._engine.whole_image import MOST_IMAGES, WholeImage, learn_whole_image
from skfcdd._inputs.images import ImageArray
from skfcdd.exceptions import WeightsError
from skfcdd.heatmaps import GaussianUpsampler
from skfcdd.memory_bank import MemoryBank

__all__ = ["draw_cells", "recollect"]

Rows = npt.NDArray[np.intp]

# Maximum number of images on which distances of normal cells are measured.
_MEASURED = 256


def draw_cells(
    runner: Runner,
    images: ImageArray,
    rows: Rows,
    cells: Callable[[Tensor], Tensor],
    *,
    n_cells: int,
    seed: int,
) -> npt.NDArray[np.floating]:
    """Draw the features of random cells, the same number from each normal image.

    Parameters
    ----------
    runner : Runner
    images : ImageArray
    rows : ndarray of int
        Rows of the images to draw from.
    cells : callable
        Maps images (k, c, h, w) in the unit range to features (k, u, v, d), or (k, m,
        d).
    n_cells : int
        Approximate maximum number of cells in total; each image contributes at least
        one.
    seed : int

    Returns
    -------
    ndarray of shape (n_images, m, d)
        Features of m cells of each image, or of all its cells if it has fewer.
    """
    rng = np.random.RandomState(seed)
    each = max(1, n_cells // len(rows))

    def drawn(batch: Tensor) -> Tensor:
        found = cells(batch)
        found = found.reshape(len(found), -1, found.shape[-1])
        n, all_, d = found.shape
        if each >= all_:
            return found
        # Drawn image by image, so that the batch size makes no difference.
        places = torch.from_numpy(rng.random_sample((n, all_)).argsort(axis=1))
        chosen = places[:, :each, None].to(found.device)
        return found.gather(1, chosen.expand(-1, -1, d))

    return np.concatenate([p for _, p in in_batches(runner, images, rows, drawn)])


def _of_groups(
    fast: FCDDModule, compute: Callable[[list[Tensor]], Tensor]
) -> Callable[[Tensor], Tensor]:
    """Return a function that applies `compute` to stage outputs, group by group."""
    memory: Any = fast.memory
    return lambda batch: torch.cat(
        [
            compute(memory.maps(fast.frozen_features(part)[-1]))
            for part in fast.groups(batch)
        ]
    )


def _apart(
    memory: NormalMemory,
    owners: Tensor,
    module: FCDDModule,
    runner: Runner,
    images: ImageArray,
    rows: Rows,
    groups: Rows,
) -> npt.NDArray[np.float64]:
    """Compute the distances (n, u, v) of cells to stored features of other groups."""
    h, w = module.preprocess.size or images.image_shape[:2]
    fast: Any = lean(module, runner.precision, (h, w), memory)
    vectors = _of_groups(fast, fast.memory.vectors)
    found = []
    for place, batch in in_batches(runner, images, rows, vectors):
        own = torch.from_numpy(groups[place])[:, None] == owners
        # A tiny memory bank may store the features of a single group.
        own &= ~own.all(dim=1, keepdim=True)
        # One image at a time, because a large image has many cells.
        for image, mask in zip(torch.from_numpy(batch), own, strict=True):
            apart = torch.cdist(image.flatten(0, 1), memory.points.to(image))
            apart = apart.masked_fill(mask, torch.inf).amin(dim=1)
            found.append(apart.view(image.shape[:2]).double().numpy())
    return np.stack(found)


def remember(
    bank: MemoryBank,
    features: DeepFeatures | None,
    module: FCDDModule,
    runner: Runner,
    images: ImageArray,
    rows: Rows,
    groups: Rows,
    *,
    seed: int,
    stages: tuple[int, ...] | None = None,
    previous: NormalMemory | None = None,
) -> Recollection:
    """Build a memory bank from the features of normal images.

    Parameters
    ----------
    bank : MemoryBank
    features : DeepFeatures or None
        Stages that compute the features; None uses those of `previous`.
    module : FCDDModule
        Module with the frozen stages.
    runner : Runner
        Runner of the module.
    images : ImageArray
    rows : ndarray of int
        Rows of the normal images.
    groups : ndarray of int
        Equal for images that belong together; at least 2 groups.
    seed : int
    stages : tuple of int, default=None
        Stages from which the features are taken.
    previous : NormalMemory, default=None
        Memory bank of the training that is continued; its points are candidates for the
        new one.
    """
    h, w = module.preprocess.size or images.image_shape[:2]
    dtype = module.preprocess.mean.dtype
    blank = previous
    if blank is None:
        assert features is not None
        nothing = torch.empty(0, 0, dtype=dtype)
        blank = NormalMemory(
            features,
            bank.patch_size,
            nothing,
            nothing,
            nothing,
            block=features.finest,
            stages=stages,
        )
    fast: Any = lean(module, runner.precision, (h, w), blank)
    upsample = cast(GaussianUpsampler, module.upsample)
    inside = cells_inside(blank, upsample)

    def with_places(maps: list[Tensor]) -> Tensor:
        found: Tensor = fast.memory.cells(maps)
        grid = places(found).expand(len(found), -1, -1, -1)
        joined = torch.cat([found, grid], dim=-1)
        return joined if inside is None else joined[:, inside.to(joined.device)]

    cells = _of_groups(fast, with_places)
    drawn = draw_cells(runner, images, rows, cells, n_cells=bank.max_patches, seed=seed)
    owners = np.repeat(groups, drawn.shape[1])
    flat = drawn.reshape(-1, drawn.shape[2])
    if previous is None:
        mean, axes, position = _projection(flat[:, :-2], bank)
    else:
        mean, axes = previous.mean.numpy(), previous.axes.numpy()
        position = previous.position
    vectors = (flat[:, :-2] - mean) @ axes
    if position:
        vectors = np.concatenate([vectors, position * flat[:, -2:]], axis=1)
    if previous is not None:
        known = previous.points.numpy()
        vectors = np.concatenate([known, vectors])
        owners = np.concatenate([np.full(len(known), -1), owners])
    candidates = torch.from_numpy(vectors.astype(flat.dtype, copy=False))
    n_kept = min(int(bank.n_patches), len(candidates))
    kept = greedy_coreset(candidates, n_kept, seed=seed, device=runner.device)
    memory = NormalMemory(
        blank.features,
        blank.patch_size,
        torch.as_tensor(mean, dtype=dtype),
        torch.as_tensor(axes, dtype=dtype),
        candidates[kept],
        position,
        blank.block,
        blank.stages,
        _whole_image(bank, fast, runner, images, rows, groups, blank.whole),
    )
    some = _spaced(len(rows), _MEASURED)
    own = torch.from_numpy(owners)[kept]
    distances = _apart(memory, own, module, runner, images, rows[some], groups[some])
    return Recollection(memory, rows[some], distances, bank, upsample)


def _groups(together: Rows) -> Rows:
    """Number groups by their first image; a single group is split into its images."""
    _, first, inverse = np.unique(together, return_index=True, return_inverse=True)
    return first[inverse] if len(first) > 1 else np.arange(len(together))


def _spaced(n: int, most: int) -> Rows:
    """Return at most `most` evenly spaced integers from 0 to `n` - 1."""
    return np.unique(np.linspace(0, n - 1, most).astype(np.intp))


def _whole_image(
    bank: MemoryBank,
    fast: Any,
    runner: Runner,
    images: ImageArray,
    rows: Rows,
    groups: Rows,
    previous: WholeImage | None,
) -> WholeImage | None:
    """Fit the image-level evidence, unless its weight is 0."""
    if not bank.global_weight:
        return None
    compute = _of_groups(fast, fast.memory.means)
    chosen = _spaced(len(rows), MOST_IMAGES)
    parts = in_batches(runner, images, rows[chosen], compute)
    means = np.concatenate([part for _, part in parts]).astype(np.float64)
    dtype = fast.memory.mean.dtype
    return learn_whole_image(means, dtype, previous, groups=groups[chosen])


def _projection(
    features: npt.NDArray[np.floating], bank: MemoryBank
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Compute the mean and principal axes of features, and the factor of positions."""
    n, d = features.shape
    k = min(d if bank.n_components is None else int(bank.n_components), d, n)
    fitted = PCA(k, svd_solver="covariance_eigh").fit(features.astype(np.float64))
    spread = float(np.sqrt(fitted.explained_variance_.sum()))
    return fitted.mean_, fitted.components_.T, float(bank.position) * spread


def recollect(
    settings: Settings,
    module: FCDDModule,
    precision: str,
    images: ImageArray,
    rows: Rows,
    together: Rows,
    previous: FittedModel | None,
    seed: int,
) -> Recollection | None:
    """Build a memory bank of the normal images at `rows`, if requested.

    Parameters
    ----------
    settings : Settings
    module : FCDDModule
        Module before this training.
    precision : {"float64", "float32", "bfloat16", "mixed"}
    images : ImageArray
    rows : ndarray of int
    together : ndarray of int
        Equal for images at `rows` that belong together, such as copies of one image.
        Distances between normal images are measured only between such groups.
    previous : FittedModel or None
        Model from which training continues.
    seed : int

    Raises
    ------
    ValueError
        If the network or the images are unsuitable for the requested memory bank.
    """
    bank = settings.memory_bank
    if bank is None:
        return None
    if bank == "auto":
        network: Any = module.backbone
        if not module.split or network.taken[0] < module.split or len(rows) < 2:
            return None
        bank = MemoryBank()
    if len(rows) < 2:
        raise ValueError(
            f"Got memory_bank={bank} with {len(rows)} normal image to train on, but a "
            "memory bank is scaled by comparing images with each other, which needs "
            "at least 2."
        )
    runner = FixedRunner(module, settings.device, precision, settings.batch_size)
    known = None if previous is None else previous.memory
    features = stages = None
    if known is None:
        h, w = module.preprocess.size or images.image_shape[:2]
        shape = (h, w, images.image_shape[2])
        network, n_frozen = settings.network, module.split
        stages = memory_stages(bank, network, module.backbone, n_frozen)
        if previous is not None and stages is None:
            raise ValueError(
                f"Got memory_bank={bank} with warm_start=True, but the network was "
                "trained without a memory bank, and its initial weights are no longer "
                "available. Set warm_start=False."
            )
        try:
            features = deep_features(stages, network, module.backbone, n_frozen, shape)
        except WeightsError:
            # Custom weights may end at the stage from which the FCDD map is computed.
            own = own_stage(module.backbone)
            if bank.stages is not None or stages is None or stages == (own,):
                raise
            stages = (own,)
            features = deep_features(stages, network, module.backbone, n_frozen, shape)
    return remember(
        bank,
        features,
        module,
        runner,
        images,
        rows,
        _groups(together),
        seed=seed,
        stages=stages,
        previous=known,
    )
