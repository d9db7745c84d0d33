"""Memory bank of normal features, which adds a novelty term to the map of FCDD.

FCDD detects what resembles synthetic or real anomalies; a memory of normal features
detects what was never seen before. The two anomaly maps are added, each in units of its
spread on normal images, so that the heatmap is the sum of two interpretable parts:
"looks like a defect" and "never seen before".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

__all__ = ["MemoryBank"]


@dataclass(frozen=True)
class MemoryBank:
    r"""Settings of the memory bank of normal features.

    The features are those of the pretrained network, before any training. They are
    taken from the stage after the one that FCDD's map is computed from, upsampled to
    the cells of that map, averaged over neighbouring cells and projected to their
    principal components. A coreset of the features of normal images is kept (PatchCore:
    Roth et al., CVPR 2022). With the distance :math:`d` of a cell to the nearest kept
    feature vector, and the mean :math:`\mu` and standard deviation :math:`\sigma` of
    these distances over normal images, the map is

    .. math:: M = w \max\left(0, \frac{d - \mu}{\sigma}\right)^2,

    where :math:`w` is chosen such that the standard deviation of the mean of :math:`M`
    over normal images is `weight` times that of FCDD's score. The map is averaged over
    as many cells as lie within the stride of its stage, and added to FCDD's map.

    Some images are unusual as a whole rather than in one place. Therefore, the features
    of each image are averaged over its cells, standardised, and compared with those of
    normal images by a one-class support vector machine (Schölkopf et al., 2001;
    :class:`sklearn.svm.OneClassSVM` with ``nu=0.1`` and with the reciprocal of the
    number of features as ``gamma``). The negative of its decision function is clipped
    and added to all cells, scaled so that its standard deviation over normal images is
    `global_weight` times that of FCDD's score.

    Parameters
    ----------
    weight : float, default=1.0
        Weight of the memory: standard deviation of its part of the score on normal
        images, as a multiple of that of FCDD's part. Greater than 0.
    n_patches : int, default=2000
        Number of feature vectors to keep. The time for scoring and the size of the
        model are roughly proportional to it.
    max_patches : int, default=40_000
        Maximum number of candidate vectors, drawn evenly from the normal images, among
        which those to keep are chosen.
    n_components : int or None, default=64
        Number of principal components. None uses the features without projection.
    patch_size : int, default=3
        Side of the square of neighbouring cells over which features are averaged, an
        odd number.
    stages : sequence of int or None, default=None
        Numbers of the stages whose features are concatenated. No stage may precede the
        one that FCDD's map is computed from. None uses the next stage after that one,
        or the same stage if it is the last.
    position : float, default=0.0
        Weight of the position of a cell in the image. Set it if parts are aligned in
        all images. A shift across the whole image adds as much to the distance as this
        many standard deviations of the features. 0 ignores the position.
    global_weight : float, default=0.5
        Weight of the features of the whole image, in the same unit as `weight`. 0
        compares only cells.

    Examples
    --------
    >>> from skfcdd import FCDDDetector
    >>> from skfcdd.memory_bank import MemoryBank
    >>> FCDDDetector(memory_bank=MemoryBank(n_patches=500, position=1.0))
    FCDDDetector(memory_bank=MemoryBank(n_patches=500, position=1.0))
    """

    weight: float = 1.0
    n_patches: int = 2000
    max_patches: int = 40_000
    n_components: int | None = 64
    patch_size: int = 3
    stages: Sequence[int] | None = None
    position: float = 0.0
    global_weight: float = 0.5

    def __repr__(self) -> str:
        changed = [
            f"{name}={value!r}"
            for name, value in vars(self).items()
            if value != getattr(MemoryBank, name)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    def check(self) -> None:
        """Check the parameters.

        Raises
        ------
        ValueError
            If a parameter is out of range; the message names it.
        """
        stages = self.stages
        for name, fits, expected in (
            ("weight", _is_number(self.weight, 1e-9), "a number greater than 0"),
            ("n_patches", _is_count(self.n_patches), "an int of at least 1"),
            ("max_patches", _is_count(self.max_patches), "an int of at least 1"),
            (
                "n_components",
                self.n_components is None or _is_count(self.n_components),
                "an int of at least 1, or None",
            ),
            (
                "patch_size",
                _is_count(self.patch_size) and self.patch_size % 2 == 1,
                "an odd int of at least 1",
            ),
            (
                "stages",
                stages is None or (len(stages) > 0 and all(map(_is_count, stages))),
                "numbers of stages, or None",
            ),
            ("position", _is_number(self.position, 0), "a number of at least 0"),
            (
                "global_weight",
                _is_number(self.global_weight, 0),
                "a number of at least 0",
            ),
        ):
            if not fits:
                raise ValueError(
                    f"Got MemoryBank({name}={getattr(self, name)!r}), but expected "
                    f"{expected}."
                )


def _is_count(value: object) -> bool:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return whole and int(value) >= 1  # type: ignore[call-overload]


def _is_number(value: object, low: float) -> bool:
    return isinstance(value, Real) and low <= float(value) <= 1e300
