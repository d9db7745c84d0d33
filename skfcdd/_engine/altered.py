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
    """Transform that turns features of normal images into synthetic anomalies.

    Parameters
    ----------
    kinds : tuple of FeatureAnomaly
        Kinds of anomalies. Each image gets one kind; a batch has equally many of each.
    spread : tuple of Tensor of shape (d,)
        Standard deviation of each channel of each feature map over normal images.
    share : float, default=1.0
        Fraction of the synthetic anomalies that are made this way; the others are drawn
        into images.
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
        """Return altered features (n, d, u, v), reordered, and masks (n, 1, h, w)."""
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
        Number of images, and number of images processed together.
    device : torch.device or str
    features : callable
        Maps a slice of the image indices to their feature maps (k, d, u, v).

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
        # All images have the same number of cells, so the total variance is the mean
        # variance within images plus the variance between their means.
        found.append((variance.mean(dim=0) + mean.var(dim=0, correction=0)).sqrt())
    return tuple(found)


def _exact(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
