"""Loading of pretrained weights from files, URLs or state dicts."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from skfcdd.datasets._download import download
from skfcdd.exceptions import WeightsError

__all__ = ["fit_weights", "load_weights"]

_SUFFIXES = (".pth", ".pt", ".safetensors")
_EXPECTED = (
    "'imagenet', a state dict, an http(s) URL, or the path of a .pth, .pt or "
    ".safetensors file"
)
# torch's convention: file names end with the first digits of the SHA-256 hash.
_HASH = re.compile(r"-([0-9a-f]{8,64})\.[^.-]+$")
# Maximum number of keys of each kind listed in an error message.
_MAX_NAMED = 5


def load_weights(
    weights: Mapping[str, Tensor] | str | os.PathLike[str],
    *,
    url: str | None = None,
    name: str = "the backbone",
) -> dict[str, Tensor]:
    """Load the state dict that `weights` refers to.

    Parameters
    ----------
    weights : mapping, str or path
        A state dict; "imagenet" for the official file at `url`; an http(s) URL; or the
        path of a file. File names must end in .pth, .pt or .safetensors. Downloads are
        cached in the folder ``checkpoints`` of :func:`torch.hub.get_dir`.
    url : str or None, default=None
        URL of the official file; None if there is none.
    name : str, default="the backbone"
        Name of the network in messages.

    Returns
    -------
    dict of str to torch.Tensor
        Tensors in their stored data types, on the CPU if read from a file.

    Raises
    ------
    DownloadError
        If the file cannot be downloaded or written to the cache.
    WeightsError
        If there is no official file, the hash is wrong, or the content is not a state
        dict that can be read without running code.
    FileNotFoundError
        If there is no file at this path.
    ImportError
        If the file is a .safetensors file and safetensors is not installed.
    TypeError
        If `weights` has any other type.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.backbones import load_weights
    >>> list(load_weights({"state_dict": {"weight": torch.ones(2)}}))
    ['weight']
    """
    if isinstance(weights, Mapping):
        return _tensors(weights, "Got weights=<a mapping>")
    if not isinstance(weights, str | os.PathLike):
        raise TypeError(f"Got weights={weights!r}, but expected {_EXPECTED}.")
    got = f"Got weights={os.fspath(weights)!r}"
    if weights == "imagenet":
        if url is None:
            raise WeightsError(
                f"{got}, but there are no official weights for {name}. Pass "
                "weights=None, or the path of your own file."
            )
        return _from_url(url, got)
    if isinstance(weights, str) and "://" in weights:
        return _from_url(weights, got)
    path = Path(weights).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"{got}, but there is no such file: expected {_EXPECTED}."
        )
    if not path.is_file() or path.suffix.lower() not in _SUFFIXES:
        kind = "a folder" if path.is_dir() else "a file of another type"
        raise WeightsError(f"{got}, which is {kind}, but expected {_EXPECTED}.")
    return _tensors(_read(path, got), got)


def _tensors(found: Any, got: str) -> dict[str, Tensor]:
    """Unwrap the loaded object and check that it is a state dict."""
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise WeightsError(
            f"{got}, which contains a single {type(found).__name__}, but expected a "
            "state dict, such as one saved by torch.save(model.state_dict(), path)."
        )
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"{got}, which contains {type(value).__name__} under {key!r}, but "
                "expected a state dict that contains only names and tensors."
            )
    return dict(found)


def _read(path: Path, got: str) -> Any:
    """Read a file without running any code in it."""
    try:
        if path.suffix.lower() == ".safetensors":
            return _read_safetensors(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError, ImportError):
        raise
    # A damaged file can cause nearly any error, from EOFError to AttributeError.
    except Exception as error:
        raise WeightsError(
            f"{got}, but the file {path} cannot be read: it is damaged or truncated, "
            "or contains objects other than tensors, which could run code. Expected a "
            "state dict, such as one saved by torch.save(model.state_dict(), path)."
        ) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors file."""
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(
            f"The file {path} needs the package safetensors: pip install safetensors"
        ) from error
    return load_file(path, device="cpu")


def _from_url(url: str, got: str) -> dict[str, Tensor]:
    """Load a state dict from a URL, or from the cache if it was downloaded before."""
    path = _cache_path(url, got)
    try:
        if not path.exists():
            download(
                url,
                path,
                check=lambda part: _check_hash(part, path.name, got),
                lead=f"{got}, but ",
                instead=", or set weights=PATH",
            )
        _check_hash(path, path.name, got)
        found = _read(path, got)
    except WeightsError as error:
        # An invalid file would fail every time, and can be downloaded again.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        fate = (
            f"could not be deleted ({path})"
            if path.exists()
            else f"was deleted ({path})"
        )
        raise WeightsError(
            f"{error} The file {fate}. Call again to download it from {url}, or set "
            "weights=PATH to a copy."
        ) from error
    return _tensors(found, got)


