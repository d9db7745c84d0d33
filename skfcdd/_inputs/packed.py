"""Masks packed as text, for the metadata of files."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["pack_mask", "unpack_mask"]

# A larger mask was not packed by this package, and could exhaust the memory.
_MAX_PIXELS = 1 << 32


def pack_mask(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Pack a mask (h, w) into a compact dictionary for JSON."""
    bits = zlib.compress(np.packbits(mask).tobytes(), 9)
    return {"shape": list(mask.shape), "bits": base64.b64encode(bits).decode("ascii")}


def unpack_mask(packed: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """Unpack a mask (h, w).

    Raises
    ------
    KeyError, TypeError, ValueError
        If the mask was not packed by :func:`pack_mask`.
    """
    h, w = (int(n) for n in packed["shape"])
    n_bytes = -(-prod((h, w)) // 8)
    if not (h > 0 and w > 0 and h * w <= _MAX_PIXELS):
        raise ValueError(f"A packed mask cannot have {h} x {w} pixels.")
    unzip = zlib.decompressobj()
    bits = unzip.decompress(base64.b64decode(packed["bits"]), n_bytes + 1)
    if len(bits) != n_bytes:
        raise ValueError(
            f"A packed mask of {h} x {w} pixels has {n_bytes} bytes, not {len(bits)}."
        )
    flat = np.unpackbits(np.frombuffer(bits, np.uint8), count=h * w)
    return flat.reshape(h, w).astype(bool)
