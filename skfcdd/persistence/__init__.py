"""Saving fitted estimators to files that execute no code when loaded.

A file is a zip archive with two members: ``estimator.json``, with the parameters, the
learned state and the format version, and ``network.safetensors``, with the arrays of
the network. Neither can contain code: the class, the backbone and the objective are
looked up by name in skfcdd, everything else is numbers and strings, and invalid
contents raise an error.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skfcdd._classifier import FCDDClassifier
from skfcdd._detector import FCDDDetector
from skfcdd._engine.model import FittedModel
from skfcdd._engine.settings import NetworkSettings
from skfcdd._segmenter import FCDDSegmenter
from skfcdd._utils.device import resolve_device
from skfcdd._utils.files import written_at_once
from skfcdd._utils.optional import library_versions, require
from skfcdd._utils.warnings import warn_caller
from skfcdd.exceptions import ModelFileError, NotStoredWarning
from skfcdd.persistence._encoding import Decoder, Encoder
from skfcdd.persistence._model import describe, rebuild
from skfcdd.persistence._upgrade import KINDS, upgraded, with_former_sigma

__all__ = ["load", "read_info", "save"]

# Incremented with each change that older versions of skfcdd cannot read. Format 1 has
# no heatmap scale; 2 does not separate the fitted model from the parameters; up to 5,
# thresholds were always set on held-out images; up to 6, there was no region of
# interest; up to 7, pixels outside of it were set to the mean of those inside.
FORMAT = 8
# Attributes of an estimator that are stored in addition to its fitted model.
_STATE = ("n_features_in_", "feature_names_in_")
_JSON, _NUMBERS = "estimator.json", "network.safetensors"
# Size limits in bytes, far above those of any model of this package.
_MAX_JSON, _MAX_NUMBERS = 64 << 20, 16 << 30
# Exceptions that zipfile and json raise for invalid files. RuntimeError is raised for
# encrypted and unsupported members, and for deep nesting.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OverflowError,
    RuntimeError,
    ValueError,
)


def save(
    estimator: Any,
    path: str | os.PathLike[str],
    *,
    note: str | None = None,
    metrics: dict[str, float] | None = None,
) -> Path:
    """Save a fitted estimator to a file.

    The file contains everything needed for scoring: preprocessing, network, threshold,
    calibration scores and labels. It appears at `path` only after it has been written
    completely. The parameter `roi` is stored as the pixels that ``fit`` determined
    (``roi_``).

    Parameters
    ----------
    estimator : FCDDClassifier, FCDDSegmenter or FCDDDetector
        Fitted estimator.
    path : path
        File to write, usually with the suffix ``.skfcdd``.
    note : str, default=None
        Free text about the model.
    metrics : dict of str to float, default=None
        Metrics of the model to store with it.

    Returns
    -------
    pathlib.Path
        Path of the file.

    Raises
    ------
    TypeError
        If `estimator` is of another class, such as a pipeline or one of
        :mod:`skfcdd.baselines`.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    OSError
        If the file cannot be written; an existing file is then unchanged.

    Warns
    -----
    NotStoredWarning
        If parameters are not stored because they contain code or data. This can only
        affect parameters that are used in another ``fit``: callbacks,
        `outlier_exposure`, and custom synthetic anomalies.

    Examples
    --------
    >>> import os, tempfile
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.persistence import load, save
    >>> images = make_defects(30, image_size=32, anomaly_fraction=0).images
    >>> model = FCDDClassifier(max_epochs=1, random_state=0).fit(images)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(model, os.path.join(folder, "m.skfcdd"), note="first try")
    ...     loaded = load(path)
    >>> bool((loaded.anomaly_score(images) == model.anomaly_score(images)).all())
    True
    """
    if type(estimator) not in (FCDDClassifier, FCDDDetector, FCDDSegmenter):
        raise TypeError(
            "Expected an FCDDClassifier, FCDDSegmenter or FCDDDetector. Got "
            f"{type(estimator).__name__}, which this format does not support. Use "
            "joblib.dump instead, and load its files only if you trust their source."
        )
    check_is_fitted(estimator)
    estimator._validate_params()
    document, numbers = _describe(estimator, note, metrics)
    text = json.dumps(document, indent=1, allow_nan=False)
    data = require("safetensors.torch", "safetensors").save(numbers)
    path = Path(path)
    with (
        written_at_once(path) as temporary,
        zipfile.ZipFile(temporary, "w") as archive,
    ):
        archive.writestr(_JSON, text, zipfile.ZIP_DEFLATED)
        archive.writestr(_NUMBERS, data, zipfile.ZIP_STORED)
    return path


def _describe(
    estimator: Any, note: str | None, metrics: dict[str, float] | None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the contents of both members of the file."""
    encoder = Encoder()
    given = estimator.get_params(deep=False)
    given.pop("roi")  # its pixels are stored with the arrays of the network
    params = encoder.parameters(given)
    params.pop("checkpoint", None)  # a path on this machine
    state = {
        name: encoder.encode(getattr(estimator, name), name)
        for name in _STATE
        if hasattr(estimator, name)
    }
    model: FittedModel = estimator._fitted
    described = describe(model, encoder)
    if encoder.left_out:
        warn_caller(
            "Some parameters contain code or data and were not stored: "
            f"{', '.join(encoder.left_out)}. The loaded model makes the same "
            "predictions, but set these parameters again before calling fit.",
            NotStoredWarning,
        )
    document = {
        "format": FORMAT,
        "class": type(estimator).__name__,
        "parameters": params,
        "state": state,
        "model": described,
        "versions": library_versions(),
        "note": note,
        "metrics": None
        if metrics is None
        else {k: float(v) for k, v in metrics.items()},
    }
    numbers = {
        name: value.detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    return document, numbers


def load(
    path: str | os.PathLike[str], *, device: str = "auto", backbone: Any = None
) -> Any:
    """Load a fitted estimator from a file written by :func:`save`.

    Loading a file never executes code from it.

    Parameters
    ----------
    path : path
        File to load.
    device : str, default="auto"
        Device of the loaded model. "auto" uses CUDA if available, regardless of where
        the model was trained.
    backbone : torch.nn.Module or callable, default=None
        Backbone of the model, if it was fitted with a module or a callable. It is
        required because files contain no code.

    Returns
    -------
    FCDDClassifier, FCDDSegmenter or FCDDDetector

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ModelFileError
        If the file does not contain a model, is damaged, has a newer format than this
        version of skfcdd can read, or requires `backbone`.
    ValueError
        If `device` is not available.

    Examples
    --------
    See :func:`save`.
    """
    document, numbers = _read(Path(path))
    found = resolve_device(device)  # its errors are not due to the file
    try:
        estimator = _estimator(document, device)
        kind = KINDS[document["class"]]
        model = rebuild(document["model"], numbers, kind, backbone, found)
        if document["format"] < 4:
            model = with_former_sigma(model)
        if backbone is not None:
            estimator.backbone = backbone
        # Digests show whether parameters were changed after fit, which is unknown for
        # those that the file could not store. Older formats contain parameters only.
        settings = NetworkSettings.of(estimator.get_params(deep=False)).resolved(
            model.images.shape
        )
        known = (model.network_digests or settings.digests()).items()
        kept = {k: v for k, v in known if k in document["parameters"]}
        estimator._fitted = replace(model, network_digests=kept)
        estimator.roi = model.roi
    except ModelFileError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ModelFileError(
            f"{str(path)!r} does not contain a model that this version of skfcdd can "
            f"restore: {error}"
        ) from error
    return estimator


def _estimator(document: Mapping[str, Any], device: str) -> Any:
    """Return the estimator that a file describes, without its fitted model."""
    name, decode = document["class"], Decoder().decode
    if name not in KINDS:
        raise ModelFileError(
            f"The file contains a {name!r}, which is not an estimator of skfcdd."
        )
    cls = {c.__name__: c for c in (FCDDClassifier, FCDDDetector, FCDDSegmenter)}[name]
    params = {k: decode(v) for k, v in document["parameters"].items()}
    # A file must not choose where checkpoints are written.
    unknown = set(params) - set(cls().get_params(deep=False)) | (
        set(params) & {"checkpoint"}
    )
    if unknown:
        raise ModelFileError(f"The file has unknown parameters {sorted(unknown)}.")
    estimator = cls(**params | {"device": device})
    estimator._validate_params()
    for key, value in document["state"].items():
        if key not in _STATE:
            raise ModelFileError(f"The file has unknown state {key!r}.")
        setattr(estimator, key, decode(value))
    return estimator


def read_info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the description of a saved model, without building the model.

    Parameters
    ----------
    path : path
        File written by :func:`save`.

    Returns
    -------
    dict
        Keys "class", "parameters", "state", "model", "versions", "note", "metrics",
        "format", and "n_numbers", the number of values stored for the network.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ModelFileError
        If the file does not contain a model.

    Examples
    --------
    >>> from skfcdd.persistence import read_info
    >>> read_info("no_such_file.skfcdd")
    Traceback (most recent call last):
    ...
    FileNotFoundError: There is no file 'no_such_file.skfcdd'.
    """
    document, numbers = _read(Path(path))
    return document | {"n_numbers": sum(value.numel() for value in numbers.values())}


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    safetensors = require("safetensors.torch", "safetensors")
    error_class = require("safetensors", "safetensors").SafetensorError
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path)
            document = json.loads(archive.read(_JSON))
            _check_document(document, path)
            document = upgraded(document)
            numbers: dict[str, Tensor] = safetensors.load(archive.read(_NUMBERS))
    except ModelFileError:
        raise
    except (*_DAMAGE, KeyError, TypeError, error_class) as error:
        raise ModelFileError(
            f"{str(path)!r} is damaged or not a model of skfcdd: {error}"
        ) from error
    return document, numbers


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    found = {info.filename: info for info in archive.infolist()}
    if set(found) != {_JSON, _NUMBERS} or len(archive.infolist()) != 2:
        raise ModelFileError(
            f"{str(path)!r} is not a model of skfcdd: expected the members {_JSON} and "
            f"{_NUMBERS}. Got {sorted(found)[:5]}."
        )
    numbers = found[_NUMBERS]
    compressed = found[_JSON].compress_type
    if compressed not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelFileError(f"{str(path)!r} is damaged or not a model of skfcdd.")
    if numbers.compress_type != zipfile.ZIP_STORED or (
        numbers.file_size > _MAX_NUMBERS or found[_JSON].file_size > _MAX_JSON
    ):
        raise ModelFileError(
            f"{str(path)!r} was rejected: its contents are larger than any model of "
            "skfcdd."
        )


def _check_document(document: Any, path: Path) -> None:
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        raise ModelFileError(f"{str(path)!r} does not state its format version.")
    if document["format"] > FORMAT:
        versions = document.get("versions")
        newer = versions.get("skfcdd", "?") if isinstance(versions, dict) else "?"
        raise ModelFileError(
            f"{str(path)!r} has format {document['format']}, written by skfcdd "
            f"{newer}, but this version reads formats up to {FORMAT}. Install a newer "
            "version of skfcdd."
        )
    newest = "model" if document["format"] >= 3 else "network"
    missing = {"class", "parameters", "state", newest} - set(document)
    if missing:
        raise ModelFileError(f"{str(path)!r} lacks the entries {sorted(missing)}.")
