"""Synthetic defects with soft edges, drawn into a single image.

Each function takes a random state and a scene that contains the clean image, and
returns the image with the defect. Contrasts are at most a few times the noise of the
surface.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["FLAWS", "Scene"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """A clean image with its background and parts.

    Parameters
    ----------
    image, bare : ndarray of shape (h, w)
        Brightness of the surface, and of the background.
    parts : ndarray of shape (h, w), int
        Number of the part that each pixel belongs to.
    """

    image: Floats
    bare: Floats
    parts: npt.NDArray[np.int64]

    @property
    def side(self) -> int:
        """Length of the shorter side in pixels."""
        return min(self.image.shape)


def _place(rng: np.random.RandomState, scene: Scene, margin: float) -> Floats:
    """Draw a point (y, x) with a margin to the border, as a fraction of the side."""
    shape = np.array(scene.image.shape)
    place: Floats = rng.uniform(margin, 1 - margin, 2) * shape
    return place


def _distance(scene: Scene, center: Floats, stretch: float, angle: float) -> Floats:
    """Compute the elliptical distance of each pixel from a point."""
    h, w = scene.image.shape
    y, x = np.arange(h)[:, None] - center[0], np.arange(w)[None, :] - center[1]
    along = y * np.sin(angle) + x * np.cos(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    return np.hypot(along / stretch, across * stretch)


def _irregular(rng: np.random.RandomState, scene: Scene, radius: float) -> Floats:
    """Draw an irregular patch with soft edges: coverage (h, w) from 0 to 1."""
    center = _place(rng, scene, 0.15)
    distance = _distance(scene, center, rng.uniform(0.8, 1.4), rng.uniform(0, np.pi))
    noise = ndimage.gaussian_filter(
        rng.standard_normal(scene.image.shape), radius / 2 + 0.5, mode="wrap"
    )
    edge = radius * (1 + 0.3 * noise / noise.std()) - distance
    coverage: Floats = np.clip(edge / (0.15 * radius + 0.7) + 0.5, 0, 1)
    return coverage


def _line(
    rng: np.random.RandomState,
    scene: Scene,
    winding: float,
    length: float,
    width: float,
) -> Floats:
    """Draw a straight or winding line with soft edges: coverage (h, w) from 0 to 1."""
    n_steps = 4 * int(length) + 8
    turns = ndimage.gaussian_filter1d(rng.standard_normal(n_steps), 6)
    angle = rng.uniform(0, 2 * np.pi) + winding * np.cumsum(turns)
    path = np.cumsum([np.sin(angle), np.cos(angle)], axis=1) * (length / n_steps)
    path += (_place(rng, scene, 0.2) - path.mean(axis=1))[:, None]
    drawn = np.ones(scene.image.shape, dtype=bool)
    cells = np.floor(path).astype(int)
    h, w = scene.image.shape
    inside = (cells >= 0).all(axis=0) & (cells[0] < h) & (cells[1] < w)
    drawn[cells[0, inside], cells[1, inside]] = False
    distance = ndimage.distance_transform_edt(drawn)
    coverage: Floats = np.clip((width + 0.6 - distance) / 1.2, 0, 1)
    return coverage


def _contrast(rng: np.random.RandomState, low: float, high: float) -> float:
    """Draw a change of brightness with a random sign."""
    return float(rng.choice([-1, 1]) * rng.uniform(low, high))


def scratch(rng: np.random.RandomState, scene: Scene) -> Floats:
    """Draw a thin straight line, brighter or darker than its surroundings."""
    length = rng.uniform(0.3, 0.7) * scene.side
    width = rng.uniform(0.3, 0.8) * scene.side / 128
    line = _line(rng, scene, 0.02, length, width)
    return scene.image + _contrast(rng, 0.13, 0.24) * line


def crack(rng: np.random.RandomState, scene: Scene) -> Floats:
    """Draw a thin dark winding line with branches."""
    width = rng.uniform(0.2, 0.5) * scene.side / 128
    length = rng.uniform(0.25, 0.5) * scene.side
    coverage = _line(rng, scene, 0.25, length, width)
    return scene.image * (1 - rng.uniform(0.3, 0.55) * coverage)


def spot(rng: np.random.RandomState, scene: Scene) -> Floats:
    """Draw a small round mark."""
    radius = rng.uniform(0.025, 0.05) * scene.side
    return scene.image + _contrast(rng, 0.14, 0.24) * _irregular(rng, scene, radius)


def stain(rng: np.random.RandomState, scene: Scene) -> Floats:
    """Draw a large bright or dark patch through which the surface is visible."""
    radius = rng.uniform(0.08, 0.15) * scene.side
    patch = _irregular(rng, scene, radius)
    return scene.image * (1 + _contrast(rng, 0.12, 0.22) * patch)


def missing(rng: np.random.RandomState, scene: Scene) -> Floats:
    """Remove a part: a piece of thread, a tablet, or a chip of the surface."""
    center = _place(rng, scene, 0.2).astype(int)
    part = scene.parts[tuple(center)]
    if (scene.parts == scene.parts.flat[0]).all():  # a surface without parts
        coverage = _irregular(rng, scene, rng.uniform(0.06, 0.1) * scene.side)
    elif part < 0:  # between parts: choose the nearest one
        found = ndimage.distance_transform_edt(
            scene.parts < 0, return_distances=False, return_indices=True
        )
        part = scene.parts[tuple(found[(slice(None), *center)])]
        coverage = (scene.parts == part).astype(float)
    else:
        reach = rng.uniform(0.15, 0.3) * scene.side
        near = _distance(scene, center.astype(float), 1.0, 0.0) < reach
        coverage = ((scene.parts == part) & near).astype(float)
    coverage = ndimage.gaussian_filter(coverage, 0.5)
    return scene.image + coverage * (scene.bare - scene.image)


FLAWS: Mapping[str, Callable[[np.random.RandomState, Scene], Floats]] = (
    MappingProxyType(
        {
            "scratch": scratch,
            "spot": spot,
            "stain": stain,
            "missing": missing,
            "crack": crack,
        }
    )
)
