"""Reliability of a watched folder whose watcher is killed repeatedly.

A thread writes small images into folders, some of them slowly. ``skfcdd watch`` runs an
exported model, is killed without warning (SIGKILL) at random times, and is started
again. At the end, every file must have exactly one row, and the drift monitor must have
processed each image once. Writes results/watched_folder.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from _common import record
from PIL import Image

from skfcdd import FCDDDetector
from skfcdd.datasets import make_defects
from skfcdd.export import to_onnx
from skfcdd.monitoring import DriftMonitor

USUAL = 200


def write_files(folder: Path, images: np.ndarray, n_files: int, seconds: float) -> None:
    """Write the images in turn; one file in a hundred is written in two steps."""
    source = [folder.parent / f"source{k}.png" for k in range(len(images))]
    for path, image in zip(source, images, strict=True):
        Image.fromarray(image).save(path)
    contents = [path.read_bytes() for path in source]
    started = time.perf_counter()
    for k in range(n_files):
        path = folder / f"{k // 1000}" / f"{k}.png"
        path.parent.mkdir(exist_ok=True)
        content = contents[k % len(contents)]
        with path.open("wb", buffering=0) as file:
            if k % 100 == 0:
                file.write(content[:100])
                time.sleep(0.05)
                content = content[100:]
            file.write(content)
        ahead = started + seconds * k / n_files - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)


def start(model: Path, folder: Path, output: Path, *options: str) -> subprocess.Popen:
    code = "from skfcdd.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", code, "watch", str(model), str(folder)]
    command += ["-o", str(output), "--usual", str(USUAL), "-q", *options]
    command += ["--poll", "0.2", "--settle", "0.3"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def main() -> None:
    """Run the benchmark, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    args = parser.parse_args()
    images = make_defects(
        200, image_size=32, anomaly_fraction=0.0, random_state=0
    ).images
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder, output, model = root / "in", root / "rows.jsonl", root / "m.onnx"
        folder.mkdir()
        to_onnx(FCDDDetector(max_epochs=1, random_state=0).fit(images[:100]), model)
        chance = np.random.RandomState(0)
        lives = chance.uniform(2.0, 6.0, args.kills)
        writer = threading.Thread(
            target=write_files, args=(folder, images, args.files, lives.sum())
        )
        started = time.perf_counter()
        writer.start()
        for life in lives:
            process = start(model, folder, output)
            time.sleep(life)
            process.send_signal(signal.SIGKILL)
            process.wait()
        writer.join()
        process = start(model, folder, output, "--once", "--json")
        told = json.loads(process.communicate()[0])
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        found = Counter(row["path"] for row in rows)
        monitor = DriftMonitor.load(output.with_name(f"{output.name}.drift.json"))
        result = {
            "files": args.files,
            "kills": args.kills,
            "rows": len(rows),
            "lost": args.files - len(found),
            "doubled": sum(n > 1 for n in found.values()),
            "broken": sum("error" in row for row in rows),
            "seen_by_monitor": USUAL + monitor.n_seen_,
            "in_the_last_run": told["n_images"],
            "peak_memory_mb": round(
                resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            ),
            "seconds": round(time.perf_counter() - started, 1),
            "processors": os.cpu_count(),
        }
    print(result)
    print(record("watched_folder", [result]))


if __name__ == "__main__":
    main()
