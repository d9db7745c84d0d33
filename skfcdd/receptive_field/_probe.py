"""Propagation of NaN through a module, to find the receptive field of its cells."""

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

# Errors raised by modules for unsupported sizes.
REFUSALS = (RuntimeError, ValueError, AssertionError)
# Maximum number of pixels in a batch of images.
_AT_ONCE = 1 << 19
# Number of bands of NaN with which channels are compared.
_BANDS = 32


class Probe:
    """Copy of a module that returns which of its cells are NaN.

    Double precision is used because its kernels compute each cell only from its own
    pixels. The fused or blocked kernels of other types may propagate a NaN to a
    neighbour.

    Parameters
    ----------
    module : torch.nn.Module
        Module that maps (n, c, h, w) to (n, d, u, v).
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = copy.deepcopy(module).cpu().double().eval()
        self.thin = self.together = True

    def __call__(self, images: Tensor) -> Tensor:
        """Return which cells (n, d, u, v) of images (n, c, h, w) are NaN.

        If channels are known to be equal, only one of them is returned.
        """
        if not self.together and len(images) > 1:
            return torch.cat([self(image[None]) for image in images])
        try:
            output = self._run(images)
            if len(output) != len(images):
                raise ValueError(
                    "The outputs of images in a batch depend on each other."
                )
        except REFUSALS:
            if len(images) == 1:
                raise
            self.together = False
            return self(images)
        if not output.numel():
            size = tuple(images.shape[2:])
            raise ValueError(f"The output for an image of {size} pixels has no cells.")
        if isinstance(output, AlikeChannels):
            output = output.lone
        return output.isnan()

    def _run(self, images: Tensor) -> Tensor:
        if self.thin:
            try:
                return self._computed(images, thin=True)
            except Exception:  # custom code may not support a map of one channel
                output = self._computed(images, thin=False)
                self.thin = False
                return output
        return self._computed(images, thin=False)

    def _computed(self, images: Tensor, *, thin: bool) -> Tensor:
        with ThinChannels() if thin else nullcontext():
            output: Tensor = self.module(images)
        return output

    def check(self, shape: Sequence[int]) -> None:
        """Disable thin channels if they produce NaN without NaN in the image."""
        if self.thin and bool(self(torch.zeros(1, *shape, dtype=torch.float64)).any()):
            self.thin = False


class Line:
    """Strip of variable length along one axis of an image.

    Parameters
    ----------
    probe : Probe
    shape : sequence of int (c, h, w)
        Shape of the strip if it is as long as the image.
    axis : {0, 1}
        Axis along which the strip extends.
    """

    def __init__(self, probe: Probe, shape: Sequence[int], axis: int) -> None:
        self.probe, self.axis = probe, axis
        self.shape = tuple(shape)
        # Channels with the smallest field, if fields differ; they locate a cell best.
        self.sharp: Tensor | None = None

    @property
    def length(self) -> int:
        """Number of pixels of the image along the axis."""
        return self.shape[1 + self.axis]

    def count(self, length: int) -> int | None:
        """Return the number of cells along the axis; None for an unsupported size."""
        try:
            return int(self._channels(length, [(0, 0)]).shape[2])
        except REFUSALS:
            return None

    def find_sharp(self, length: int) -> None:
        """Find the channels in which bands of NaN reach the fewest cells."""
        if self._channels(length, [(0, 0)]).shape[1] == 1:
            return
        ends = np.linspace(0, length, min(_BANDS, length) + 1).astype(int)
        spans = list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
        counts = self._channels(length, spans).sum(dim=(0, 2))
        least = counts[counts > 0].min() if bool((counts > 0).any()) else 0
        if bool((counts > least).any()):
            self.sharp = counts == least

    def touched(self, length: int, spans: Sequence[tuple[int, int]]) -> Seen:
        """Return which cells depend on each span of pixels, as (spans, 2, cells).

        Index 0 of the second axis is for all channels, index 1 for the sharpest ones.
        """
        channels = self._channels(length, spans)
        seen = sharp = channels.any(dim=1)
        if self.sharp is not None and len(self.sharp) == channels.shape[1]:
            sharp = channels[:, self.sharp].any(dim=1)
        return torch.stack([seen, sharp], dim=1).numpy()

    def edges(
        self, length: int, cells: Sequence[int], guess: Edges | None = None
    ) -> Edges:
        """Return the first and last pixel in the field of cells, as (2, cells, 2).

        Index 0 of the first axis is for all channels, index 1 for the sharpest ones.
        Both pixels are -1 for a cell that depends on no pixel. A `guess` of the same
        shape saves time.
        """
        n_cells = len(cells)
        # Bounds on the number of NaN pixels, from either end of the strip, at which a
        # cell becomes NaN: (2 ends, 2, cells).
        low = np.zeros((2, 2, n_cells), dtype=int)
        high = np.full_like(low, length)
        expected = low if guess is None else _turns(guess, length)
        steps = 0
        while bool((high - low > 1).any()):
            at = (low + high) // 2
            if guess is not None and steps < 2:  # the guess and the pixel before
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
        """Return which cells are NaN if this number of pixels from either end is."""
        ends = np.stack([at, np.broadcast_to([[[0]], [[1]]], at.shape)], axis=-1)
        depths, which = np.unique(ends.reshape(-1, 2), axis=0, return_inverse=True)
        spans = [(length - t, length) if side else (0, t) for t, side in depths]
        seen = self.touched(length, spans)[:, :, list(cells)]
        kind, cell = np.arange(2)[:, None], np.arange(len(cells))
        reached: Seen = seen[which.reshape(at.shape), kind, cell]
        return reached

    def _channels(self, length: int, spans: Sequence[tuple[int, int]]) -> Tensor:
        """Return which cells are NaN for NaN in each span, as (spans, d, cells)."""
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
    """Return the number of pixels from either end at which cells become NaN."""
    return np.stack([edges[..., 0] + 1, length - edges[..., 1]])
