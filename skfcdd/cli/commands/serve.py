"""Serve a model over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from skfcdd.cli._arguments import Device, Saved

__all__ = ["serve"]


def serve(
    model: Saved,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 means all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port.")] = 8000,
    max_bytes: Annotated[
        int, typer.Option(min=1, help="Maximum size of a request, in bytes.")
    ] = 10_000_000,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Maximum number of pixels in an image.")
    ] = 25_000_000,
    max_waiting: Annotated[
        int,
        typer.Option(
            min=1,
            help="Maximum number of waiting images; further requests get status 503.",
        ),
    ] = 256,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Timeout in seconds for receiving a request.")
    ] = 10.0,
    device: Device = "auto",
) -> None:
    """Serve a model over HTTP.

    POST an image to /score to get its score and prediction. There is no authentication:
    anyone who can reach the port can send images.
    """
    from skfcdd.cli import _serving
    from skfcdd.cli._model import Model
    from skfcdd.serving import Limits

    limits = Limits(max_bytes, max_pixels, max_waiting=max_waiting, timeout=timeout)
    _serving.serve(Model(model, device), host, port, limits)
