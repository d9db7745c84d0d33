"""Weights from files, addresses and memory, and their way into a module."""

from __future__ import annotations

import functools
import gc
import hashlib
import http.server
import io
import pickle
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as safetensors_bytes
from torch import nn

from skfcdd.backbones.weights import fit_weights, load_weights
from skfcdd.exceptions import BackboneError, DownloadError, WeightsError

STATE = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}


def stored(found, **kwargs):
    """Bytes of a file as torch.save writes it."""
    buffer = io.BytesIO()
    torch.save(found, buffer, **kwargs)
    return buffer.getvalue()


def hashed(body, stem="net", suffix=".pth"):
    """Name of a file that ends in the hash of its contents."""
    return f"{stem}-{hashlib.sha256(body).hexdigest()[:8]}{suffix}"


def same(found, expected):
    """Whether two state dicts hold the same tensors of the same types."""
    return list(found) == list(expected) and all(
        found[key].dtype == value.dtype and torch.equal(found[key], value)
        for key, value in expected.items()
    )


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the bodies and lengths that the server was given."""

    def do_GET(self):
        self.server.requests.append(self.command)
        answer = self.server.answers.get(self.path)
        if answer is None or (self.command == "HEAD" and not self.server.takes_head):
            self.send_error(404 if answer is None else 405)
            return
        body, length = answer
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "GET":
            time.sleep(self.server.delay)
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    """A server whose answers a test chooses."""

    daemon_threads = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.answers = [], {}
        self.takes_head, self.delay = True, 0.0

    def put(self, name, body, length="body"):
        self.answers[f"/{name}"] = (body, len(body) if length == "body" else length)
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, *args):
        """A client that leaves early is part of the tests."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(
            target=functools.partial(server.serve_forever, poll_interval=0.01)
        )
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    # Sockets that the code left open are told of here, not in a later test.
    gc.collect()


