"""What frees images of slow changes of light, ahead of any normalisation.

Either of a lamp and a lens that never change, which good images tell, or of what
changes from image to image, which each image tells itself. Light multiplies what it
falls on, so that both divide; raw 0 is taken for darkness. Whole-batch tensor
operations in the unit range.
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

# Gaussians have this share of each side as standard deviation, and end after so many.
_SIGMA_SHARE = 0.125
_TRUNCATE = 3.0
_RIDGE = 1e-9
# Of larger images, pieces of so many pixels a side are smoothed, each with its margin.
_PIECE = 512
# Where good images are darker than this share of their mean, no lens is to blame.
_LEAST_SHARE = 0.25
# Below this share of the mean of good images, a level is darkness, not faint light.
_LEAST_LEVEL = 0.1
# Keeps the noise of an image without contrast from being blown up.
_LEAST_CONTRAST = 0.01


class FlatField(nn.Module):
    """Divides by the light of a fixed lamp and lens.

    Parameters
    ----------
    gain : Tensor of shape (c, h, w)
        What each pixel is multiplied by.
    dark : float
        How far raw 0 lies below 0 of the unit range.
    """

    form: Literal["flat-field"] = "flat-field"
    gain: Tensor

    def __init__(self, gain: Tensor, dark: float) -> None:
        super().__init__()
        self.dark = dark
        self.register_buffer("gain", gain.float())

    @classmethod
    def learn(cls, mean: Tensor, dark: float) -> FlatField:
        """From the mean of good images (c, h, w) in the unit range.

        The mean of that image stays what it is.
        """
        seen = mean.double() + dark
        field = smooth(seen, sigmas_of(mean.shape[1:]))
        middle = seen.mean(dim=(1, 2), keepdim=True)
        lit = middle > torch.finfo(torch.float32).tiny
        field = torch.where(lit, field.clamp(min=_LEAST_SHARE * middle), 1.0)
        kept = (seen / field).mean(dim=(1, 2), keepdim=True)
        return cls(torch.where(lit, middle / kept / field, 1.0), dark)

    def describe(self) -> dict[str, Any]:
        """What the numbers do not say, for JSON."""
        return {"form": self.form}

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, c, h, w) as even light would show them."""
        return images * self.gain + self.dark * (self.gain - 1)


class LocalLevel(nn.Module):
    """Divides each image by its own level around each pixel, then by its contrast.

    The level is a gain, however it varies over the image. What was added to an image,
    such as stray light, leaves a contrast that is too low or too high.

    Parameters
    ----------
    target : Tensor of shape (c,)
        The level that all places get: the mean of good images.
    dark : float
        How far raw 0 lies below 0 of the unit range.
    sigmas : tuple of float
        Standard deviations of the Gaussian in pixels, per axis.
    contrast : Tensor or float
        What all images get: that of good ones.
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
        """Pixels, per axis, from which on nothing changes the level of a pixel."""
        return _reach(self.sigmas[0]), _reach(self.sigmas[1])

    def describe(self) -> dict[str, Any]:
        """What the numbers do not say, for JSON."""
        return {"form": self.form, "sigmas": list(self.sigmas)}

    def changes(self, images: Tensor) -> Tensor:
        """By which share pixels of images (n, c, h, w) differ from their level."""
        # Smoothing leaves a constant as it is; without it, little is lost to rounding.
        middle = images.mean(dim=(2, 3), keepdim=True)
        centred = images - middle
        slow = smooth(centred, self.sigmas)
        least = _LEAST_LEVEL * (self.target + self.dark)
        least = least + torch.finfo(least.dtype).tiny
        return (centred - slow) / torch.maximum(slow + middle + self.dark, least)

    def window(
        self, load: Callable[[slice, slice], Tensor], rows: slice, columns: slice
    ) -> Tensor:
        """The changes of a window of an image, which `load` reads window by window.

        Piece by piece, each with all that its level rests on.
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
        """Images with the level and the contrast of good ones.

        From `changes` (n, c, h, w) whose contrasts are (n,).
        """
        gain = (self.contrast + _LEAST_CONTRAST) / (contrast + _LEAST_CONTRAST)
        bright = self.target + self.dark
        return self.target + bright * gain.view(-1, 1, 1, 1) * changes

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, c, h, w) of any size with the same level everywhere."""
        changes = self.changes(images)
        return self.rebuilt(changes, contrast_of(changes))


Light = FlatField | LocalLevel
LIGHTS = (FlatField.form, LocalLevel.form)


def darkness(low: float, high: float) -> float:
    """How far raw 0 lies below 0 of the unit range, in which `low` is 0.

    Values below 0 are no brightness: there the least one is taken for darkness.
    """
    return max(low, 0.0) / (high - low)


def make_light(form: str, blocks: Callable[[], Iterable[Tensor]], dark: float) -> Light:
    """Learn a form of correction.

    Parameters
    ----------
    form : {"flat-field", "local"}
    blocks : callable
        Goes over good images (k, c, h, w) in the unit range, at the size that the
        network sees.
    dark : float
        How far raw 0 lies below 0 of the unit range.
    """
    mean = _mean(blocks())
    if form == FlatField.form:
        return FlatField.learn(mean, dark)
    light = LocalLevel(mean.mean(dim=(1, 2)), dark, sigmas_of(mean.shape[1:]))
    contrasts = (contrast_of(light.changes(block)) for block in blocks())
    light.contrast = _mean(contrasts).float()
    return light


def _mean(blocks: Iterable[Tensor]) -> Tensor:
    """Mean over the first axis of all blocks, float64."""
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
    """A correction of images (c, h, w) from its description and its numbers.

    Raises
    ------
    KeyError, TypeError or ValueError
        If they do not belong together.
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
    """Standard deviations for images of this size (h, w)."""
    h, w = size
    return _SIGMA_SHARE * h, _SIGMA_SHARE * w


def contrast_of(changes: Tensor) -> Tensor:
    """Root mean square (n,) of images (n, c, h, w)."""
    norm = torch.linalg.vector_norm(changes.flatten(1), dim=1)
    return norm / changes[0].numel() ** 0.5


def smooth(images: Tensor, sigmas: tuple[float, float]) -> Tensor:
    """Images (..., h, w), smoothed so that slopes stay what they are.

    Up to the border, where a plain mean would lean to the inside: it is the value at
    each pixel of a straight line that is fitted to its surroundings, one axis after the
    other.
    """
    rows, columns = (
        _lines(images.shape[axis], sigma).to(images)
        for axis, sigma in zip((-2, -1), sigmas, strict=True)
    )
    return rows @ images @ columns.T


def _reach(sigma: float) -> int:
    return math.ceil(_TRUNCATE * sigma)


def _lines(n_pixels: int, sigma: float) -> Tensor:
    """Weights (n, n) with which pixels make the fitted value at each, float64."""
    places = torch.arange(n_pixels, dtype=torch.float64)
    distance = places - places[:, None]
    weights = torch.exp(-0.5 * (distance / sigma) ** 2)
    weights = weights * (distance.abs() <= _reach(sigma))
    zeroth, first, second = (
        (weights * distance**k).sum(dim=1, keepdim=True) for k in (0, 1, 2)
    )
    second = second + _RIDGE  # a single pixel has no slope
    lines: Tensor = weights * (second - first * distance)
    return lines / (second * zeroth - first**2)
