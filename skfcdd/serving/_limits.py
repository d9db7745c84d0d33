"""How much a server takes."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["BUSY", "Limits", "RefusedError"]

BUSY = "The server is busy. Try again in a moment."


@dataclass(frozen=True)
class Limits:
    """How much a server takes of one request, and of all.

    Parameters
    ----------
    max_bytes : int, default=10_000_000
        Of the body of a request.
    max_pixels : int, default=25_000_000
        Of an image, which its header tells before it is unpacked.
    max_images : int, default=64
        Of one request, and scored together.
    max_waiting : int, default=256
        Images that wait at a time; more are refused with status 503.
    max_memory : int, default=200_000_000
        Bytes of all bodies at a time; more are refused with status 503.
    timeout : float, default=10.0
        Seconds in which the body of a request must have arrived.

    Raises
    ------
    ValueError
        If one of them is not positive.

    Examples
    --------
    >>> from skfcdd.serving import Limits
    >>> Limits(max_bytes=1_000_000).max_images
    64
    """

    max_bytes: int = 10_000_000
    max_pixels: int = 25_000_000
    max_images: int = 64
    max_waiting: int = 256
    max_memory: int = 200_000_000
    timeout: float = 10.0

    def __post_init__(self) -> None:
        for known in fields(self):
            value = getattr(self, known.name)
            if not value > 0:
                raise ValueError(
                    f"Got {known.name}={value!r}, but expected a positive number."
                )


class RefusedError(Exception):
    """A request that is rejected, with its status code."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
