"""Preprocessing learned from the normal images and applied to all images.

Raw images are first scaled to the unit range, in which the values of the normal images
lie between 0 and 1, and resized (`unit`); synthetic anomalies are drawn at this stage.
Images are then optionally corrected for illumination, and normalised (`forward`). All
steps are vectorised over the batch, with constants learned in ``fit``.
"""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import Tensor, nn

from skfcdd._engine.inside import Inside
from skfcdd._engine.light import LIGHTS, Light, darkness, make_light
from skfcdd._inputs.images import ImageArray

__all__ = ["Preprocess", "resize", "resolve_size"]

# Statistics are computed in blocks of about this many values.
_BLOCK = 1 << 22
# Minimum number of single-precision steps within the range of values.
_LEAST_STEPS = 256
# Images with a shorter side are treated as rows of a table rather than pictures.
_LEAST_SIDE = 8
# Channel statistics of photographs in the unit range, as published by torchvision with
# its weights. EfficientNet-Lite was trained with 127/255 and 128/255 for all channels,
# which did not improve the ranking of real tiles.
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Preprocess(nn.Module):
    """Mapping of raw images to the unit range, resizing and normalisation.

    Parameters
    ----------
    low, high : float
        Raw values that map to 0 and 1.
    mean, std : array-like of shape (c,)
        Statistics of the channels of the normal images, in the unit range.
    contrast : bool
        Whether to standardise each image to mean 0 and standard deviation 1 with its
        own statistics instead.
    light : Light or None
        Illumination correction applied before normalisation.
    size : tuple of int (h, w) or None
        Size to which images are resized.
    roi : Inside or None
        Region of interest. Before anything is computed, pixels outside are filled from
        those inside.
    """

    mean: Tensor
    std: Tensor
    # Keeps the noise of an image without contrast from being amplified.
    least_contrast = 1e-3

    def __init__(
        self,
        low: float,
        high: float,
        mean: Any,
        std: Any,
        *,
        contrast: bool = False,
        light: Light | None = None,
        size: tuple[int, int] | None = None,
        roi: Inside | None = None,
    ) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.contrast = contrast
        self.light = light
        self.size = size
        self.roi = roi
        self.register_buffer("mean", torch.as_tensor(mean).float()[:, None, None])
        self.register_buffer("std", torch.as_tensor(std).float()[:, None, None])

    @classmethod
    def learn(
        cls,
        images: ImageArray,
        index: npt.NDArray[np.intp],
        normalize: Any,
        size: tuple[int, int] | None,
        *,
        pretrained: bool = False,
        n_inputs: int | None = None,
        roi: npt.NDArray[np.bool_] | None = None,
    ) -> Preprocess:
        """Learn the constants from the normal images at `index`, block by block.

        `pretrained` states whether the network has weights trained on other images;
        `n_inputs` is the number of channels it takes, if different from that of the
        images. Only the pixels in `roi` (h, w) count, if it is not None.
        """
        n_channels = images.image_shape[2]
        n_inputs = n_inputs or n_channels
        if normalize == "auto":
            side = min(size or images.image_shape[:2])
            normalize = "contrast" if side >= _LEAST_SIDE else "standard"
            if pretrained and n_inputs == len(_IMAGENET[0]):
                normalize = "imagenet"
        _check_resolution(images)
        ranges, moments = MinMaxScaler(), StandardScaler()
        # The range of uint8 is known, and only "standard" needs other statistics.
        unread = images.data.dtype == np.uint8 and normalize != "standard"
        for batch in () if unread else _blocks(images, index):
            ranges.partial_fit(_pixels(batch, roi))
            moments.partial_fit(_pixels(batch, roi))
        low, high = _value_range(images.data.dtype, ranges)
        width = high - low
        lit = isinstance(normalize, str) and normalize in LIGHTS
        if normalize is None or lit or (normalize == "contrast" and unread):
            mean, std = np.zeros(n_channels), np.ones(n_channels)
        elif normalize == "imagenet":
            mean, std = _of_photographs(n_inputs)
        elif isinstance(normalize, str):
            mean, std = (moments.mean_ - low) / width, moments.scale_ / width
        else:
            mean, std = _given_values(normalize, n_channels)
        contrast = normalize == "contrast"
        learned = cls(low, high, mean, std, contrast=contrast, size=size)
        if roi is not None:
            learned.roi = Inside(roi, size)
        if lit:
            photographs = pretrained and n_inputs == len(_IMAGENET[0])
            learned._learn_light(images, index, normalize, photographs=photographs)
        return learned

    def _learn_light(
        self,
        images: ImageArray,
        index: npt.NDArray[np.intp],
        form: str,
        *,
        photographs: bool,
    ) -> None:
        """Learn the illumination of normal images, and statistics after correction.

        If `photographs` is true, the statistics of ImageNet are used instead.
        """
        h, w = self.size or images.image_shape[:2]
        if min(h, w) < _LEAST_SIDE:
            raise ValueError(
                f"Got normalize={form!r}, which estimates slow variations of the "
                f"lighting and needs sides of at least {_LEAST_SIDE} pixels, but the "
                f"images have (h, w) = {(h, w)}. Use 'standard' or 'contrast'."
            )

        def units() -> Iterator[Tensor]:
            return (self.filled(self.unit(b)) for b in _blocks(images, index))

        self.light = make_light(form, units, darkness(self.low, self.high))
        if photographs:
            mean, std = _of_photographs(len(_IMAGENET[0]))
        else:
            moments = StandardScaler()
            for unit in units():
                seen = None if self.roi is None else self.roi.seen.numpy()
                moments.partial_fit(_pixels(self.light(unit), seen))
            mean, std = moments.mean_, moments.scale_
        self.mean = torch.as_tensor(mean).float()[:, None, None]
        self.std = torch.as_tensor(std).float()[:, None, None]

    def unit(self, raw: Tensor) -> Tensor:
        """Map raw images (n, c, h, w) to the unit range and the network input size."""
        images = (raw - self.low).div_(self.high - self.low)
        if self.size is None:
            return images
        if self.roi is not None:  # resizing mixes neighbouring pixels
            images = self.roi.filled(images)
        return resize(images, self.size)

    def filled(self, images: Tensor) -> Tensor:
        """Fill pixels outside the region of interest from those inside, per image."""
        return images if self.roi is None else self.roi(images)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise images in the unit range."""
        if self.light is not None:
            images = self.light(images)
        if self.contrast:
            # Subtracting one of its pixels first makes an image without contrast
            # exactly 0, despite rounding of the mean.
            centred = images - images[:, :1, :1, :1]
            centred = centred - centred.mean(dim=(1, 2, 3), keepdim=True)
            norm = torch.linalg.vector_norm(centred.flatten(1), dim=1)
            std = (norm / images[0].numel() ** 0.5).view(-1, 1, 1, 1)
            if images.requires_grad:
                return centred / (std + self.least_contrast)
            return centred.div_(std + self.least_contrast)
        return self.standardized(images)

    def standardized(self, images: Tensor) -> Tensor:
        """Standardise images with the learned or given statistics."""
        return (images - self.mean) / self.std


def resolve_size(resize: Any) -> tuple[int, int] | None:
    """Return the size (h, w) that the parameter `resize` specifies, if any."""
    if resize is None:
        return None
    sides = tuple(resize) if isinstance(resize, tuple) else (resize, resize)
    whole = [int(side) for side in sides if isinstance(side, Integral)]
    if len(sides) != 2 or len(whole) != 2 or min(whole) < 1:
        raise ValueError(
            f"Got resize={resize!r}, but expected a number of pixels or (h, w)."
        )
    return whole[0], whole[1]


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a batch bilinearly, with antialiasing."""
    return F.interpolate(images, size, mode="bilinear", antialias=True)


