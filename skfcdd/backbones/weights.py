"""Weights of a network: found in a file, at an address or in memory, and copied in."""

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
    "'imagenet', a state dict, an http(s) address or a path of a file that ends in "
    ".pth, .pt or .safetensors"
)
# torch's convention: the first digits of the SHA-256 end the name of the file.
_HASH = re.compile(r"-([0-9a-f]{8,64})\.[^.-]+$")
# A message names at most so many keys of each kind.
_MAX_NAMED = 5


def load_weights(
    weights: Mapping[str, Tensor] | str | os.PathLike[str],
    *,
    url: str | None = None,
    name: str = "the backbone",
) -> dict[str, Tensor]:
    """State dict that `weights` names.

    Parameters
    ----------
    weights : mapping, str or path
        A state dict; "imagenet" for the official file at `url`; an http(s) address;
        or the path of a file. Files end in .pth, .pt or .safetensors. Downloads are
        kept in the folder ``checkpoints`` of :func:`torch.hub.get_dir`.
    url : str or None, default=None
        Address of the official file; None if there is none.
    name : str, default="the backbone"
        What messages call the network.

    Returns
    -------
    dict of str to torch.Tensor
        On the CPU if read from a file; of the data types that are stored.

    Raises
    ------
    DownloadError
        If the file cannot be fetched, or not be written to the cache.
    WeightsError
        If there is no official file, the hash is wrong, or what is found is not a
        state dict that can be read without running code.
    FileNotFoundError
        If there is no file of this path.
    ImportError
        If a .safetensors file is given and safetensors is not installed.
    TypeError
        If `weights` is of another type.

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
                f"{got}, but there is no official file of weights for {name}: "
                f"expected weights=None, or the path of a file of your own."
            )
        return _from_url(url, got)
    if isinstance(weights, str) and "://" in weights:
        return _from_url(weights, got)
    path = Path(weights).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{got}, but there is no such file: give {_EXPECTED}.")
    if not path.is_file() or path.suffix.lower() not in _SUFFIXES:
        kind = "a folder" if path.is_dir() else "of another kind"
        raise WeightsError(f"{got}, which is {kind}, but expected {_EXPECTED}.")
    return _tensors(_read(path, got), got)


def _tensors(found: Any, got: str) -> dict[str, Tensor]:
    """What was found, unwrapped, once it is known to be a state dict."""
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise WeightsError(
            f"{got}, which holds one {type(found).__name__}, but expected a state "
            f"dict, as torch.save(model.state_dict(), path) stores it."
        )
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"{got}, which holds {type(value).__name__} under {key!r}, but "
                f"expected a state dict: names and their tensors alone."
            )
    return dict(found)


def _read(path: Path, got: str) -> Any:
    """What a file holds; no code in it is run."""
    try:
        if path.suffix.lower() == ".safetensors":
            return _read_safetensors(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError, ImportError):
        raise
    # A damaged file raises nearly anything, from EOFError to AttributeError.
    except Exception as error:
        raise WeightsError(
            f"{got}, but the file {path} cannot be read: it is damaged or cut off, or "
            f"holds more than tensors, which could run code. Expected a state dict, "
            f"as torch.save(model.state_dict(), path) stores it."
        ) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file."""
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(
            f"The file {path} needs the package safetensors: pip install safetensors"
        ) from error
    return load_file(path, device="cpu")


def _from_url(url: str, got: str) -> dict[str, Tensor]:
    """State dict of an address, from the cache if it has been downloaded before."""
    path = _cache_path(url, got)
    try:
        if not path.exists():
            download(
                url,
                path,
                check=lambda part: _check_hash(part, path.name, got),
                lead=f"{got}, but ",
                instead=", or give weights=PATH",
            )
        _check_hash(path, path.name, got)
        found = _read(path, got)
    except WeightsError as error:
        # It came from there, so nothing is lost; kept, it would fail forever.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        fate = (
            f"could not be deleted ({path})"
            if path.exists()
            else f"was deleted ({path})"
        )
        raise WeightsError(
            f"{error} The file {fate}. Call again to download it anew from {url}, or "
            f"give weights=PATH of a copy."
        ) from error
    return _tensors(found, got)


