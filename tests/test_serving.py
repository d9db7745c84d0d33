"""A server with real clients: sound ones, many at a time, and hostile ones."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import uvicorn
from _reports import SIZE, Known
from _small import make_images, quick
from PIL import Image

from skfcdd import FCDDSegmenter
from skfcdd.persistence import save
from skfcdd.serving import Limits, make_app
from skfcdd.serving._metrics import Metrics


class Slow(Known):
    """Takes its time, and fails if it is told to."""

    wait, fail = 0.0, False

    def anomaly_score(self, X):
        time.sleep(self.wait)
        if self.fail:
            raise RuntimeError("secret words of the inside")
        return super().anomaly_score(X)


@contextlib.contextmanager
def serving(app):
    """Serve from a thread; yields the port."""
    tcp = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    with socket.socket(*tcp) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def ask(port, path="/score", body=None, method=None, headers=None):
    """Status, and the body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        verb = method or ("GET" if body is None else "POST")
        connection.request(verb, path, body=body, headers=headers or {})
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    kind = response.headers.get("content-type", "")
    return response.status, json.loads(content) if "json" in kind else content.decode()


def png(seed=0, size=SIZE):
    stream = io.BytesIO()
    values = np.random.RandomState(seed).randint(10, 60, size).astype(np.uint8)
    Image.fromarray(values).save(stream, "png")
    return stream.getvalue(), values


@pytest.fixture(scope="module")
def port():
    limits = Limits(max_bytes=50_000, max_pixels=10_000, max_images=8, timeout=1.0)
    with serving(make_app(Known(), limits=limits)) as port:
        yield port


def test_verdicts_are_those_of_the_model(port):
    for seed in range(5):
        content, values = png(seed)
        status, told = ask(port, body=content)
        score = Known().anomaly_score(values[None])[0]
        assert status == 200
        assert told["score"] == pytest.approx(score)
        assert told["anomalous"] == (score > 0.5)
        assert (told["probability"] > 0.5) == told["anomalous"]
    status, told = ask(port, body=png(size=(24, 32))[0])
    assert status == 200  # brought to the size of the model


def test_several_images_at_once(port):
    contents = [png(seed)[0] for seed in range(3)]
    texts = [base64.b64encode(content).decode() for content in contents]
    texts.insert(1, base64.b64encode(b"no image").decode())
    status, told = ask(port, "/scores", json.dumps({"images": texts}))
    assert status == 200
    assert "not an image in a known format" in told["results"].pop(1)["error"]
    assert told["results"] == [ask(port, body=content)[1] for content in contents]


def test_health_and_metrics(port):
    before = ask(port, "/metrics")[1]
    ask(port, body=png()[0])
    ask(port, body=b"nothing")
    status, told = ask(port, "/health")
    assert (status, told["status"]) == (200, "ok")
    assert told["image_shape"] == [*SIZE, 1]
    after = ask(port, "/metrics")[1]

    def number(text, name):
        found = [x for x in text.splitlines() if x.startswith(f"{name} ")]
        return float(found[0].split()[-1]) if found else 0.0

    for name, more in (
        ("skfcdd_images_total", 1),
        ('skfcdd_requests_total{path="/score",status="200"}', 1),
        ('skfcdd_requests_total{path="/score",status="422"}', 1),
        ('skfcdd_request_seconds_bucket{le="+Inf"}', 2),
        ("skfcdd_request_seconds_count", 2),
    ):
        assert number(after, name) == number(before, name) + more
    assert number(after, "skfcdd_images_waiting") == 0


def test_buckets_hold_what_is_at_most_their_end():
    metrics = Metrics()
    for seconds in (0.001, 0.005, 0.3, 99.0):
        metrics.request("/score", 200, seconds)
    lines = metrics.text(0).splitlines()
    counts = [x.split() for x in lines if "_bucket" in x]
    found = {name.split('"')[1]: int(n) for name, n in counts}
    assert (found["0.005"], found["0.25"], found["0.5"], found["+Inf"]) == (2, 2, 3, 4)


def bomb():
    """A small file of many pixels."""
    stream = io.BytesIO()
    Image.new("1", (20_000, 4_000)).save(stream, "png")
    return stream.getvalue()


HOSTILE = {
    "nothing": (b"", 422),
    "text": (b"GET / HTTP/1.1", 422),
    "half an image": (png(size=(90, 90))[0][:3000], 422),
    "too many bytes": (b"x" * 60_000, 413),
    "too many pixels": (bomb(), 413),
    "pickle": (b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.", 422),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>", 422),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_image_is_refused(port, name):
    body, expected = HOSTILE[name]
    status, told = ask(port, body=body, method="POST")
    assert status == expected
    assert "/tmp" not in told["error"]
    assert "skfcdd-" not in told["error"]
    assert ask(port, body=png()[0])[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"images": []}',
        '{"images": "AAAA"}',
        '{"images": [1]}',
        '{"images": ["?"]}',
        "[" * 30_000,
        "\x00\xff",
    ],
)
def test_what_is_no_list_of_images_is_refused(port, body):
    status, told = ask(port, "/scores", body.encode("latin-1"), "POST")
    assert status == 422
    assert told["error"]


