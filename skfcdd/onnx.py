"""Serve an exported model with NumPy and ONNX Runtime alone.

Nothing here needs torch, scikit-learn or skorch: a process is ready for its first
image in a fraction of a second.
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
from skfcdd._inputs.ranges import scale_problem
from skfcdd._regions import drop_small
from skfcdd._verdicts import Convention, middle_of
from skfcdd.exceptions import ValueRangeWarning

__all__ = ["OnnxFCDD"]

# A file says what its bytes hash to, with zeros in the place of the hash.
_SEAL = b"skfcdd-sha256:%s"
_BLANK = _SEAL % (b"0" * 64)
BLANK_SEAL = _BLANK.decode()

# Small images are run in batches of about this many values.
_VALUES = 1 << 17
_LEAST_BATCH = 16


class OnnxFCDD:
    r"""A model written by :func:`skfcdd.export.to_onnx`, with the methods it had.

    May be used from many threads at a time.

    Parameters
    ----------
    path : path-like
        The file.
    providers : sequence of str, default=None
        Where to compute, as ONNX Runtime names it, the preferred first. None computes
        on the CPU.
    n_threads : int, default=None
        Threads for one call. None takes one for each core; take 1 where many threads
        or processes call.
    verify : bool, default=True
        Compare the file with the hash that stands in it, before anything reads it: a
        single flipped bit in its weights would give other scores and no error. False
        opens files that other tools have changed on purpose, such as quantized ones.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The labels; -1 and 1 of a detector, 0 and 1 of a segmenter.
    threshold_ : float
        An image with a greater score is an anomaly; of a segmenter, a pixel.
    heatmap_scale_ : tuple of float (low, high)
        Where the colours of heatmaps begin and end.
    pixel_threshold_ : float
        Pixels of heatmaps above it are outlined in pictures.
    image_shape_ : tuple of int (h, w, c)
        Shape of the images of ``fit``.
    channels : {"first", "last"}
        Order of the axes that the model takes.
    reading_ : dict or None
        How files became images in ``fit``; paths given as X are read alike.
    convention_ : Convention
        What verdicts look like.
    metadata_ : dict of str
        What else the file says about the model.

    Raises
    ------
    FileNotFoundError
        If there is no file of this path.
    ImportError
        If onnxruntime is missing.
    ValueError
        If the file is damaged, was changed, or was not written by
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
                f"{self.path} is an ONNX model, but not one that "
                f"skfcdd.export.to_onnx has written."
            ) from error
        self._outputs = {output.name for output in self._session.get_outputs()}

    def _read_metadata(self, metadata: dict[str, str]) -> None:
        h, w, c = json.loads(metadata["image_shape"])
        self.image_shape_: tuple[int, int, int] = (h, w, c)
        self.threshold_ = float(metadata["threshold"])
        # Files of before this was written had none.
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
        self.channels = metadata["channels"]
        self._dtype = np.dtype(metadata["dtype"])
        # Files of before this was written do not say what the images of fit were.
        self._fitted_dtype = metadata.get("fitted_dtype")
        limits = json.loads(metadata.get("limits", "null"))
        self._limits = None if limits is None else (float(limits[0]), float(limits[1]))
        self._dynamic = bool(json.loads(metadata["dynamic_size"]))

    def anomaly_score(self, X: Any) -> npt.NDArray[np.float64]:
        """Anomaly score of each image; greater is more anomalous.

        Parameters
        ----------
        X : array-like of shape (n, h, w) or (n, h, w, c)
            Images of the type and order of axes for which the model was exported.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        return self._run("score", X).astype(np.float64)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Label of each image, or the mask of each where a segmenter was exported.

        Parameters
        ----------
        X : array-like of shape (n, h, w) or (n, h, w, c)
            As for :meth:`anomaly_score`.

        Returns
        -------
        ndarray of shape (n,), or (n, h, w), uint8
            Of ``classes_``.
        """
        if self.convention_.judges_pixels:
            return self._masks(self._run("mask", X))
        labels = self._run("label", X)
        return labels if self.convention_.kind == "detector" else self.classes_[labels]

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        r"""Probability of each label, or of each pixel that it is anomalous.

        :math:`p = 1 - 2^{-s / t}` with the threshold :math:`t`.

        Parameters
        ----------
        X : array-like of shape (n, h, w) or (n, h, w, c)
            As for :meth:`anomaly_score`.

        Returns
        -------
        ndarray of shape (n, 2), or (n, h, w) of a segmenter, float64
            Columns in the order of ``classes_``.
        """
        if self.convention_.judges_pixels:
            heatmaps = self.explain(X)
            return self.convention_.pixel_probabilities(heatmaps, self.threshold_)
        scores = self.anomaly_score(X)
        return self.convention_.probabilities(scores, self.threshold_)

    def explain(self, X: Any) -> npt.NDArray[np.float32]:
        """Heatmap of each image: where it is anomalous, and how much.

        Parameters
        ----------
        X : array-like of shape (n, h, w) or (n, h, w, c)
            As for :meth:`anomaly_score`.

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
                f"{self.path} has no heatmaps: its objective has no map over the image."
            )
        images = self._check(X)
        options = self._runtime.RunOptions()
        # Who asks for scores shall not pay for heatmaps.
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
        """Images as the graph takes them; files are read as in ``fit``."""
        if (paths := path_list(X)) is not None:
            from skfcdd._inputs.files import files_for

            known = self._fitted_dtype
            X = files_for(paths, self.reading_, self.image_shape_, known)
        images = np.asarray(X)
        if hasattr(X, "reading") and self.channels == "first" and images.ndim == 4:
            images = np.moveaxis(images, 3, 1)  # files have their channels last
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
                f"X holds images of shape {found}, but the model takes {expected}, "
                f"as {'(c, h, w)' if (self.channels == 'first') else '(h, w, c)'}."
            )
        return np.ascontiguousarray(images)

    def _with_channels(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Images (n, h, w) with their axis of channels; single ones are refused."""
        h, w, c = self.image_shape_
        shape = (c, h, w) if (self.channels == "first") else (h, w, c)
        if images.ndim == 4:
            return images
        if images.shape == (h, w) or (images.shape == shape and c > 1):
            raise ValueError(
                f"X of shape {images.shape} is a single image. Give a batch of one: "
                f"X[None]."
            )
        if images.ndim == 3 and c == 1:
            return images[:, None] if (self.channels == "first") else images[..., None]
        raise ValueError(
            f"X must hold images (n, {', '.join(map(str, shape))}). Got an array of "
            f"shape {images.shape}."
        )

    def _check_type(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if images.dtype == self._dtype == np.uint8:
            return images
        self._warn_about_range(images)
        if self._dtype == np.uint8 or images.dtype.kind not in "biuf":
            raise ValueError(
                f"X has dtype {images.dtype}, but the model takes {self._dtype}: "
                f"{'bytes from 0 to 255' if self._dtype == np.uint8 else 'numbers'}."
            )
        images = images.astype(np.float32, copy=False)
        if not np.isfinite(images).all():
            raise ValueError("X contains NaN or infinity.")
        return images

    def _warn_about_range(self, images: npt.NDArray[Any]) -> None:
        """Say so where images are on another scale than those of ``fit``."""
        if self._fitted_dtype is None or self._limits is None or not images.size:
            return
        if images.dtype.kind not in "biuf":  # refused right after
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
            "OnnxFCDD runs models with onnxruntime, which is not installed. Install it "
            "with pip install onnxruntime, or pip install 'skfcdd[onnx]'."
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
            f"{unknown}. It has {runtime.get_available_providers()}."
        )
    source: str | bytes = str(path)
    if verify:
        source = path.read_bytes()
        if sealed(source) != source:
            raise ValueError(
                f"{path} is damaged, was changed, or is no model that "
                f"skfcdd.export.to_onnx has written. If it was changed on purpose, "
                f"verify=False opens it."
            )
    try:
        return runtime.InferenceSession(source, options, providers=providers)
    # ONNX Runtime has many errors, without a common base but this one.
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as an ONNX model: it is damaged, cut off, or of "
            f"another format."
        ) from error


def sealed(content: bytes) -> bytes | None:
    """Bytes of a model with their hash in the place for it; None without a place."""
    place = re.escape(_SEAL % b"") + rb"[0-9a-f]{64}"
    blank, n_places = re.subn(place, _BLANK, content)
    if n_places != 1:
        return None
    digest = hashlib.sha256(blank).hexdigest().encode()
    return blank.replace(_BLANK, _SEAL % digest)
