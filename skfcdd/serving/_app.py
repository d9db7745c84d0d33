"""The application: its endpoints and their inputs."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from skfcdd import __version__
from skfcdd._answers import check_model
from skfcdd._utils.optional import require
from skfcdd.serving._limits import BUSY, Limits, RefusedError
from skfcdd.serving._metrics import Metrics
from skfcdd.serving._scoring import Scorer

__all__ = ["make_app"]


def make_app(estimator: Any, *, limits: Limits | None = None) -> Any:
    """Make an application that serves a model; requires Starlette.

    ``POST /score`` accepts the bytes of one image file and returns its prediction;
    ``POST /scores`` accepts JSON, ``{"images": [...]}``, with base64-encoded files, and
    returns a list. ``GET /health`` describes the model, and ``GET /metrics`` returns
    statistics for Prometheus. Files are read and resized as in ``fit``.

    Parameters
    ----------
    estimator : estimator
        Fitted FCDDClassifier, FCDDSegmenter or FCDDDetector, or an
        :class:`~skfcdd.onnx.OnnxFCDD`, which is fastest on CPUs.
    limits : Limits, default=None
        Limits on requests. None uses the defaults of :class:`Limits`.

    Returns
    -------
    starlette.applications.Starlette
        Application for any ASGI server.

    Raises
    ------
    ImportError
        If Starlette is missing.
    TypeError
        If `estimator` is not one of these.
    NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.serving import make_app
    >>> images = make_defects(30, image_size=32, anomaly_fraction=0.0).images
    >>> app = make_app(FCDDClassifier(max_epochs=1, random_state=0).fit(images))
    >>> sorted(route.path for route in app.routes)
    ['/health', '/metrics', '/score', '/scores']
    """
    applications = require("starlette.applications", "starlette")
    routing = require("starlette.routing", "starlette")
    check_model(estimator, "anomaly_score", "explain")
    server = _Server(estimator, limits or Limits())
    routes = [
        routing.Route("/score", server.counted(server.score), methods=["POST"]),
        routing.Route("/scores", server.counted(server.scores), methods=["POST"]),
        routing.Route("/health", server.health, methods=["GET"]),
        routing.Route("/metrics", server.metrics, methods=["GET"]),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield
        server.scorer.close()

    return applications.Starlette(routes=routes, lifespan=lifespan)


class _Server:
    """Handlers of requests."""

    def __init__(self, estimator: Any, limits: Limits) -> None:
        self.estimator, self.limits = estimator, limits
        self.numbers = Metrics()
        self.scorer = Scorer(estimator, limits, self.numbers)
        self.responses = require("starlette.responses", "starlette")
        self._held = 0  # bytes of bodies of pending requests

    def counted(
        self, answer: Callable[[Any], Awaitable[Any]]
    ) -> Callable[[Any], Awaitable[Any]]:
        """Wrap a handler to time and count requests, and to report errors as JSON."""

        async def careful(request: Any) -> Any:
            started, request.state.held = time.perf_counter(), 0
            try:
                status, body = 200, await answer(request)
            except RefusedError as refused:
                status, body = refused.status, {"error": str(refused)}
            except self._gone():  # the client has disconnected
                status, body = 499, {"error": "The client disconnected."}
            except Exception as error:
                # Other requests may succeed; the cause is only logged.
                _log(error)
                status, body = 500, {"error": "The server could not score the image."}
            finally:
                self._held -= request.state.held
            seconds = time.perf_counter() - started
            self.numbers.request(request.url.path, status, seconds)
            headers = {"Retry-After": "1"} if status == 503 else {}
            if status in (408, 413):
                headers["Connection"] = "close"  # the rest of the body is not read
            return self.responses.JSONResponse(body, status, headers)

        return careful

    @staticmethod
    def _gone() -> type[BaseException]:
        gone: type[BaseException] = require(
            "starlette.requests", "starlette"
        ).ClientDisconnect
        return gone

    async def score(self, request: Any) -> dict[str, Any]:
        """The verdict on one image."""
        (found,) = await self.scorer.judge([await self._body(request)])
        if isinstance(found, RefusedError):
            raise found
        return found

    async def scores(self, request: Any) -> dict[str, Any]:
        """Verdicts on several images; a broken one has an error in its place."""
        found = await self.scorer.judge(self._images(await self._body(request)))
        return {
            "results": [
                {"error": str(one)} if isinstance(one, RefusedError) else one
                for one in found
            ]
        }

    async def _body(self, request: Any) -> bytes:
        """The body of a request, as much of it as is taken, while one waits for it."""
        limit = self.limits.max_bytes
        told = request.headers.get("content-length", "0")
        if not told.isdigit() or int(told) > limit:
            raise RefusedError(413, f"The body is too large: at most {limit:,} bytes.")
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.limits.timeout):
                async for part in request.stream():
                    size += len(part)
                    if size > limit:
                        raise RefusedError(
                            413, f"The body is too large: at most {limit:,} bytes."
                        )
                    if self._held + len(part) > self.limits.max_memory:
                        raise RefusedError(503, BUSY)
                    self._held += len(part)
                    request.state.held += len(part)
                    parts.append(part)
        except TimeoutError:
            raise RefusedError(
                408, f"The body did not arrive within {self.limits.timeout:g} s."
            ) from None
        if not size:
            raise RefusedError(422, "The body is empty: send the bytes of an image.")
        return b"".join(parts)

    def _images(self, body: bytes) -> list[bytes]:
        try:
            given = json.loads(body)["images"]
            if not isinstance(given, list) or not given:
                raise ValueError("expected a list")
            if len(given) > self.limits.max_images:
                raise RefusedError(
                    413, f"A request can hold at most {self.limits.max_images} images."
                )
            return [base64.b64decode(text, validate=True) for text in given]
        except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
            raise RefusedError(
                422,
                'Expected JSON, {"images": [...]}, with at least one image file in '
                "base64.",
            ) from None

    async def health(self, request: Any) -> Any:
        """Describe the model that is served."""
        h, w, c = self.estimator.image_shape_
        return self.responses.JSONResponse(
            {
                "status": "ok",
                "model": type(self.estimator).__name__,
                "image_shape": [int(h), int(w), int(c)],
                "threshold": float(self.estimator.threshold_),
                "version": __version__,
            }
        )

    async def metrics(self, request: Any) -> Any:
        """Return statistics for Prometheus."""
        text = self.numbers.text(self.scorer.n_waiting)
        return self.responses.PlainTextResponse(
            text, media_type="text/plain; version=0.0.4"
        )


def _log(error: Exception) -> None:
    import logging

    logging.getLogger("skfcdd.serving").error("A request failed", exc_info=error)
