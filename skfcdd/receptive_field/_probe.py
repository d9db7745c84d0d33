"""A module under test: which cells NaN in the image reach, and what cells see."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from skfcdd.receptive_field._thin import AlikeChannels, ThinChannels

__all__ = ["REFUSALS", "Line", "Probe"]

Edges = npt.NDArray[np.int64]
Seen = npt.NDArray[np.bool_]

# What modules raise for a size that they do not take.
REFUSALS = (RuntimeError, ValueError, AssertionError)
# Pixels of the images that go through the module together.
_AT_ONCE = 1 << 19
# Bands of NaN by which channels are compared.
_BANDS = 32


class Probe:
    """A copy of a module that says which of its cells are NaN.

    In double precision, for which only plain kernels exist: they compute each cell from
    its own pixels, where fused or blocked ones may let a NaN leak into a neighbour.

    Parameters
    ----------
    module : torch.nn.Module
        Maps (n, c, h, w) to (n, d, u, v).
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = copy.deepcopy(module).cpu().double().eval()
        self.thin = self.together = True

    def __call__(self, images: Tensor) -> Tensor:
        """Which cells (n, d, u, v) of images (n, c, h, w) are NaN.

        Channels that are alike are left out.
        """
        if not self.together and len(images) > 1:
            return torch.cat([self(image[None]) for image in images])
        try:
            output = self._run(images)
            if len(output) != len(images):
                raise ValueError("Images are not mapped one by one.")
        except REFUSALS:
            if len(images) == 1:
                raise
            self.together = False
            return self(images)
        if not output.numel():
            size = tuple(images.shape[2:])
            raise ValueError(f"No cells are left of an image of {size} pixels.")
        if isinstance(output, AlikeChannels):
            output = output.lone
        return output.isnan()

    def _run(self, images: Tensor) -> Tensor:
        if self.thin:
            try:
                return self._computed(images, thin=True)
            except Exception:  # code that a map of one channel does not suit
                output = self._computed(images, thin=False)
                self.thin = False
                return output
        return self._computed(images, thin=False)

    def _computed(self, images: Tensor, *, thin: bool) -> Tensor:
        with ThinChannels() if thin else nullcontext():
            output: Tensor = self.module(images)
        return output

    def check(self, shape: Sequence[int]) -> None:
        """Do without thin channels where they alone give NaN, as in 0 / 0."""
        if self.thin and bool(self(torch.zeros(1, *shape, dtype=torch.float64)).any()):
            self.thin = False


class Line:
    """A strip of the image along one axis, of which the length may change.

    Parameters
    ----------
    probe : Probe
    shape : sequence of int (c, h, w)
        Of the strip at the size of the image.
    axis : {0, 1}
    """

    def __init__(self, probe: Probe, shape: Sequence[int], axis: int) -> None:
        self.probe, self.axis = probe, axis
        self.shape = tuple(shape)
        # The channels of which cells see least, where they differ: they say best where
        # a cell lies.
        self.sharp: Tensor | None = None

    @property
    def length(self) -> int:
        """Pixels of the image along the axis."""
        return self.shape[1 + self.axis]

    def count(self, length: int) -> int | None:
        """Number of cells along the axis; None where the module refuses the size."""
        try:
            return int(self._channels(length, [(0, 0)]).shape[2])
        except REFUSALS:
            return None

    def find_sharp(self, length: int) -> None:
        """Tell channels apart by how many cells bands of NaN reach in them."""
        if self._channels(length, [(0, 0)]).shape[1] == 1:
            return
        ends = np.linspace(0, length, min(_BANDS, length) + 1).astype(int)
        spans = list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
        counts = self._channels(length, spans).sum(dim=(0, 2))
        least = counts[counts > 0].min() if bool((counts > 0).any()) else 0
        if bool((counts > least).any()):
            self.sharp = counts == least

    def touched(self, length: int, spans: Sequence[tuple[int, int]]) -> Seen:
        """Which cells NaN from pixel to pixel reach: (spans, 2, cells).

        First in any channel, second in the sharpest ones.
        """
        channels = self._channels(length, spans)
        seen = sharp = channels.any(dim=1)
        if self.sharp is not None and len(self.sharp) == channels.shape[1]:
            sharp = channels[:, self.sharp].any(dim=1)
        return torch.stack([seen, sharp], dim=1).numpy()

    def edges(
        self, length: int, cells: Sequence[int], guess: Edges | None = None
    ) -> Edges:
        """First and last pixel that cells see, (2, cells, 2); -1 where there is none.

        First in any channel, second in the sharpest ones. A `guess` of the same shape
        makes it faster.
        """
        n_cells = len(cells)
        # Pixels from either end at which a cell turns NaN: (2 sides, 2, cells).
        low = np.zeros((2, 2, n_cells), dtype=int)
        high = np.full_like(low, length)
        expected = low if guess is None else _turns(guess, length)
        steps = 0
        while bool((high - low > 1).any()):
            at = (low + high) // 2
            if guess is not None and steps < 2:  # the pixel itself, and the one before
                near = expected - steps
                at = np.where((low < near) & (near < high), near, at)
            reached = self._reached(length, cells, at)
            open_ = high - low > 1
            high = np.where(open_ & reached, at, high)
            low = np.where(open_ & ~reached, at, low)
            steps += 1
        found = np.stack([high[0] - 1, length - high[1]], axis=-1)
        everything = self.touched(length, [(0, length)])[0][:, list(cells)]
        return np.where(everything[..., None], found, -1)

    def _reached(self, length: int, cells: Sequence[int], at: Edges) -> Seen:
        """Whether cells are NaN when so many pixels from either end are."""
        ends = np.stack([at, np.broadcast_to([[[0]], [[1]]], at.shape)], axis=-1)
        depths, which = np.unique(ends.reshape(-1, 2), axis=0, return_inverse=True)
        spans = [(length - t, length) if side else (0, t) for t, side in depths]
        seen = self.touched(length, spans)[:, :, list(cells)]
        kind, cell = np.arange(2)[:, None], np.arange(len(cells))
        reached: Seen = seen[which.reshape(at.shape), kind, cell]
        return reached

    def _channels(self, length: int, spans: Sequence[tuple[int, int]]) -> Tensor:
        """Which cells are NaN in which channels: (spans, d, cells)."""
        size = [*self.shape[1:]]
        size[self.axis] = length
        limits = torch.tensor(spans)
        pixel = torch.arange(length)
        inside = (pixel >= limits[:, :1]) & (pixel < limits[:, 1:])
        parts = []
        for part in torch.split(inside, max(1, _AT_ONCE // math.prod(size))):
            view = (len(part), 1, -1, 1) if self.axis == 0 else (len(part), 1, 1, -1)
            images = torch.zeros(len(part), self.shape[0], *size, dtype=torch.float64)
            images.masked_fill_(part.view(view), math.nan)
            parts.append(self.probe(images).any(dim=3 - self.axis))
        return torch.cat(parts)


def _turns(edges: Edges, length: int) -> Edges:
    """Pixels from either end at which a cell with such edges turns NaN."""
    return np.stack([edges[..., 0] + 1, length - edges[..., 1]])
