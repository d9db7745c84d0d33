"""Where a network computes, and in which precision."""

from __future__ import annotations

import torch

__all__ = ["lowered", "resolve_device", "resolve_precision"]

# Images of fewer pixels are tiny.
_TINY = 24 * 24


def resolve_device(device: str) -> str:
    """The device that `device` names, after a look whether it is there.

    Raises
    ------
    ValueError
        If it is not.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.ones(1, device=torch.device(device)).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"Got device={device!r}, which this machine or this build of torch does "
            f"not have ({str(error).splitlines()[0]}). Use 'cpu' or 'auto'."
        ) from error
    return device


def resolve_precision(precision: str, device: str, n_pixels: int) -> str:
    """The precision for training on `device` with images of `n_pixels` pixels.

    "auto" takes float64 for tiny images (rows of a table, say), where it costs
    nothing and makes scores independent of the batch they are computed in; else
    bfloat16 where the hardware has units for it, else float32.
    """
    if precision != "auto":
        return precision
    if n_pixels < _TINY and torch.device(device).type != "mps":  # has no float64
        return "float64"
    if torch.device(device).type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        native = any(getattr(torch.cpu, name, bool)() for name in probes)
    return "bfloat16" if native else "float32"


def lowered(precision: str, device: torch.device | str) -> torch.autocast:
    """Where a backbone computes in bfloat16, if that is the `precision`."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16")
