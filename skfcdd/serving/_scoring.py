"""Bytes in, verdicts out: in threads, and together if they come together."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._inputs.files import ImageFiles
from skfcdd._verdicts import anomaly_probability, decisive_scores, is_above
from skfcdd.serving._limits import BUSY, Limits, RefusedError
from skfcdd.serving._metrics import Metrics

__all__ = ["Scorer"]

# Threads that unpack images, which happens outside of Python for the most part.
_UNPACKING = 4
Verdict = dict[str, Any]


class Scorer:
    """Verdicts of a model on images that arrive one by one.

    One thread runs the model. While it is at work, further images wait, and are then
    scored together: the busier the server, the larger the batches.

    Parameters
    ----------
    estimator : estimator
    limits : Limits
    metrics : Metrics
    """

    def __init__(self, estimator: Any, limits: Limits, metrics: Metrics) -> None:
        self.estimator, self.limits, self.metrics = estimator, limits, metrics
        h, w, c = estimator.image_shape_
        known = getattr(estimator, "reading_", None) or {"n_channels": c}
        self._reading: dict[str, Any] = {**known, "resize": (h, w), "n_jobs": 1}
        self._unpacking = ThreadPoolExecutor(_UNPACKING, "skfcdd-unpack")
        self._running = ThreadPoolExecutor(1, "skfcdd-score")
        self._queue: list[tuple[npt.NDArray[Any], asyncio.Future[Verdict]]] = []
        self._at_work = False
        self.n_waiting = 0

    async def judge(self, contents: Sequence[bytes]) -> list[Verdict | RefusedError]:
        """Verdicts on images as they stand in files, or why there is none.

        Raises
        ------
        RefusedError
            If too many images are waiting already.
        """
        if self.n_waiting + len(contents) > self.limits.max_waiting:
            raise RefusedError(503, BUSY)
        self.n_waiting += len(contents)
        try:
            tasks = [self._judge(content) for content in contents]
            found = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self.n_waiting -= len(contents)
        for result in found:
            if isinstance(result, BaseException) and not isinstance(
                result, RefusedError
            ):
                raise result
        return found  # type: ignore[return-value]

    async def _judge(self, content: bytes) -> Verdict:
        loop = asyncio.get_running_loop()
        image = await loop.run_in_executor(self._unpacking, self._unpack, content)
        future: asyncio.Future[Verdict] = loop.create_future()
        self._queue.append((image, future))
        if not self._at_work:
            self._at_work = True
            self._task = loop.create_task(self._work())
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._queue:
                n = self.limits.max_images
                batch, self._queue = self._queue[:n], self._queue[n:]
                images = np.stack([image for image, _ in batch])
                try:
                    found = await loop.run_in_executor(
                        self._running, self._score, images
                    )
                except Exception as error:
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for (_, future), verdict in zip(batch, found, strict=True):
                    if not future.done():  # the client may have disconnected
                        future.set_result(verdict)
        finally:
            self._at_work = False

    def _unpack(self, content: bytes) -> npt.NDArray[Any]:
        """The image of a file as the model takes it.

        Raises
        ------
        RefusedError
            If it is none, or too large.
        """
        with tempfile.TemporaryDirectory(prefix="skfcdd-") as folder:
            path = Path(folder) / "body"
            path.write_bytes(content)
            try:
                file = ImageFiles([path], **self._reading)
                h, w = file.sizes[0]
                if h * w > self.limits.max_pixels:
                    raise RefusedError(
                        413,
                        f"The image has {h} x {w} pixels, but at most "
                        f"{self.limits.max_pixels:,} are accepted.",
                    )
                return file[:][0]
            except (OSError, ValueError) as error:
                # Do not reveal the path of the temporary file.
                why = str(error).replace(repr(str(path)), "the image")
                why = why.replace(str(path), "the image")
                raise RefusedError(422, " ".join(why.split())) from error

    def _score(self, images: npt.NDArray[Any]) -> list[Verdict]:
        threshold = float(self.estimator.threshold_)
        scores = decisive_scores(self.estimator, images)
        above = np.asarray(is_above(scores, threshold))
        chances = anomaly_probability(scores, threshold)
        self.metrics.batch(len(images), int(above.sum()))
        return [
            {
                "score": float(score),
                "threshold": threshold,
                "probability": float(chance),
                "anomalous": bool(flag),
            }
            for score, chance, flag in zip(scores, chances, above, strict=True)
        ]

    def close(self) -> None:
        """Let the threads end."""
        self._unpacking.shutdown(wait=False, cancel_futures=True)
        self._running.shutdown(wait=False, cancel_futures=True)
