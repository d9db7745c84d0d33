"""Implementation of ``skfcdd serve``."""

from __future__ import annotations

import socket
import sys

from skfcdd._utils.optional import require
from skfcdd.cli._model import Model
from skfcdd.serving import Limits, make_app

__all__ = ["serve"]

# Maximum number of open connections; further ones get status 503.
_CONNECTIONS = 512


def serve(model: Model, host: str, port: int, limits: Limits) -> None:
    """Serve until the process receives a signal to stop."""
    uvicorn = require("uvicorn", "uvicorn")
    app = make_app(model.estimator, limits=limits)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only if the protocol is named; otherwise, small responses
    # would be delayed.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise OSError(
                f"Cannot listen on {host}, port {port}: {error.strerror or error}. "
                "Choose another address with --host and --port."
            ) from error
        listener.listen(1024)
        place = listener.getsockname()
        shown = f"[{place[0]}]" if family == socket.AF_INET6 else place[0]
        print(f"Serving on http://{shown}:{place[1]}", file=sys.stderr, flush=True)
        config = uvicorn.Config(
            app,
            log_level="warning",
            ws="none",
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=10,
        )
        uvicorn.Server(config).run([listener])
