"""Generated surfaces without defects.

Each function returns, for n images of h x w pixels, the surface, the background that is
visible if a part is missing, and the part that each pixel belongs to. Values are in
[0, 1] before illumination and noise are added. Pose and scale differ from image to
image, as in real photographs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["TEXTURES", "Surface"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Surface:
    """Clean images of a texture.

    Parameters
    ----------
    images : ndarray of shape (n, h, w)
        Brightness, from 0 to 1.
    bare : ndarray of shape (n, h, w)
        Brightness of the background, visible where a part is missing.
    parts : ndarray of shape (n, h, w), int
        Number of the part (thread, tablet) that each pixel belongs to, -1 if it belongs
        to none; 0 everywhere if the texture has no parts.
    tint : tuple of float
        Colour (red, green, blue) of a bright pixel.
    """

    images: Floats
    bare: Floats
    parts: npt.NDArray[np.int64]
    tint: tuple[float, float, float]


def _uniform(
    rng: np.random.RandomState, n: int, low: float, high: float
) -> npt.NDArray[np.float64]:
    """Draw one number per image, with shape (n, 1, 1)."""
    return rng.uniform(low, high, size=(n, 1, 1))


def _turned(
    rng: np.random.RandomState, n: int, h: int, w: int, degrees: float
) -> tuple[Floats, Floats]:
    """Return pixel coordinates (n, h, w), rotated randomly about the centre."""
    angle = np.deg2rad(_uniform(rng, n, -degrees, degrees))
    y, x = np.arange(h)[:, None] - h / 2, np.arange(w)[None, :] - w / 2
    return y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)


def _smooth(
    rng: np.random.RandomState, n: int, h: int, w: int, sigma: tuple[float, float]
) -> Floats:
    """Generate smooth noise (n, h, w) of standard deviation 1."""
    noise = ndimage.gaussian_filter(
        rng.standard_normal((n, h, w)), (0, *sigma), mode="wrap"
    )
    noise -= noise.mean(axis=(1, 2), keepdims=True)
    noise /= noise.std(axis=(1, 2), keepdims=True)
    return noise


def fabric(rng: np.random.RandomState, n: int, h: int, w: int) -> Surface:
    """Generate a plain weave: threads that pass over and under each other."""
    side = min(h, w)
    v, u = _turned(rng, n, h, w, 4)
    period = _uniform(rng, n, 0.055, 0.07) * side
    stretch = _smooth(rng, n, h, w, (side / 6, side / 6))
    u = (u + 0.25 * stretch) / period + _uniform(rng, n, 0, 1)
    v = (v + 0.25 * np.flip(stretch, axis=2)) / period + _uniform(rng, n, 0, 1)
    warp, weft = np.cos(np.pi * (u % 1 - 0.5)), np.cos(np.pi * (v % 1 - 0.5))
    above = (np.floor(u) + np.floor(v)) % 2 == 0
    thickness = 1 + 0.08 * _smooth(rng, n, h, w, (side / 3, 0.5))
    image = np.where(above, warp * (0.6 + 0.4 * weft), weft * (0.6 + 0.4 * warp))
    image = 0.3 + 0.4 * image * thickness
    # Without a weft thread, the dark gap between the warp threads is visible.
    bare = 0.28 + 0.25 * warp
    return Surface(image, bare, np.floor(v).astype(np.int64), (1.0, 0.97, 0.88))


def brushed_metal(rng: np.random.RandomState, n: int, h: int, w: int) -> Surface:
    """Generate brushed metal: fine parallel lines with a broad reflection."""
    side = min(h, w)
    lines = _smooth(rng, n, h, w, (0.6, side / 5))
    lines += 0.7 * _smooth(rng, n, h, w, (1.2, side / 2))
    y = np.linspace(-1, 1, h)[:, None]
    shine = np.exp(-(((y - _uniform(rng, n, -0.8, 0.8)) / 0.7) ** 2))
    base = 0.42 + 0.15 * shine
    image = base + 0.05 * lines
    bare = base + 0.02 * _smooth(rng, n, h, w, (1.5, 1.5))
    return Surface(image, bare, np.zeros((n, h, w), np.int64), (0.95, 0.98, 1.0))


def wood(rng: np.random.RandomState, n: int, h: int, w: int) -> Surface:
    """Generate wood: growth rings along the board, and fine pores."""
    side = min(h, w)
    _, u = _turned(rng, n, h, w, 6)
    bend = _smooth(rng, n, h, w, (side / 3, side / 8))
    rings = u / side * _uniform(rng, n, 6, 10) + 0.35 * bend + _uniform(rng, n, 0, 1)
    phase = rings % 1
    tone = phase**2 * (1 - np.clip((phase - 0.9) / 0.1, 0, 1))
    pores = _smooth(rng, n, h, w, (side / 16, 0.5))
    base = 0.6 + 0.04 * _smooth(rng, n, h, w, (side / 2, side / 4))
    image = base - 0.22 * tone - 0.035 * pores
    bare = base - 0.22 + 0.03 * _smooth(rng, n, h, w, (1.0, 1.0))
    return Surface(image, bare, np.zeros((n, h, w), np.int64), (1.0, 0.78, 0.52))


def tablets(rng: np.random.RandomState, n: int, h: int, w: int) -> Surface:
    """Generate round tablets with a score line, in the hollows of a tray."""
    side = min(h, w)
    pitch = side / 3.2
    v, u = _turned(rng, n, h, w, 5)
    v, u = v / pitch + _uniform(rng, n, 0, 1), u / pitch + _uniform(rng, n, 0, 1)
    row, column = np.floor(v), np.floor(u)
    # Each tablet is slightly shifted, and rotated by its own angle.
    key = (row * 7 + column * 13).astype(np.int64) % 64
    own = np.arange(n)[:, None, None]
    shift = rng.uniform(-0.06, 0.06, (2, n, 64))
    dv, du = v % 1 - 0.5 + shift[0, own, key], u % 1 - 0.5 + shift[1, own, key]
    angle = rng.uniform(0, np.pi, (n, 64))[own, key]
    radius = 0.36 + rng.uniform(-0.012, 0.012, (n, 64))[own, key]
    r = np.hypot(dv, du)
    soft = 1.2 / pitch  # width of an edge, about one pixel
    inside = np.clip((radius - r) / soft + 0.5, 0, 1)
    line = np.abs(dv * np.cos(angle) + du * np.sin(angle))
    groove = np.clip(1 - line / (0.035 + soft / 2), 0, 1) * (r < 0.8 * radius)
    height = np.sqrt(np.clip(1 - (r / radius) ** 2, 0, 1))
    tablet = 0.66 + 0.14 * height - 0.12 * groove
    tablet += 0.012 * _smooth(rng, n, h, w, (0.7, 0.7))
    hollow = np.clip(1 - np.abs(r - 0.42) / 0.06, 0, 1)
    tray = 0.36 - 0.06 * hollow + 0.015 * _smooth(rng, n, h, w, (1.0, 1.0))
    image = tray + inside * (tablet - tray)
    parts = np.where(inside > 0, row * 1000 + column, -1).astype(np.int64)
    return Surface(image, tray, parts, (0.98, 0.98, 0.95))


TEXTURES: Mapping[str, Callable[[np.random.RandomState, int, int, int], Surface]] = (
    MappingProxyType(
        {
            "fabric": fabric,
            "brushed_metal": brushed_metal,
            "wood": wood,
            "tablets": tablets,
        }
    )
)
