"""Saved models, and their predictions as used by the commands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import has_memory
from skfcdd._verdicts import (
    anomaly_probability,
    convention_of,
    decisive_scores,
    is_above,
    settled,
)
from skfcdd.cli._heatmaps import Finding
from skfcdd.cli._options import check_device

__all__ = ["AT_ONCE", "Model", "Verdicts", "check_file", "reading_options"]

# Number of images that a command scores at once.
AT_ONCE = 32


class Model:
    """Saved or exported model, with its options for reading image files."""

    def __init__(self, path: Path, device: str = "auto") -> None:
        self.path = path
        check_file(path)
        if path.suffix.lower() == ".onnx":
            from skfcdd.onnx import OnnxFCDD

            if device != "auto":
                check_device(device)
            self.estimator: Any = OnnxFCDD(path)
        else:
            from skfcdd.persistence import load

            self.estimator = load(path, device=device)
        self.options = reading_options(self.estimator)

    def judge(self, X: Any, heatmaps: bool) -> Verdicts:
        """Compute scores of a batch, and heatmaps if requested or needed."""
        estimator = self.estimator
        pixels = convention_of(estimator).judges_pixels
        wanted, parts, share = heatmaps or pixels, None, None
        if has_memory(estimator):
            found = estimator.explain_parts(X, heatmaps=wanted)
            scores, share, maps = found.score, found.novelty_share, found.get("heatmap")
            parts = np.stack([found.defect, found.novelty], axis=1) if wanted else None
        else:
            maps = np.asarray(estimator.explain(X)) if wanted else None
            scores = np.asarray(estimator.anomaly_score(X))
        decisive = decisive_scores(estimator, X, maps) if pixels else scores
        threshold = float(estimator.threshold_)
        return Verdicts(scores, decisive, threshold, maps, parts, share)


def reading_options(estimator: Any) -> dict[str, Any]:
    """Return the options of :class:`~skfcdd.datasets.ImageFiles` for a model."""
    h, w, c = estimator.image_shape_
    known = estimator.reading_ or {"n_channels": c}
    return {**known, "resize": (h, w)}


def check_file(path: Path) -> None:
    """Raise an error, worded for the command line, if `path` is not a file.

    Raises
    ------
    OSError
        If `path` is a folder or does not exist.
    """
    if path.is_dir():
        raise IsADirectoryError(
            f"{str(path)!r} is a folder, but the first argument is the model, a "
            ".skfcdd or .onnx file. The images are the next argument."
        )
    if not path.exists():
        raise FileNotFoundError(
            f"There is no file {str(path)!r}. The first argument is the model; create "
            "one with skfcdd fit."
        )


@dataclass
class Verdicts:
    """Predictions of a model for a batch.

    Parameters
    ----------
    scores, decisive : ndarray of shape (n,), float64
        Anomaly scores, and the scores compared with the threshold. They differ for a
        segmenter, whose threshold applies to pixels.
    threshold : float
    heatmaps : ndarray of shape (n, h, w), or None
    parts : ndarray of shape (n, 2, h, w), or None
        Parts that sum to the heatmaps, if the model has a memory bank.
    novelty_share : ndarray of shape (n,), or None
        Proportion of each score that comes from novelty, the second part.
    """

    scores: npt.NDArray[np.float64]
    decisive: npt.NDArray[np.float64]
    threshold: float
    heatmaps: npt.NDArray[np.float32] | None
    parts: npt.NDArray[np.float32] | None = None
    novelty_share: npt.NDArray[np.float64] | None = None

    @property
    def anomalous(self) -> npt.NDArray[np.bool_]:
        return np.asarray(is_above(self.decisive, self.threshold))

    @property
    def probability(self) -> npt.NDArray[np.float64]:
        """Probability of each image, above 0.5 exactly if it is anomalous."""
        return anomaly_probability(self.decisive, self.threshold)

    def rows(self, pixels: bool) -> Iterator[dict[str, Any]]:
        """Yield a table row for each image.

        Parameters
        ----------
        pixels : bool
            Whether the threshold applies to pixels. If so, each row also contains the
            pixel score that is compared with the threshold.
        """
        for k, score in enumerate(self.scores):
            row: dict[str, Any] = {
                "score": _short(score, None if pixels else self.threshold),
                "probability": _short(self.probability[k], 0.5),
                "anomalous": int(self.anomalous[k]),
            }
            if pixels:
                row["heat"] = _short(self.decisive[k], self.threshold)
            row["threshold"] = _short(self.threshold, None)
            if self.novelty_share is not None:
                row["novelty_share"] = round(float(self.novelty_share[k]), 4)
            yield row

    def finding(self, k: int) -> Finding:
        """Return the results of image `k` of the batch, for drawing."""
        assert self.heatmaps is not None
        return Finding(
            score=float(self.decisive[k]),
            anomalous=bool(self.anomalous[k]),
            heatmap=self.heatmaps[k],
            parts=() if self.parts is None else self.parts[k],
            novelty_share=(
                None if self.novelty_share is None else float(self.novelty_share[k])
            ),
        )


def _short(value: float, limit: float | None) -> float:
    """Round to seven digits, or as many as keep the value on its side of a limit."""
    number = float(value)
    if limit is None:
        return float(f"{number:.7g}")
    number, end = float(settled(number, limit)), float(f"{limit:.7g}")
    shorter = (float(f"{number:.{digits}g}") for digits in range(7, 17))
    return next((s for s in shorter if (s > end) == (number > limit)), number)
