"""Correction of slow variations of illumination, before any normalisation.

Illumination is either fixed, if lamp and lens never change, and then estimated from the
normal images; or it varies from image to image, and is then estimated from each image.
It is multiplicative, so both corrections divide by it; a raw value of 0 is assumed to
be dark. All operations are vectorised over the batch, in the unit range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = [
    "LIGHTS",
    "FlatField",
    "Light",
    "LocalLevel",
    "contrast_of",
    "darkness",
    "make_light",
    "sigmas_of",
    "smooth",
]

# Standard deviation of the Gaussians, as a fraction of the side of an image, and number
# of standard deviations at which they are truncated.
_SIGMA_SHARE = 0.125
_TRUNCATE = 3.0
_RIDGE = 1e-9
# Larger images are smoothed in tiles of this many pixels per side, plus their margins.
_PIECE = 512
# Minimum illumination, as a fraction of its mean: vignetting does not darken more.
_LEAST_SHARE = 0.25
# Minimum level, as a fraction of the mean of normal images: anything below is a dark
# object rather than dim light.
_LEAST_LEVEL = 0.1
# Minimum level in the unit range, even if all normal images are black.
_LEAST_STEP = 1e-6
# Keeps the noise of an image without contrast from being amplified.
_LEAST_CONTRAST = 0.01


class FlatField(nn.Module):
    """Flat-field correction: division by the illumination of a fixed lamp and lens.

    Parameters
    ----------
    gain : Tensor of shape (c, h, w)
        Factor by which each pixel is multiplied.
    dark : float
        Brightness at value 0 of the unit range; see `darkness`.
    """

    form: Literal["flat-field"] = "flat-field"
    gain: Tensor

    def __init__(self, gain: Tensor, dark: float) -> None:
        super().__init__()
        self.dark = dark
        self.register_buffer("gain", gain.float())

    @classmethod
    def learn(cls, mean: Tensor, dark: float) -> FlatField:
        """Estimate the gain from the mean of normal images (c, h, w).

        The correction preserves the mean of this image over its pixels.
        """
        seen = mean.double() + dark
        field = smooth(seen, sigmas_of(mean.shape[1:]))
        middle = seen.mean(dim=(1, 2), keepdim=True)
        lit = middle > torch.finfo(torch.float32).tiny
        field = torch.where(lit, field.clamp(min=_LEAST_SHARE * middle), 1.0)
        kept = (seen / field).mean(dim=(1, 2), keepdim=True)
        return cls(torch.where(lit, middle / kept / field, 1.0), dark)

    def describe(self) -> dict[str, Any]:
        """Return the settings that are not tensors, for JSON."""
        return {"form": self.form}

    def forward(self, images: Tensor) -> Tensor:
        """Correct images (n, c, h, w) to uniform illumination."""
        return images * self.gain + self.dark * (self.gain - 1)


class LocalLevel(nn.Module):
    """Division of each image by its local level, and then by its contrast.

    The local level removes a gain that varies over the image. An additive component,
    such as stray light, also changes the contrast, which is therefore equalised.

    Parameters
    ----------
    target : Tensor of shape (c,)
        Level to which all pixels are set: the mean of normal images.
    dark : float
        Brightness at value 0 of the unit range; see `darkness`.
    sigmas : tuple of float
        Standard deviations of the Gaussian in pixels, one per axis.
    contrast : Tensor or float
        Contrast to which all images are set: that of normal images.
    """

    form: Literal["local"] = "local"
    target: Tensor
    contrast: Tensor

    def __init__(
        self,
        target: Tensor,
        dark: float,
        sigmas: tuple[float, float],
        contrast: Tensor | float = 1.0,
    ) -> None:
        super().__init__()
        self.dark, self.sigmas = dark, sigmas
        self.register_buffer("target", target.float().view(-1, 1, 1))
        self.register_buffer("contrast", torch.as_tensor(contrast).float())

    @property
    def reach(self) -> tuple[int, int]:
        """Distance in pixels, per axis, beyond which pixels do not affect a level."""
        return _reach(self.sigmas[0]), _reach(self.sigmas[1])

    def describe(self) -> dict[str, Any]:
        """Return the settings that are not tensors, for JSON."""
        return {"form": self.form, "sigmas": list(self.sigmas)}

    def changes(self, images: Tensor) -> Tensor:
        """Compute the relative differences of images (n, c, h, w) from their level."""
        # Smoothing preserves constants; subtracting one first reduces rounding errors.
        middle = images.mean(dim=(2, 3), keepdim=True)
        centred = images - middle
        slow = smooth(centred, self.sigmas)
        # Near the border, the level of a noisy image can overshoot to negative values.
        least = (_LEAST_LEVEL * (self.target + self.dark)).clamp_min(_LEAST_STEP)
        return (centred - slow) / torch.maximum(slow + middle + self.dark, least)

    def window(
        self, load: Callable[[slice, slice], Tensor], rows: slice, columns: slice
    ) -> Tensor:
        """Compute the relative differences in a window of an image.

        `load` returns parts of the image. It is called for each tile, with the margin
        on which the level of the tile depends.
        """
        parts = [
            torch.cat([self._piece(load, y, x) for x in self._pieces(columns, 1)], 3)
            for y in self._pieces(rows, 0)
        ]
        return torch.cat(parts, 2)

    def _pieces(self, part: slice, axis: int) -> Iterator[slice]:
        step = max(_PIECE, 2 * self.reach[axis])
        for start in range(part.start, part.stop, step):
            yield slice(start, min(start + step, part.stop))

    def _piece(
        self, load: Callable[[slice, slice], Tensor], rows: slice, columns: slice
    ) -> Tensor:
        dy, dx = (
            min(part.start, n)
            for part, n in zip((rows, columns), self.reach, strict=True)
        )
        wide = load(
            slice(rows.start - dy, rows.stop + self.reach[0]),
            slice(columns.start - dx, columns.stop + self.reach[1]),
        )
        h, w = rows.stop - rows.start, columns.stop - columns.start
        return self.changes(wide)[..., dy : dy + h, dx : dx + w]

    def rebuilt(self, changes: Tensor, contrast: Tensor) -> Tensor:
        """Return images with the level and the contrast of normal images.

        `changes` are the relative differences (n, c, h, w) of the original images from
        their local level, and `contrast` (n,) is the contrast of each.
        """
        gain = (self.contrast + _LEAST_CONTRAST) / (contrast + _LEAST_CONTRAST)
        bright = self.target + self.dark
        return self.target + bright * gain.view(-1, 1, 1, 1) * changes

    def forward(self, images: Tensor) -> Tensor:
        """Correct images (n, c, h, w) of any size to the same level everywhere."""
        changes = self.changes(images)
        return self.rebuilt(changes, contrast_of(changes))


Light = FlatField | LocalLevel
LIGHTS = (FlatField.form, LocalLevel.form)


def darkness(low: float, high: float) -> float:
    """Return the brightness at value 0 of the unit range, in units of this range.

    The raw values `low` and `high` map to 0 and 1, and a raw value of 0 is dark. If
    `low` is negative, raw values are not a brightness, and `low` is assumed to be dark.
    """
    return max(low, 0.0) / (high - low)


def make_light(form: str, blocks: Callable[[], Iterable[Tensor]], dark: float) -> Light:
    """Estimate a correction of the given form from normal images.

    Parameters
    ----------
    form : {"flat-field", "local"}
    blocks : callable
        Returns an iterator over the normal images (k, c, h, w), in the unit range and
        at the size of the network input.
    dark : float
        Brightness at value 0 of the unit range; see `darkness`.
    """
    mean = _mean(blocks())
    if form == FlatField.form:
        return FlatField.learn(mean, dark)
    light = LocalLevel(mean.mean(dim=(1, 2)), dark, sigmas_of(mean.shape[1:]))
    contrasts = (contrast_of(light.changes(block)) for block in blocks())
    light.contrast = _mean(contrasts).float()
    return light


def _mean(blocks: Iterable[Tensor]) -> Tensor:
    """Compute the mean over the first axis of all blocks, in float64."""
    total, n = torch.zeros((), dtype=torch.float64), 0
    for block in blocks:
        total, n = total + block.sum(dim=0, dtype=torch.float64), n + len(block)
    return total / n


def restore_light(
    described: Mapping[str, Any],
    numbers: Mapping[str, Tensor],
    dark: float,
    shape: tuple[int, int, int],
) -> Light:
    """Restore a correction of images (c, h, w) from its settings and tensors.

    Raises
    ------
    KeyError, TypeError or ValueError
        If settings and tensors are inconsistent.
    """
    c, h, w = shape
    if described["form"] == FlatField.form:
        if numbers["gain"].shape != shape:
            raise ValueError(f"gain has the shape {tuple(numbers['gain'].shape)}.")
        return FlatField(numbers["gain"], dark)
    sigma_rows, sigma_columns = (float(sigma) for sigma in described["sigmas"])
    fits = 0 < sigma_rows <= h and 0 < sigma_columns <= w
    if described["form"] != LocalLevel.form or not fits or len(numbers["target"]) != c:
        raise ValueError(f"light is {dict(described)}.")
    sigmas = (sigma_rows, sigma_columns)
    return LocalLevel(numbers["target"], dark, sigmas, numbers["contrast"])


def sigmas_of(size: Any) -> tuple[float, float]:
    """Return the standard deviations of the Gaussian for images of size (h, w)."""
    h, w = size
    return _SIGMA_SHARE * h, _SIGMA_SHARE * w


def contrast_of(changes: Tensor) -> Tensor:
    """Compute the contrast (n,): the root mean square of changes (n, c, h, w)."""
    norm = torch.linalg.vector_norm(changes.flatten(1), dim=1)
    return norm / changes[0].numel() ** 0.5


def smooth(images: Tensor, sigmas: tuple[float, float]) -> Tensor:
    """Smooth images (..., h, w) while preserving linear gradients.

    A local linear fit, first along one axis and then along the other: the value at each
    pixel is that of a straight line fitted to its neighbourhood. Unlike a weighted
    mean, it is unbiased at the border.
    """
    rows, columns = (
        _lines(images.shape[axis], sigma).to(images)
        for axis, sigma in zip((-2, -1), sigmas, strict=True)
    )
    return rows @ images @ columns.T


def _reach(sigma: float) -> int:
    return math.ceil(_TRUNCATE * sigma)


def _lines(n_pixels: int, sigma: float) -> Tensor:
    """Return weights (n, n) of a local linear fit at each of n pixels, in float64."""
    places = torch.arange(n_pixels, dtype=torch.float64)
    distance = places - places[:, None]
    weights = torch.exp(-0.5 * (distance / sigma) ** 2)
    weights = weights * (distance.abs() <= _reach(sigma))
    zeroth, first, second = (
        (weights * distance**k).sum(dim=1, keepdim=True) for k in (0, 1, 2)
    )
    second = second + _RIDGE  # avoids 0 / 0 for a single pixel
    lines: Tensor = weights * (second - first * distance)
    return lines / (second * zeroth - first**2)
