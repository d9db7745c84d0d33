"""Device and precision of networks, and recovery if memory runs out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from skfcdd.exceptions import OutOfMemoryWarning

__all__ = [
    "PRECISIONS",
    "in_parts",
    "is_out_of_memory",
    "lowered",
    "report_smaller_batches",
    "resolve_device",
    "resolve_precision",
]

T = TypeVar("T")

PRECISIONS = ("auto", "float64", "float32", "bfloat16", "mixed")

# Images of fewer pixels are tiny: rows of a table, for example.
_TINY = 24 * 24


def resolve_device(device: str) -> str:
    """Resolve "auto", and check that the device is available.

    Raises
    ------
    ValueError
        If the device is not available.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        named = torch.device(device)
    except RuntimeError as error:  # its message lists every device type of torch
        raise ValueError(
            f"Got device={device!r}, but there is no such device. Use 'auto', 'cpu', "
            "or a GPU, such as 'cuda' or 'cuda:1'."
        ) from error
    try:
        torch.ones(1, device=named).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"Got device={device!r}, which this machine or this build of torch does "
            f"not have ({str(error).splitlines()[0]}). Use 'auto' or 'cpu'."
        ) from error
    return device


def resolve_precision(
    precision: str, device: str, n_pixels: int, *, apart: bool = False
) -> str:
    """Return the precision for training on `device` with images of `n_pixels` pixels.

    "auto" uses float64 for tiny images, such as rows of a table, for which it costs
    nothing and makes scores independent of the batch they are computed in; otherwise
    bfloat16 if the hardware supports it natively, and float32 if it does not. If the
    trained layers of a network are faster in float32 than in bfloat16 on a CPU
    (`apart`), "mixed" replaces bfloat16: it uses bfloat16 for frozen layers only.
    """
    if precision != "auto":
        return precision
    if n_pixels < _TINY and torch.device(device).type != "mps":  # mps has no float64
        return "float64"
    if torch.device(device).type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        native = any(getattr(torch.cpu, name, bool)() for name in probes)
        if native and apart:
            return "mixed"
    return "bfloat16" if native else "float32"


def lowered(precision: str, device: torch.device | str) -> torch.autocast:
    """Return a context that computes in bfloat16, if that is the `precision`."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory is exhausted.

    On the CPU, torch raises a plain RuntimeError, which only its message identifies.
    """
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def report_smaller_batches(
    size: int, device: torch.device | str, what: str = "image(s)"
) -> None:
    """Release the cached memory of the device, and warn about the smaller size."""
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    warnings.warn(
        f"The device {str(device)!r} ran out of memory; continuing with {size} {what} "
        "at a time. Choose a smaller batch_size or resize=, or free memory.",
        OutOfMemoryWarning,
        stacklevel=4,
    )


def in_parts(
    n: int,
    size: int,
    device: torch.device | str,
    compute: Callable[[slice], T],
    what: str = "image(s)",
) -> Iterator[tuple[slice, T]]:
    """Yield slices of length `size` that cover ``range(n)``, and `compute` of each.

    If memory runs out, this slice and all later ones are halved; `what` names their
    elements in the warning.

    Warns
    -----
    OutOfMemoryWarning
        Once.
    """
    start, reported = 0, False
    while start < n:
        place = slice(start, min(start + size, n))
        try:
            result = compute(place)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or place.stop - place.start == 1:
                raise
        else:
            yield place, result
            start = place.stop
            continue
        # Outside of the handler, results of the failed call are no longer referenced.
        size = (place.stop - place.start + 1) // 2
        if not reported:
            report_smaller_batches(size, device, what)
        reported = True