def test_too_many_images_wrong_paths_and_methods(port):
    text = base64.b64encode(png()[0]).decode()
    assert ask(port, "/scores", json.dumps({"images": [text] * 9}))[0] == 413
    assert ask(port, "/score")[0] == 405
    assert ask(port, "/../../etc/passwd")[0] == 404
    assert ask(port, "/health", b"x", "POST")[0] == 405


def raw(port, *parts, pause=0.0):
    """Send bytes as they are, and read whatever comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        connection.shutdown(socket.SHUT_WR) if not pause else None
        return connection.recv(65536)


def test_bodies_that_grow_without_end_or_never_come(port):
    head = b"POST /score HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    assert b" 413 " in raw(port, head, *[chunk] * 5, pause=0.01)
    started = time.monotonic()
    waiting = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc"
    assert b" 408 " in raw(port, waiting, pause=0.01)
    assert 0.9 < time.monotonic() - started < 8
    for length in (b"-5", b"9" * 40, b"abc"):
        refused = raw(
            port,
            b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: "
            + length
            + b"\r\n\r\n",
        )
        assert b" 413 " in refused or b" 400 " in refused
    assert ask(port, body=png()[0])[0] == 200


def test_a_client_that_hangs_up_disturbs_nobody(port):
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(
                b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\nabc"
            )
    assert ask(port, body=png()[0])[0] == 200


def test_images_that_come_together_are_scored_together():
    model = Slow()
    model.wait = 0.05
    contents = [png(seed) for seed in range(40)]
    with serving(make_app(model, limits=Limits(max_images=16))) as port:
        with ThreadPoolExecutor(20) as pool:
            told = list(pool.map(lambda pair: ask(port, body=pair[0]), contents))
        assert [status for status, _ in told] == [200] * 40
        for (_, values), (_, verdict) in zip(contents, told, strict=True):
            expected = Known().anomaly_score(values[None])[0]
            assert verdict["score"] == pytest.approx(expected)
    assert len(model.batches) < 20
    assert 1 < max(model.batches) <= 16
    assert sum(model.batches) == 40


def test_a_busy_server_says_so():
    model = Slow()
    model.wait = 0.4
    with serving(make_app(model, limits=Limits(max_waiting=4))) as port:
        content = png()[0]
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda _: ask(port, body=content)[0], range(16)))
        assert set(found) == {200, 503}
        assert ask(port, body=content)[0] == 200


def test_bodies_take_no_more_memory_than_they_may():
    model = Slow()
    model.wait = 0.3
    content = png()[0]
    limits = Limits(max_memory=3 * len(content))
    with serving(make_app(model, limits=limits)) as port:
        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(lambda _: ask(port, body=content)[0], range(12)))
        assert 1 <= found.count(200) <= 6
        assert found.count(503) == 12 - found.count(200)
        # What was refused holds nothing any more.
        for _ in range(4):
            assert ask(port, body=content)[0] == 200


def test_a_failing_model_tells_no_secrets_and_fails_once():
    model = Slow()
    model.fail = True
    with serving(make_app(model)) as port:
        status, told = ask(port, body=png()[0])
        assert status == 500
        assert "secret" not in json.dumps(told)
        model.fail = False
        assert ask(port, body=png()[0])[0] == 200


def test_a_segmenter_is_judged_by_its_pixels():
    X, _, masks = make_images(24, n_anomalous=8)
    model = FCDDSegmenter(max_epochs=1, random_state=0).fit(X, masks)
    with serving(make_app(model)) as port:
        for image in X[::5]:
            stream = io.BytesIO()
            Image.fromarray(image).save(stream, "png")
            status, told = ask(port, body=stream.getvalue())
            assert status == 200
            assert told["anomalous"] == bool(model.predict(image[None]).any())


def test_limits_are_positive():
    for name in (
        *("max_bytes", "max_pixels", "max_images", "max_waiting"),
        *("max_memory", "timeout"),
    ):
        with pytest.raises(ValueError, match=name):
            Limits(**{name: 0})
    with pytest.raises(TypeError, match="anomaly_score"):
        make_app(object())


def test_command_serves_until_told_to_stop(tmp_path):
    X = make_images(20)[0]
    path = save(quick(max_epochs=1).fit(X), tmp_path / "model.skfcdd")
    code = "from skfcdd.cli import main; raise SystemExit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(path), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stderr.readline()
        assert line.startswith("Serving on http://127.0.0.1:")
        port = int(line.rsplit(":", 1)[1])
        stream = io.BytesIO()
        Image.fromarray(X[0]).save(stream, "png")
        deadline = time.monotonic() + 20
        status = None
        while status is None and time.monotonic() < deadline:
            with contextlib.suppress(ConnectionError):
                status, told = ask(port, body=stream.getvalue())
        assert status == 200
        assert told["threshold"] > 0
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
