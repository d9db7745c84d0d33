"""Synthetic anomalies made from the features of frozen stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from skfcdd._utils.device import in_parts
from skfcdd._utils.random import on_host
from skfcdd.anomalies import FeatureAnomaly

__all__ = ["Alteration", "spreads"]


@dataclass(frozen=True)
class Alteration:
    """Transform of the features of normal images into those of anomalies.

    Parameters
    ----------
    kinds : tuple of FeatureAnomaly
        Each image is altered by one of them; they get equal shares of a batch.
    spread : tuple of Tensor of shape (d,)
        Standard deviation of each channel of each feature map over normal images.
    share : float, default=1.0
        Fraction of synthetic anomalies made this way; the others are drawn into images.
    """

    kinds: tuple[FeatureAnomaly, ...]
    spread: tuple[Tensor, ...]
    share: float = 1.0

    def __call__(
        self,
        features: tuple[Tensor, ...],
        image_size: tuple[int, int],
        generator: Generator,
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return shuffled, altered features (n, d, u, v) and masks (n, 1, h, w)."""
        n, n_kinds = len(features[0]), len(self.kinds)
        turns = torch.randperm(n_kinds, generator=on_host(generator)).tolist()
        parts = [
            self.kinds[turn](
                tuple(x[first::n_kinds] for x in features),
                self.spread,
                image_size,
                generator,
            )
            for first, turn in enumerate(turns[:n])
        ]
        changed, masks = zip(*parts, strict=True)
        return tuple(map(torch.cat, zip(*changed, strict=True))), torch.cat(masks)


@torch.no_grad()
def spreads(
    n: int,
    size: int,
    device: torch.device | str,
    features: Callable[[slice], tuple[Tensor, ...]],
) -> tuple[Tensor, ...]:
    """Compute the standard deviation of each channel of each map over all cells.

    Parameters
    ----------
    n, size : int
        Number of images, and of images processed together.
    device : torch.device or str
    features : callable
        Returns the maps (k, d, u, v) of the images in a slice.

    Returns
    -------
    tuple of Tensor of shape (d,)
    """

    def moments(place: slice) -> list[Tensor]:
        return [
            torch.stack(torch.var_mean(_exact(x), dim=(2, 3), correction=0))
            for x in features(place)
        ]

    parts = [part for _, part in in_parts(n, size, device, moments)]
    found = []
    for each in zip(*parts, strict=True):
        variance, mean = torch.cat(each, dim=1)
        # All images have the same number of cells: add variance within and between
        # images.
        found.append((variance.mean(dim=0) + mean.var(dim=0, correction=0)).sqrt())
    return tuple(found)


def _exact(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