@pytest.fixture
def cache(tmp_path):
    """The cache of torch, in a folder of its own."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


def files(folder):
    return sorted(folder.rglob("*")) if folder.exists() else []


@pytest.mark.parametrize("argument", ["imagenet", "address"])
def test_downloads_once(server, cache, argument):
    name = hashed(stored(STATE))
    url = server.put(name, stored(STATE))
    load = functools.partial(
        load_weights, "imagenet" if argument == "imagenet" else url, url=url
    )
    assert same(load(), STATE)
    assert files(cache) == [cache / name]
    n_requests = len(server.requests)
    assert same(load(), STATE)
    assert len(server.requests) == n_requests > 0


def test_same_file_name_at_two_addresses(server, cache):
    one = server.put("a/model.safetensors?download=true", safetensors_bytes(STATE))
    other = {"weight": torch.zeros(1)}
    two = server.put("b/model.safetensors", safetensors_bytes(other))
    assert set(load_weights(one)) == set(STATE)
    assert same(load_weights(two), other)
    assert set(load_weights(one)) == set(STATE)
    assert len(files(cache)) == 2


def test_file_put_by_hand_where_the_message_says(server, cache):
    url = server.put("net.pth", b"")
    del server.answers["/net.pth"]
    with pytest.raises(DownloadError) as caught:
        load_weights(url)
    name = str(caught.value).split("under the name ")[1].split(",")[0]
    assert str(cache) in str(caught.value)
    (cache / name).write_bytes(stored(STATE))
    assert same(load_weights(url), STATE)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_wrong_hash(server, cache, suffix):
    body = stored(STATE) if suffix == ".pth" else safetensors_bytes(STATE)
    url = server.put(f"net-0123abcd{suffix}", body)
    with pytest.raises(WeightsError, match=r"net-0123abcd.*hash.*weights=PATH"):
        load_weights(url)
    assert files(cache) == []
    # Nor is such a file taken from the cache.
    (cache / f"net-0123abcd{suffix}").write_bytes(body)
    with pytest.raises(WeightsError, match="hash"):
        load_weights(url)
    assert files(cache) == []


@pytest.mark.parametrize(
    "name", ["net-1.0.pth", "net-abc123.pth", "net-0123abcd-b.pth"]
)
def test_what_is_not_a_hash(server, cache, name):
    assert same(load_weights(server.put(name, stored(STATE))), STATE)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("has_hash", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_cut_connection(server, cache, suffix, has_hash, share):
    state = {"weight": torch.zeros(100_000)}
    body = stored(state) if suffix == ".pth" else safetensors_bytes(state)
    name = hashed(body, suffix=suffix) if has_hash else f"net{suffix}"
    url = server.put(name, body[: int(share * len(body))], length=len(body))
    with pytest.raises(DownloadError, match=f"truncated after .* of {len(body)} bytes"):
        load_weights(url)
    assert files(cache) == []
    server.put(name, body)
    assert same(load_weights(url), state)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_cut_connection_of_a_server_that_tells_no_length(server, cache, suffix, share):
    server.takes_head = False
    state = {"weight": torch.zeros(100_000)}
    body = stored(state) if suffix == ".pth" else safetensors_bytes(state)
    url = server.put(f"net{suffix}", body[: int(share * len(body))], length=None)
    with pytest.raises(WeightsError, match=r"truncated.*was deleted.*Call again"):
        load_weights(url)
    assert files(cache) == []
    server.put(f"net{suffix}", body)
    assert same(load_weights(url), state)


def test_no_such_file_on_the_server(server, cache):
    url = server.put("other.pth", b"").replace("other", "net")
    with pytest.raises(DownloadError, match="404") as caught:
        load_weights("imagenet", url=url)
    for part in (url, "weights=PATH", str(cache), "net_", "'imagenet'"):
        assert part in str(caught.value)
    assert files(cache) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_server_that_cannot_be_reached(cache, monkeypatch, host):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(DownloadError, match=r"net-0123abcd\.pth.*weights=PATH"):
        load_weights(f"http://{host}:{port}/net-0123abcd.pth")
    assert files(cache) == []


def test_answer_that_is_no_http(cache, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DownloadError, match="nonnumeric port"):
        load_weights("http://127.0.0.1:port/net.pth")
    assert files(cache) == []


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_half_written_file_in_the_cache(server, cache, suffix, share):
    body = stored(STATE) if suffix == ".pth" else safetensors_bytes(STATE)
    url = server.put(f"net{suffix}", body)
    load_weights(url)
    [path] = files(cache)
    path.write_bytes(body[: int(share * len(body))])
    with pytest.raises(WeightsError, match=r"cannot be read.*was deleted") as caught:
        load_weights(url)
    assert str(path) in str(caught.value)
    assert files(cache) == []
    assert set(load_weights(url)) == set(STATE)


def test_cache_that_cannot_be_written(server, cache):
    cache.parent.mkdir()
    cache.write_text("in the way")
    with pytest.raises(DownloadError, match="downloaded into the folder") as caught:
        load_weights(server.put("net.pth", stored(STATE)))
    assert str(cache) in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)


def test_disk_full(server, cache):
    resource = pytest.importorskip("resource")
    body = stored({"weight": torch.zeros(1_000_000)})
    url = server.put("net.pth", body)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Not a multiple of the chunks, so that closing the file fails once more.
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_001, limits[1]))
    try:
        with pytest.raises(DownloadError, match="downloaded into the folder"):
            load_weights(url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(cache) == []


def test_two_downloads_at_once(server, cache):
    server.delay = 0.2
    state = {"weight": torch.arange(300_000.0)}
    url = server.put("net.pth", stored(state))
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(load_weights(url)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and all(same(one, state) for one in found)
    assert server.requests.count("GET") == 3
    assert len(files(cache)) == 1


@pytest.mark.parametrize(
    "address",
    [
        "ftp://127.0.0.1/net.pth",
        "file:///net.pth",
        "http://127.0.0.1/net.onnx",
        "http://127.0.0.1",
    ],
)
def test_other_addresses(cache, address):
    with pytest.raises(WeightsError, match=r"expected 'imagenet'.*http\(s\)"):
        load_weights(address)
    assert files(cache) == []


def test_no_official_file():
    with pytest.raises(WeightsError, match="no official weights for fcdd28"):
        load_weights("imagenet", name="fcdd28")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".PTH", ".safetensors"])
@pytest.mark.parametrize("kind", [str, Path])
def test_path(tmp_path, suffix, kind):
    path = tmp_path / f"net{suffix}"
    halves = {key: value.half() for key, value in STATE.items()}
    is_torch = suffix != ".safetensors"
    path.write_bytes(stored(halves) if is_torch else safetensors_bytes(halves))
    found = load_weights(kind(path))
    assert same({key: found[key] for key in halves}, halves)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_path_is_kept(tmp_path, zipped, share):
    body = stored(STATE, _use_new_zipfile_serialization=zipped)
    path = tmp_path / "net.pth"
    path.write_bytes(body[: int(share * len(body))])
    with pytest.raises(WeightsError, match=r"net\.pth cannot be read: it is damaged"):
        load_weights(path)
    assert path.exists()


class Payload:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_file_is_not_run(tmp_path, writer):
    payload = {"weight": Payload(tmp_path / "ran")}
    body = stored(payload) if writer == "torch" else pickle.dumps(payload)
    (tmp_path / "net.pth").write_bytes(body)
    with pytest.raises(WeightsError, match="could run code"):
        load_weights(tmp_path / "net.pth")
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(payload))
    assert (tmp_path / "ran").exists()


def test_pickled_module_is_refused(tmp_path):
    (tmp_path / "net.pth").write_bytes(stored(nn.Linear(2, 2)))
    with pytest.raises(WeightsError, match=r"model\.state_dict\(\)"):
        load_weights(tmp_path / "net.pth")


def test_paths_that_are_no_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        load_weights(tmp_path / "nowhere.pth")
    with pytest.raises(FileNotFoundError, match=r"weights='imagnet'.*'imagenet'"):
        load_weights("imagnet")
    with pytest.raises(WeightsError, match="which is a folder"):
        load_weights(tmp_path)
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"net\.onnx.*\.safetensors"):
        load_weights(str(tmp_path / "net.onnx"))


@pytest.mark.parametrize("weights", [None, 5, b"net.pth", [STATE]])
def test_other_types(weights):
    with pytest.raises(TypeError, match="Got weights="):
        load_weights(weights)


def test_safetensors_is_not_installed(tmp_path, monkeypatch):
    (tmp_path / "net.safetensors").write_bytes(safetensors_bytes(STATE))
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match="pip install safetensors"):
        load_weights(tmp_path / "net.safetensors")


def test_missing_package_keeps_the_download(server, cache, monkeypatch):
    url = server.put("net.safetensors", safetensors_bytes(STATE))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "safetensors.torch", None)
        with pytest.raises(ImportError):
            load_weights(url)
    n_requests = len(server.requests)
    assert set(load_weights(url)) == set(STATE)
    assert len(server.requests) == n_requests


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_wrapped(tmp_path, key):
    wrapped = {"epoch": 3, key: STATE}
    (tmp_path / "net.pth").write_bytes(stored(wrapped))
    assert same(load_weights(tmp_path / "net.pth"), STATE)
    assert same(load_weights(wrapped), STATE)


@pytest.mark.parametrize(
    "found", [torch.ones(2), [torch.ones(2)], {"weight": 1.0}, {3: torch.ones(2)}]
)
def test_no_state_dict(tmp_path, found):
    (tmp_path / "net.pth").write_bytes(stored(found))
    with pytest.raises(WeightsError, match="expected a state dict"):
        load_weights(tmp_path / "net.pth")
    if isinstance(found, dict):
        with pytest.raises(WeightsError, match="expected a state dict"):
            load_weights(found)


def make_module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def make_state(scale=0.5):
    return {
        key: torch.full_like(value, scale) if value.is_floating_point() else value + 7
        for key, value in make_module().state_dict().items()
    }


def fails_and_changes_nothing(module, state):
    """The message of fit_weights, which must leave the module as it was."""
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        fit_weights(module, state, name="net")
    assert same(module.state_dict(), before)
    assert isinstance(caught.value, BackboneError)
    return str(caught.value)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_fits(prefix):
    module, state = make_module(), make_state()
    state["classifier.weight"] = torch.zeros(10, 2)
    parameters = [id(parameter) for parameter in module.parameters()]
    with_prefix = {prefix + key: value for key, value in state.items()}
    fit_weights(module, with_prefix, name="net")
    assert same(module.state_dict(), make_state())
    assert [id(parameter) for parameter in module.parameters()] == parameters
    assert all(p.requires_grad for p in module.parameters())
    state["0.weight"].zero_()
    assert module[0].weight.min() == 0.5


def test_prefix_that_is_the_modules_own():
    module = nn.ModuleDict({"backbone": make_module()})
    state = {f"backbone.{key}": value for key, value in make_state().items()}
    fit_weights(module, state, name="net")
    assert same(module["backbone"].state_dict(), make_state())
    # Wrapped once more, the outer one alone goes.
    parallel = {f"module.{key}": value * 2 for key, value in state.items()}
    fit_weights(module, parallel, name="net")
    assert module["backbone"][0].weight.min() == 1.0


def test_prefix_of_some_keys_is_not_stripped():
    state = {f"module.{key}": value for key, value in make_state().items()}
    state["head.weight"] = torch.zeros(1)
    message = fails_and_changes_nothing(make_module(), state)
    assert "'0.weight'" in message and "starting with 'module.0.weight'" in message


def test_counter_of_batch_norm_may_be_missing():
    module, state = make_module(), make_state()
    del state["1.num_batches_tracked"]
    fit_weights(module, state, name="net")
    assert module[1].num_batches_tracked == 0
    assert module[1].running_var.unique().tolist() == [0.5]


def test_other_architecture():
    state = make_state()
    del state["2.bias"]
    state["0.weight"] = torch.zeros(4, 1, 3, 3)
    message = fails_and_changes_nothing(make_module(), state)
    assert "do not match the architecture net" in message
    assert "1 missing ('2.bias')" in message
    assert "'0.weight' is (4, 1, 3, 3) float32 instead of (4, 3, 3, 3)" in message


def test_names_five_keys():
    layers = nn.Sequential(*[nn.Linear(1, 1, bias=False) for _ in range(12)])
    state = {f"{i}.weight": torch.zeros(2, 2) for i in range(6)}
    message = fails_and_changes_nothing(layers, state)
    for i in range(12):
        assert (f"'{i}.weight'" in message) == (i % 6 != 5)
    assert "6 missing" in message and "6 of another shape" in message
    assert "12 missing" in fails_and_changes_nothing(layers, {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("key", ["0.weight", "1.running_var", "2.bias"])
def test_not_finite(key, value):
    state = make_state()
    state[key].view(-1)[-1] = value
    message = fails_and_changes_nothing(make_module(), state)
    assert f"'{key}'" in message and "NaN or infinite" in message


@pytest.mark.parametrize("source", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("target", [torch.float32, torch.float16])
def test_takes_the_type_of_the_module(source, target):
    module = make_module().to(target)
    state = {
        key: value.to(source) if value.is_floating_point() else value
        for key, value in make_state().items()
    }
    fit_weights(module, state, name="net")
    assert module[0].weight.dtype == target and module[0].weight.min() == 0.5
    assert module[1].num_batches_tracked.dtype == torch.int64


def test_too_large_for_the_type_of_the_module():
    message = fails_and_changes_nothing(make_module().half(), make_state(1e6))
    assert "'0.weight'" in message and "torch.float16" in message


def test_quantized_weights_are_refused():
    state = make_state()
    state["0.weight"] = torch.ones(4, 3, 3, 3, dtype=torch.int8)
    message = fails_and_changes_nothing(make_module(), state)
    assert "(4, 3, 3, 3) int8" in message


def test_real_weights(shared_data):
    path = shared_data / "squeezenet1_0_imagenet.safetensors"
    if not path.is_file():
        pytest.skip("the real weights are not here")
    state = load_weights(path)
    weight = state["features.0.weight"]
    assert weight.shape == (96, 3, 7, 7)
    layer = nn.ModuleDict({"features": nn.Sequential(nn.Conv2d(3, 96, 7, stride=2))})
    fit_weights(layer, state, name="squeezenet1_0")
    assert torch.equal(layer["features"][0].weight, weight.float())
