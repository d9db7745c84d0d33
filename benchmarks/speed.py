"""Speed and memory of skfcdd, compared with plain PyTorch in the same run.

    python benchmarks/speed.py [--only NAME ...] [--quick]

The references are (a) a plain loop over prepared batches with the same network, built
from PyTorch's own layers, in float32 with the default memory layout, as in the authors'
code; (b) the same loop in the precision and memory layout that skfcdd uses; (c) the
time that the products of the network would take at the speed measured for large matrix
products. Every epoch of `fit` is followed by one epoch of each loop. Prints the results
and writes results/speed.json.
"""

from __future__ import annotations

import argparse
import copy
import functools
import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from _common import RESULTS, machine, record
from PIL import Image
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import nn

from skfcdd import FCDDClassifier
from skfcdd.anomalies import SYNTHETIC_ANOMALIES
from skfcdd.backbones._norm import NarrowBatchNorm2d
from skfcdd.heatmaps import GaussianUpsampler
from skfcdd.objectives._head import MapHead
from skfcdd.receptive_field import ReceptiveField

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

# Name, side of the images, channels, batch size, epochs.
NETWORKS = [
    ("fcdd28", 28, 1, 128, 40),
    ("fcdd28_wide", 28, 1, 128, 10),
    ("fcdd32", 32, 3, 128, 20),
    ("fcdd32_s", 32, 3, 128, 30),
    ("fcdd32_lw3k", 32, 3, 128, 6),
    ("fcdd224", 224, 3, 16, 10),
    ("fcdd224_wide", 224, 3, 8, 6),
]


def now() -> float:
    """Return the time in seconds, after waiting for the device to finish."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(function: Callable[[], object], repeats: int) -> list[float]:
    """Return the times of repeated calls, after one call to warm up."""
    function()
    times = []
    for _ in range(repeats):
        started = now()
        function()
        times.append(now() - started)
    return times


def seconds(function: Callable[[], object], repeats: int = 7) -> float:
    """Return the median time of a call."""
    return statistics.median(timed(function, repeats))


def matmul_rate(dtype: torch.dtype) -> float:
    """Measure the maximum FLOP per second in large matrix products."""
    n = 8192 if DEVICE == "cuda" else 2048
    a = torch.randn(n, n, device=DEVICE).to(dtype)
    return 2 * n**3 / min(timed(lambda: a @ a, 15))


@functools.cache
def matrix_rates() -> dict[str, float]:
    """Return the FLOP per second of both precisions, measured once per run."""
    return {p: matmul_rate(getattr(torch, p)) for p in ("float32", "bfloat16")}


def plain(module: nn.Module) -> nn.Module:
    """Copy a module, with our layers replaced by PyTorch's own."""
    copied = copy.deepcopy(module)
    for layer in copied.modules():
        for own, torchs in ((NarrowBatchNorm2d, nn.BatchNorm2d), (MapHead, nn.Conv2d)):
            if isinstance(layer, own):
                layer.__class__ = torchs
    return copied


def gaussian_kernel(k: int, sigma: float = 10.0) -> torch.Tensor:
    """Return the weights (k, k) of a Gaussian."""
    axis = torch.arange(k) - (k - 1) / 2
    weights = torch.exp(-(axis**2) / (2 * sigma**2))
    return weights[:, None] * weights


class Bare:
    """Plain training loop with the network of a skorch net."""

    def __init__(self, net: NeuralNet, batches: list[torch.Tensor], fast: bool) -> None:
        module = net.module_
        layout = torch.channels_last if fast else torch.contiguous_format
        network = nn.Sequential(module.backbone, module.objective.head)
        self.network = plain(network).to(memory_format=layout)
        self.loss = module.objective
        self.batches = [batch.contiguous(memory_format=layout) for batch in batches]
        self.lower = fast and net.precision == "bfloat16"
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=1e-6, fused=fast
        )

    def cells(self, batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=self.lower):
            phi = self.network(batch)
        return self.loss.cells(phi.float())

    def step(self, batch: torch.Tensor) -> None:
        self.network.train()
        self.optimizer.zero_grad()
        s = self.cells(batch).mean(dim=(1, 2))
        anomalous = torch.arange(len(batch), device=DEVICE) % 2 == 0
        self.loss.loss(s, anomalous).mean().backward()
        self.optimizer.step()

    def epoch(self) -> float:
        """Run one pass over the batches, and return the seconds per image."""
        self.step(self.batches[0])  # to warm up
        started = now()
        for batch in self.batches:
            self.step(batch)
        return (now() - started) / sum(map(len, self.batches))

    @torch.no_grad()
    def score(self) -> None:
        self.network.eval()
        for batch in self.batches:
            self.cells(batch)

    @torch.no_grad()
    def explain(self, field: ReceptiveField) -> None:
        """Compute heatmaps by transposed convolution, as in the authors' code."""
        self.network.eval()
        kernel = gaussian_kernel(round(field.extent[0])).to(DEVICE)
        stride = round(field.stride[0])
        first = len(kernel) // 2 - round(field.offset[0])
        for batch in self.batches:
            cells = self.cells(batch)[:, None]
            spread = F.conv_transpose2d(cells, kernel[None, None], stride=stride)
            spread[..., first:, first:][..., : batch.shape[2], : batch.shape[3]]


