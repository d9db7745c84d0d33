"""A memory of normal features beside what FCDD has learned.

FCDD knows what synthetic or real anomalies look like; a memory of normal features knows
what it has never seen. The two anomaly maps are added, each in units of its own spread
on normal images, so that the sum is one additive heatmap with two readings: "looks like
a defect" and "never seen before".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

__all__ = ["MemoryBank"]


@dataclass(frozen=True)
class MemoryBank:
    r"""How normal features are kept, and what they count for.

    The features are those of a pretrained network, before any training: of the
    stage that follows the one at which FCDD's map is taken, enlarged to the cells
    of that map, averaged over neighbouring cells and projected to their principal
    components. A coreset of those of the normal images is kept (PatchCore: Roth et
    al., CVPR 2022). With the distance :math:`d` of a cell to the nearest kept
    features, and the mean :math:`\mu` and standard deviation :math:`\sigma` of
    these distances over normal images, the map is

    .. math:: M = w \max\left(0, \frac{d - \mu}{\sigma}\right)^2,

    where :math:`w` makes the standard deviation of the mean of M, over normal images,
    `weight` times that of FCDD's score. Averaged over as many cells as lie within the
    distance of two features of its stage, it is added to FCDD's map.

    Parameters
    ----------
    weight : float, default=1.0
        Standard deviation of this part of the score on normal images, as a multiple of
        that of FCDD's part; greater than 0.
    n_patches : int, default=2000
        Number of feature vectors to keep. Time of scoring and size of the model are
        proportional to it.
    max_patches : int, default=40_000
        The vectors to keep are chosen among at most this many, drawn evenly from the
        normal images.
    n_components : int or None, default=64
        Number of principal components; None keeps all of the features.
    patch_size : int, default=3
        Odd number of cells per side over which features are averaged.
    stages : sequence of int or None, default=None
        Numbers of the stages whose features are put together, none of them before the
        stage at which FCDD's map is taken. None takes the stage that follows it, or
        that stage itself if it is the last one.
    position : float, default=0.0
        Lets the memory know where in the image a cell lies, for parts that are aligned
        in all images: moving across the whole image counts as much as this many
        standard deviations of the features. 0 compares cells wherever they lie.

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

    def __repr__(self) -> str:
        changed = [
            f"{name}={value!r}"
            for name, value in vars(self).items()
            if value != getattr(MemoryBank, name)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    def check(self) -> None:
        """Raise if a setting is out of range.

        Raises
        ------
        ValueError
            The message names the setting.
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
