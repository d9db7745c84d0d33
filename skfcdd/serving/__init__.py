"""A model behind HTTP: verdicts on images that are sent to it.

:func:`make_app` makes an application of Starlette, which any ASGI server runs;
``skfcdd serve`` runs it with uvicorn. Images that arrive together are scored together.
What comes in is taken for hostile: sizes are limited before memory is taken, waiting
has an end, and what is refused is refused with a status and a sentence.
"""

from __future__ import annotations

from skfcdd.serving._app import make_app
from skfcdd.serving._limits import Limits

__all__ = ["Limits", "make_app"]