def _blocks(images: ImageArray, index: npt.NDArray[np.intp]) -> Iterator[Tensor]:
    """Yield raw images (k, c, h, w) at `index`, block by block."""
    step = max(1, _BLOCK // int(np.prod(images.data.shape[1:])))
    for start in range(0, len(index), step):
        yield images.take(index[start : start + step])


def _pixels(
    batch: Tensor, inside: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[Any]:
    """Reshape images (k, c, h, w), or the part `inside` a region, to pixels (n, c)."""
    values = batch.permute(0, 2, 3, 1)
    if inside is not None:
        values = values[:, torch.from_numpy(inside)]
    return values.reshape(-1, batch.shape[1]).numpy()


def _given_values(
    normalize: Any, n_channels: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the mean and standard deviation (c,) given by the user."""
    try:
        mean, std = (
            np.broadcast_to(np.asarray(values, dtype=float), n_channels).copy()
            for values in normalize
        )
        usable = bool(np.isfinite(mean).all() and (std > 0).all())
    except (TypeError, ValueError):
        usable = False
    if not usable:
        raise ValueError(
            f"Got normalize={normalize!r}, but expected (mean, std), each with one "
            f"number or {n_channels} (one per channel), and std greater than 0."
        )
    return mean, std


def _of_photographs(
    n_inputs: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return ImageNet statistics for a network that takes `n_inputs` channels.

    Three values also expand grey images to three channels.
    """
    mean, std = np.array(_IMAGENET)
    if n_inputs == 1:
        return mean.mean(keepdims=True), std.mean(keepdims=True)
    if n_inputs != len(mean):
        raise ValueError(
            "Got normalize='imagenet', which is defined for 1 or 3 channels, but the "
            f"images have {n_inputs}. Use 'standard' or 'contrast'."
        )
    return mean, std


def _check_resolution(images: ImageArray) -> None:
    """Check that single precision can distinguish the values.

    Raises
    ------
    ValueError
        If the values are too close together, compared with their distance from 0.
    """
    dtype = images.data.dtype
    if np.can_cast(dtype, np.float32):
        return
    low, high = images.limits()
    step = float(np.spacing(np.float32(max(abs(low), abs(high)))))
    exact = dtype.kind in "iu" and step <= 1
    if not exact and 0 < high - low < _LEAST_STEPS * step:
        raise ValueError(
            f"X has values from {low!r} to {high!r}, but images are processed in "
            f"single precision, which resolves only steps of {step:.3g} at such "
            f"values. Subtract a constant, such as {low!r}, from all images, in fit "
            "and in prediction."
        )


def _value_range(dtype: np.dtype[Any], ranges: MinMaxScaler) -> tuple[float, float]:
    """Return the raw values that map to 0 and 1."""
    if dtype == np.uint8:
        return 0.0, 255.0
    low, high = float(ranges.data_min_.min()), float(ranges.data_max_.max())
    return low, high if high > low else low + 1.0