class Interleaved(Callback):
    """Callback that times an epoch of both plain loops after each epoch of a fit."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def on_train_begin(self, net, **kwargs):
        self.times, self.loops = [], None

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        if self.loops is None:
            made = itertools.islice(dataset_train.batches(self.batch_size, DEVICE), 8)
            batches = [net.module_.preprocess(batch) for batch, _ in made]
            self.loops = [Bare(net, batches, fast) for fast in (False, True)]
        epoch = net.history[-1]
        images = sum(b["train_batch_size"] for b in epoch["batches"])
        bare = [loop.epoch() for loop in self.loops]
        self.times.append([epoch["dur"] / images, *bare])


def flops_per_image(network: nn.Module, shape: tuple[int, int, int]) -> float:
    """Count the multiplications and additions of convolutions in a forward pass."""
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        kernel = layer.weight[0].numel()
        total += 2 * kernel * output[0].numel()

    handles = [
        layer.register_forward_hook(count)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    with torch.no_grad():
        network.eval()(torch.zeros(1, *shape, device=DEVICE))
    for handle in handles:
        handle.remove()
    return total


def networks(
    quick: bool, names: list[str] | None, earlier: list[dict[str, object]]
) -> list[dict[str, object]]:
    """Measure the named networks; keep the earlier rows of all others."""
    rates = matrix_rates()
    rows = {row["network"]: row for row in earlier}
    for name, *details, n_epochs in NETWORKS:
        if names is None or name in names:
            rows[name] = one_network(name, *details, 3 if quick else n_epochs, rates)
    return list(rows.values())


def one_network(
    name: str,
    side: int,
    channels: int,
    batch_size: int,
    n_epochs: int,
    rates: dict[str, float],
) -> dict[str, object]:
    """Measure training, scores and heatmaps of a network, in microseconds per image."""
    rng = np.random.RandomState(0)
    n = (4 if side > 100 else 8) * batch_size
    X = rng.randint(0, 255, (n, side, side, channels), dtype=np.uint8)
    watch = Interleaved(batch_size)
    model = FCDDClassifier(
        name,
        batch_size=batch_size,
        max_epochs=n_epochs,
        callbacks=[watch],
        random_state=0,
    )
    model.fit(X)
    fit, a, b = np.median(watch.times[1:], axis=0)
    slow, fast = watch.loops
    n = sum(map(len, slow.batches))
    part = np.resize(X, (n, *X.shape[1:]))
    score = seconds(lambda: model.anomaly_score(part)) / n
    explain = seconds(lambda: model.explain(part)) / n
    score_a, score_b = seconds(slow.score) / n, seconds(fast.score) / n
    explain_a = seconds(lambda: slow.explain(model.receptive_field_)) / n
    flops = 3 * flops_per_image(slow.network, (channels, side, side))
    row: dict[str, object] = {
        "network": name,
        "side": side,
        "batch": batch_size,
        "precision": model.precision_,
    }
    times = {
        "fit": fit,
        "fit_a": a,
        "fit_b": b,
        "fit_c": flops / rates[model.precision_],
        "score": score,
        "explain": explain,
        "score_a": score_a,
        "score_b": score_b,
        "explain_a": explain_a,
    }
    row |= {f"{key}_us": round(float(value) * 1e6) for key, value in times.items()}
    row |= {
        "fit_of_b": round(float(b / fit), 2),
        "fit_over_a": round(float(a / fit), 2),
        "score_of_b": round(score_b / score, 2),
        "score_over_a": round(score_a / score, 2),
        "explain_over_a": round(explain_a / explain, 2),
    }
    print(row, flush=True)
    return row


def upsampling() -> dict[str, float]:
    """Compare two matrix products with transposed convolution by a k x k Gaussian."""
    k, stride, u = 62, 8, 28
    field = ReceptiveField((k, k), (stride, stride), (3.5, 3.5))
    cells = torch.rand(16, u, u)
    upsample = GaussianUpsampler((224, 224), (u, u), field, 10.0)
    kernel = gaussian_kernel(k)[None, None]

    def transposed() -> torch.Tensor:
        return F.conv_transpose2d(
            cells[:, None], kernel, stride=stride, padding=(k - stride) // 2
        )

    slow, fast = seconds(transposed, 5) / 16, seconds(lambda: upsample(cells), 31) / 16
    return {
        "transposed_ms": round(slow * 1e3, 3),
        "products_ms": round(fast * 1e3, 3),
        "ratio": round(slow / fast),
    }


def anomalies() -> dict[str, float]:
    """Measure the milliseconds per image (224, 224, 3) of synthetic anomalies."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    # Free a large block, as training does anyway: this keeps the allocator from
    # returning small blocks to the system at each call.
    torch.empty(7_500_000).fill_(0)
    generator = torch.Generator().manual_seed(0)
    batch = torch.rand(16, 3, 224, 224, generator=generator)
    rows = {
        name: round(seconds(lambda p=plant: p(batch, generator), 21) / 16 * 1e3, 2)
        for name, plant in SYNTHETIC_ANOMALIES.items()
    }
    torch.set_num_threads(threads)
    return rows


