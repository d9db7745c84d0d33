"""Heatmaps of a batch of images, from the anomaly map or from gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skfcdd._engine.module import FCDDModule
from skfcdd._engine.preprocessing import resize
from skfcdd.heatmaps import GaussianUpsampler, heatmap_sigmas
from skfcdd.receptive_field import ReceptiveField

__all__ = ["HeatmapMaker"]


class HeatmapMaker(nn.Module):
    """Network that computes heatmaps of raw image size, whose mean is the score.

    Parameters
    ----------
    module : FCDDModule
        The trained network.
    receptive_field : ReceptiveField
        Receptive field of its cells.
    image_shape : tuple of int (h, w)
        Size of the raw images.
    sigma : float, tuple of float or None
        Standard deviation of the Gaussian, in pixels of the heatmap, or one per axis.
        None uses :func:`~skfcdd.heatmaps.default_sigma`.
    """

    def __init__(
        self,
        module: FCDDModule,
        receptive_field: ReceptiveField,
        image_shape: tuple[int, int],
        sigma: float | tuple[float, float] | None,
    ) -> None:
        super().__init__()
        self.module = module
        fitted: Any = module.upsample
        map_shape = (int(fitted.rows.shape[1]), int(fitted.columns.shape[1]))
        h, w = module.preprocess.size or image_shape
        scale = (image_shape[0] / h, image_shape[1] / w)
        if not module.objective.spatial:
            receptive_field, sigma = _pixel_grid(receptive_field, scale, sigma)
            map_shape, scale = image_shape, (1.0, 1.0)
        self.image_shape = image_shape
        roi = module.preprocess.roi
        inside = None if roi is None else roi.inside.cpu().numpy()
        self.upsample = GaussianUpsampler(
            image_shape, map_shape, receptive_field, sigma, scale, inside
        )

    def forward(self, images: Tensor) -> Tensor:
        """Compute heatmaps of images (n, c, h, w) in the unit range."""
        if self.module.objective.spatial:
            with torch.no_grad():
                heatmaps: Tensor = self.upsample(self.module(images))
            return heatmaps
        return self._from_gradient(images)

    def spread(self, parts: Tensor) -> Tensor:
        """Upsample parts of the anomaly map (p, n, u, v) to heatmaps (n, p, h, w)."""
        spread: Tensor = self.upsample(parts.flatten(0, 1))
        return spread.view(*parts.shape[:2], *self.image_shape).transpose(0, 1)

    def _from_gradient(self, images: Tensor) -> Tensor:
        """Blur the gradient magnitude of the score, and scale its mean to the score.

        This is the heatmap of the FCDD paper for objectives without an anomaly map.
        """
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            s = self.module.mean_of(self.module(images))
            (gradient,) = torch.autograd.grad(s.sum(), images)
        size = gradient.abs().sum(dim=1)
        if size.shape[1:] != self.image_shape:
            size = resize(size[:, None], self.image_shape)[:, 0]
        heatmaps = self.upsample(size)
        mean = self.upsample.mean(size)[:, None, None]
        # If the gradient vanishes, all pixels contribute equally to the score.
        even = mean <= torch.finfo(mean.dtype).tiny
        ones = torch.ones_like(heatmaps)
        if self.upsample.weights is not None:
            ones = ones * self.upsample.inside.to(ones.dtype)
        shares = torch.where(even, ones, heatmaps / (mean + even))
        return s.detach()[:, None, None] * shares


def _pixel_grid(
    field: ReceptiveField,
    scale: tuple[float, float],
    sigma: float | tuple[float, float] | None,
) -> tuple[ReceptiveField, float | tuple[float, float]]:
    """Return the field and the blur of a map whose cells are the pixels."""
    if sigma is None:
        sigma = float(np.mean(heatmap_sigmas(field, None, scale)))
    unlimited = ReceptiveField((np.inf, np.inf), (1.0, 1.0), (0.0, 0.0))
    return unlimited, sigma
