"""
Serving over HTTP
=================

A fitted model is exported to an ONNX file, and a small server returns its scores:
clients send images as PNG files and receive scores as JSON. The server needs neither
torch nor scikit-learn.

Needs ``pip install 'skfcdd[onnx]' starlette uvicorn``.
"""

# sphinx_gallery_thumbnail_path = "images/serve_over_http.png"

# %%
# The server decodes images and runs the model in threads. Both operations release the
# global interpreter lock, so several threads run in parallel; the model uses one thread
# per call.
import contextlib
import http.client
import io
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Route

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects
from skfcdd.export import to_onnx
from skfcdd.onnx import OnnxFCDD


def make_app(model):
    """Return an application that scores the image in the body of a request."""

    def judge(content):
        image = np.asarray(Image.open(io.BytesIO(content)))
        score = float(model.anomaly_score(image[None])[0])
        return {"score": score, "anomalous": score > model.threshold_}

    async def score(request):
        content = await request.body()
        try:
            return JSONResponse(await run_in_threadpool(judge, content))
        except (OSError, ValueError) as error:  # not an image, or of another size
            return JSONResponse({"error": str(error)}, status_code=422)

    return Starlette(routes=[Route("/score", score, methods=["POST"])])


@contextlib.contextmanager
def serving(app):
    """Serve from a thread, on a free local port, which is yielded."""
    # Without the protocol, asyncio does not disable Nagle's algorithm, which delays
    # small responses.
    tcp = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    with socket.socket(*tcp) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = uvicorn.Config(app, log_level="warning", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


# %%
# Each client keeps one connection open and sends its images one after the other.
def as_png(image):
    """Return the bytes of an image as a PNG file."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "png")
    return content.getvalue()


def ask(port, pictures):
    """Return the responses, and the time that each took, in seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    answers, seconds = [], []
    for picture in pictures:
        start = time.perf_counter()
        connection.request("POST", "/score", body=picture)
        response = connection.getresponse()
        answers.append((response.status, json.loads(response.read())))
        seconds.append(time.perf_counter() - start)
    connection.close()
    return answers, seconds


def ask_from_threads(port, pictures, n_threads):
    """Do the same as `ask`, with the images distributed among several clients."""
    with ThreadPoolExecutor(n_threads) as pool:
        parts = [pictures[k::n_threads] for k in range(n_threads)]
        results = list(pool.map(ask, [port] * n_threads, parts))
    answers = [None] * len(pictures)
    for k, (part, _) in enumerate(results):
        answers[k::n_threads] = part
    return answers, np.concatenate([seconds for _, seconds in results])


# %%
# Fit, export and serve a model. ``to_onnx`` compares the predictions of the exported
# file with those of the model.
def main():
    """Serve a model for some seconds, and compare its scores with those of skfcdd."""
    data = make_defects(120, image_size=96, random_state=0)
    normal = data.images[data.target == 0]
    model = FCDDClassifier(max_epochs=3, precision="float32", random_state=0).fit(
        normal
    )
    print(to_onnx(model, "model.onnx", X=data.images))

    served = OnnxFCDD("model.onnx", n_threads=1)
    pictures = [as_png(image) for image in data.images] * 10
    with serving(make_app(served)) as port:
        ask(port, pictures[:20])  # the first calls are slower
        start = time.perf_counter()
        answers, seconds = ask_from_threads(port, pictures, n_threads=8)
        elapsed = time.perf_counter() - start
        _, alone = ask(port, pictures[:200])
        (refused, message), *_ = ask(port, [b"no picture"])[0]

    scores = np.array([answer["score"] for _, answer in answers])
    library = np.tile(model.anomaly_score(data.images), 10)
    print(f"{len(pictures) / elapsed:.0f} requests a second from 8 clients")
    for clients, times in {8: seconds, 1: alone}.items():
        half, p99 = 1000 * np.quantile(times, [0.5, 0.99])
        print(f"with {clients} client(s): median {half:.1f} ms, p99 {p99:.1f} ms")
    print(f"statuses: {sorted({status for status, _ in answers})}")
    print(f"largest relative difference: {np.max(np.abs(scores / library - 1)):.1e}")
    print(f"not an image: status {refused}, {message['error'][:30]}...")


if __name__ == "__main__":
    main()
