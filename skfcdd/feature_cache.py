"""How the features of frozen stages are kept while a network is trained.

Where the first stages of a backbone are frozen and nothing changes the images ahead of
them, their output for an image is the same in every epoch. It is kept, and an epoch
costs only the stages that are trained. Synthetic anomalies come from a bank: images
that are planted and kept as features too; a share of the bank is planted anew before
each epoch, all of it unless one says otherwise.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Real

__all__ = ["FeatureCache"]

_DTYPES = ("bfloat16", "float16", "float32", "float64")


@dataclass(frozen=True)
class FeatureCache:
    """How features of frozen stages are kept.

    Parameters
    ----------
    memory : int, default=2**31
        Bytes of features that may be kept in memory. More of them are kept in a
        temporary file, which is deleted after training.
    folder : str, default=None
        Where the temporary file is made. None takes the system's folder for them.
    dtype : {"auto", "float16", "bfloat16", "float32", "float64"}, default="auto"
        How they are stored. "auto" takes bfloat16 or float64 where the frozen stages
        compute in it, and float16 where they run in float32.
    bank : float, default=1.0
        Size of the bank of synthetic anomalies, as a multiple of the number that an
        epoch takes; greater than 0.
    refresh : float, default=1.0
        Share of the bank that is planted anew before each epoch but the first, in
        [0, 1]. Each epoch costs as many passes through the frozen stages. By default
        no anomaly is seen twice, which finds more. Where frozen stages are slow,
        ``FeatureCache(bank=2, refresh=0.1)`` shows each about five times.

    Examples
    --------
    >>> from skfcdd.feature_cache import FeatureCache
    >>> FeatureCache(memory=2**28, refresh=0.0).bank
    1.0
    """

    memory: int = 1 << 31
    folder: str | None = None
    dtype: str = "auto"
    bank: float = 1.0
    refresh: float = 1.0

    def check(self) -> None:
        """Raise where a setting is out of range.

        Raises
        ------
        ValueError
            The message names the setting.
        """
        for name, fits, expected in (
            ("memory", _is_number(self.memory, 0), "a number of bytes"),
            ("dtype", self.dtype in ("auto", *_DTYPES), f"'auto' or one of {_DTYPES}"),
            ("bank", _is_number(self.bank, 1e-9), "a number greater than 0"),
            ("refresh", _is_number(self.refresh, 0, 1), "a number in [0, 1]"),
            (
                "folder",
                self.folder is None or os.path.isdir(self.folder),
                "an existing folder",
            ),
        ):
            if not fits:
                raise ValueError(
                    f"Got FeatureCache({name}={getattr(self, name)!r}), but expected "
                    f"{expected}."
                )


def _is_number(value: object, low: float, high: float = 1e300) -> bool:
    return isinstance(value, Real) and low <= float(value) <= high
