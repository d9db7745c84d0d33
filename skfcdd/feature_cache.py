"""Caching of the features of frozen stages during training.

If the first stages of a backbone are frozen and images are not augmented, the output of
these stages for an image is the same in every epoch. It is cached, so that each epoch
computes only the trained stages. Synthetic anomalies come from a bank of cached
features. A fraction of the bank, by default all of it, is generated again before each
epoch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Real

__all__ = ["FeatureCache"]

_DTYPES = ("bfloat16", "float16", "float32", "float64")


@dataclass(frozen=True)
class FeatureCache:
    """Settings of the cache for features of frozen stages.

    Parameters
    ----------
    memory : int, default=2**31
        Maximum number of bytes kept in memory. Larger caches are stored in a temporary
        file, which is deleted after training.
    folder : str, default=None
        Folder for the temporary file. None uses the system's temporary folder.
    dtype : {"auto", "float16", "bfloat16", "float32", "float64"}, default="auto"
        Data type in which features are stored. "auto" uses that of the frozen stages if
        it is bfloat16 or float64, and float16 if it is float32.
    bank : float, default=1.0
        Size of the bank of synthetic anomalies, as a multiple of the number used in an
        epoch; greater than 0.
    refresh : float, default=1.0
        Fraction of the bank that is generated again before each epoch except the first,
        in [0, 1]. Each new anomaly costs a pass through the frozen stages. By default,
        no anomaly is used twice, which improves detection. If the frozen stages are
        slow, use ``FeatureCache(bank=2, refresh=0.1)``, with which each anomaly is used
        about five times.

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
        """Check the parameters.

        Raises
        ------
        ValueError
            If a parameter is out of range; the message names it.
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
