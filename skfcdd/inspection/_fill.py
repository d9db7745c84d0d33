"""Normal content for a region: cloned, interpolated or blurred."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage, sparse
from scipy.sparse.linalg import splu

from skfcdd.inspection._images import Stack

__all__ = ["FILLS", "Filler", "harmonic"]

# Standard deviation of the blur, as a fraction of the shorter side of an image.
_BLUR = 1 / 16
# Width in pixels of the surroundings used to find a matching piece.
_RING = 3
# Standard deviation in pixels by which the difference at a border is smoothed.
_SMOOTH = 1.5
# Regions with at most this many pixels are interpolated if no piece is found.
_SMALLEST = 16
# If this fraction of the pixels is hot, pieces are taken from anywhere.
_MOSTLY = 0.5
# Rounding error of the transform for sums over pixels that are 0 or 1.
_NONE = 0.5

Values = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]
FILLS = ("clone", "harmonic", "blur", "mean")


class Filler:
    """Fill holes in the images of a stack.

    Parameters
    ----------
    stack : Stack
        The images.
    fill : {"clone", "harmonic", "blur", "mean"} or array
        Method, see :func:`skfcdd.inspection.counterfactual`.
    hot : ndarray of shape (n, h, w), bool, or None
        Pixels that are not normal, which are never cloned.

    Raises
    ------
    ImageShapeError, ValueError
        If the method does not exist, or the array does not match the images.
    """

    def __init__(self, stack: Stack, fill: Any, hot: Masks | None = None) -> None:
        if isinstance(fill, str) and fill not in FILLS:
            raise ValueError(
                f"Got fill={fill!r}, but expected one of {FILLS} or an array of normal "
                f"images."
            )
        self.images = stack.images
        self.hot = np.zeros(stack.images.shape[:3], dtype=bool)
        if hot is not None:  # if most pixels are hot, ignore them
            self.hot = hot & (hot.mean(axis=(1, 2), keepdims=True) < _MOSTLY)
        self.normal: Pieces | None = None
        self.way = fill if isinstance(fill, str) else "clone"
        if not isinstance(fill, str):
            self.normal = Pieces(stack.opened(fill, "fill").astype(np.float64))

    @property
    def needs_border(self) -> bool:
        """Whether a whole image cannot be filled."""
        return self.way in ("clone", "harmonic")

    def __call__(self, rows: npt.NDArray[np.intp], holes: Masks) -> Values:
        """Fill the holes (k, h, w) of images at `rows` (k,), float64 (k, h, w, c)."""
        images = self.images[rows].astype(np.float64)
        if self.way == "clone":
            return _cloned(images, holes, self.hot[rows], self.normal)
        if self.way == "harmonic":
            return harmonic(images, holes)
        if self.way == "blur":
            sigma = _BLUR * min(images.shape[1:3])
            new = ndimage.gaussian_filter(images, (0, sigma, sigma, 0), mode="reflect")
        else:
            new = images.mean(axis=(1, 2), keepdims=True)
        return np.where(holes[..., None], new, images)


def harmonic(images: Values, holes: Masks, unknown: Masks | None = None) -> Values:
    """Fill the holes of images by smooth interpolation from their borders.

    Solves the discrete Laplace equation: every pixel of a hole is the mean of its
    neighbours above, below, left and right, if they are in the image and known.

    Parameters
    ----------
    images : ndarray of shape (n, h, w, c), float64
    holes : ndarray of shape (n, h, w), bool
        Each connected hole is adjacent to a known pixel.
    unknown : ndarray of shape (n, h, w), bool, default=None
        Pixels that are neither filled nor used.

    Returns
    -------
    ndarray of shape (n, h, w, c), float64
    """
    filled = images.copy()
    if not holes.any():
        return filled
    number = np.full(holes.shape, -1)
    number[holes] = np.arange(holes.sum())
    place = np.stack(np.nonzero(holes))
    n_pixels = place.shape[1]
    neighbours = np.zeros(n_pixels)
    known = np.zeros((n_pixels, images.shape[3]))
    usable = np.ones(holes.shape, dtype=bool) if unknown is None else ~unknown
    rows, columns = [], []
    for step in ((0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)):
        here, there = _neighbours(place, np.array(step)[:, None], usable)
        neighbours[here] += 1
        hole = number[there] >= 0
        rows.append(here[hole])
        columns.append(number[there][hole])
        known[here[~hole]] += images[there][~hole]
    i, j = np.concatenate(rows), np.concatenate(columns)
    links = sparse.csc_matrix((np.ones(len(i)), (i, j)), shape=(n_pixels, n_pixels))
    equations = sparse.diags(neighbours, format="csc") - links
    filled[holes] = splu(equations, permc_spec="MMD_AT_PLUS_A").solve(known)
    return filled


def _neighbours(
    place: npt.NDArray[np.intp], step: npt.NDArray[np.intp], usable: Masks
) -> tuple[npt.NDArray[np.intp], tuple[npt.NDArray[np.intp], ...]]:
    """Return indices (3, m) of places with a usable neighbour, and the neighbour."""
    at = place + step
    size = np.array(usable.shape)[:, None]
    inside = np.asarray(((at >= 0) & (at < size)).all(axis=0))
    inside[inside] = usable[tuple(at[:, inside])]
    return np.flatnonzero(inside), tuple(at[:, inside])


def _cloned(images: Values, holes: Masks, hot: Masks, normal: Pieces | None) -> Values:
    """Replace the holes of images by matching pieces, without seams.

    Pieces come from the same image, outside its holes and hot pixels, or from normal
    images.
    """
    filled = images.copy()
    for k in np.flatnonzero(holes.any(axis=(1, 2))):
        taken = holes[k] | hot[k]
        pieces = Pieces(images[[k]], taken) if normal is None else normal
        _clone(filled[k], holes[k], pieces)
    return filled


def _clone(image: Values, hole: Masks, pieces: Pieces) -> None:
    """Fill the hole of an image (h, w, c) in place.

    Part by part: if no free piece is as large as a part, the part is split in two; if
    it is too small to split, it is interpolated.
    """
    unknown, parts = hole.copy(), deque(_parts(hole))
    while parts:
        part = parts.popleft()
        box = tuple(
            slice(max(0, side.start - _RING), side.stop + _RING)
            for side in ndimage.find_objects(part.astype(np.uint8))[0]
        )
        here, target = part[box], image[box]
        ignored = unknown[box] & ~here
        if not (ndimage.binary_dilation(here) & ~here & ~ignored).any():
            parts.append(part)  # after its neighbours
            continue
        ring = ndimage.binary_dilation(here, iterations=_RING) & ~here & ~ignored
        piece = pieces.best(target, here, ring)
        if piece is None and part.sum() > _SMALLEST:
            parts.extend(_halves(part, box))
            continue
        if piece is None:
            new = harmonic(target[None], here[None], ignored[None])[0]
        else:
            new = piece + _seam(target - piece, here, ring)
        target[here] = new[here]
        unknown[box] &= ~here


def _seam(difference: Values, hole: Masks, ring: Masks) -> Values:
    """Propagate a difference (h, w, c) around a hole inwards, to remove the seam.

    The difference is a linear gradient over the ring plus a smoothed remainder: if
    textures do not match, single pixels of the border must not be propagated.
    """
    i, j = np.indices(hole.shape)
    slope = np.stack([np.ones(hole.shape), i - i.mean(), j - j.mean()], axis=-1)
    slope = slope @ np.linalg.lstsq(slope[ring], difference[ring], rcond=None)[0]
    rest = np.where(ring[..., None], difference - slope, 0)
    sigma = (_SMOOTH, _SMOOTH, 0)
    weight = ndimage.gaussian_filter(ring.astype(np.float64)[..., None], sigma)
    smooth = ndimage.gaussian_filter(rest, sigma) / np.where(ring[..., None], weight, 1)
    inside: Values = harmonic(smooth[None], hole[None], ~(hole | ring)[None])[0]
    return slope + inside


def _parts(mask: Masks) -> list[Masks]:
    """Return the connected parts of a mask (h, w)."""
    labels, count = ndimage.label(mask)
    return [labels == number for number in range(1, count + 1)]


def _halves(part: Masks, box: tuple[slice, ...]) -> list[Masks]:
    """Split a part in two across its longer side, and return the connected parts."""
    rows, columns = box
    first = np.zeros_like(part)
    if rows.stop - rows.start > columns.stop - columns.start:
        first[: (rows.start + rows.stop) // 2] = True
    else:
        first[:, : (columns.start + columns.stop) // 2] = True
    return [*_parts(part & first), *_parts(part & ~first)]


class Pieces:
    """All windows of some images, among which the best match is found.

    Parameters
    ----------
    images : ndarray of shape (m, h, w, c), float64
    taken : ndarray of shape (h, w), bool, or None
        Pixels that must not be used.
    """

    def __init__(self, images: Values, taken: Masks | None = None) -> None:
        self.images, self.size = images, images.shape[1:3]
        # The match does not depend on a constant, and numbers near 0 lose fewer digits.
        centred = images - images.mean(axis=(1, 2), keepdims=True)
        self.values = self._transform(np.moveaxis(centred, 3, 1))
        self.squares = self._transform((centred**2).sum(axis=3))
        self.taken = None
        if taken is not None and taken.any():
            self.taken = self._transform(taken.astype(np.float64))

    def best(self, target: Values, hole: Masks, ring: Masks) -> Values | None:
        """Find the window that best matches a target (a, b, c) around its hole.

        Least squares, up to a constant for each channel. None if every window contains
        pixels that must not be used.
        """
        costs = self.misfit(target, ring)
        if self.taken is not None:
            used = self._slide(self.taken, (hole | ring).astype(np.float64))
            costs[:, used > _NONE] = np.inf
        best = int(costs.argmin())
        if not np.isfinite(costs.flat[best]):
            return None
        k, top, left = np.unravel_index(best, costs.shape)
        a, b = hole.shape
        piece: Values = self.images[k, top : top + a, left : left + b]
        return piece

    def misfit(self, target: Values, ring: Masks) -> Values:
        """Compute the sum of squared differences over the ring, less their means.

        Parameters
        ----------
        target : ndarray of shape (a, b, c), float64
        ring : ndarray of shape (a, b), bool

        Returns
        -------
        ndarray of shape (m, h - a + 1, w - b + 1), float64
            One value per window.
        """
        weight = ring.astype(np.float64)
        values = np.moveaxis(weight[..., None] * (target - target[ring].mean(0)), 2, 0)
        products = self._slide(self.values, values).sum(axis=1)
        # The mean of the target over the ring is 0, so the difference has that of the
        # window.
        sums = self._slide(self.values, weight)
        squares = (values**2).sum() - 2 * products + self._slide(self.squares, weight)
        costs: Values = squares - (sums**2).sum(axis=1) / weight.sum()
        return costs

    def _transform(self, values: Values) -> npt.NDArray[np.complex128]:
        found: npt.NDArray[np.complex128] = fft.rfft2(values, self.size)
        return found

    def _slide(self, image: npt.NDArray[np.complex128], window: Values) -> Values:
        """Compute sums of image times window (..., a, b) at all positions."""
        product = image * self._transform(window).conj()
        rows = self.size[0] - window.shape[-2] + 1
        columns = self.size[1] - window.shape[-1] + 1
        sums: Values = fft.irfft2(product, self.size)[..., :rows, :columns]
        return sums
