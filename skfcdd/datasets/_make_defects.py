"""Generator of images of surfaces with synthetic defects."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from sklearn.utils import Bunch, check_random_state

from skfcdd.datasets._flaws import FLAWS, Scene
from skfcdd.datasets._textures import TEXTURES, Surface

__all__ = ["make_defects"]

# A pixel belongs to a defect if its value (0 to 255) changes by at least this much.
_VISIBLE = 6
_SMALLEST_SIDE = 16
# A defect without a visible trace is drawn again, at most this many times.
_MAX_TRIES = 50

_DESCRIPTION = """Generated surfaces with defects.

Textures: {textures}. Defects: {defects}. {n} images of {h} x {w} pixels, {anomalies} of
them with one defect each. Light, contrast, pose and scale vary from image to image.
"""


def make_defects(
    n_samples: int = 200,
    *,
    image_size: int | tuple[int, int] = 64,
    texture: str | Sequence[str] = "fabric",
    defect: str | Sequence[str] = "all",
    anomaly_fraction: float = 0.2,
    color: bool = False,
    random_state: Any = None,
) -> Bunch:
    """Generate images of surfaces, some of which have a defect.

    Illumination, pose and scale vary as in real images. A defect therefore cannot be
    recognised by the brightness of the image or of single pixels, but only by comparing
    it with its surroundings.

    Parameters
    ----------
    n_samples : int, default=200
        Number of images.
    image_size : int or tuple of int (h, w), default=64
        Image size in pixels; each side must be at least 16.
    texture : str or sequence of str, default="fabric"
        Texture of the surface: "fabric", "brushed_metal", "wood" or "tablets". For a
        sequence, or "all", textures are mixed evenly.
    defect : str or sequence of str, default="all"
        Kind of defect: "scratch", "spot", "stain", "missing" or "crack". For a
        sequence, or "all", kinds are mixed evenly.
    anomaly_fraction : float, default=0.2
        Fraction of images with a defect, in [0, 1].
    color : bool, default=False
        Whether to generate colour images.
    random_state : int, RandomState instance or None, default=None
        Pass an int for reproducible output across multiple calls.

    Returns
    -------
    sklearn.utils.Bunch
        Dictionary-like object with the attributes

        - images: (n, h, w), or (n, h, w, 3) in colour, uint8.
        - target: (n,), int64; 0 normal, 1 anomaly.
        - masks: (n, h, w), uint8; 1 at pixels changed by the defect, otherwise 0.
        - defect: (n,), name of the defect, "good" if there is none.
        - texture: (n,), name of the texture.
        - target_names, DESCR.

    Raises
    ------
    ValueError
        If a name is unknown or a number is out of range.

    Examples
    --------
    >>> from skfcdd.datasets import make_defects
    >>> data = make_defects(20, image_size=32, texture="wood", random_state=0)
    >>> data.images.shape, int(data.target.sum())
    ((20, 32, 32), 4)
    """
    h, w = _check_size(image_size)
    _check_numbers(n_samples, anomaly_fraction)
    textures = _check_names("texture", texture, TEXTURES)
    defects = _check_names("defect", defect, FLAWS)
    rng = (
        np.random.RandomState(np.random.SeedSequence().generate_state(8))
        if random_state is None
        else check_random_state(random_state)
    )
    n_anomalies = round(n_samples * anomaly_fraction)
    images = np.empty((n_samples, h, w, 3), dtype=np.uint8)
    masks = np.zeros((n_samples, h, w), dtype=np.uint8)
    kinds = np.full(n_samples, "good", dtype=f"<U{max(map(len, [*FLAWS, 'good']))}")
    kinds[:n_anomalies] = np.resize(defects, n_anomalies)
    kinds = rng.permutation(kinds)
    names = rng.permutation(np.resize(textures, n_samples))
    for name in textures:
        rows = np.flatnonzero(names == name)
        if len(rows):
            images[rows], masks[rows] = _photograph(rng, name, kinds[rows], (h, w))
    return Bunch(
        images=images if color else np.ascontiguousarray(images[..., 1]),
        target=(kinds != "good").astype(np.int64),
        masks=masks,
        defect=kinds,
        texture=names,
        target_names=["normal", "anomaly"],
        DESCR=_DESCRIPTION.format(
            textures=", ".join(textures),
            defects=", ".join(defects),
            n=n_samples,
            h=h,
            w=w,
            anomalies=n_anomalies,
        ),
    )


def _photograph(
    rng: np.random.RandomState,
    texture: str,
    kinds: npt.NDArray[np.str_],
    size: tuple[int, int],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Generate images (n, h, w, 3) and masks (n, h, w) with the defects `kinds`."""
    n = len(kinds)
    surface = TEXTURES[texture](rng, n, *size)
    camera = _Camera.draw(rng, n, size)
    clean = camera.develop(surface, surface.images)
    images, masks = clean.copy(), np.zeros((n, *size), dtype=np.uint8)
    for i in np.flatnonzero(kinds != "good"):
        scene = Scene(surface.images[i], surface.bare[i], surface.parts[i])
        for _ in range(_MAX_TRIES):
            flawed = FLAWS[str(kinds[i])](rng, scene)
            image = camera.develop(surface, flawed[None], slice(i, i + 1))[0]
            change = np.abs(image.astype(int) - clean[i]).max(axis=-1)
            masks[i] = change >= _VISIBLE
            if masks[i].sum() >= 4:
                break
        else:
            raise RuntimeError(
                f"No visible {kinds[i]} could be drawn on {texture} at {size} pixels. "
                "Increase image_size."
            )
        images[i] = np.where(masks[i][..., None], image, clean[i])
    return images, masks


