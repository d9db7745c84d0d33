"""Throughput and memory of a served model under load.

``skfcdd serve`` runs the default model, exported to ONNX, for images of 128 x 128
pixels. Clients in another process keep connections open and send one PNG file after
another. The memory of the server is measured before and after the load, and the load
average of the machine is recorded. Writes results/serving.json.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from _common import load_tiles, record
from PIL import Image

from skfcdd import FCDDDetector
from skfcdd.export import to_onnx


def memory(pid: int) -> float:
    """Return the resident memory of a process, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def seconds_used(pid: int) -> float:
    """Return the CPU time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def client(port: int, contents: list[bytes], until: float) -> tuple[list[float], int]:
    """Send requests; return their times, and the number without status 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    times, errors, k = [], 0, 0
    while time.perf_counter() < until:
        started = time.perf_counter()
        connection.request("POST", "/score", body=contents[k % len(contents)])
        response = connection.getresponse()
        response.read()
        errors += response.status != 200
        times.append(time.perf_counter() - started)
        k += 1
    return times, errors


def main() -> None:
    """Start the server, send requests, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=16)
    args = parser.parse_args()
    X = load_tiles()["X_train"]
    contents = []
    for image in X[:50]:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "png")
        contents.append(stream.getvalue())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        to_onnx(FCDDDetector(max_epochs=1, random_state=0).fit(X[:60]), path)
        code = "from skfcdd.cli import main; raise SystemExit(main())"
        server = subprocess.Popen(
            [sys.executable, "-c", code, "serve", str(path), "--port", "0"],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert server.stderr is not None
        port = int(server.stderr.readline().rsplit(":", 1)[1])
        time.sleep(1)
        with ThreadPoolExecutor(args.clients) as pool:

            def load(seconds: float) -> tuple[list[float], int]:
                until = time.perf_counter() + seconds
                jobs = [
                    pool.submit(client, port, contents, until)
                    for _ in range(args.clients)
                ]
                found = [job.result() for job in jobs]
                times = [t for part, _ in found for t in part]
                return times, sum(errors for _, errors in found)

            load(args.seconds / 4)  # warm up, until buffers have their final size
            before, used = memory(server.pid), seconds_used(server.pid)
            started = time.perf_counter()
            times, errors = load(args.seconds)
            elapsed = time.perf_counter() - started
            used = seconds_used(server.pid) - used
            after = memory(server.pid)
        server.terminate()
        server.wait()
    half, most = np.quantile(times, [0.5, 0.99])
    result = {
        "clients": args.clients,
        "requests": len(times),
        "errors": errors,
        "per_second": round(len(times) / elapsed, 1),
        "server_ms_per_request": round(1000 * used / len(times), 2),
        "median_ms": round(1000 * half, 1),
        "p99_ms": round(1000 * most, 1),
        "memory_before_mb": round(before),
        "memory_after_mb": round(after),
        "processors": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(result))
    print(record("serving", [result]))


if __name__ == "__main__":
    main()
