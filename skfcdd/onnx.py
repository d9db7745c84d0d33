"""Inference with exported models, using only NumPy and ONNX Runtime.

This module imports neither torch nor scikit-learn nor skorch, so a process can score
its first image after a fraction of a second.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._inputs.containers import path_list
from skfcdd._inputs.packed import unpack_mask
from skfcdd._inputs.ranges import scale_problem
from skfcdd._regions import drop_small
from skfcdd._verdicts import Convention, middle_of
from skfcdd.exceptions import ValueRangeWarning

__all__ = ["OnnxFCDD"]

# A file contains its own hash, computed with zeros in its place.
_SEAL = b"skfcdd-sha256:%s"
_BLANK = _SEAL % (b"0" * 64)
BLANK_SEAL = _BLANK.decode()

# Small images are processed in batches of about this many values.
_VALUES = 1 << 17
_LEAST_BATCH = 16


class OnnxFCDD:
    r"""Model exported by :func:`skfcdd.export.to_onnx`, with methods of the estimator.

    It can be used by several threads at the same time.

    Parameters
    ----------
    path : path-like
        Path of the file.
    providers : sequence of str, default=None
        ONNX Runtime execution providers in order of preference. None uses the CPU.
    n_threads : int, default=None
        Number of threads per call. None uses one per core; use 1 if several threads or
        processes make calls at the same time.
    verify : bool, default=True
        Whether to verify the file against the hash that it contains before loading it:
        a single flipped bit in the weights would change scores without an error. Use
        False for files modified by other tools, such as quantised models.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        Class labels: -1 and 1 for a detector, 0 and 1 for a segmenter.
    threshold_ : float
        Images (for a segmenter, pixels) with a higher score are anomalies.
    heatmap_scale_ : tuple of float (low, high)
        Limits of the colour scale of heatmaps.
    pixel_threshold_ : float
        Heatmap value above which pixels are outlined in plots.
    image_shape_ : tuple of int (h, w, c)
        Shape of the images in ``fit``.
    channels : {"first", "last"}
        Position of the channel axis in the model input.
    reading_ : dict or None
        Settings with which files were read in ``fit``. Paths passed as X are read in
        the same way.
    roi_ : ndarray of shape (h, w), bool, or None
        True inside the region of interest. None if all pixels count.
    convention_ : Convention
        Labels and signs of predictions.
    metadata_ : dict of str
        All metadata of the file.

    Raises
    ------
    FileNotFoundError
        If there is no file at this path.
    ImportError
        If onnxruntime is missing.
    ValueError
        If the file is damaged, was modified, or was not written by
        :func:`skfcdd.export.to_onnx`.

    Examples
    --------
    >>> import tempfile
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.export import to_onnx
    >>> from skfcdd.onnx import OnnxFCDD
    >>> images = make_defects(40, image_size=32, random_state=0).images
    >>> model = FCDDClassifier(max_epochs=1, precision="float32", random_state=0)
    >>> model = model.fit(images)
    >>> scores = model.anomaly_score(images)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = to_onnx(model, f"{folder}/model.onnx")
    ...     served = OnnxFCDD(f"{folder}/model.onnx")
    >>> served.explain(images[:3]).shape
    (3, 32, 32)
    >>> bool((abs(served.anomaly_score(images) / scores - 1) < 1e-4).all())
    True
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        providers: Sequence[str] | None = None,
        n_threads: int | None = None,
        verify: bool = True,
    ) -> None:
        self.path = Path(path)
        self._runtime = _import_runtime()
        self._session = _open(self._runtime, self.path, providers, n_threads, verify)
        self.metadata_ = dict(self._session.get_modelmeta().custom_metadata_map)
        try:
            self._read_metadata(self.metadata_)
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(
                f"{self.path} is an ONNX model, but was not written by "
                "skfcdd.export.to_onnx."
            ) from error
        self._outputs = {output.name for output in self._session.get_outputs()}

    def _read_metadata(self, metadata: dict[str, str]) -> None:
        h, w, c = json.loads(metadata["image_shape"])
        self.image_shape_: tuple[int, int, int] = (h, w, c)
        self.threshold_ = float(metadata["threshold"])
        # Files written by older versions have no colour scale.
        low, high = json.loads(
            metadata.get("heatmap_scale", f"[{self.threshold_}, {5 * self.threshold_}]")
        )
        self.heatmap_scale_ = (float(low), float(high))
        self.classes_ = np.array(
            json.loads(metadata["classes"]), dtype=metadata["classes_dtype"]
        )
        kind = metadata["kind"]
        sign = -1 if kind == "detector" else int(metadata["anomaly_sign"])
        area = int(metadata["min_area"])
        label = json.loads(metadata.get("image_anomaly_label", "null"))
        self.convention_ = Convention(kind, self.classes_, sign, area, label)
        usual = self.threshold_ if kind == "segmenter" else middle_of(low, high)
        self.pixel_threshold_ = float(metadata.get("pixel_threshold", usual))
        self.reading_ = json.loads(metadata.get("reading", "null"))
        packed = json.loads(metadata.get("roi", "null"))
        self.roi_ = None if packed is None else unpack_mask(packed)
        self.channels = metadata["channels"]
        self._dtype = np.dtype(metadata["dtype"])
        # Files written by older versions do not describe the images in fit.
        self._fitted_dtype = metadata.get("fitted_dtype")
        limits = json.loads(metadata.get("limits", "null"))
        self._limits = None if limits is None else (float(limits[0]), float(limits[1]))
        self._dynamic = bool(json.loads(metadata["dynamic_size"]))

    def anomaly_score(self, X: Any) -> npt.NDArray[np.float64]:
        """Compute the anomaly score of each image; higher is more anomalous.

        Parameters
        ----------
        X : array-like of shape (n, h, w) or (n, h, w, c)
            Images of the data type and axis order for which the model was exported.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        return self._run("score", X).astype(np.float64)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Predict the label of each image, or its mask if a segmenter was exported.

        Parameters
        ----------
        X : array-like of shape (n, h, w) or (n, h, w, c)
            See :meth:`anomaly_score`.

        Returns
        -------
        ndarray of shape (n,), or (n, h, w), uint8
            Labels from ``classes_``, or masks with 1 at anomalous pixels.
        """
        if self.convention_.judges_pixels:
            return self._masks(self._run("mask", X))
        labels = self._run("label", X)
        return labels if self.convention_.kind == "detector" else self.classes_[labels]

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        r"""Predict the probability of each label, or that each pixel is anomalous.

        The probability of an anomaly is :math:`p = 1 - 2^{-s / t}`, with the threshold
        :math:`t` and the score of the image, or heatmap value of the pixel, :math:`s`.

        Parameters
        ----------
        X : array-like of shape (n, h, w) or (n, h, w, c)
            See :meth:`anomaly_score`.

        Returns
        -------
        ndarray of shape (n, 2), or (n, h, w) for a segmenter, float64
            Columns in the order of ``classes_``.
        """
        if self.convention_.judges_pixels:
            heatmaps = self.explain(X)
            return self.convention_.pixel_probabilities(heatmaps, self.threshold_)
        scores = self.anomaly_score(X)
        return self.convention_.probabilities(scores, self.threshold_)

    def explain(self, X: Any) -> npt.NDArray[np.float32]:
        """Compute the heatmap of each image.

        Parameters
        ----------
        X : array-like of shape (n, h, w) or (n, h, w, c)
            See :meth:`anomaly_score`.

        Returns
        -------
        ndarray of shape (n, h, w), float32

        Raises
        ------
        ValueError
            If the model was exported without heatmaps.
        """
        return self._run("heatmap", X)

    def _run(self, output: str, X: Any) -> npt.NDArray[Any]:
        if output not in self._outputs:
            raise ValueError(
                f"{self.path} has no heatmaps: its objective has no anomaly map."
            )
        images = self._check(X)
        options = self._runtime.RunOptions()
        # Do not compute heatmaps if only scores are requested.
        options.only_execute_path_to_fetches = True
        parts = [
            self._session.run([output], {"images": batch}, options)[0]
            for batch in self._batches(images)
        ]
        return np.concatenate(parts)

    def _batches(self, images: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
        size = max(_LEAST_BATCH, _VALUES // max(1, prod(images.shape[1:])))
        for start in range(0, max(1, len(images)), size):
            yield images[start : start + size]

    def _masks(self, masks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        area = self.convention_.min_area
        return masks if area <= 1 else drop_small(masks > 0, area).astype(np.uint8)

    def _check(self, X: Any) -> npt.NDArray[Any]:
        """Convert X to the input of the graph; files are read as in ``fit``."""
        if (paths := path_list(X)) is not None:
            from skfcdd._inputs.files import files_for

            known = self._fitted_dtype
            X = files_for(paths, self.reading_, self.image_shape_, known)
        images = np.asarray(X)
        if hasattr(X, "reading") and self.channels == "first" and images.ndim == 4:
            images = np.moveaxis(images, 3, 1)  # images from files have channels last
        images = self._check_type(self._with_channels(images))
        h, w, c = self.image_shape_
        expected: tuple[int, ...] = (
            (c, h, w) if (self.channels == "first") else (h, w, c)
        )
        found = images.shape[1:]
        if self._dynamic:
            spatial = slice(1, 3) if (self.channels == "first") else slice(0, 2)
            free = list(expected)
            free[spatial] = found[spatial]
            expected = tuple(free)
        if found != expected:
            raise ValueError(
                f"X has images of shape {found}, but the model expects {expected}, "
                f"as {'(c, h, w)' if (self.channels == 'first') else '(h, w, c)'}."
            )
        return np.ascontiguousarray(images)

    def _with_channels(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Add a channel axis to images (n, h, w); raise for a single image."""
        h, w, c = self.image_shape_
        shape = (c, h, w) if (self.channels == "first") else (h, w, c)
        if images.ndim == 4:
            return images
        if images.shape == (h, w) or (images.shape == shape and c > 1):
            raise ValueError(
                f"X of shape {images.shape} is a single image. Pass a batch of one: "
                "X[None]."
            )
        if images.ndim == 3 and c == 1:
            return images[:, None] if (self.channels == "first") else images[..., None]
        raise ValueError(
            f"X must have the shape (n, {', '.join(map(str, shape))}). Got an "
            f"array of shape {images.shape}."
        )

    def _check_type(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if images.dtype == self._dtype == np.uint8:
            return images
        self._warn_about_range(images)
        if self._dtype == np.uint8 or images.dtype.kind not in "biuf":
            raise ValueError(
                f"X has dtype {images.dtype}, but the model expects {self._dtype}: "
                f"{'bytes from 0 to 255' if self._dtype == np.uint8 else 'numbers'}."
            )
        images = images.astype(np.float32, copy=False)
        if not np.isfinite(images).all():
            raise ValueError("X contains NaN or infinity.")
        return images

    def _warn_about_range(self, images: npt.NDArray[Any]) -> None:
        """Warn if pixel values have a different scale than those of ``fit``."""
        if self._fitted_dtype is None or self._limits is None or not images.size:
            return
        if images.dtype.kind not in "biuf":  # raises an error later
            return
        problem = scale_problem(
            str(images.dtype),
            lambda: float(images.max()),
            self._fitted_dtype,
            self._limits,
        )
        if problem is not None:
            warnings.warn(problem, ValueRangeWarning, stacklevel=4)


def _import_runtime() -> Any:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ImportError(
            "OnnxFCDD needs onnxruntime, which is not installed. Install it with pip "
            "install onnxruntime, or pip install 'skfcdd[onnx]'."
        ) from error


def _open(
    runtime: Any,
    path: Path,
    providers: Sequence[str] | None,
    n_threads: int | None,
    verify: bool,
) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    if n_threads is not None:
        options.intra_op_num_threads = n_threads
    providers = ["CPUExecutionProvider"] if providers is None else list(providers)
    unknown = sorted(set(providers) - set(runtime.get_available_providers()))
    if unknown:
        raise ValueError(
            f"Got providers={providers}, but this build of ONNX Runtime has no "
            f"{unknown}. Available: {runtime.get_available_providers()}."
        )
    source: str | bytes = str(path)
    if verify:
        source = path.read_bytes()
        if sealed(source) != source:
            raise ValueError(
                f"{path} is damaged, was modified, or was not written by "
                "skfcdd.export.to_onnx. If it was modified on purpose, open it with "
                "verify=False."
            )
    try:
        return runtime.InferenceSession(source, options, providers=providers)
    # The errors of ONNX Runtime have no more specific base class in common.
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as an ONNX model: it is damaged, truncated, or in "
            "another format."
        ) from error


def sealed(content: bytes) -> bytes | None:
    """Return a model's bytes with their hash inserted; None without a placeholder."""
    place = re.escape(_SEAL % b"") + rb"[0-9a-f]{64}"
    blank, n_places = re.subn(place, _BLANK, content)
    if n_places != 1:
        return None
    digest = hashlib.sha256(blank).hexdigest().encode()
    return blank.replace(_BLANK, _SEAL % digest)