def whole_fit() -> dict[str, float]:
    """Time a fit on 500 images of 128 x 128 pixels against the plain loops."""
    from skfcdd.datasets import make_defects

    images = make_defects(500, image_size=128, anomaly_fraction=0, random_state=0)
    watch = Interleaved(16)
    model = FCDDClassifier(weights=None, random_state=0, callbacks=[watch])
    started = time.perf_counter()
    model.fit(images.images)
    spent = time.perf_counter() - started
    fit, a, b = np.median(watch.times[1:], axis=0)
    timed = sum(epoch["dur"] for epoch in model.history_)
    return {
        "all_epochs_s": round(timed, 1),
        "with_yardsticks_s": round(spent, 1),
        "fit_of_b": round(b / fit, 2),
        "fit_over_a": round(a / fit, 2),
    }


def compiled() -> list[dict[str, object]]:
    """Measure the gain of ``compile=True`` per epoch, and the time to compile."""
    rows = []
    for name, side, channels, batch_size in (
        ("fcdd32_s", 32, 3, 128),
        ("fcdd224", 224, 3, 16),
    ):
        rng = np.random.RandomState(0)
        X = rng.randint(0, 255, (8 * batch_size, side, side, channels), np.uint8)
        epochs = {}
        for choice in (False, True):
            model = FCDDClassifier(
                name,
                batch_size=batch_size,
                compile=choice,
                max_epochs=6,
                random_state=0,
            )
            with tempfile.TemporaryDirectory() as folder:  # without cached compilation
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
                started = time.perf_counter()
                model.fit(X)
                spent = time.perf_counter() - started
            epoch = statistics.median(row["dur"] for row in model.history_[1:])
            epochs[choice] = epoch, spent - 6 * epoch
        rows.append(
            {
                "network": name,
                "epoch_plain_s": round(epochs[False][0], 2),
                "epoch_compiled_s": round(epochs[True][0], 2),
                "ratio": round(epochs[False][0] / epochs[True][0], 2),
                "cost_s": round(epochs[True][1] - epochs[False][1], 1),
            }
        )
    return rows


def estimator_checks() -> dict[str, float]:
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started = time.perf_counter()
        check_estimator(FCDDClassifier())
    return {"check_estimator_s": round(time.perf_counter() - started, 1)}


def in_process(code: str, *arguments: str) -> float:
    """Run code in a new process, and return the last number that it prints."""
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(result.stdout.split()[-1])


GRID = """
import sys, time, warnings
from sklearn.model_selection import GridSearchCV
from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects
warnings.simplefilter("ignore")
data = make_defects(400, image_size=64, random_state=0)
search = GridSearchCV(
    FCDDClassifier(weights=None, max_epochs=12, random_state=0),
    {"lr": [1e-4, 3e-4, 1e-3, 3e-3]},
    cv=3, n_jobs=int(sys.argv[1]), scoring="roc_auc", refit=False,
)
started = time.perf_counter()
search.fit(data.images, data.target)
print(time.perf_counter() - started)
"""