def _cache_path(url: str, got: str) -> Path:
    """Where the file of an address is kept."""
    parts = urlsplit(url)
    name = Path(os.path.basename(parts.path))
    if parts.scheme not in ("http", "https") or name.suffix.lower() not in _SUFFIXES:
        raise WeightsError(f"{got}, but expected {_EXPECTED}.")
    if not _HASH.search(name.name):
        # Many networks are called "model.safetensors": the address tells them apart.
        # Behind "_", so that nobody takes these digits for a hash of the contents.
        digits = hashlib.sha256(url.encode()).hexdigest()[:12]
        name = Path(f"{name.stem}_{digits}{name.suffix}")
    return Path(torch.hub.get_dir()).expanduser() / "checkpoints" / name


def _check_hash(path: Path, name: str, got: str) -> None:
    """Refuse a file whose contents are not those that its name promises."""
    match = _HASH.search(name)
    if match is None:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(match[1]):
        raise WeightsError(
            f"{got}, but the file {name} is damaged or another one: the hash (SHA-256) "
            f"of its contents starts with {digest[: len(match[1])]}, but expected "
            f"{match[1]}, as its name says."
        )


def fit_weights(module: nn.Module, state: Mapping[str, Tensor], *, name: str) -> None:
    """Copy the weights of a (possibly longer) network into a module.

    Parameters
    ----------
    module : torch.nn.Module
        Takes the weights, in its own data types. Unchanged if anything is wrong.
    state : mapping of str to torch.Tensor
        Has every key of the state dict of `module`. Further keys, of layers that were
        cut off, are left out; so is "module." or "backbone." before all keys.
    name : str
        What messages call the network.

    Raises
    ------
    WeightsError
        If keys are missing or have other shapes, or a weight is NaN or infinite.

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
        # Cast first: a large number can be infinite in the type of the module alone.
        fitted[key] = state[key].detach().to(target.dtype)
        if not torch.isfinite(fitted[key]).all():
            raise WeightsError(
                f"Got weights for {name} with NaN or infinite values (as "
                f"{target.dtype}) in {key!r}, but expected finite numbers."
            )
    with torch.no_grad():
        for key, values in fitted.items():
            own[key].copy_(values)


def _without_prefix(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """The weights by the names of the module, if all stand behind one prefix."""
    for prefix in ("module.", "backbone."):
        # The module may itself have a part of this name.
        in_own = any(key.startswith(prefix) for key in own)
        if not in_own and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _check_same_architecture(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], name: str
) -> None:
    """Refuse weights that lack keys, or have them in other shapes."""
    missing = [
        repr(key)
        for key in own
        # Old files lack this counter, and inference does without.
        if key not in state and not key.endswith("num_batches_tracked")
    ]
    other = [
        f"{key!r} is {_kind(state[key])} instead of {_kind(target)}"
        for key, target in own.items()
        # Whole numbers are quantized weights, of which the scale is not known.
        if key in state
        and (
            state[key].shape != target.shape
            or (target.is_floating_point() and not state[key].is_floating_point())
        )
    ]
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:_MAX_NAMED])}"
        f"{', ...' if len(keys) > _MAX_NAMED else ''})"
        for what, keys in (("missing", missing), ("of another shape", other))
        if keys
    ]
    if problems:
        first = next(iter(state), None)
        raise WeightsError(
            f"Got weights of another architecture than {name}: {'; '.join(problems)}, "
            f"of {len(own)} keys. The weights have {len(state)}, first {first!r}. Give "
            f"weights of this architecture, or weights=None."
        )


def _kind(tensor: Tensor) -> str:
    """Shape and data type of a tensor, for a message."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
