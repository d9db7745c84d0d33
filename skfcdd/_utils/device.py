"""Device and precision of networks, and recovery from a lack of memory."""

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
        named = torch.device(device)
    except RuntimeError as error:  # which lists all that any machine might have
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
    """The precision for training on `device` with images of `n_pixels` pixels.

    "auto" uses float64 for tiny images (rows of a table, say), for which it costs
    nothing and makes scores independent of the batch they are computed in; otherwise
    bfloat16 if the hardware supports it natively, and else float32. If the trained
    layers of a network are faster in float32 than in bfloat16 on a CPU (`apart`),
    "mixed" is used: frozen layers in bfloat16 and the others in float32.
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
        if native and apart:
            return "mixed"
    return "bfloat16" if native else "float32"


def lowered(precision: str, device: torch.device | str) -> torch.autocast:
    """Context in which a backbone computes in bfloat16, if that is the `precision`."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory is exhausted.

    On the CPU, only the message of torch shows this.
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
    """Yield slices of 0 to `n` of `size` each, with the result of `compute`.

    Where memory ends, parts are halved from there on; `what` they are of is reported.

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
        # Only now are the results of the computation no longer referenced.
        size = (place.stop - place.start + 1) // 2
        if not reported:
            report_smaller_batches(size, device, what)
        reported = True