MEMORY = """
import os, sys, threading, time
import torch
def resident(name):
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name):
                return int(line.split()[1]) / 2**20
base = resident("RssAnon")
import numpy as np
from skfcdd import FCDDClassifier
X = np.memmap(sys.argv[1], np.uint8, "r", shape=(2700, 1024, 1024, 3))
peak = 0.0
def watch():
    global peak
    while True:
        peak = max(peak, resident("RssAnon"))
        time.sleep(0.02)
threading.Thread(target=watch, daemon=True).start()
model = FCDDClassifier(
    weights=None, resize=64, max_epochs=1, random_state=0
).fit(X)
print(peak - base)
"""


def memory() -> dict[str, float]:
    """Measure the peak memory of ``fit``, without the memory-mapped file of 8 GB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images"
        X = np.memmap(path, np.uint8, "w+", shape=(2700, 1024, 1024, 3))
        rng = np.random.RandomState(0)
        for start in range(0, len(X), 100):  # the rest of each image stays black
            X[start : start + 100, ::64] = rng.randint(0, 255, 3, dtype=np.uint8)
        del X
        return {"gb_above_torch": round(in_process(MEMORY, str(path)), 2)}


LARGE = """
import threading, time
import numpy as np, torch
def resident(name):
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name):
                return int(line.split()[1]) / 2**20
from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects
pieces = make_defects(40, image_size=224, anomaly_fraction=0, random_state=0).images
model = FCDDClassifier(weights=None, max_epochs=1, random_state=0).fit(pieces)
scan = np.random.RandomState(0).randint(0, 255, (10_000, 10_000), dtype=np.uint8)
before, peak = resident("VmRSS"), 0.0
def watch():
    global peak
    while True:
        peak = max(peak, resident("VmRSS"))
        time.sleep(0.02)
threading.Thread(target=watch, daemon=True).start()
started = time.perf_counter()
model.explain_large(scan)
print(peak - before, time.perf_counter() - started)
"""


def large_image() -> dict[str, float]:
    """Measure the time and memory (GB) to explain an image of 10,000 x 10,000."""
    result = subprocess.run(
        [sys.executable, "-c", LARGE], capture_output=True, text=True, check=True
    )
    gigabytes, spent = map(float, result.stdout.split()[-2:])
    return {"s": round(spent, 1), "gb_with_heatmap": round(gigabytes, 2)}


def grid_search() -> dict[str, float]:
    """Time a search of twelve fits, including starting workers and importing torch."""
    one, two = (
        statistics.median(in_process(GRID, n) for _ in range(3)) for n in ("1", "2")
    )
    ratio = round(one / two, 2)
    return {"n_jobs_1_s": round(one, 1), "n_jobs_2_s": round(two, 1), "ratio": ratio}


def decoding() -> dict[str, float]:
    """Measure the milliseconds to decode a JPEG (224, 224, 3) with Pillow."""
    from skfcdd.datasets import make_defects

    image = make_defects(1, image_size=224, color=True, random_state=0).images[0]
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90)
    data = file.getvalue()
    spent = seconds(lambda: Image.open(io.BytesIO(data)).convert("RGB"), 101)
    return {"jpeg_ms": round(spent * 1e3, 2), "jpeg_kb": round(len(data) / 1e3, 1)}


def imports() -> dict[str, float]:
    code = "import time; import torch, sklearn, skorch, sklearn.base; {}; print({})"
    whole = code.format(
        "t = time.perf_counter(); from skfcdd import FCDDClassifier",
        "time.perf_counter()-t",
    )
    return {"seconds_above": round(in_process(whole), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", help="names of the sections to run")
    parser.add_argument("--networks", nargs="+", help="names of the networks to time")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    arguments = parser.parse_args()
    path = RESULTS / "speed.json"
    results = json.loads(path.read_text())["rows"] if path.exists() else {}
    sections: dict[str, Callable[[], object]] = {
        "gflops": lambda: {p: round(r / 1e9) for p, r in matrix_rates().items()},
        "networks": lambda: networks(
            arguments.quick, arguments.networks, results.get("networks", [])
        ),
        "upsampling": upsampling,
        "anomalies_ms": anomalies,
        "imports": imports,
        "decoding": decoding,
        "grid_search": grid_search,
        "memory": memory,
        "large_image": large_image,
        "fit": whole_fit,
        "compile": compiled,
        "check_estimator": estimator_checks,
    }
    for name, section in sections.items():
        if arguments.only is None or name in arguments.only:
            results[name] = section()
            results.setdefault("machines", {})[name] = machine()
            print(name, results[name], flush=True)
            record("speed", results)


if __name__ == "__main__":
    main()