def _cache_path(url: str, got: str) -> Path:
    """Return the path at which the file of a URL is cached."""
    parts = urlsplit(url)
    name = Path(os.path.basename(parts.path))
    if parts.scheme not in ("http", "https") or name.suffix.lower() not in _SUFFIXES:
        raise WeightsError(f"{got}, but expected {_EXPECTED}.")
    if not _HASH.search(name.name):
        # Many files are called "model.safetensors", so digits derived from the URL are
        # added. They follow "_" rather than "-", which precedes a hash of the contents.
        digits = hashlib.sha256(url.encode()).hexdigest()[:12]
        name = Path(f"{name.stem}_{digits}{name.suffix}")
    return Path(torch.hub.get_dir()).expanduser() / "checkpoints" / name


def _check_hash(path: Path, name: str, got: str) -> None:
    """Raise an error if the contents of a file do not match the hash in its name."""
    match = _HASH.search(name)
    if match is None:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(match[1]):
        raise WeightsError(
            f"{got}, but the file {name} is damaged or a different file: its SHA-256 "
            f"hash starts with {digest[: len(match[1])]}, but the name states "
            f"{match[1]}."
        )


def fit_weights(module: nn.Module, state: Mapping[str, Tensor], *, name: str) -> None:
    """Copy weights into a module, ignoring those of layers that it does not have.

    Parameters
    ----------
    module : torch.nn.Module
        Module to modify. Its data types are kept. It is unchanged if an error is
        raised.
    state : mapping of str to torch.Tensor
        State dict with all keys of that of `module`. Additional keys are ignored, and
        so is a prefix "module." or "backbone." shared by all keys.
    name : str
        Name of the network in messages.

    Raises
    ------
    WeightsError
        If keys are missing, shapes differ, or a weight is NaN or infinite.

    Examples
    --------
    >>> import torch
    >>> from skfcdd.backbones import fit_weights
    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> fit_weights(layer, {"weight": torch.ones(1, 2)}, name="a layer")
    >>> layer.weight.tolist()
    [[1.0, 1.0]]
    """
    own = {k: v for k, v in module.state_dict().items() if isinstance(v, Tensor)}
    state = _without_prefix(state, own)
    _check_same_architecture(own, state, name)
    fitted = {}
    for key, target in own.items():
        if key not in state:
            continue
        # Checked after the conversion, because large numbers may become infinite.
        fitted[key] = state[key].detach().to(target.dtype)
        if not torch.isfinite(fitted[key]).all():
            raise WeightsError(
                f"Got weights for {name} with NaN or infinite values (as "
                f"{target.dtype}) in {key!r}, but all weights must be finite."
            )
    with torch.no_grad():
        for key, values in fitted.items():
            own[key].copy_(values)


def _without_prefix(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Remove a prefix shared by all keys, if the module does not use it itself."""
    for prefix in ("module.", "backbone."):
        # The module may itself have a submodule of this name.
        in_own = any(key.startswith(prefix) for key in own)
        if not in_own and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _check_same_architecture(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], name: str
) -> None:
    """Raise an error if weights lack keys, or have other shapes or data types."""
    missing = [
        repr(key)
        for key in own
        # Old files lack this counter, which inference does not need.
        if key not in state and not key.endswith("num_batches_tracked")
    ]
    other = [
        f"{key!r} is {_kind(state[key])} instead of {_kind(target)}"
        for key, target in own.items()
        # Integers are quantised weights whose scale is unknown.
        if key in state
        and (
            state[key].shape != target.shape
            or (target.is_floating_point() and not state[key].is_floating_point())
        )
    ]
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:_MAX_NAMED])}"
        f"{', ...' if len(keys) > _MAX_NAMED else ''})"
        for what, keys in (("missing", missing), ("of another shape or type", other))
        if keys
    ]
    if problems:
        first = next(iter(state), None)
        raise WeightsError(
            f"The weights do not match the architecture {name}: "
            f"{'; '.join(problems)}, of {len(own)} keys. The weights have "
            f"{len(state)} keys, starting with {first!r}. Pass weights of this "
            "architecture, or weights=None."
        )


def _kind(tensor: Tensor) -> str:
    """Describe the shape and data type of a tensor in a message."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
