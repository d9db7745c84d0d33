"""Export of models that run without this package: ONNX and torch.export.

The graph contains everything between raw images and predictions: value range, resizing,
normalisation, network, pooling, threshold and heatmap, so that nothing has to be
implemented again for deployment. An ONNX file is written only after ONNX Runtime has
reproduced the results of the estimator.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.validation import check_is_fitted

from skfcdd._base import BaseFCDD
from skfcdd._engine.model import FittedModel
from skfcdd._inputs.packed import pack_mask
from skfcdd._utils.files import written_at_once
from skfcdd._utils.optional import library_versions
from skfcdd._utils.random import seeded
from skfcdd._utils.warnings import warn_caller
from skfcdd.exceptions import ExportError
from skfcdd.export._equivalence import ParityReport, compare
from skfcdd.export._graph import Plan, ScoringGraph, make_plan
from skfcdd.onnx import BLANK_SEAL, sealed

__all__ = ["ParityReport", "to_onnx", "to_torch_export"]

# torch exports operators of this version, and converts them to later ones.
_OLDEST_OPSET = 18


def to_onnx(
    estimator: Any,
    path: str | os.PathLike[str],
    *,
    X: Any = None,
    dynamic_size: bool = False,
    opset: int = _OLDEST_OPSET,
    rtol: float = 1e-4,
) -> ParityReport:
    r"""Export a fitted estimator to an ONNX file, after verifying its results.

    The only input, "images", is a batch of raw images in the form passed to ``fit``:
    (n, h, w, c), or (n, c, h, w) with ``channels="first"``, for any n. Its data type is
    uint8 if the model was fitted on uint8 images, otherwise float32. The outputs are

    - "score" (n,), float32: the anomaly score;
    - "probability" (n,), float32: the probability of an anomaly, :math:`1 - 2^{-s/t}`
      with the threshold :math:`t`;
    - "label" (n,), int64: the index of the label in ``classes_``; for a detector, 1 for
      inliers and -1 for outliers;
    - "heatmap" (n, h, w), float32, if the objective has a map;
    - "mask" (n, h, w), uint8, for a segmenter. The threshold of a segmenter applies to
      pixels, so "probability" and "label" are those of the pixel with the highest
      heatmap value.

    The graph computes in float32, even if the model was trained in bfloat16 or float64.
    Scores in bfloat16 differ slightly, and so may the label of an image close to the
    threshold; if this matters, fit with ``precision="float32"``. The threshold, labels,
    image shape and versions are stored in the metadata of the file.

    Parameters
    ----------
    estimator : FCDDClassifier, FCDDDetector or FCDDSegmenter
        The fitted estimator. It is not modified.
    path : path-like
        Path of the file. An existing file is replaced only after the new one has been
        verified.
    X : array-like of images, default=None
        Images for the verification, in the form passed to ``fit``; a few dozen are
        enough. They also define the data type and the order of axes of the graph. None
        generates images.
    dynamic_size : bool, default=False
        Whether the graph accepts images of any height and width not smaller than the
        receptive field. Scores and heatmaps are then those of
        :meth:`~skfcdd.FCDDClassifier.explain_large`. Not possible with ``resize=``,
        ``roi=`` or ``normalize="flat-field"``, if the objective has no map, or if cells
        depend on the whole image or are not on a regular grid.
    opset : int, default=18
        ONNX opset version. Increase it if a runtime requires a later version.
    rtol : float, default=1e-4
        Maximum relative difference of scores, and of heatmaps relative to their
        maximum.

    Returns
    -------
    ParityReport
        Differences found in the verification.

    Raises
    ------
    ExportError
        If the network cannot be exported, or results differ by more than `rtol`. No
        file is written.
    ImportError
        If onnx, onnxscript or onnxruntime is missing.
    TypeError
        If `estimator` is of another class.
    ValueError
        If a parameter is invalid, or the estimator does not support `dynamic_size`.
    OSError
        If `path` is not writable; checked before the export.

    Warns
    -----
    UserWarning
        If the objective has no map, so that there are no heatmaps; or if a segmenter
        has ``min_area > 1``: "mask" then still contains small regions, which
        :class:`skfcdd.onnx.OnnxFCDD` removes.

    Examples
    --------
    >>> import tempfile
    >>> from skfcdd import FCDDDetector
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.export import to_onnx
    >>> images = make_defects(40, image_size=32, random_state=0).images
    >>> model = FCDDDetector(max_epochs=1, random_state=0).fit(images)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = to_onnx(model, f"{folder}/model.onnx", X=images)
    >>> report.label_agreement, report.score_relative_difference < 1e-4
    (1.0, True)
    """
    _check(estimator, opset, rtol)
    modules = [_optional(name) for name in ("onnx", "onnxscript", "onnxruntime")]
    fitted: FittedModel = estimator._fitted
    given = None if X is None else estimator._check_images(X)
    plan = make_plan(fitted, given, dynamic_size)
    with written_at_once(Path(path)) as temporary:
        graph = ScoringGraph(
            fitted, channels_first=plan.channels_first, dynamic_size=dynamic_size
        )
        _warn_about_limits(graph)
        model = _convert(graph, plan, int(opset))
        metadata = _metadata(type(estimator).__name__, fitted, plan, opset)
        model.metadata_props.update(metadata)
        content = _serialized(model)
        run = _runner(modules[2], content, graph.names)
        report = compare(fitted, plan.groups, run, rtol)
        temporary.write_bytes(content)
    return report


def to_torch_export(
    estimator: Any, path: str | os.PathLike[str] | None = None
) -> torch.export.ExportedProgram:
    """Export a fitted estimator as a torch program.

    The program takes the same input as the graph of :func:`to_onnx`, and returns a dict
    with the same outputs. Use it with AOTInductor, ExecuTorch and other tools based on
    ``torch.export``.

    Parameters
    ----------
    estimator : FCDDClassifier, FCDDDetector or FCDDSegmenter
        The fitted estimator. It is not modified.
    path : path-like, default=None
        Path of the file (.pt2), to be loaded with ``torch.export.load``. None writes no
        file.

    Returns
    -------
    torch.export.ExportedProgram
        Program on the CPU, for any number of images.

    Raises
    ------
    ExportError
        If the network cannot be exported.

    Warns
    -----
    UserWarning
        As for :func:`to_onnx`.

    Examples
    --------
    >>> import torch
    >>> from skfcdd import FCDDDetector
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.export import to_torch_export
    >>> images = make_defects(40, image_size=32, random_state=0).images
    >>> model = FCDDDetector(max_epochs=1, random_state=0).fit(images)
    >>> program = to_torch_export(model)
    >>> answers = program.module()(torch.from_numpy(images[:5, :, :, None]))
    >>> answers["heatmap"].shape
    torch.Size([5, 32, 32])
    """
    _check(estimator, _OLDEST_OPSET, 1.0)
    plan = make_plan(estimator._fitted, None, dynamic_size=False)
    graph = ScoringGraph(estimator._fitted, channels_first=plan.channels_first)
    _warn_about_limits(graph)
    if path is None:
        return _exported(graph, plan)
    with written_at_once(Path(path)) as temporary:
        program = _exported(graph, plan)
        torch.export.save(program, temporary)
    return program


def _check(estimator: Any, opset: Any, rtol: Any) -> None:
    if not isinstance(estimator, BaseFCDD):
        raise TypeError(
            f"Expected an FCDDClassifier, FCDDDetector or FCDDSegmenter. Got "
            f"{type(estimator).__name__}."
        )
    check_is_fitted(estimator)
    if not isinstance(opset, Integral) or opset < _OLDEST_OPSET:
        raise ValueError(
            f"opset must be an int of at least {_OLDEST_OPSET}. Got {opset!r}."
        )
    if not isinstance(rtol, Real) or not float(rtol) > 0:
        raise ValueError(f"rtol must be a number greater than 0. Got {rtol!r}.")


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"Writing ONNX needs the package {name}, which is not installed. Install "
            "it with pip install 'skfcdd[onnx]'."
        ) from error


def _warn_about_limits(graph: ScoringGraph) -> None:
    objective = type(graph.module.objective).__name__
    if graph.upsample is None:
        if graph.convention.judges_pixels:
            raise ValueError(
                f"{objective} computes heatmaps from gradients, which an exported "
                "graph cannot do, but a segmenter needs heatmaps. Fit with "
                "loss='fcdd'."
            )
        warn_caller(
            f"{objective} computes heatmaps from gradients, which an exported graph "
            "cannot do: scores and labels are exported, heatmaps are not.",
            UserWarning,
        )
    if graph.convention.min_area > 1:
        warn_caller(
            "The output 'mask' still contains regions of fewer than "
            f"min_area={graph.convention.min_area} pixels, which an exported graph "
            "cannot remove. OnnxFCDD removes them.",
            UserWarning,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress messages that torch and onnxscript issue during an export."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings(), seeded(None, "cpu"), torch.no_grad():
        warnings.filterwarnings(
            "ignore",
            message=r"`isinstance\(treespec, LeafSpec\)`",
            category=FutureWarning,
        )
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="onnx")
        logger.setLevel(logging.ERROR)  # it warns if torchvision is not installed
        try:
            yield
        finally:
            logger.setLevel(level)


def _exported(graph: ScoringGraph, plan: Plan) -> torch.export.ExportedProgram:
    images = torch.from_numpy(np.array(plan.groups[-1].data[:3]))
    if len(images) < 3:  # the exporter would specialise the graph to a batch of one
        images = images[:1].repeat(3, 1, 1, 1)
    shapes = {"images": plan.free_axes(_dimension)}
    try:
        with _quiet():
            return torch.export.export(
                graph.eval(), (images,), dynamic_shapes=shapes, strict=False
            )
    # A custom network may raise any error.
    except Exception as error:
        raise ExportError(
            "The network cannot be exported: torch.export failed with "
            f"{type(error).__name__}: {error}"
        ) from error


def _dimension(name: str) -> Any:
    """Declare a dynamic number of images; torch infers constraints on the size."""
    return torch.export.Dim(name) if name == "n" else torch.export.Dim.AUTO


def _convert(graph: ScoringGraph, plan: Plan, opset: int) -> Any:
    """Convert the graph to an onnx_ir model."""
    program = _exported(graph, plan)
    try:
        with _quiet():
            converted = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["images"],
                output_names=graph.names,
                dynamic_shapes={"images": plan.free_axes(str)},
                opset_version=opset,
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        raise ExportError(
            "The network cannot be written as ONNX: torch.onnx.export failed with "
            f"{type(error).__name__}: {error}"
        ) from error
    assert converted is not None
    return converted.model


def _serialized(model: Any) -> bytes:
    ir = importlib.import_module("onnx_ir")
    content = sealed(ir.to_proto(model).SerializeToString())
    assert content is not None  # `_metadata` has created the entry
    return content


def _metadata(name: str, model: FittedModel, plan: Plan, opset: int) -> dict[str, str]:
    """Return the information needed to serve a model, as text."""
    convention, reading = model.convention, model.images.reading
    classes, label = convention.classes, convention.image_anomaly_label
    preprocess = model.module.preprocess
    label = label.item() if isinstance(label, np.generic) else label
    try:
        labels = json.dumps(classes.tolist())
        image_label = json.dumps(label)
    except TypeError as error:
        raise ValueError(
            f"Labels of type {classes.dtype} cannot be written as JSON. Fit with "
            "numbers or strings."
        ) from error
    versions = library_versions()
    return {
        "skfcdd_version": versions["skfcdd"],
        "estimator": name,
        "kind": convention.kind,
        "classes": labels,
        "classes_dtype": "object" if classes.dtype == object else classes.dtype.str,
        "image_anomaly_label": image_label,
        "anomaly_sign": str(convention.anomaly_sign),
        "threshold": repr(float(model.threshold)),
        "heatmap_scale": json.dumps(model.heatmap_scale),
        "pixel_threshold": repr(float(model.pixel_threshold)),
        "image_shape": json.dumps([int(n) for n in model.images.shape]),
        "channels": "first" if plan.channels_first else "last",
        "dtype": plan.dtype.name,
        "fitted_dtype": model.images.dtype,
        "limits": json.dumps([float(preprocess.low), float(preprocess.high)]),
        "dynamic_size": json.dumps(plan.dynamic_size),
        "min_area": str(convention.min_area),
        "score_pooling": json.dumps(model.judging.score_pooling),
        "reading": json.dumps(None if reading is None else dict(reading)),
        "roi": json.dumps(None if model.roi is None else pack_mask(model.roi)),
        "versions": json.dumps({"opset": int(opset), **versions}),
        "seal": BLANK_SEAL,
    }


def _runner(
    runtime: Any, content: bytes, names: list[str]
) -> Callable[[npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]:
    """Create a function that runs the serialised model in ONNX Runtime."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = runtime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"]
    )
    return lambda images: dict(
        zip(names, session.run(names, {"images": images}), strict=True)
    )