class _Camera:
    """Illumination, contrast and noise of n images."""

    def __init__(
        self,
        gain: npt.NDArray[np.float64],
        offset: npt.NDArray[np.float64],
        noise: npt.NDArray[np.float64],
    ) -> None:
        self.gain, self.offset, self.noise = gain, offset, noise

    @classmethod
    def draw(cls, rng: np.random.RandomState, n: int, size: tuple[int, int]) -> _Camera:
        """Draw a random illumination gradient, gain, offset and noise."""
        h, w = size
        y, x = np.linspace(-1, 1, h)[:, None], np.linspace(-1, 1, w)[None, :]
        slope = rng.uniform(-0.12, 0.12, (2, n, 1, 1))
        light = rng.uniform(0.8, 1.2, (n, 1, 1)) + slope[0] * y + slope[1] * x
        grain = ndimage.gaussian_filter(rng.standard_normal((n, h, w)), (0, 0.4, 0.4))
        return cls(light, rng.uniform(-0.06, 0.06, (n, 1, 1)), 0.02 * grain)

    def develop(
        self,
        surface: Surface,
        brightness: npt.NDArray[np.float64],
        rows: slice = slice(None),
    ) -> npt.NDArray[np.uint8]:
        """Convert surfaces (n, h, w) to images (n, h, w, 3), uint8."""
        seen = brightness * self.gain[rows] + self.offset[rows] + self.noise[rows]
        tinted = 255 * seen[..., None] * np.array(surface.tint)
        return np.clip(np.round(tinted), 0, 255).astype(np.uint8)


def _check_size(image_size: Any) -> tuple[int, int]:
    size = (image_size,) * 2 if isinstance(image_size, Integral) else image_size
    if (
        not isinstance(size, (tuple, list))
        or len(size) != 2
        or not all(isinstance(s, Integral) and int(s) >= _SMALLEST_SIDE for s in size)
    ):
        raise ValueError(
            f"Got image_size={image_size!r}, but expected an int or (h, w) of at "
            f"least {_SMALLEST_SIDE} pixels."
        )
    return int(size[0]), int(size[1])


def _check_numbers(n_samples: Any, anomaly_fraction: Any) -> None:
    if not isinstance(n_samples, Integral) or int(n_samples) < 1:
        raise ValueError(f"Got n_samples={n_samples!r}, but expected an int above 0.")
    if not isinstance(anomaly_fraction, Real) or not (
        0 <= float(anomaly_fraction) <= 1
    ):
        raise ValueError(
            f"Got anomaly_fraction={anomaly_fraction!r}, but expected a number in "
            f"[0, 1]."
        )


def _check_names(what: str, given: Any, known: Mapping[str, Any]) -> list[str]:
    names = list(known) if given == "all" else given
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"Got {what}={given!r}, but expected 'all' or names from {list(known)}."
                f"{hint}"
            )
    if not names:
        raise ValueError(f"Got an empty {what}; expected one of {list(known)}.")
    return names
