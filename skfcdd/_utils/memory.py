"""What happens where a device has too little memory for a batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from skfcdd.exceptions import OutOfMemoryWarning

__all__ = ["in_parts", "is_out_of_memory", "report_smaller_batches"]

T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there is too little memory.

    On the CPU torch says so in words alone.
    """
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def report_smaller_batches(
    size: int, device: torch.device | str, what: str = "image(s)"
) -> None:
    """Give back what the device holds in reserve, and say what is done now."""
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    warnings.warn(
        f"The device {str(device)!r} ran out of memory; going on with {size} {what} "
        f"at a time. Choose a smaller batch_size or resize=, or free memory.",
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
    """Yield places 0 to `n` in parts of `size`, and what `compute` makes of them.

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
        # Only now does nothing hold on to what was computed.
        size = (place.stop - place.start + 1) // 2
        if not reported:
            report_smaller_batches(size, device, what)
        reported = True
