"""Serving a model over HTTP.

:func:`make_app` makes a Starlette application, which any ASGI server can run;
``skfcdd serve`` runs it with uvicorn. Images that arrive together are scored together.
Requests are not trusted: sizes are limited before memory is allocated, waiting times
are limited, and rejected requests receive a status code and a message.
"""

from __future__ import annotations

from skfcdd.serving._app import make_app
from skfcdd.serving._limits import Limits

__all__ = ["Limits", "make_app"]
