"""Coreset selection and nearest-neighbour distances."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from sklearn.random_projection import SparseRandomProjection
from torch import Tensor

__all__ = ["greedy_coreset", "nearest", "nearest_distance"]

# Points with more dimensions are projected to this many, which preserves distances well
# enough to select a coreset.
_DIMENSIONS = 128
# Maximum number of distances computed at a time; on a CPU, as many as fit in its cache.
_MOST_DISTANCES, _MOST_DISTANCES_CPU = 1 << 24, 1 << 19


def greedy_coreset(
    points: Tensor, size: int, *, seed: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Select a coreset: the greedy solution of the k-centre problem.

    Starting from a random point, the point farthest from all selected points is added
    until there are `size`. The largest distance of any point to the nearest selected
    one is then at most twice the optimum (Gonzalez, 1985). If there are more than 128
    dimensions, distances are measured after a sparse random projection (Achlioptas,
    2003).

    Parameters
    ----------
    points : Tensor of shape (n, d)
    size : int
        Number of points to select, at most n.
    seed : int
        Seed of the first point and of the projection.
    device : torch.device or str, default="cpu"
        Device of the computation.

    Returns
    -------
    Tensor of shape (size,), int64
        Rows of the selected points, in the order of selection; all different.

    Examples
    --------
    >>> import torch
    >>> from skfcdd._engine.coreset import greedy_coreset
    >>> points = torch.tensor([[0.0], [0.1], [5.0], [5.1], [9.0]])
    >>> sorted((greedy_coreset(points, 3, seed=0) // 2).tolist())
    [0, 1, 2]
    """
    points = _projected(points, seed).to(device)
    squares = points.square().sum(dim=1)
    generator = torch.Generator().manual_seed(seed)
    # Indices stay on the device, because reading one would synchronise its queue.
    taken = torch.empty(size, dtype=torch.int64, device=points.device)
    taken[0] = torch.randint(len(points), (1,), generator=generator).item()
    distance = torch.full_like(squares, torch.inf)
    for i in range(size):
        center = points[taken[i : i + 1]]
        # The squared norm of the centre, the same for all points, is added below.
        new = torch.addmv(squares, points, center[0], alpha=-2)
        torch.minimum(distance, new + center.square().sum(), out=distance)
        distance[taken[i]] = -torch.inf  # never select a point twice, despite rounding
        if i + 1 < size:
            taken[i + 1] = distance.argmax()
    return taken.cpu()


def _projected(points: Tensor, seed: int) -> Tensor:
    if points.shape[1] <= _DIMENSIONS:
        return points
    projection = SparseRandomProjection(_DIMENSIONS, random_state=seed)
    return torch.from_numpy(projection.fit_transform(points.numpy())).to(points.dtype)


def nearest(points: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance to the nearest point of a memory bank, and its index.

    The distances are exact to rounding, unlike those of :func:`nearest_distance`.

    Parameters
    ----------
    points : Tensor of shape (n, d)
    memory : Tensor of shape (m, d)

    Returns
    -------
    distance : Tensor of shape (n,)
    index : Tensor of shape (n,), int64

    Examples
    --------
    >>> import torch
    >>> from skfcdd._engine.coreset import nearest
    >>> memory = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    >>> nearest(torch.tensor([[3.0, 0.0], [3.0, 5.0]]), memory)
    (tensor([3., 1.]), tensor([0, 1]))
    """
    found = [squares.argmin(dim=1) for squares in _squares(points, memory)]
    index = torch.cat(found)
    # The expanded square finds the nearest point, but its distance loses digits.
    return torch.linalg.vector_norm(points - memory[index], dim=1), index


def nearest_distance(points: Tensor, memory: Tensor) -> Tensor:
    """Return the distance to the nearest point of a memory bank.

    Twice as fast as :func:`nearest`, but distances below a thousandth of the norms of
    the points are subject to rounding errors.

    Parameters
    ----------
    points : Tensor of shape (n, d)
    memory : Tensor of shape (m, d)

    Returns
    -------
    Tensor of shape (n,)

    Examples
    --------
    >>> import torch
    >>> from skfcdd._engine.coreset import nearest_distance
    >>> memory = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    >>> nearest_distance(torch.tensor([[3.0, 0.0], [3.0, 5.0]]), memory)
    tensor([3., 1.])
    """
    least = torch.cat([squares.amin(dim=1) for squares in _squares(points, memory)])
    return (least + points.square().sum(dim=1)).clamp_min(0).sqrt()


def _squares(points: Tensor, memory: Tensor) -> Iterator[Tensor]:
    """Yield chunks of squared distances (k, m) minus the squared norm of each point."""
    squares, doubled = memory.square().sum(dim=1), -2 * memory.T
    most = _MOST_DISTANCES_CPU if points.device.type == "cpu" else _MOST_DISTANCES
    # An exported graph takes any number of points, and its runtime manages the memory.
    whole = torch.compiler.is_compiling()
    step = max(1, most // len(memory))
    for part in (points,) if whole else torch.split(points, step):
        yield torch.addmm(squares, part, doubled)
