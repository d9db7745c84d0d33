"""Digests that identify a training, equal in all processes."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
from collections.abc import Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skfcdd._inputs.images import ImageArray
from skfcdd._inputs.labels import Targets
from skfcdd._inputs.lazy_arrays import read

__all__ = ["digest", "fingerprint", "weights_digest"]

# Number of rows of a large array that are hashed.
_N_PROBES = 64
# Arrays of at most this many bytes are hashed completely.
_WHOLE = 1 << 24
# Maximum depth to which nested objects are followed.
_DEPTH = 6
# Types that `repr` describes completely.
_PLAIN = (str, bytes, bool, int, float, complex, slice, torch.dtype, torch.device)
# Parameters that do not affect the network.
_FREE = {
    "callbacks",
    "checkpoint",
    "contamination",
    "device",
    "min_area",
    "score_pooling",
    "threshold",
    "verbose",
}


def fingerprint(
    params: Mapping[str, Any], images: ImageArray, targets: Targets, begun: str = ""
) -> str:
    """Compute a digest of parameters, shapes, labels, and some of the images.

    Parameters
    ----------
    params : mapping
        Parameters of the estimator.
    images : ImageArray
    targets : Targets
    begun : str, default=""
        Digest of the weights from which training continues.

    Returns
    -------
    str
    """
    told: dict[str, Any] = {
        name: _told(value)
        for name, value in sorted(params.items())
        if name not in _FREE
    }
    told["from"] = begun
    told["images"] = _told_array(images.data, whole=0)
    told["anomalous"] = _told_array(targets.anomalous)
    if targets.weight is not None:
        told["weight"] = _told_array(targets.weight)
    if targets.groups is not None:
        told["groups"] = _told_array(targets.groups)
    if targets.masks is not None:
        told["masks"] = _told_array(targets.masks, whole=0)
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def digest(value: Any) -> str:
    """Compute the digest of a single value."""
    return hashlib.sha256(json.dumps(_told(value)).encode()).hexdigest()


def weights_digest(module: nn.Module) -> str:
    """Compute a digest of the weights and buffers of a network, in single precision."""
    return hashlib.sha256(repr(_told(module.state_dict())).encode()).hexdigest()


def _told(value: Any, seen: frozenset[int] = frozenset()) -> Any:
    """Describe the contents of a value with text and numbers.

    Functions are described by their code and closure, not by the functions they call.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, _PLAIN):
        return repr(value)
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    # The state of a generator changes with every draw; the checkpoint stores the seeds.
    chance = isinstance(value, (np.random.RandomState, np.random.Generator))
    if chance or id(value) in seen or len(seen) > _DEPTH:
        return kind
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, ModuleType):
        return value.__name__
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _told_array(value)
    within = seen | {id(value)}
    parts = _parts(value)
    return kind, [(str(name), _told(part, within)) for name, part in parts.items()]


def _parts(value: Any) -> Mapping[Any, Any]:
    """Return the parts of a value on which its behaviour depends."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (set, frozenset)):  # their order differs between processes
        return dict(enumerate(sorted(value, key=repr)))
    if isinstance(value, (tuple, list)):
        return dict(enumerate(value))
    if isinstance(value, nn.Module):
        layers = {
            name: (type(layer), *_settings(layer))
            for name, layer in value.named_modules()
        }
        return {"layers": layers, **value.state_dict()}
    if isinstance(value, functools.partial):
        return {"of": value.func, "with": value.args, "named": value.keywords}
    if isinstance(value, MethodType):
        return {"of": value.__self__, "does": value.__func__}
    if isinstance(value, FunctionType):
        enclosed = inspect.getclosurevars(value).nonlocals
        known = (enclosed, value.__defaults__, value.__kwdefaults__)
        return {"name": value.__qualname__, "does": value.__code__, "knows": known}
    if isinstance(value, CodeType):
        code, names = value.co_code.hex(), value.co_names
        return {"code": code, "names": names, "constants": value.co_consts}
    slots = getattr(type(value), "__slots__", ())
    found = {name: getattr(value, name, None) for name in slots}
    name = getattr(value, "__qualname__", "")  # of built-in functions
    return {"name": name, **found, **getattr(value, "__dict__", {})}


def _settings(layer: nn.Module) -> list[tuple[str, Any]]:
    """Return the attributes of a layer, except for its tensors and sublayers."""
    known = vars(layer).items()
    return [(k, v) for k, v in known if not k.startswith("_") and k != "training"]


def _told_array(value: Any, whole: int = _WHOLE) -> Any:
    """Return the shape, type and digest of an array; large ones are sampled."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = np.asarray(value.float() if value.is_floating_point() else value)
    shape = tuple(int(length) for length in value.shape)
    dtype = np.dtype(value.dtype)
    if shape:
        rows: Any = slice(None)
        if np.prod(shape) * dtype.itemsize > whole:
            rows = np.unique(np.linspace(0, shape[0] - 1, _N_PROBES).astype(int))
        value = read(value, rows)
    content = np.ascontiguousarray(np.asarray(value))
    plain = content.dtype.kind != "O"
    digest = hashlib.sha256(
        content.tobytes() if plain else repr(_told(content.tolist())).encode()
    )
    return shape, str(dtype), digest.hexdigest()
