"""Limits of a server."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["BUSY", "Limits", "RefusedError"]

BUSY = "The server is busy. Try again in a moment."


@dataclass(frozen=True)
class Limits:
    """Limits on single requests, and on all of them.

    Parameters
    ----------
    max_bytes : int, default=10_000_000
        Maximum size of the body of a request.
    max_pixels : int, default=25_000_000
        Maximum number of pixels of an image, checked from its header before decoding.
    max_images : int, default=64
        Maximum number of images in a request, and in a batch.
    max_waiting : int, default=256
        Maximum number of waiting images; others are rejected with status 503.
    max_memory : int, default=200_000_000
        Maximum total size of bodies in bytes; others are rejected with status 503.
    timeout : float, default=10.0
        Time limit in seconds for receiving the body of a request.

    Raises
    ------
    ValueError
        If a limit is not positive.

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
