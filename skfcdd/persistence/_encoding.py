"""Conversion of values to JSON and back, with a fixed list of classes."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

import skfcdd.objectives as objectives
import skfcdd.thresholds as thresholds
from skfcdd.anomalies import FeatureMix, FeatureNoise
from skfcdd.exceptions import ModelFileError
from skfcdd.feature_cache import FeatureCache
from skfcdd.memory_bank import MemoryBank
from skfcdd.receptive_field import ReceptiveField

__all__ = ["Decoder", "Encoder"]

# Classes that a file may name; no name from a file is ever imported.
_OBJECTS: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        FeatureCache,
        MemoryBank,
        FeatureMix,
        FeatureNoise,
        ReceptiveField,
        *(getattr(thresholds, name) for name in thresholds.__all__),
    )
    if isinstance(cls, type)
}
_OBJECTIVES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (getattr(objectives, name) for name in objectives.__all__)
    if isinstance(cls, type) and issubclass(cls, objectives.Objective)
}
_OPTIMIZERS: dict[str, Any] = {
    name: getattr(torch.optim, name)
    for name in ("Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "NAdam", "RAdam")
}
_KINDS = "biufU"


class Encoder:
    """Encoder of values as JSON.

    Attributes
    ----------
    left_out : list of str
        Parameters that could not be stored.
    """

    def __init__(self) -> None:
        self.left_out: list[str] = []

    def parameters(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Encode parameters by name; code and data are omitted."""
        stored = {}
        for name, value in params.items():
            try:
                stored[name] = self.encode(value, name)
            except TypeError:
                if name != "backbone":  # it is passed to `load`
                    self.left_out.append(name)
        return stored

    def encode(self, value: Any, name: str) -> Any:
        """Encode a value as JSON.

        Raises
        ------
        TypeError
            If values of this type cannot be stored.
        """
        if isinstance(value, (np.bool_, np.integer, np.floating)):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": repr(value)}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, (list, tuple)):
            items = [self.encode(item, name) for item in value]
            return {"tuple": items} if isinstance(value, tuple) else items
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {"dict": {k: self.encode(v, name) for k, v in value.items()}}
        if isinstance(value, np.ndarray):
            return self._array(value, name)
        return self._named(value, name)

    def _array(self, value: np.ndarray[Any, Any], name: str) -> Any:
        labels = value.tolist()
        if value.dtype.kind in _KINDS or (
            value.dtype == object and all(isinstance(x, str) for x in labels)
        ):
            # Numbers are stored in a JSON list, which keeps all their digits.
            items = [self.encode(item, name) for item in value.ravel().tolist()]
            dtype = value.dtype.str if value.dtype != object else "O"
            return {"array": items, "dtype": dtype, "shape": list(value.shape)}
        raise TypeError(
            f"{name} has dtype {value.dtype}, which this format cannot store."
        )

    def _named(self, value: Any, name: str) -> Any:
        kind = type(value).__name__
        if _OBJECTS.get(kind) is type(value):
            fields = {
                f.name: self.encode(getattr(value, f.name), name)
                for f in dataclasses.fields(value)
                # Newer fields, which older versions lack, are omitted if None.
                if f.default is not None or getattr(value, f.name) is not None
            }
            return {"object": kind, "fields": fields}
        if isinstance(value, type):
            own = getattr(value, "__name__", "")
            if value in (_OBJECTIVES.get(own), _OPTIMIZERS.get(own)):
                return {"class": own}
        if _OBJECTIVES.get(kind) is type(value):
            options = {
                key: getattr(value, key)
                for key in ("gamma", "n_components")
                if hasattr(value, key)
            }
            return {"objective": kind, "fields": options}
        raise TypeError(
            f"{name} = {value!r} is custom code, which this format cannot store. Save "
            "the estimator with joblib instead."
        )


class Decoder:
    """Decoder of values from JSON."""

    def decode(self, value: Any) -> Any:
        """Decode a value from JSON."""
        if isinstance(value, list):
            return [self.decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {"float"}:
            return float(value["float"])
        if set(value) == {"tuple"}:
            return tuple(self.decode(item) for item in value["tuple"])
        if set(value) == {"dict"}:
            return {key: self.decode(item) for key, item in value["dict"].items()}
        if set(value) == {"array", "dtype", "shape"}:
            return self._array(value)
        if set(value) == {"object", "fields"}:
            fields = {k: self.decode(v) for k, v in value["fields"].items()}
            return _OBJECTS[value["object"]](**fields)
        if set(value) == {"class"}:
            return (_OBJECTIVES | _OPTIMIZERS)[value["class"]]
        if set(value) == {"objective", "fields"}:
            return _OBJECTIVES[value["objective"]](**value["fields"])
        raise ModelFileError(
            f"The file contains an unknown kind of value: {sorted(value)[:5]}."
        )

    def _array(self, value: dict[str, Any]) -> np.ndarray[Any, Any]:
        dtype = np.dtype(value["dtype"])
        items = [self.decode(item) for item in value["array"]]
        if dtype.kind != "O" and dtype.kind not in _KINDS:
            raise ModelFileError(
                f"The file contains an array of dtype {dtype}, which is not allowed."
            )
        if dtype.kind == "O" and not all(isinstance(item, str) for item in items):
            raise ModelFileError(
                "The file contains an array of objects, which is not allowed."
            )
        return np.array(items, dtype=dtype).reshape(value["shape"])
